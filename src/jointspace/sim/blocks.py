"""Simulates blocks of episodes, one after the other or in several processes."""

import multiprocessing
import signal
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from jointspace.errors import WorkerError
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.plan import SimulationPlan

Progress = Callable[[int, int], None]

MakeBlock = Callable[[Path, SimulationPlan, int], None]
"""Makes one block in a folder: a function of a module, which other processes find by its name."""


def make_blocks(
    partial: Path,
    plan: SimulationPlan,
    done: Collection[int],
    *,
    make_block: MakeBlock,
    num_workers: int,
    progress: Progress | None,
) -> None:
    """Makes the blocks of a plan that are not there yet.

    Args:
        partial: the folder that they are made in.
        plan: each of its blocks depends on it and on the block's number alone.
        done: blocks that are there.
        make_block: makes one.
        num_workers: processes that simulate at the same time.
        progress: called with the number of finished episodes, and of all.

    Raises:
        WorkerError: a process died; what is finished is kept.
    """
    missing = [block for block in range(plan.num_blocks) if block not in done]
    report = _counter(plan, set(done), progress)
    if num_workers > 1 and len(missing) > 1:
        _make_in_parallel(
            partial, plan, missing, make_block=make_block, num_workers=num_workers, report=report
        )
        return
    for block in missing:
        make_block(partial, plan, block)
        report(block)


_environments: dict[tuple[Any, ...], TabletopEnv] = {}


def environment_of(plan: SimulationPlan) -> TabletopEnv:
    """Returns the environment of a plan; a process builds its scene once.

    Raises:
        MissingExtraError: MuJoCo is not installed.
    """
    key = (plan.cameras, plan.image_px, plan.renderer, plan.samples)
    if key not in _environments:
        _environments.clear()
        _environments[key] = TabletopEnv(
            cameras=plan.cameras,
            image_px=plan.image_px,
            renderer=plan.renderer,
            samples=plan.samples,
        )
    return _environments[key]


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


def _make_in_parallel(
    partial: Path,
    plan: SimulationPlan,
    blocks: list[int],
    *,
    make_block: MakeBlock,
    num_workers: int,
    report: Callable[[int], None],
) -> None:
    # A forked process would inherit the locks of threads that it does not have.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(num_workers, len(blocks)), mp_context=context, initializer=_leave_interrupts_to_parent
    ) as pool:
        futures = {pool.submit(make_block, partial, plan, block): block for block in blocks}
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
