"""How the robot is doing: numbers for people and for `/diagnostics`."""

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from jointspace.robot.core.percept import Percept
from jointspace.robot.core.safety import Decision, State

_LAST = 256
_RATE_WINDOW_S = 2.0


class Level(IntEnum):
    """The levels of `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """A snapshot.

    Attributes:
        state: of the safety gate.
        reason: for the state.
        level: ERROR in a fault, WARN while standing still for want of pictures or when the network
            is too slow for the image timeout, else OK.
        fps: percepts per second over the last two seconds.
        encode_p50_ms: median time that pictures took through the network; None before the first.
        encode_p95_ms: its 95th percentile.
        drops: cause -> pictures not used: `replaced` by newer ones, `too old`, `future`,
            `malformed`, `out of order`, `unknown camera`.
        ignored: cause -> other messages not used.
        similarity: of the newest percept; None without a command.
        best_instruction: of the newest percept.
        last_refusal: why a message was last refused; empty if none was.
        advice: what to set otherwise; empty if nothing.
        clock_jumps: how often the clock went back.
    """

    state: State
    reason: str
    level: Level
    fps: float
    encode_p50_ms: float | None
    encode_p95_ms: float | None
    drops: dict[str, int]
    ignored: dict[str, int]
    similarity: float | None
    best_instruction: str | None
    last_refusal: str
    advice: str
    clock_jumps: int

    def items(self) -> tuple[tuple[str, str], ...]:
        """Returns keys and values as text, as a `DiagnosticStatus` has them."""
        numbers = (
            ("fps", f"{self.fps:.1f}"),
            ("encode_p50_ms", _text(self.encode_p50_ms)),
            ("encode_p95_ms", _text(self.encode_p95_ms)),
            ("similarity", _text(self.similarity)),
            ("best_instruction", self.best_instruction or ""),
            ("last_refusal", self.last_refusal),
            ("advice", self.advice),
            ("clock_jumps", str(self.clock_jumps)),
        )
        drops = tuple((f"dropped: {cause}", str(n)) for cause, n in sorted(self.drops.items()))
        ignored = tuple((f"ignored: {cause}", str(n)) for cause, n in sorted(self.ignored.items()))
        return (("state", str(self.state)), ("reason", self.reason), *numbers, *drops, *ignored)


class Meter:
    """Counts what happens. Not thread-safe."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()
        self.last_refusal = ""
        self._encode_times_ms: deque[float] = deque(maxlen=_LAST)
        self._frame_s: deque[float] = deque(maxlen=_LAST)

    def drop(self, cause: str, reason: str) -> Literal[False]:
        """Counts a picture that is not used, and remembers why; returns False."""
        self.drops[cause] += 1
        self.last_refusal = reason
        return False

    def encoded(self, encode_ms: float, frame_s: float) -> None:
        """Counts a percept of new pictures."""
        self._encode_times_ms.append(encode_ms)
        self._frame_s.append(frame_s)

    def snapshot(
        self,
        now_s: float,
        *,
        decision: Decision,
        percept: Percept | None,
        image_timeout_s: float,
        clock_jumps: int,
    ) -> Diagnostics:
        """Returns how the robot is doing.

        Args:
            now_s: steady clock.
            decision: the last one.
            percept: the newest one.
            image_timeout_s: which the network must keep.
            clock_jumps: how often the clock went back.
        """
        p95_ms = self._encode_ms(95.0)
        advice = ""
        # A picture that waits for the one before is as old as two of them when it is replaced.
        if p95_ms is not None and 2e-3 * p95_ms > image_timeout_s:
            advice = (
                f"pictures take {p95_ms:.0f} ms, so that the robot stands still now and then: "
                f"image_timeout_s should be above {2e-3 * p95_ms:.2g}, or the network faster"
            )
        level = Level.WARN if decision.state is State.BLIND or advice else Level.OK
        if decision.state is State.FAULT:
            level = Level.ERROR
        recent = sum(0 <= now_s - frame_s <= _RATE_WINDOW_S for frame_s in self._frame_s)
        return Diagnostics(
            state=decision.state,
            reason=decision.reason,
            level=level,
            fps=recent / _RATE_WINDOW_S,
            encode_p50_ms=self._encode_ms(50.0),
            encode_p95_ms=p95_ms,
            drops=dict(self.drops),
            ignored=dict(self.ignored),
            similarity=None if percept is None else percept.similarity,
            best_instruction=None if percept is None else percept.best_instruction,
            last_refusal=self.last_refusal,
            advice=advice,
            clock_jumps=clock_jumps,
        )

    def _encode_ms(self, percentile: float) -> float | None:
        if not self._encode_times_ms:
            return None
        return float(np.percentile(np.array(self._encode_times_ms), percentile))


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"
