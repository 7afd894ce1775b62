"""Writes simulated episodes as rosbag2 bags, one folder each, for robots and tools of ROS 2."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.data.ros_types import import_rosbags
from jointspace.data.rosbag_episode import write_episode_bag
from jointspace.errors import InputError, StorageError
from jointspace.sim.blocks import Progress, environment_of, make_blocks
from jointspace.sim.dataset import layout_of
from jointspace.sim.episodes import simulate_episode
from jointspace.sim.manifest import PLAN_FILE, begin, is_whole, simulation_manifest
from jointspace.sim.plan import SimulationPlan
from jointspace.storage import write_whole

MANIFEST_FILE = Path("simulation.json")


@dataclass(frozen=True)
class SimulatedBags:
    """What was made, or was there already.

    Attributes:
        path: folder of the bags.
        bags: the folder of each episode, in order.
        manifest: versions, plan and splits; what `simulation.json` holds.
    """

    path: Path
    bags: tuple[Path, ...]
    manifest: Mapping[str, Any]


def bag_name(episode: int) -> str:
    """Returns the name of an episode's bag."""
    return f"episode_{episode:06d}"


def simulate_bags(
    out: Path, plan: SimulationPlan, *, num_workers: int = 1, progress: Progress | None = None
) -> SimulatedBags:
    """Writes the episodes of a plan as bags: the same episodes as `simulate_dataset`, lossless.

    The same plan and versions give the same bytes. An interrupted call is continued by repeating
    it; bags that are there already are left as they are.

    Args:
        out: the folder to make.
        plan: what is simulated.
        num_workers: processes that simulate at the same time.
        progress: called with the number of finished episodes, and of all.

    Returns:
        What was made.

    Raises:
        InputError: the folder holds something else, or bags of another plan or of other versions;
            or fewer than one worker is asked for.
        MissingExtraError: MuJoCo or rosbags is not installed.
        StorageError: a file could not be written.
        WorkerError: a process died; what is finished is kept.
    """
    if num_workers < 1:
        raise InputError(f"workers: got {num_workers}, expected at least 1")
    import_rosbags()
    manifest = simulation_manifest(plan, packages=("mujoco-core", "numpy", "rosbags"))
    bags = tuple(out / bag_name(episode) for episode in range(plan.num_episodes))
    if is_whole(out, manifest, name=MANIFEST_FILE):
        return SimulatedBags(out, bags, manifest)
    partial = out.with_name(f"{out.name}.partial")
    begin(partial, manifest, name=MANIFEST_FILE)
    make_blocks(
        partial,
        plan,
        _finished_blocks(partial, plan),
        make_block=_make_block,
        num_workers=num_workers,
        progress=progress,
    )
    try:
        for left in partial.glob(".*.tmp"):  # of processes that were killed
            shutil.rmtree(left)
        write_whole(partial / MANIFEST_FILE, json.dumps(manifest, indent=1) + "\n")
        (partial / PLAN_FILE).unlink(missing_ok=True)
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        raise StorageError(f"{out}: could not be made: {error.strerror or error}") from error
    return SimulatedBags(out, bags, manifest)


def _finished_blocks(partial: Path, plan: SimulationPlan) -> set[int]:
    return {
        block
        for block in range(plan.num_blocks)
        if all((partial / bag_name(episode)).is_dir() for episode in plan.episodes_of(block))
    }


def _make_block(partial: Path, plan: SimulationPlan, block: int) -> None:
    for episode in plan.episodes_of(block):
        if not (partial / bag_name(episode)).is_dir():
            write_episode_bag(
                partial / bag_name(episode),
                simulate_episode(environment_of(plan), plan, episode),
                layout=layout_of(plan),
                episode=episode,
            )
