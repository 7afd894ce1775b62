"""From which cosine does an instruction belong to a scene? Accept, abstain or reject.

What cosine a right pair reaches differs from model to model: training only asks that it be higher
than that of wrong pairs. So a threshold is calibrated on the model at hand, never fixed.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int64

from jointspace.errors import InputError
from jointspace.evaluation.decision import Decision, MatchThreshold
from jointspace.evaluation.matching import MatchScores

__all__ = ["Decision", "MatchThreshold", "calibrate_threshold"]

_ROUNDING = 1e-9
"""Rates are sums of shares of episodes; so much is forgiven."""


def calibrate_threshold(
    scores: MatchScores, *, false_positive_rate: float = 0.05, false_negative_rate: float = 0.05
) -> MatchThreshold:
    """Finds from which cosine to accept an instruction, and below which to reject it.

    For a new episode, exchangeable with the calibration's, the probability that a random wrong pair
    of it is accepted is at most `false_positive_rate`, and that a random right pair is rejected at
    most `false_negative_rate`: on average over calibrations, whatever the distribution of the
    scores. Calibrate on episodes that the model was not trained on. Instructions that the
    calibration lacks are not covered; with `match_scores(..., wrong="closest")` the bound holds
    for the hardest wrong instructions, and costs acceptances.

    Args:
        scores: right and wrong pairs.
        false_positive_rate: how many of the wrong pairs may be accepted.
        false_negative_rate: how many of the right pairs may be rejected.

    Returns:
        `accept` is the smallest cosine that keeps the first bound, `reject` the largest that keeps
        the second; where they cross, one threshold keeps both, and `reject` is `accept`.

    Raises:
        InputError: a rate does not lie between 0 and 1, there is no right or no wrong pair, or too
            few episodes: a rate r needs at least 1/r - 1 of them.

    Source:
        Lee, Barber and Willett, "Distribution-free inference with hierarchical data" (2023),
        hierarchical conformal prediction: episodes weigh alike, and one that is yet unseen counts
        against the bound. With one pair per episode this is split conformal prediction, the
        ceil((1 - rate) (n + 1))-th smallest wrong score.
    """
    for name, rate in (
        ("false_positive_rate", false_positive_rate),
        ("false_negative_rate", false_negative_rate),
    ):
        if not 0 < rate < 1:
            raise InputError(f"{name} must lie between 0 and 1, got {rate}")
    similarity = scores.similarity.astype(np.float64)
    weight = np.empty(len(scores))
    for side, name in ((scores.right, "right"), (~scores.right, "wrong")):
        if not side.any():
            raise InputError(f"no {name} pair among {len(scores)}: a threshold needs both kinds")
        weight[side] = _episode_weights(scores.episode[side])
    right, wrong = scores.right, ~scores.right
    accept = _bound(similarity, weight, wrong, scores, false_positive_rate)
    reject = min(accept, -_bound(-similarity, weight, right, scores, false_negative_rate))
    return MatchThreshold(
        query=scores.query,
        accept=accept,
        reject=reject,
        asked_false_positive_rate=false_positive_rate,
        asked_false_negative_rate=false_negative_rate,
        false_positive_rate=float(weight[wrong & (similarity > accept)].sum()),
        false_negative_rate=float(weight[right & (similarity < reject)].sum()),
        right_accepted=float(weight[right & (similarity > accept)].sum()),
        num_right=int(right.sum()),
        num_wrong=int(wrong.sum()),
        num_episodes=len(np.unique(scores.episode)),
    )


def _episode_weights(episode: Int64[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Equal shares of 1 for the episodes, and within each for its pairs."""
    _, cluster, counts = np.unique(episode, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[cluster.reshape(-1)])


def _bound(
    similarity: Float[np.ndarray, " pair"],
    weight: Float[np.ndarray, " pair"],
    side: Bool[np.ndarray, " pair"],
    scores: MatchScores,
    rate: float,
) -> float:
    """The smallest score of `side` above which, with an unseen episode, at most `rate` lies."""
    num_episodes = len(np.unique(scores.episode[side]))
    unseen = 1 / (num_episodes + 1)
    if unseen > rate + _ROUNDING:
        kind = "right" if scores.right[side][0] else "wrong"
        raise InputError(
            f"{int(side.sum())} {kind} pairs of {num_episodes} episodes are too few for a rate of "
            f"{rate:g}: it needs pairs of at least {math.ceil(1 / rate - _ROUNDING) - 1} episodes; "
            f"calibrate on more episodes, or ask for {unseen:.2g} or more"
        )
    known, place = np.unique(similarity[side], return_inverse=True)
    mass = np.bincount(place.reshape(-1), weights=weight[side])
    above = np.append(np.cumsum(mass[::-1])[::-1][1:], 0.0)
    within = above * (1 - unseen) + unseen <= rate + _ROUNDING
    return float(known[int(within.argmax())])
