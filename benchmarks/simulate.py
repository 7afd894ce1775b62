"""What a simulated data set costs: CPU seconds, bytes and frames, beside the baseline.

The baseline is 64 CPU seconds per camera for 300 episodes of about 46 frames at 96 px (physics,
rays, h264), measured with a prototype of six skills on one core of another day; so the number to
compare is CPU seconds, which other load distorts less than the clock, and the CPU time of a
rendered frame stands beside it.

    python benchmarks/simulate.py [--episodes 300] [--px 96] [--cameras front]
        [--samples 2] [--json FILE]
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jointspace.data.open import open_dataset
from jointspace.sim.dataset import simulate_dataset
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.plan import SimulationPlan

BASELINE_CPU_S = 64.0
BASELINE_EPISODES = 300
NUM_RENDERED = 200


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=BASELINE_EPISODES)
    parser.add_argument("--px", type=int, default=96)
    parser.add_argument("--cameras", default="front")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = measure(arguments)
    for name, value in measured.items():
        print(f"{name:>28}  {value:,.4g}" if isinstance(value, float) else f"{name:>28}  {value:,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Makes the data set in a temporary folder and returns what it cost."""
    cameras = tuple(arguments.cameras.split(","))
    plan = SimulationPlan(
        num_episodes=arguments.episodes,
        seed=arguments.seed,
        cameras=cameras,
        image_px=arguments.px,
        samples=arguments.samples,
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "data"
        start_cpu_s, start_s = cpu_s(), time.perf_counter()
        simulate_dataset(out, plan, num_workers=arguments.workers, progress=show)
        clock_s, total_cpu_s = time.perf_counter() - start_s, cpu_s() - start_cpu_s
        print(file=sys.stderr)
        dataset = open_dataset(out)
        num_frames = sum(episode.num_frames for episode in dataset.episodes)
        video_mb = sum(file.stat().st_size for file in out.rglob("*.mp4")) / 1e6
        table_mb = sum(file.stat().st_size for file in out.rglob("*.parquet")) / 1e6
    scale = BASELINE_EPISODES / arguments.episodes / len(cameras)
    return {
        "episodes": arguments.episodes,
        "frames": num_frames,
        "cameras": len(cameras),
        "px": arguments.px,
        "samples": arguments.samples,
        "workers": arguments.workers,
        "cpu_s": total_cpu_s,
        "clock_s": clock_s,
        "cpu_ms_per_episode": 1000 * total_cpu_s / arguments.episodes,
        "cpu_ms_per_frame": 1000 * total_cpu_s / num_frames / len(cameras),
        "cpu_s_per_300_and_camera": total_cpu_s * scale,
        "ratio_to_baseline": total_cpu_s * scale / BASELINE_CPU_S,
        "render_ms_per_frame": render_ms(arguments.px, cameras, arguments.samples),
        "video_mb": video_mb,
        "table_mb": table_mb,
    }


def render_ms(image_px: int, cameras: tuple[str, ...], samples: int) -> float:
    """Returns CPU milliseconds of one picture of one camera, with what stands still drawn once."""
    env = TabletopEnv(cameras=cameras, image_px=image_px, samples=samples)
    env.reset(seed=0)
    start_s = time.process_time()
    for _ in range(NUM_RENDERED):
        env.world.pictures()
    return 1000 * (time.process_time() - start_s) / NUM_RENDERED / len(cameras)


def cpu_s() -> float:
    """Returns the CPU seconds of this process and of its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def show(done: int, total: int) -> None:
    """Tells on standard error how far it is."""
    print(f"\r{done} of {total} episodes", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
