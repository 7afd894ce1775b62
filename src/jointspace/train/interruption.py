"""Ctrl-C during training: finish the step, write a checkpoint, stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C within the block into an event; the second one interrupts at once.

    Outside the main thread, where Python delivers no signals, nothing changes.

    Yields:
        The event, set once Ctrl-C was pressed.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield requested
    finally:
        signal.signal(signal.SIGINT, previous)
