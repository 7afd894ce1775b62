"""The thread of perception, so that a slow network never delays control."""

import threading
from collections.abc import Callable
from types import TracebackType

from jointspace.robot.core.percept import Percept
from jointspace.robot.core.runtime import RobotRuntime

_POLL_S = 0.1


class PerceptionWorker:
    """Calls `RobotRuntime.perceive` whenever something came, in a thread of its own.

    Args:
        runtime: the robot.
        on_percept: is told every percept, in that thread: to publish embeddings. What it raises
            is a fault: the robot stands still until the next percept.

    Example:
        with PerceptionWorker(runtime):
            while running:
                send(runtime.tick(time.monotonic()))
    """

    def __init__(
        self, runtime: RobotRuntime, *, on_percept: Callable[[Percept], object] | None = None
    ) -> None:
        self._runtime = runtime
        self._on_percept = on_percept
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perception", daemon=True)

    def __enter__(self) -> "PerceptionWorker":  # noqa: PYI034 - beartype takes no Self here
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, *, timeout_s: float = 1.0) -> None:
        """Ends the thread after the percept that it is at.

        Args:
            timeout_s: how long to wait for it; a daemon thread never keeps a process alive.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._runtime.wait_for_input(_POLL_S):
                continue
            try:
                percept = self._runtime.perceive()
                if percept is not None and self._on_percept is not None:
                    self._on_percept(percept)
            except Exception as error:  # noqa: BLE001 - without this thread the robot sees nothing
                self._runtime.on_fault(f"{type(error).__name__}: {error}")
