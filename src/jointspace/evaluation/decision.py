"""What a calibrated threshold says of a pair: accept, abstain or reject."""

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
