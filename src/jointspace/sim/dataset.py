"""Makes a simulated data set in blocks, by several processes, whole or not there at all.

Episodes are simulated in blocks, each of which depends on the plan and its number alone. Finished
blocks lie in `OUT.partial` until all are there; then the folder gets its name in one step. So the
number of processes and interruptions leave no trace in the result.
"""

import importlib.metadata
import json
import multiprocessing
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace import __version__
from jointspace.data.lerobot_meta import INFO_FILE
from jointspace.data.lerobot_write import (
    WriteLayout,
    finish_dataset,
    finished_blocks,
    write_block,
)
from jointspace.errors import InputError, StorageError, WorkerError
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.episodes import simulate_episode
from jointspace.sim.plan import SimulationPlan
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ, STATE_NAMES
from jointspace.storage import write_whole

MANIFEST_FILE = Path("meta") / "simulation.json"
PLAN_FILE = "plan.json"

REVEALED_FACTORS: Mapping[str, tuple[str, ...]] = {
    "action": ("skill", "direction"),
    "state": ("skill", "direction"),
}
"""What a motion can tell of a goal: what is done and which way, never the colour of the object."""

Progress = Callable[[int, int], None]


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
    if _is_whole(out, manifest):
        return SimulatedDataset(out, manifest, plan.num_blocks)
    partial = out.with_name(f"{out.name}.partial")
    _begin(partial, manifest)
    num_reused = plan.num_blocks
    if not (partial / INFO_FILE).is_file():  # written last of all
        done = finished_blocks(partial)
        num_reused = len(done)
        _make_blocks(partial, plan, done, num_workers=num_workers, progress=progress)
    # Of a data set that was finished already, this only clears away what is left of the work.
    finish_dataset(
        partial,
        layout=_layout(plan),
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
    """Returns what decides the bytes: the plan and the versions of whatever computes them."""
    return {
        "format": 1,
        "plan": plan.to_json(),
        "versions": {"jointspace": __version__}
        | {name: importlib.metadata.version(name) for name in ("mujoco-core", "numpy", "av")},
        "splits": {
            name: f"{numbers.start}:{numbers.stop}" for name, numbers in plan.split_ranges.items()
        },
        "revealed_factors": {name: list(factors) for name, factors in REVEALED_FACTORS.items()},
    }


def _layout(plan: SimulationPlan) -> WriteLayout:
    return WriteLayout(
        fps=CONTROL_HZ,
        robot_type="jointspace_tabletop",
        action_names=ACTION_NAMES,
        state_names=STATE_NAMES,
        cameras=plan.cameras,
        height_px=plan.image_px,
        width_px=plan.image_px,
    )


def _is_whole(out: Path, manifest: Mapping[str, Any]) -> bool:
    """Returns whether the folder holds this very data set; refuses anything else in its place."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; choose a folder for the data set")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    file = out / MANIFEST_FILE
    if not file.is_file():
        raise InputError(f"{out}: is not empty, and holds no simulated data set; choose another")
    _refuse_difference(file, manifest)
    return True


def _begin(partial: Path, manifest: Mapping[str, Any]) -> None:
    """Makes the folder of an unfinished data set, or finds that it is of the same plan."""
    if partial.is_dir() and any(partial.iterdir()):
        file = partial / PLAN_FILE
        if not file.is_file():
            file = partial / MANIFEST_FILE  # killed just before it got its name
        if not file.is_file():
            raise InputError(
                f"{partial}: holds something else than an unfinished data set; remove it"
            )
        _refuse_difference(file, manifest)
        return
    write_whole(partial / PLAN_FILE, json.dumps(manifest, indent=1) + "\n")


def _refuse_difference(file: Path, manifest: Mapping[str, Any]) -> None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); remove its data set") from error
    for part in ("plan", "versions"):
        found = stored.get(part) if isinstance(stored, dict) else None
        found = found if isinstance(found, dict) else {}
        for key, wanted in manifest[part].items():
            if found.get(key) != wanted:
                raise InputError(
                    f"{file.parent.parent if file.name == MANIFEST_FILE.name else file.parent}: "
                    f"holds a data set with {part} {key} = {found.get(key)!r}, asked for is "
                    f"{wanted!r}; remove it, or choose another folder"
                )


def _counter(
    plan: SimulationPlan, done: set[int], progress: Progress | None
) -> Callable[[int], None]:
    finished = set(done)

    def report(block: int) -> None:
        finished.add(block)
        if progress is not None:
            progress(sum(len(plan.episodes_of(each)) for each in finished), plan.num_episodes)

    if progress is not None:
        progress(sum(len(plan.episodes_of(each)) for each in finished), plan.num_episodes)
    return report


def _make_blocks(
    partial: Path,
    plan: SimulationPlan,
    done: set[int],
    *,
    num_workers: int,
    progress: Progress | None,
) -> None:
    missing = [block for block in range(plan.num_blocks) if block not in done]
    report = _counter(plan, done, progress)
    if num_workers > 1 and len(missing) > 1:
        _make_in_parallel(partial, plan, missing, num_workers=num_workers, report=report)
        return
    for block in missing:
        _make_block(partial, plan, block)
        report(block)


def _make_in_parallel(
    partial: Path,
    plan: SimulationPlan,
    blocks: list[int],
    *,
    num_workers: int,
    report: Callable[[int], None],
) -> None:
    # A forked process would inherit the locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(num_workers, len(blocks)), mp_context=context, initializer=_leave_interrupts_to_parent
    ) as pool:
        futures = {pool.submit(_make_block, partial, plan, block): block for block in blocks}
        try:
            for future in as_completed(futures):
                future.result()
                report(futures[future])
        except BrokenProcessPool as error:
            raise WorkerError(
                f"{partial}: a process that simulated died, for lack of memory perhaps; finished "
                "episodes are kept: repeat the command, with fewer workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_environments: dict[tuple[Any, ...], TabletopEnv] = {}


def _make_block(partial: Path, plan: SimulationPlan, block: int) -> None:
    """Simulates one block; a process builds its scene once."""
    key = (plan.cameras, plan.image_px, plan.renderer, plan.samples)
    if key not in _environments:
        _environments.clear()
        _environments[key] = TabletopEnv(
            cameras=plan.cameras,
            image_px=plan.image_px,
            renderer=plan.renderer,
            samples=plan.samples,
        )
    episodes = plan.episodes_of(block)
    write_block(
        partial,
        (simulate_episode(_environments[key], plan, number) for number in episodes),
        layout=_layout(plan),
        block=block,
        first_episode=episodes.start,
    )
