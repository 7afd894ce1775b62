"""What the robot was told, what perception found, and what a decoder makes of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from jointspace.errors import InputError
from jointspace.evaluation.decision import Decision as Verdict


class Heard(StrEnum):
    """What became of a command."""

    STOP = "stop"
    """The robot stops: the shell should `tick` and publish at once, not wait for its timer."""
    COMMAND = "command"
    """It is carried out as soon as pictures were compared with it."""
    REPEATED = "repeated"
    """The same as before; its timeout starts again."""
    IGNORED = "ignored"
    """The robot is shut down, the clock is broken, or the text is no sentence by its length."""


@dataclass(frozen=True)
class Command:
    """A sentence that the robot was told.

    Attributes:
        number: counts the distinct commands; the same sentence said again keeps its number.
        text: the sentence.
        received_s: when it was last said, on the steady clock.
    """

    number: int
    text: str
    received_s: float


@dataclass(frozen=True)
class StateWindow:
    """The robot's measured states, oldest first.

    Attributes:
        values: raw units.
        time_s: when each came, on the steady clock.
    """

    values: Float64[np.ndarray, "time channel"]
    time_s: Float64[np.ndarray, " time"]


@dataclass(frozen=True, kw_only=True)
class Percept:
    """What the robot sees, and whether its command applies.

    Attributes:
        frame_s: when the oldest of the cameras' newest pictures was taken, on the steady clock.
        vision: unit row of the pictures; None if `fault` says why there is none.
        command: what the pictures were compared with; None if the robot was told nothing.
        text: unit row of the command.
        similarity: of pictures and command, through the gate of their pair.
        elapsed_s: seconds of pictures that the similarity rests on, of those since the command;
            None where it rests on a window, whenever the command came.
        verdict: what the threshold says of the similarity, `accept` as well where it abstains after
            it accepted the same command; None without command or threshold.
        best_instruction: of the configured `instructions` the most similar one.
        best_similarity: its similarity.
        states: the measured states of the last window; None if none came.
        pictures: camera -> its newest picture, square, as the vision tower saw it; empty where
            a row came instead of pictures.
        sources: camera -> what the shell passed along with its newest picture, such as the header.
        encode_ms: time that the pictures took through the network.
        fault: an exception or a number that is not finite, in words; such a percept moves nothing.
    """

    frame_s: float
    vision: Float32[np.ndarray, " dim"] | None = None
    command: Command | None = None
    text: Float32[np.ndarray, " dim"] | None = None
    similarity: float | None = None
    elapsed_s: float | None = None
    verdict: Verdict | None = None
    best_instruction: str | None = None
    best_similarity: float | None = None
    states: StateWindow | None = None
    pictures: Mapping[str, UInt8[np.ndarray, "px px 3"]] = field(default_factory=dict)
    sources: Mapping[str, object] = field(default_factory=dict)
    encode_ms: float = 0.0
    fault: str | None = None


@dataclass(frozen=True, kw_only=True)
class ActionChunk:
    """What a decoder wants done from some time on.

    Attributes:
        values: one row a step, one number a channel of the control vector.
        rate_hz: steps per second.
        start_s: when the first step applies, on the steady clock.
        hold: whether the last step goes on when the steps are over, for as long as the percept is
            fresh; otherwise the robot stops there.
    """

    values: Float[np.ndarray, "step channel"]
    rate_hz: float
    start_s: float
    hold: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0 and math.isfinite(self.start_s)):
            raise InputError(
                f"action chunk: got rate {self.rate_hz} Hz from {self.start_s} s, expected a "
                "positive rate and a finite time"
            )
        if not len(self.values):
            raise InputError("action chunk: got no steps, expected at least one")

    def at(self, now_s: float) -> Float64[np.ndarray, " channel"] | None:
        """Returns the step that applies at a time; None when the steps are over.

        Args:
            now_s: finite time on the steady clock; before `start_s` the first step applies.
        """
        # A hair is added, so that a step begins in the tick that is meant for it.
        passed = max(0.0, (now_s - self.start_s) * self.rate_hz + 1e-6)
        if passed >= len(self.values) and not self.hold:
            return None
        step = int(min(passed, len(self.values) - 1))
        return np.asarray(self.values[step], dtype=np.float64)
