"""Several processes that train one model: how they meet, and what happens when one of them dies."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from jointspace.errors import ConfigError, JointspaceError, WorkerError
from jointspace.train.launch import Place
from jointspace.train.sampling import Share

T = TypeVar("T")

PATIENCE = timedelta(hours=24)
"""How long one process waits for another: rank 0 may decode a large data set first, or measure for
long. A process that died is noticed at once, by its connections."""

MEETING = timedelta(minutes=5)
"""How long the processes wait for all of them to have started."""

BEAT_S = 0.5
"""Every process tells the others this often that it is alive."""

LOOK_S = 1.5
"""A process that does not tell so for this long, once a connection broke, is dead."""

_STORE_IN_TORCHRUN = "TORCHELASTIC_USE_AGENT_STORE"
_EXIT_USER_MISTAKE = 2


class Processes:
    """The processes that train together, as one of them sees them; a single one needs no others.

    Args:
        place: of this process.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def is_main(self) -> bool:
        """True for the process that writes and speaks for all."""
        return self.place.is_main

    @property
    def are_many(self) -> bool:
        """True where there is more than one."""
        return self.place.size > 1

    @property
    def share(self) -> Share:
        """Which part of a step's rows this process reads."""
        return Share(self.place.rank, self.place.size)

    def from_main(self, make: Callable[[], T]) -> T:
        """Lets rank 0 alone make a value, and returns it on all; the others wait for it."""
        if not self.are_many:
            return make()
        values: list[T | None] = [make() if self.is_main else None]
        with contact():
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return cast("T", values[0])

    def wait(self) -> None:
        """Waits until all processes are here."""
        self.any(of=False)

    def any(self, *, of: bool) -> bool:
        """True where it is true on any process."""
        if not self.are_many:
            return of
        flag = torch.tensor([of], dtype=torch.int32)
        with contact():
            dist.all_reduce(flag)
        return bool(flag)


ALONE = Processes(Place())
"""A process that trains by itself."""


class LostContactError(Exception):
    """Another process does not answer any more."""


@contextlib.contextmanager
def contact() -> Iterator[None]:
    """Tells the errors of torch's collectives from other errors.

    Yields:
        Nothing.

    Raises:
        LostContactError: another process does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        cause = str(error).strip().partition("\n")[0]
        raise LostContactError(cause) from error


@contextlib.contextmanager
def processes(place: Place, device: torch.device) -> Iterator[Processes]:
    """Meets the other processes, and speaks with one voice when something goes wrong.

    A mistake that all processes meet is raised by rank 0, one that a single process meets by that
    process, and a process that died without a word is named by one of those that are left. All
    others end with exit code 2 in silence.

    Args:
        place: of this process.
        device: where it trains; on graphics processors NCCL carries gradients, gloo all else.

    Yields:
        The processes.

    Raises:
        ConfigError: they do not meet.
        WorkerError: another process died, or this one, which does not speak for all, met a mistake.
        JointspaceError: a mistake of the user.
        KeyboardInterrupt: SIGTERM, though all processes are alive.
        SystemExit: another process speaks.
    """
    if place.size == 1:
        yield ALONE
        return
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=MEETING)))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("jointspace", store),
            rank=place.rank,
            world_size=place.size,
            timeout=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:  # torch's network errors are RuntimeErrors
        cause = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"rank {place.rank}: {place.size} processes do not meet: {cause}; start them with "
            "torchrun, and see that the port of MASTER_PORT is free"
        ) from error
    roll = _RollCall(PrefixStore("roll-call", store), place)
    try:
        with _termination(), roll:
            team = Processes(place)
            yield team
            team.wait()
    except (LostContactError, _TerminatedError) as error:
        raise roll.explain() from error
    except BaseException as error:
        roll.leave(str(error) or type(error).__name__)
        if isinstance(error, JointspaceError) and not place.is_main:
            if roll.main_left_with(str(error)):
                raise SystemExit(_EXIT_USER_MISTAKE) from error
            raise WorkerError(f"rank {place.rank}: {error}") from error
        raise
    # Not after an error: it waits for what the others will never send.
    dist.destroy_process_group()


class _TerminatedError(BaseException):
    """SIGTERM: `torchrun` sends it to the processes that are left when one has died."""


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """Turns SIGTERM into an error, so that what happened can be told, and ignores further ones."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _TerminatedError

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this process ends by itself
        raise
    signal.signal(signal.SIGTERM, previous)


class _RollCall:
    """Who is alive: every process counts on, and leaves a note when it goes.

    Args:
        store: shared by the processes.
        place: of this one.
    """

    def __init__(self, store: Store, place: Place) -> None:
        self._store = store
        self._place = place
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def leave(self, message: str) -> None:
        """Leaves a note that this process ends: why, if it tells so itself, or nothing."""
        with contextlib.suppress(RuntimeError):  # the store may be gone
            self._store.set(f"left/{self._place.rank}", message)
        if self._place.is_main and os.environ.get(_STORE_IN_TORCHRUN) != "True":
            # The store ends with this process: the others notice that it hangs up, and read it.
            if dist.get_backend() == "gloo":
                dist.destroy_process_group()
            time.sleep(2 * LOOK_S)

    def main_left_with(self, message: str) -> bool:
        """True where rank 0 met the same mistake, and so tells it."""
        for _ in range(4):
            with contextlib.suppress(RuntimeError):
                if self._note(0) == message:
                    return True
            time.sleep(BEAT_S / 2)
        return False

    def explain(self) -> BaseException:
        """Finds out why another process does not answer.

        Returns:
            What to raise: an error that names the dead, an interruption where all are alive, or a
            silent end where another process tells what happened.
        """
        try:
            return self._explain()
        except RuntimeError:
            # The store lives with torchrun, or without it in rank 0.
            return WorkerError(_obituary("rank 0, or torchrun,"))

    def _explain(self) -> BaseException:
        others = [rank for rank in range(self._place.size) if rank != self._place.rank]
        before = {rank: self._beats(rank) for rank in others}
        time.sleep(LOOK_S)
        notes = {rank: self._note(rank) for rank in others}
        dead = [r for r in others if notes[r] is None and self._beats(r) == before[r]]
        told = any(note for note in notes.values()) or self._store.add("told", 1) > 1
        self.leave("")
        if told:
            return SystemExit(_EXIT_USER_MISTAKE)
        if not dead:
            return KeyboardInterrupt()
        names = " and ".join(f"rank {rank}" for rank in dead)
        return WorkerError(_obituary(f"{names} of {self._place.size} processes"))

    def _beat(self) -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone; the collectives will tell
            while True:
                self._store.add(f"beat/{self._place.rank}", 1)
                if self._stopped.wait(BEAT_S):
                    return

    def _beats(self, rank: int) -> int:
        return self._store.add(f"beat/{rank}", 0)

    def _note(self, rank: int) -> str | None:
        key = f"left/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else None


def _obituary(who: str) -> str:
    return (
        f"{who} died without a word: killed, or out of memory; what was trained up to the last "
        "checkpoint is kept: start again with --resume"
    )
