"""What calibrated thresholds say of a pair: accept, abstain or reject; once, or while it grows."""

import math
from dataclasses import dataclass
from typing import Literal

from jointspace.batch import Modality
from jointspace.errors import InputError

Decision = Literal["accept", "abstain", "reject"]
"""What a threshold says of a pair; `abstain` asks a person, or waits for more evidence."""


@dataclass(frozen=True, kw_only=True)
class MatchThreshold:
    """Accept above `accept`, reject below `reject`, abstain from there to there, ends included.

    Attributes:
        query: the modality whose rows it is for.
        accept: cosine above which an instruction counts as right.
        reject: cosine below which it counts as wrong; never above `accept`.
        asked_false_positive_rate: bound on the wrong pairs accepted.
        asked_false_negative_rate: bound on the right pairs rejected.
        false_positive_rate: share of the calibration's wrong pairs accepted. Every episode has the
            same weight here and below.
        false_negative_rate: share of its right pairs rejected.
        right_accepted: share of its right pairs accepted.
        num_right: right pairs calibrated on.
        num_wrong: wrong pairs calibrated on.
        num_episodes: episodes calibrated on.
    """

    query: Modality
    accept: float
    reject: float
    asked_false_positive_rate: float
    asked_false_negative_rate: float
    false_positive_rate: float
    false_negative_rate: float
    right_accepted: float
    num_right: int
    num_wrong: int
    num_episodes: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.accept) and self.reject <= self.accept):
            raise InputError(
                f"a threshold needs finite reject <= accept, got {self.reject} and {self.accept}"
            )

    def decide(self, similarity: float) -> Decision:
        """Says whether an instruction of this cosine applies.

        Raises:
            InputError: the similarity is not finite.
        """
        if not math.isfinite(similarity):
            raise InputError(f"similarity must be finite, got {similarity}; nothing was decided")
        if similarity > self.accept:
            return "accept"
        return "reject" if similarity < self.reject else "abstain"


@dataclass(frozen=True, kw_only=True)
class GrowthStage:
    """A part of the time since a robot was told what to do.

    Attributes:
        until_s: where it ends, in seconds since then.
        reject: similarity below which the instruction counts as wrong during it.
        wrong_accepted: share of wrong pairs that were accepted at any time until its end, on
            episodes that were not calibrated on. Every episode has the same weight here and below.
        right_accepted: share of right pairs that were accepted at any time until its end.
        wrong_rejected: share of wrong pairs below `reject` during it, each moment weighing alike.
        right_rejected: share of right pairs below `reject` during it.
    """

    until_s: float
    reject: float
    wrong_accepted: float
    right_accepted: float
    wrong_rejected: float
    right_rejected: float


@dataclass(frozen=True, kw_only=True)
class GrowthThreshold:
    """Thresholds for a stream that grows since its instruction was given.

    A robot compares again with every picture, so that a wrong instruction has many chances:
    `accept` bounds how many are accepted at any time of a motion. What is rejected is a matter of
    time: what has shown nothing yet may still be right, what has shown all of it is not.

    Attributes:
        query: the modality of the stream.
        accept: similarity above which an instruction counts as right, at any time.
        stages: in order; the last one lasts on.
        asked_wrong_accepted: bound on the wrong pairs accepted at any time.
        asked_right_rejected: bound on the right pairs rejected during a stage.
        calibrated_on: name of the split.
        measured_on: name of the split of the rates.
        num_episodes: episodes calibrated on.
    """

    query: Modality
    accept: float
    stages: tuple[GrowthStage, ...]
    asked_wrong_accepted: float
    asked_right_rejected: float
    calibrated_on: str
    measured_on: str
    num_episodes: int

    def __post_init__(self) -> None:
        ends = [stage.until_s for stage in self.stages]
        if not ends or ends != sorted(set(ends)) or not 0 < ends[0] <= ends[-1] < math.inf:
            raise InputError(
                f"growth: stages end at {ends}; wanted later and later times in seconds"
            )
        rejects = [stage.reject for stage in self.stages]
        if not (math.isfinite(self.accept) and all(each <= self.accept for each in rejects)):
            raise InputError(
                f"growth: wanted finite reject <= accept, got {rejects} and {self.accept}"
            )

    @property
    def longest_s(self) -> float:
        """The longest stream that it was calibrated on; a longer one is seen by its last part."""
        return self.stages[-1].until_s

    def at(self, elapsed_s: float) -> GrowthStage:
        """Returns the stage of a time since the instruction was given."""
        return next((each for each in self.stages if elapsed_s <= each.until_s), self.stages[-1])

    def decide(self, similarity: float, *, elapsed_s: float) -> Decision:
        """Says whether an instruction of this similarity applies by now.

        Raises:
            InputError: a number is not finite.
        """
        if not (math.isfinite(similarity) and math.isfinite(elapsed_s)):
            raise InputError(
                f"similarity and time must be finite, got {similarity} at {elapsed_s} s; nothing "
                "was decided"
            )
        if similarity > self.accept:
            return "accept"
        return "reject" if similarity < self.at(elapsed_s).reject else "abstain"


class Latch:
    """Keeps what was accepted while the threshold abstains: one picture of doubt changes nothing.

    An instruction is taken up above the upper end of the band and let go below the lower one.
    """

    def __init__(self) -> None:
        self._holds = False

    def settle(self, decision: Decision) -> Decision:
        """Takes what the threshold says next.

        Args:
            decision: of the newest comparison.

        Returns:
            The same; `accept` where it abstains after it accepted.
        """
        if decision != "abstain":
            self._holds = decision == "accept"
        return "accept" if self._holds else decision

    def release(self) -> None:
        """Forgets what was accepted, as for another instruction."""
        self._holds = False
