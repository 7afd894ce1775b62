"""Floors and ceiling of the simulated tabletop: what policies reach that do not listen, or cheat.

Every policy meets the same seeded episodes, as many of each skill, without cameras:

- `no-op` does nothing, `random` wanders about: a goal must not fall into the lap of either.
- `other-goal` is the expert at another goal of the same scene, of the same skill where there is
  one: what a policy reaches that moves well but does not listen.
- `expert` knows the true scene: the ceiling.
- With `--noise-mm`, the expert with a shaking hand: where real failures in the data come from.

The limits that the floors and the ceiling must keep are checked; exit status 1 if one is broken.

Run: python benchmarks/tabletop_policies.py --json tabletop_policies.json
"""

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from jointspace.progress import progress_bar
from jointspace.sim.closed_loop import ClosedLoopResult, run_closed_loop
from jointspace.sim.policies import ExpertPolicy, reference_policies

HIGHEST = {"no-op": 0.02, "random": 0.02, "other-goal": 0.15}
LOWEST = {"expert": 0.98}


def main() -> int:
    """Runs the policies, prints a table, and writes JSON if asked to.

    Returns:
        1 if a floor is too high or the ceiling too low, else 0.
    """
    arguments = _parser().parse_args()
    policies = reference_policies()
    for noise_mm in arguments.noise_mm:
        policies[f"expert, {noise_mm:g} mm"] = ExpertPolicy(noise_std_m=noise_mm / 1000)
    start_s = time.process_time()
    with progress_bar("episodes", show=sys.stderr.isatty()) as report:
        result = run_closed_loop(
            policies,
            episodes_per_skill=arguments.episodes,
            seed=arguments.seed,
            progress=report,
        )
    seconds = time.process_time() - start_s
    Console(width=120).print(result.render())
    broken = _broken_limits(result)
    print(f"{seconds:.0f} s of the processor; limits: {'; '.join(broken) or 'all kept'}")
    if arguments.json:
        payload = {
            "version": 1,
            "packages": {
                "python": platform.python_version(),
                "mujoco-core": version("mujoco-core"),
            },
            "seconds": seconds,
            "limits": {"highest": HIGHEST, "lowest": LOWEST, "broken": broken},
            **result.to_json(),
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--episodes", type=int, default=50, help="per skill and policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise-mm", type=float, nargs="*", default=[4.0, 10.0])
    parser.add_argument("--json", type=Path)
    return parser


def _broken_limits(result: ClosedLoopResult) -> list[str]:
    rates = {name: share.rate for name, share in result.overall.items()}
    too_high = [
        f"{name} reaches {rates[name]:.1%}" for name in HIGHEST if rates[name] >= HIGHEST[name]
    ]
    too_low = [f"{name} reaches {rates[name]:.1%}" for name in LOWEST if rates[name] < LOWEST[name]]
    return too_high + too_low


if __name__ == "__main__":
    sys.exit(main())
