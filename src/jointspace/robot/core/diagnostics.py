"""How the robot is doing: numbers for people and for `/diagnostics`."""

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from jointspace.robot.core.safety import State

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
        self._encode_ms: deque[float] = deque(maxlen=_LAST)
        self._percept_s: deque[float] = deque(maxlen=_LAST)

    def encoded(self, encode_ms: float, frame_s: float) -> None:
        """Counts a percept of new pictures."""
        self._encode_ms.append(encode_ms)
        self._percept_s.append(frame_s)

    def fps(self, now_s: float) -> float:
        """Percepts per second of late."""
        return sum(0 <= now_s - s <= _RATE_WINDOW_S for s in self._percept_s) / _RATE_WINDOW_S

    def encode_ms(self, percentile: float) -> float | None:
        """A percentile of the times of late; None before the first."""
        if not self._encode_ms:
            return None
        return float(np.percentile(np.array(self._encode_ms), percentile))


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"
