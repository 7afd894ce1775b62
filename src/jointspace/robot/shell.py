"""The robot's mind on a wire: what DDS, ROS and a bag have in common."""

import logging
import threading
import time
from collections.abc import Callable

from jointspace.errors import WireError
from jointspace.robot.core.percept import Percept
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.safety import Decision
from jointspace.robot.senses import Senses
from jointspace.robot.voice import Voice
from jointspace.robot.wire import Wire

_LOG = logging.getLogger(__name__)

# How long the last message may take to reach every reliable reader.
_FAREWELL_S = 0.5
_FAREWELL_GAP_S = 0.01


class RobotShell:
    """A runtime on a wire: decides and sends, one decision at a time, from any thread.

    Args:
        wire: where its messages come from and go to.
        runtime: the robot's mind.
        model_id: of its bundle.
        on_decision: is told every decision and when it was made, before it is sent.

    Raises:
        ConfigError: topics, names or cameras do not fit.
    """

    def __init__(
        self,
        wire: Wire,
        runtime: RobotRuntime,
        *,
        model_id: str,
        on_decision: Callable[[float, Decision], object] = lambda _now_s, _decision: None,
    ) -> None:
        self._wire = wire
        self._on_decision = on_decision
        self.runtime = runtime
        self.voice = Voice(wire, runtime, model_id=model_id)
        self.senses = Senses(wire, runtime, on_stop=lambda: self.step(wire.steady_s()))
        self.num_decisions = 0
        self.num_sent = 0
        self.num_failed = 0
        # Between a decision and its message no other decision is sent: nothing may follow a stop.
        self._lock = threading.Lock()

    def step(self, now_s: float) -> None:
        """Decides, and sends what was decided; the next step tries again if it was not taken.

        Args:
            now_s: the steady clock.
        """
        with self._lock:
            self._send(self.runtime.tick(now_s), now_s)

    def end(self) -> None:
        """Sends the last message, which stands still, and waits until it is heard.

        It is sent `zero_messages` times, since a best-effort subscriber may lose one.
        """
        with self._lock:
            decision = self.runtime.shutdown()
            self._send(decision, self._wire.steady_s())
            for _ in range(self.runtime.config.zero_messages - 1):
                time.sleep(_FAREWELL_GAP_S)
                self._send(decision, self._wire.steady_s())
        if self.voice.control is not None:
            self.voice.control.flush(timeout_s=_FAREWELL_S)

    def tell_percept(self, percept: Percept) -> None:
        """Sends what was perceived."""
        self._try(lambda: self.voice.tell_percept(percept))

    def tell_diagnostics(self, now_s: float) -> None:
        """Sends how the robot is."""
        diagnostics = self.runtime.diagnostics(now_s)
        values = {**dict(diagnostics.items()), **self.senses.counts(), **self._counts()}
        refusals = self.senses.refusals()
        self._try(lambda: self.voice.tell_diagnostics(diagnostics, refusals, values))

    def _counts(self) -> dict[str, str]:
        control = self.voice.control
        listeners = {} if control is None else {control.topic: str(control.num_readers)}
        return {
            **{f"subscribers of {topic}": count for topic, count in listeners.items()},
            "control messages": str(self.num_sent),
            "messages not sent": str(self.num_failed),
        }

    def _send(self, decision: Decision, now_s: float) -> None:
        self.num_decisions += 1
        self._on_decision(now_s, decision)
        if decision.publish and self._try(lambda: self.voice.move(decision.values)):
            self.num_sent += 1

    def _try(self, send: Callable[[], None]) -> bool:
        """Sends; a network that does not take a message for once is no reason to end."""
        try:
            send()
        except WireError as error:
            self.num_failed += 1
            _LOG.warning("%s", error)
            return False
        return True
