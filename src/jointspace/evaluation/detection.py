"""How many right pairs pass a threshold that only few wrong ones pass."""

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling, draw_copies, percentiles
from jointspace.evaluation.retrieval import Estimate

FALSE_POSITIVE_RATE = 0.01
"""Share of the wrong pairs that may pass, by default."""

_ROUNDING = 1e-9
"""A product that lies so little below a whole number is that number."""


def true_positive_rate(
    scores: Float[np.ndarray, " pair"],
    right: Bool[np.ndarray, " pair"],
    *,
    episodes: Int[np.ndarray, " pair"],
    false_positive_rate: float = FALSE_POSITIVE_RATE,
    resampling: Resampling | None = None,
) -> Estimate:
    """Share of the right pairs above the threshold that hardly any wrong pair exceeds.

    The area under the ROC curve averages over all thresholds, most of which let so many wrong pairs
    pass that nobody would use them. This is one point of the curve, at its strict end. The
    threshold is the lowest of the wrong scores above which no more than the given share of the
    wrong pairs lies. What only equals it does not pass, so that ties count against the model, and
    a collapsed one scores 0.

    Args:
        scores: one per pair.
        right: True for the pairs that belong together.
        episodes: the episode of each pair; intervals resample whole episodes.
        false_positive_rate: share of the wrong pairs that may pass. With fewer than its inverse,
            none may.
        resampling: of the interval; 1,000 draws at 95 % by default. Every draw has a threshold of
            its own.

    Returns:
        The exact share, beside what scores that say nothing would reach on average: of n wrong
        pairs of which k may pass, (k + 1) / (n + 1). The interval is NaN with fewer than two
        episodes.

    Raises:
        InputError: there is no right or no wrong pair, a score is not finite, or the rate does not
            lie between 0 and 1.

    Example:
        One of four wrong pairs may pass, so that the threshold is the second highest of them, .5.
        Of the right pairs .9 and .6 lie above it, .5 does not:

        >>> found = true_positive_rate(
        ...     np.array([0.9, 0.6, 0.5, 0.8, 0.5, 0.4, 0.1]),
        ...     np.array([True, True, True, False, False, False, False]),
        ...     episodes=np.arange(7),
        ...     false_positive_rate=0.25,
        ... )
        >>> round(found.value, 3), found.chance
        (0.667, 0.4)
    """
    resampling = Resampling() if resampling is None else resampling
    if not np.isfinite(scores).all():
        pair = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"scores: pair {pair} is {scores[pair]}; every score must be finite")
    if right.all() or not right.any():
        missing = "wrong" if right.any() else "right"
        raise InputError(f"{len(right)} pairs, none of them {missing}: no rate to measure")
    if not 0 < false_positive_rate < 1:
        raise InputError(f"false_positive_rate must lie between 0 and 1, got {false_positive_rate}")
    cluster = np.unique(episodes, return_inverse=True)[1].reshape(-1)
    num_clusters = int(cluster.max()) + 1
    curve = _Curve(scores, right, cluster, false_positive_rate)
    value = float(curve.rates(np.ones((1, num_clusters), dtype=np.int64))[0])
    num_wrong = (~right).sum(keepdims=True)
    chance = float(((_may_pass(num_wrong, false_positive_rate) + 1) / (num_wrong + 1))[0])
    if num_clusters < 2 or resampling.num_resamples == 0:
        return Estimate(value, chance, float("nan"), float("nan"))
    draws = draw_copies(num_clusters, width=len(scores), resampling=resampling)
    rates = np.concatenate([curve.rates(copies) for copies in draws])
    rates = rates[~np.isnan(rates)]
    low = high = float("nan")
    if len(rates):
        low, high = percentiles(rates[:, None], resampling=resampling)[:, 0].tolist()
    return Estimate(value, chance, low, high)


class _Curve:
    """The pairs in falling order of their scores, and the rate that any draw of episodes gives."""

    def __init__(
        self,
        scores: Float[np.ndarray, " pair"],
        right: Bool[np.ndarray, " pair"],
        cluster: Int64[np.ndarray, " pair"],
        false_positive_rate: float,
    ) -> None:
        self._false_positive_rate = false_positive_rate
        order = np.argsort(-scores, kind="stable")
        scores, right, cluster = scores[order], right[order], cluster[order]
        self._right, self._wrong = cluster[right], cluster[~right]
        # Of each wrong pair: how many right ones score higher than it.
        self._above = np.searchsorted(-scores[right], -scores[~right], side="left")

    def rates(self, copies: Int64[np.ndarray, "sample cluster"]) -> Float[np.ndarray, " sample"]:
        """The rate where each cluster is taken so often; NaN where a side has no pair."""
        wrong = np.cumsum(copies[:, self._wrong], axis=1)
        right = np.cumsum(copies[:, self._right], axis=1)
        may_pass = _may_pass(wrong[:, -1], self._false_positive_rate)
        # The first wrong pair that is one too many sets the threshold.
        threshold = (wrong > may_pass[:, None]).argmax(axis=1)
        above = self._above[threshold]
        passed = np.where(above > 0, right[np.arange(len(copies)), above - 1], 0)
        measured = (wrong[:, -1] > 0) & (right[:, -1] > 0)
        return np.divide(passed, right[:, -1], out=np.full(len(copies), np.nan), where=measured)


def _may_pass(num_wrong: Int64[np.ndarray, " sample"], rate: float) -> Int64[np.ndarray, " sample"]:
    return np.floor(num_wrong * rate + _ROUNDING).astype(np.int64)
