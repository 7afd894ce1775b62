"""Match thresholds of a bundle: calibrated as it ships, on episodes that were not trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointspace.batch import TEXT, Embeddings, Modality
from jointspace.errors import InputError
from jointspace.evaluation.matching import MatchScores, match_scores
from jointspace.evaluation.threshold import MatchThreshold, calibrate_threshold
from jointspace.export.growth import shares

ERROR_RATE = 0.05
"""Of the wrong pairs accepted, and of the right pairs rejected."""

NUM_EPISODES = math.ceil(1 / ERROR_RATE) - 1
"""The fewest episodes that bound such a rate."""


@dataclass(frozen=True)
class StatedThreshold:
    """A threshold and what it does on episodes that it was not calibrated on.

    Attributes:
        threshold: calibrated.
        calibrated_on: name of the split.
        measured_on: name of the split of the rates below.
        false_positive_rate: share of its wrong pairs accepted, every episode weighing alike.
        false_negative_rate: share of its right pairs rejected.
        right_accepted: share of its right pairs accepted.
    """

    threshold: MatchThreshold
    calibrated_on: str
    measured_on: str
    false_positive_rate: float
    false_negative_rate: float
    right_accepted: float

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "accept": self.threshold.accept,
            "reject": self.threshold.reject,
            "calibrated_on": self.calibrated_on,
            "measured_on": self.measured_on,
            "false_positive_rate": self.false_positive_rate,
            "false_negative_rate": self.false_negative_rate,
            "right_accepted": self.right_accepted,
        }


def calibrate_thresholds(
    embeddings: Mapping[str, Embeddings], *, error_rate: float = ERROR_RATE
) -> tuple[dict[Modality, StatedThreshold], tuple[str, ...]]:
    """Finds for every modality from which similarity an instruction applies to it.

    Args:
        embeddings: name of a split -> rows as the bundle embeds them, of episodes that were not
            trained on. The first split with enough episodes calibrates; the last one measures.
        error_rate: bound on the wrong pairs accepted, and on the right ones rejected.

    Returns:
        The thresholds; and a sentence for each modality that has none.
    """
    found: dict[Modality, StatedThreshold] = {}
    notes = []
    *_, (measuring, last) = embeddings.items()
    for query in last.modalities:
        if TEXT in query.split("+") or TEXT not in last.modalities:
            continue
        try:
            name, threshold = _first(embeddings, query, error_rate)
            rates = _rates(threshold, match_scores(last, query))
        except InputError as error:
            notes.append(f"no threshold for {query}: {error}")
            continue
        found[query] = StatedThreshold(threshold, name, measuring, **rates)
    return found, tuple(notes)


def _first(
    embeddings: Mapping[str, Embeddings], query: Modality, error_rate: float
) -> tuple[str, MatchThreshold]:
    failures: Sequence[str] = []
    for name, rows in embeddings.items():
        try:
            return name, calibrate_threshold(
                match_scores(rows, query),
                false_positive_rate=error_rate,
                false_negative_rate=error_rate,
            )
        except InputError as error:
            failures = [*failures, f"{name}: {error}"]
    raise InputError("; ".join(failures))


def _rates(threshold: MatchThreshold, scores: MatchScores) -> dict[str, float]:
    """What a threshold does to pairs; episodes weigh alike."""
    similarity = scores.similarity.astype(np.float64)

    return {
        "false_positive_rate": shares(scores, similarity > threshold.accept, ~scores.right),
        "false_negative_rate": shares(scores, similarity < threshold.reject, scores.right),
        "right_accepted": shares(scores, similarity > threshold.accept, scores.right),
    }
