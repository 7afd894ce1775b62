"""What a robot did on a recording, for a reader and for a program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_MOST_ROWS = 12


@dataclass(frozen=True)
class Sight:
    """One percept.

    Attributes:
        time_s: when it took effect, from the bag's start.
        similarity: of pictures and command; None without a command.
        verdict: what the threshold says; None without one.
        best_instruction: of the configured ones; None without any.
    """

    time_s: float
    similarity: float | None
    verdict: str | None
    best_instruction: str | None


@dataclass(frozen=True, kw_only=True)
class ReplaySummary:
    """What a robot did on a recording.

    Attributes:
        bag: the recording.
        out: where it was written to; None if nowhere.
        duration_s: of the recording.
        num_sent: control messages.
        states: state -> number of decisions.
        first_motion_s: from the first command to the first decision that moves; None if there is
            none.
        sights: every percept, in order.
        drops: cause -> messages not used.
        last_refusal: why a message was last refused; empty if none was.
    """

    bag: Path
    out: Path | None
    duration_s: float
    num_sent: int
    states: Mapping[str, int]
    first_motion_s: float | None
    sights: tuple[Sight, ...]
    drops: Mapping[str, int]
    last_refusal: str

    def render(self) -> str:
        """Returns a few lines for a reader."""
        total = sum(self.states.values())
        states = ", ".join(f"{state} {count}" for state, count in self.states.items())
        motion = "never" if self.first_motion_s is None else f"{1e3 * self.first_motion_s:.0f} ms"
        drops = ", ".join(f"{cause} {count}" for cause, count in sorted(self.drops.items()))
        return "\n".join(
            [
                f"{self.bag}: {self.duration_s:.1f} s, {len(self.sights)} percepts",
                f"{total} decisions: {states}",
                f"{self.num_sent} control messages; first motion after the command: {motion}",
                *([f"not used: {drops} ({self.last_refusal})"] if drops else []),
                *self._similarities(),
                *([f"written: {self.out}"] if self.out else []),
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "bag": str(self.bag),
            "out": None if self.out is None else str(self.out),
            "duration_s": self.duration_s,
            "num_percepts": len(self.sights),
            "num_decisions": sum(self.states.values()),
            "num_sent": self.num_sent,
            "states": dict(self.states),
            "first_motion_s": self.first_motion_s,
            "similarity": [
                {"time_s": s.time_s, "similarity": s.similarity, "verdict": s.verdict}
                for s in self.sights
            ],
            "drops": dict(self.drops),
            "last_refusal": self.last_refusal,
        }

    def _similarities(self) -> list[str]:
        """The similarity over time, in a dozen spans of equal length."""
        known = [s for s in self.sights if s.similarity is not None]
        if not known:
            return ["no similarity: no command met a picture"]
        length_s = max(self.duration_s, 1e-9) / _MOST_ROWS
        rows = ["similarity of pictures and command:"]
        for row in range(_MOST_ROWS):
            start_s, stop_s = row * length_s, (row + 1) * length_s
            last = row == _MOST_ROWS - 1
            span = [s for s in known if start_s <= s.time_s and (s.time_s < stop_s or last)]
            if span:
                mean = float(np.mean([s.similarity for s in span]))
                accepted = sum(s.verdict == "accept" for s in span)
                rows.append(
                    f"  {start_s:6.1f} to {stop_s:6.1f} s  {mean:+.3f}  "
                    f"accepted {accepted} of {len(span)}"
                )
        return rows
