"""What a robot's limits, timeouts and delays cost: the same policy and scenes, each thing by turns.

Run: python benchmarks/closed_loop_robot.py BUNDLE POLICY --episodes 13 [--only late] [--json FILE]
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from jointspace.commands.robot_rollout import UNBOUND, camera_names_of, simulated_robot
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.progress import progress_bar
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from jointspace.robot.simulated import SimulatedRobot
from jointspace.sim.closed_loop import run_closed_loop
from jointspace.sim.goals import SKILLS
from jointspace.sim.policies import Policy

_CONFIG = Path(__file__).parents[1] / "configs" / "robot" / "arm.toml"


@dataclass(frozen=True)
class Variant:
    """A robot that differs from the configured one.

    Attributes:
        settings: `key=value`, over the configuration.
        picture_delay_steps: how late pictures come, in steps of control.
        latency_steps: how long perception takes.
    """

    settings: tuple[str, ...] = ()
    picture_delay_steps: int = 0
    latency_steps: int = 0


VARIANTS = {
    "robot": Variant(),
    "match required": Variant(("match_required=true",)),
    "command 5 s": Variant(("command_timeout_s=5",)),
    "half speeds": Variant(("max_speeds=[0.015, 0.015, 0.015, 0.15, 0.15, 0.15, 5]",)),
    "slow ramp": Variant(("max_accelerations=[0.1, 0.1, 0.1, 1, 1, 1, 1000]",)),
    "slow gripper": Variant(("max_accelerations=[1, 1, 1, 6, 6, 6, 10]",)),
    "pictures 1 late": Variant(picture_delay_steps=1),
    "pictures 2 late": Variant(picture_delay_steps=2),
    "network 1 step": Variant(latency_steps=1),
    "network 2 steps": Variant(latency_steps=2),
}


def main() -> int:
    """Measures, prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--config", type=Path, default=_CONFIG)
    parser.add_argument("--episodes", type=int, default=13, help="per skill and variant")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--skills", nargs="*", default=list(SKILLS))
    parser.add_argument("--only", nargs="*", help="variants with one of these in their names")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    embedder = BundleEmbedder.load(arguments.bundle)
    known = load_demonstrations(arguments.policy)
    policies: dict[str, Policy] = {
        UNBOUND: RetrievalPolicy(known, embed_texts=embedder.embed_texts)
    }
    for name, variant in VARIANTS.items():
        settings = (*variant.settings, f"policy={arguments.policy}")
        config = read_robot_config(arguments.config, overrides=settings)
        policies[name] = simulated_robot(
            replace(config, bundle=str(arguments.bundle)),
            embedder,
            picture_delay_s=variant.picture_delay_steps / known.fps,
            latency_s=variant.latency_steps / known.fps,
        )
    chosen = {
        name: policy
        for name, policy in policies.items()
        if not arguments.only or any(each in name for each in arguments.only)
    }
    with progress_bar("episodes", show=sys.stderr.isatty()) as report:
        result = run_closed_loop(
            chosen,
            episodes_per_skill=arguments.episodes,
            seed=arguments.seed,
            skills=arguments.skills,
            cameras=camera_names_of(embedder),
            image_px=known.image_px,
            samples=1,
            progress=report,
        )
    Console(width=250).print(result.render())
    states = {
        name: {str(state): count for state, count in policy.states.items()}
        for name, policy in chosen.items()
        if isinstance(policy, SimulatedRobot)
    }
    for name, counts in states.items():
        total = sum(counts.values())
        shares = ", ".join(f"{state} {count / total:.1%}" for state, count in counts.items())
        print(f"{name}: {total} decisions: {shares}")
    if arguments.json:
        payload = {"version": 1, "states": states, **result.to_json()}
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
