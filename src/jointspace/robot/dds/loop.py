"""Calls something at a fixed rate on a steady clock, until told to stop by a signal."""

import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interruption:
    """Whether the process was asked to end; false until then.

    The handler does no more than set a flag: a signal comes between any two instructions, where no
    lock may be taken. Nothing is raised, so that whoever looks at the flag can end in order.

    Args:
        woken: becomes readable with the first signal.
    """

    def __init__(self, woken: socket.socket) -> None:
        self.name = ""
        self._woken = woken

    def __bool__(self) -> bool:
        return bool(self.name)

    def sleep(self, seconds: float) -> None:
        """Sleeps until the time is over or a signal comes; `time.sleep` would sleep on."""
        select.select([self._woken], [], [], seconds)

    def note(self, number: int, _: object) -> None:
        """Notes which signal came; the handler."""
        self.name = signal.Signals(number).name


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Notes SIGINT and SIGTERM in place of ending the process; to be used in the main thread.

    Yields:
        What becomes true once one of them has come.
    """
    woken, waker = socket.socketpair()
    with woken, waker:
        waker.setblocking(False)  # noqa: FBT003 - as set_wakeup_fd wants it
        noted = Interruption(woken)
        wakeup_before = signal.set_wakeup_fd(waker.fileno())
        signals = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(each, noted.note) for each in signals]
        try:
            yield noted
        finally:
            for each, handler in zip(signals, before, strict=True):
                signal.signal(each, handler)
            signal.set_wakeup_fd(wakeup_before)


def run_at_rate(
    call: Callable[[float], None],
    *,
    rate_hz: float,
    until: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Calls at a fixed rate; calls that are late are not made up for.

    Args:
        call: takes the time on the clock.
        rate_hz: calls a second.
        until: looked at before each call.
        clock: a steady one, in seconds.
        sleep: waits so many seconds.

    Returns:
        How many periods went by without a call.
    """
    period_s = 1 / rate_hz
    due_s = clock()
    missed = 0
    while not until():
        call(clock())
        due_s += period_s
        ahead_s = due_s - clock()
        if ahead_s < 0:
            skipped = int(-ahead_s / period_s) + 1
            missed += skipped
            due_s += skipped * period_s
            ahead_s = due_s - clock()
        sleep(max(0.0, ahead_s))
    return missed
