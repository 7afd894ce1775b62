"""Ctrl-C or SIGTERM: training finishes its step and writes a checkpoint, others clean up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What a terminal sends, and what a cluster or `torchrun` does before it kills."""


@contextmanager
def interruption(*, patient: bool = False) -> Iterator[threading.Event]:
    """Turns the first signal within the block into an event; the second one interrupts at once.

    Outside the main thread, where Python delivers no signals, nothing changes.

    Args:
        patient: further signals change nothing. Of several processes each gets a Ctrl-C twice, from
            the terminal and from `torchrun`, which also kills those that do not end in time.

    Yields:
        The event, set once a signal came.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if requested.is_set() and not patient:
            raise KeyboardInterrupt
        requested.set()

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Lets SIGTERM interrupt the block as Ctrl-C does, so that what it began is cleaned up.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
