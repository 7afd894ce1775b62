"""How well one number tells right from wrong: the area under the ROC curve."""

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling, draw_copies, percentiles
from jointspace.evaluation.retrieval import Estimate

_MOST_BINS = 1024
_FEWEST_BINS = 64
_COUNTS = 1 << 22
"""Counts held per side while resampling: episodes times bins."""


def auroc(
    scores: Float[np.ndarray, " pair"],
    right: Bool[np.ndarray, " pair"],
    *,
    episodes: Int[np.ndarray, " pair"],
    resampling: Resampling | None = None,
) -> Estimate:
    """Probability that a random right pair scores higher than a random wrong one.

    A tie counts one half, which is its expectation over the order of ties, so that a collapsed
    model scores chance.

    Args:
        scores: one per pair.
        right: True for the pairs that belong together.
        episodes: the episode of each pair; intervals resample whole episodes.
        resampling: of the interval; 1,000 draws at 95 % by default.

    Returns:
        The exact area, beside a chance of one half. The interval is resampled on at most 1,024 bins
        of the scores and moved by what binning changed of the area; with fewer distinct scores
        than bins it is exact. NaN with fewer than two episodes.

    Raises:
        InputError: there is no right or no wrong pair, or a score is not finite.

    Source:
        Bamber, "The area above the ordinal dominance graph and the area below the receiver
        operating characteristic graph" (1975), with half credit for ties; pairs cluster bootstrap
        as in `jointspace.evaluation.bootstrap`.

    Example:
        Of the four comparisons one is a tie and one is lost:

        >>> area = auroc(
        ...     np.array([0.9, 0.3, 0.3, 0.5]),
        ...     np.array([True, True, False, False]),
        ...     episodes=np.arange(4),
        ... )
        >>> area.value
        0.625
    """
    resampling = Resampling() if resampling is None else resampling
    if not np.isfinite(scores).all():
        pair = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise InputError(f"scores: pair {pair} is {scores[pair]}; every score must be finite")
    if right.all() or not right.any():
        missing = "wrong" if right.any() else "right"
        raise InputError(f"{len(right)} pairs, none of them {missing}: nothing to tell apart")
    place, counts = np.unique(scores, return_inverse=True, return_counts=True)[1:]
    place = place.reshape(-1)
    value = float(_areas(*_sides(place, right, num_places=len(counts)))[0])
    low, high = _interval(_coarse(place, counts, episodes), right, episodes, value, resampling)
    return Estimate(value, 0.5, low, high)


def _areas(
    right: Float[np.ndarray, "sample place"], wrong: Float[np.ndarray, "sample place"]
) -> Float[np.ndarray, " sample"]:
    """The area of each sample, from how many pairs lie at each place in rising order."""
    beaten = np.cumsum(wrong, axis=1) - wrong / 2
    comparisons = right.sum(axis=1) * wrong.sum(axis=1)
    won = (right * beaten).sum(axis=1)
    return np.divide(won, comparisons, out=np.full(len(won), np.nan), where=comparisons > 0)


def _sides(
    place: Int64[np.ndarray, " pair"],
    right: Bool[np.ndarray, " pair"],
    *,
    num_places: int,
    cluster: Int64[np.ndarray, " pair"] | None = None,
) -> list[Float[np.ndarray, "cluster place"]]:
    """How many right, and how many wrong, pairs of each cluster lie at each place."""
    cluster = np.zeros_like(place) if cluster is None else cluster
    num_clusters = int(cluster.max()) + 1
    size, at = num_clusters * num_places, cluster * num_places + place
    return [
        np.bincount(at[side], minlength=size).reshape(num_clusters, -1).astype(np.float64)
        for side in (right, ~right)
    ]


def _coarse(
    place: Int64[np.ndarray, " pair"],
    counts: Int64[np.ndarray, " place"],
    episodes: Int[np.ndarray, " pair"],
) -> Int64[np.ndarray, " pair"]:
    """Puts places into bins of about equally many pairs; ties stay together."""
    affordable = _COUNTS // len(np.unique(episodes))
    num_bins = int(np.clip(affordable, _FEWEST_BINS, _MOST_BINS))
    if len(counts) <= num_bins:
        return place
    return ((np.cumsum(counts) - 1) * num_bins // len(place))[place]


def _interval(
    place: Int64[np.ndarray, " pair"],
    right: Bool[np.ndarray, " pair"],
    episodes: Int[np.ndarray, " pair"],
    value: float,
    resampling: Resampling,
) -> tuple[float, float]:
    cluster = np.unique(episodes, return_inverse=True)[1].reshape(-1)
    num_clusters, num_places = int(cluster.max()) + 1, int(place.max()) + 1
    if num_clusters < 2 or resampling.num_resamples == 0:
        return float("nan"), float("nan")
    sides = _sides(place, right, num_places=num_places, cluster=cluster)
    moved = value - _areas(*(side.sum(axis=0, keepdims=True) for side in sides))[0]
    areas = np.concatenate(
        [
            _areas(*(copies.astype(np.float64) @ side for side in sides))
            for copies in draw_copies(num_clusters, width=num_places, resampling=resampling)
        ]
    )
    areas = areas[~np.isnan(areas)]
    if not len(areas):
        return float("nan"), float("nan")
    low, high = percentiles((areas + moved).clip(0, 1)[:, None], resampling=resampling)[:, 0]
    return float(low), float(high)
