"""Makes a simulated data set in blocks, by several processes, whole or not there at all.

Episodes are simulated in blocks, each of which depends on the plan and its number alone. Finished
blocks lie in `OUT.partial` until all are there; then the folder gets its name in one step. So the
number of processes and interruptions leave no trace in the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.data.lerobot_meta import INFO_FILE
from jointspace.data.lerobot_write import (
    WriteLayout,
    finish_dataset,
    finished_blocks,
    write_block,
)
from jointspace.errors import InputError, StorageError
from jointspace.sim.blocks import Progress, environment_of, make_blocks
from jointspace.sim.episodes import simulate_episode
from jointspace.sim.manifest import PLAN_FILE, begin, is_whole, simulation_manifest
from jointspace.sim.plan import SimulationPlan
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ, STATE_NAMES

MANIFEST_FILE = Path("meta") / "simulation.json"

REVEALED_FACTORS: Mapping[str, tuple[str, ...]] = {
    "action": ("skill", "direction"),
    "state": ("skill", "direction"),
}
"""What a motion can tell of a goal: what is done and which way, never the colour of the object."""


@dataclass(frozen=True)
class SimulatedDataset:
    """What was made, or was there already.

    Attributes:
        path: folder of the data set.
        manifest: versions, plan and splits; what `meta/simulation.json` holds.
        num_reused_blocks: blocks that an earlier, interrupted call had made.
    """

    path: Path
    manifest: Mapping[str, Any]
    num_reused_blocks: int


def simulate_dataset(
    out: Path, plan: SimulationPlan, *, num_workers: int = 1, progress: Progress | None = None
) -> SimulatedDataset:
    """Makes a LeRobot v3.0 data set of expert episodes on the simulated tabletop.

    The same plan and versions give the same bytes. An interrupted call is continued by repeating
    it; a data set that is there already is left as it is.

    Args:
        out: the folder to make.
        plan: what it is to hold.
        num_workers: processes that simulate at the same time.
        progress: called with the number of finished episodes, and of all.

    Returns:
        What was made.

    Raises:
        InputError: the folder holds something else, or an unfinished data set of another plan or
            of other versions; or fewer than one worker is asked for.
        MissingExtraError: MuJoCo or PyAV is not installed.
        StorageError: a file could not be written.
        WorkerError: a process died; what is finished is kept.
    """
    if num_workers < 1:
        raise InputError(f"workers: got {num_workers}, expected at least 1")
    manifest = _manifest(plan)
    if is_whole(out, manifest, name=MANIFEST_FILE):
        return SimulatedDataset(out, manifest, plan.num_blocks)
    partial = out.with_name(f"{out.name}.partial")
    begin(partial, manifest, name=MANIFEST_FILE)
    num_reused = plan.num_blocks
    if not (partial / INFO_FILE).is_file():  # written last of all
        done = finished_blocks(partial)
        num_reused = len(done)
        make_blocks(
            partial,
            plan,
            done,
            make_block=_make_block,
            num_workers=num_workers,
            progress=progress,
        )
    # Of a data set that was finished already, this only clears away what is left of the work.
    finish_dataset(
        partial,
        layout=layout_of(plan),
        num_blocks=plan.num_blocks,
        manifest=manifest,
        manifest_name=MANIFEST_FILE.name,
    )
    try:
        (partial / PLAN_FILE).unlink(missing_ok=True)
        if out.is_dir():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        raise StorageError(f"{out}: could not be made: {error.strerror or error}") from error
    return SimulatedDataset(out, manifest, num_reused)


def _manifest(plan: SimulationPlan) -> dict[str, Any]:
    return simulation_manifest(plan, packages=("mujoco-core", "numpy", "av")) | {
        "revealed_factors": {name: list(factors) for name, factors in REVEALED_FACTORS.items()},
    }


def layout_of(plan: SimulationPlan) -> WriteLayout:
    """Returns what holds for all episodes of a plan: rate, names and the size of the pictures."""
    return WriteLayout(
        fps=CONTROL_HZ,
        robot_type="jointspace_tabletop",
        action_names=ACTION_NAMES,
        state_names=STATE_NAMES,
        cameras=plan.cameras,
        height_px=plan.image_px,
        width_px=plan.image_px,
    )


def _make_block(partial: Path, plan: SimulationPlan, block: int) -> None:
    episodes = plan.episodes_of(block)
    write_block(
        partial,
        (simulate_episode(environment_of(plan), plan, number) for number in episodes),
        layout=layout_of(plan),
        block=block,
        first_episode=episodes.start,
    )
