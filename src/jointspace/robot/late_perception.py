"""Perception on a simulated clock: what it finds takes effect so much later."""

from collections.abc import Callable

from jointspace.robot.core.percept import Percept
from jointspace.robot.core.runtime import RobotRuntime, Thinking


class LatePerception:
    """Perceives in line, as a network of a given speed would beside the control loop.

    While it is at one percept, what comes waits, and of the pictures only the newest is looked at.
    How fast this machine is plays no part.

    Args:
        runtime: the robot's mind.
        latency_ns: from the look to its effect.
        on_percept: is told every percept and when it took effect.
    """

    def __init__(
        self,
        runtime: RobotRuntime,
        *,
        latency_ns: int,
        on_percept: Callable[[int, Percept], object] = lambda _now_ns, _percept: None,
    ) -> None:
        self._runtime = runtime
        self._latency_ns = latency_ns
        self._on_percept = on_percept
        self._begun: tuple[int, Thinking] | None = None

    def begin(self, now_ns: int) -> None:
        """Begins to perceive, if something came and nothing is being perceived."""
        if self._begun is not None or not self._runtime.wait_for_input(0.0):
            return
        thinking = self._runtime.think()
        if thinking is not None:
            self._begun = (now_ns + self._latency_ns, thinking)
            self.conclude(until_ns=now_ns)

    def conclude(self, *, until_ns: int) -> None:
        """Puts into effect what is perceived by then, and begins anew with what came meanwhile."""
        while self._begun is not None and self._begun[0] <= until_ns:
            now_ns, thinking = self._begun
            self._begun = None
            percept = self._runtime.conclude(thinking)
            if percept is not None:
                self._on_percept(now_ns, percept)
            self.begin(now_ns)
