"""Intervals by resampling whole episodes: rows of one look alike, so single rows would flatter."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int, Int64

from jointspace.errors import InputError
from jointspace.evaluation.expectation import QueryScores, expected_scores
from jointspace.evaluation.sorting import Ranking

METRICS = (
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "mean_average_precision",
    "ndcg_at_10",
    "median_rank",
    "mean_rank",
)
"""Names and order of the numbers that `summarise` returns."""

_MEDIAN = METRICS.index("median_rank")
_LEAST = np.array([1.0 if name.endswith("rank") else 0.0 for name in METRICS])
_MOST = np.array([np.inf if name.endswith("rank") else 1.0 for name in METRICS])
_CHUNK_NUMBERS = 1 << 21
"""Numbers held at once while resampling."""

_TARGET_WORK = 1_000_000_000
"""Candidates visited when candidates are resampled; beyond it fewer samples are drawn."""

_FEWEST_RESAMPLES = 100


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are made.

    Attributes:
        num_resamples: how often the episodes are drawn anew; 0 makes no intervals.
        confidence: share of the resampled values within the interval, cut evenly at both ends.
        seed: of the draws; the same seed gives the same interval.
    """

    num_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_resamples < 0:
            raise InputError(f"num_resamples must not be negative, got {self.num_resamples}")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must lie between 0 and 1, got {self.confidence}")


def summarise(scores: QueryScores) -> Float64[np.ndarray, " metric"]:
    """Averages over the queries, in the order of `METRICS`; the median is the true one."""
    columns = _columns(scores)
    columns = columns[~np.isnan(columns).any(axis=1)]
    if not len(columns):
        return np.full(len(METRICS), np.nan)
    values = columns.mean(axis=0)
    values[_MEDIAN] = np.median(columns[:, _MEDIAN])
    return values


def query_intervals(
    scores: QueryScores, episodes: Int[np.ndarray, " query"], *, resampling: Resampling
) -> Float64[np.ndarray, "2 metric"]:
    """Cluster bootstrap over the queries' episodes; the candidates stay as they are.

    Args:
        scores: one row per query.
        episodes: the episode of each query.
        resampling: how many draws, which interval.

    Returns:
        Lower and upper ends in the order of `METRICS`; NaN with fewer than two episodes.

    Source:
        Cameron, Gelbach and Miller, "Bootstrap-based improvements for inference with clustered
        errors" (2008), pairs cluster bootstrap with percentile intervals.
    """
    columns = _columns(scores)
    scored = ~np.isnan(columns).any(axis=1)
    columns, cluster = columns[scored], np.unique(episodes[scored], return_inverse=True)[1]
    num_clusters = int(cluster.max(initial=-1)) + 1
    if num_clusters < 2 or resampling.num_resamples == 0:
        return np.full((2, len(METRICS)), np.nan)
    sums = np.stack(
        [np.bincount(cluster, weights=c, minlength=num_clusters) for c in columns.T], axis=1
    )
    counts = np.bincount(cluster, minlength=num_clusters)
    order = np.argsort(columns[:, _MEDIAN])
    values = []
    for copies in draw_copies(num_clusters, width=len(cluster), resampling=resampling):
        chunk = (copies @ sums) / (copies @ counts)[:, None]
        chunk[:, _MEDIAN] = _medians(columns[order, _MEDIAN], copies[:, cluster[order]])
        values.append(chunk)
    return percentiles(np.concatenate(values), resampling=resampling)


def mean_interval(
    values: Float64[np.ndarray, " row"],
    episodes: Int[np.ndarray, " row"],
    *,
    resampling: Resampling,
) -> tuple[float, float]:
    """Cluster bootstrap of a plain mean over rows.

    Args:
        values: one per row.
        episodes: the episode of each row.
        resampling: how many draws, which interval.

    Returns:
        Lower and upper end; NaN with fewer than two episodes.
    """
    cluster = np.unique(episodes, return_inverse=True)[1].reshape(-1)
    num_clusters = int(cluster.max(initial=-1)) + 1
    if num_clusters < 2 or resampling.num_resamples == 0:
        return float("nan"), float("nan")
    sums = np.bincount(cluster, weights=values, minlength=num_clusters)
    counts = np.bincount(cluster, minlength=num_clusters)
    means = [
        (copies @ sums) / (copies @ counts)
        for copies in draw_copies(num_clusters, width=1, resampling=resampling)
    ]
    low, high = percentiles(np.concatenate(means)[:, None], resampling=resampling)[:, 0]
    return float(low), float(high)


class TargetResampler:
    """Cluster bootstrap over the candidates' episodes: each sample is a new set of candidates.

    For text queries, whose episodes are on the other side. Rankings are added one at a time and not
    kept, so that memory does not grow with queries times candidates.

    A set drawn with copies is an easier one: a copy of a right answer is right too, and what was
    not drawn is no rival. So what is taken from the samples is how far they lie apart, and their
    mean is put where the measured value is.

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 10: the bias is the
        resampled mean less the measured value.
    """

    def __init__(
        self,
        episodes: Int[np.ndarray, " target"],
        *,
        num_queries: int,
        resampling: Resampling,
    ) -> None:
        """Draws the episodes.

        Args:
            episodes: the episode of each candidate.
            num_queries: how many rankings will be added at most; where queries times candidates are
                very many, fewer samples are drawn (never fewer than 100), and `num_resamples` says
                how many.
            resampling: how many draws, which interval.
        """
        self._cluster = np.unique(episodes, return_inverse=True)[1]
        num_clusters = int(self._cluster.max(initial=-1)) + 1
        affordable = _TARGET_WORK // max(num_queries * len(episodes), 1)
        self.num_resamples = min(resampling.num_resamples, max(_FEWEST_RESAMPLES, affordable))
        self._resampling = replace(resampling, num_resamples=self.num_resamples)
        if num_clusters < 2:
            self.num_resamples = 0
        self._copies = np.concatenate(
            [np.empty((0, num_clusters), dtype=np.int16)]
            + [
                copies.astype(np.int16)
                for copies in draw_copies(num_clusters, width=1, resampling=self._resampling)
            ]
        )[: self.num_resamples]
        self._sums = np.zeros((self.num_resamples, len(METRICS)))
        self._counts = np.zeros(self.num_resamples)
        self._first_ranks: list[Float64[np.ndarray, " sample"]] = []

    def add(self, ranking: Ranking) -> None:
        """Scores one query on every resample; where no right answer was drawn, it is left out."""
        cluster = self._cluster[ranking.order]
        first_ranks = np.empty(self.num_resamples)
        chunk = max(1, _CHUNK_NUMBERS // max(len(cluster), 1))
        for start in range(0, self.num_resamples, chunk):
            samples = slice(start, min(start + chunk, self.num_resamples))
            groups = ranking.resampled_groups(self._copies[samples][:, cluster])
            columns = _columns(expected_scores(groups, num_queries=samples.stop - samples.start))
            first_ranks[samples] = columns[:, _MEDIAN]
            answered = ~np.isnan(columns).any(axis=1)
            self._sums[samples][answered] += columns[answered]
            self._counts[samples] += answered
        self._first_ranks.append(first_ranks)

    def intervals(
        self, measured: Float64[np.ndarray, " metric"]
    ) -> Float64[np.ndarray, "2 metric"]:
        """Returns lower and upper ends in the order of `METRICS`; NaN below two episodes.

        Args:
            measured: on the candidates as they are, from `summarise`.
        """
        drawn = np.flatnonzero(self._counts > 0)
        if not len(drawn):
            return np.full((2, len(METRICS)), np.nan)
        values = self._sums[drawn] / self._counts[drawn, None]
        values[:, _MEDIAN] = np.nanmedian(np.stack(self._first_ranks, axis=1)[drawn], axis=1)
        ends = percentiles(values, resampling=self._resampling)
        return np.clip(ends + measured - values.mean(axis=0), _LEAST, _MOST)


def draw_copies(
    num_clusters: int, *, width: int, resampling: Resampling
) -> Iterator[Int64[np.ndarray, "sample cluster"]]:
    """Yields how often each cluster is drawn, in chunks that leave room for `width` numbers."""
    generator = np.random.default_rng(resampling.seed)
    chunk = max(1, _CHUNK_NUMBERS // max(num_clusters, width, 1))
    for start in range(0, resampling.num_resamples, chunk):
        count = min(chunk, resampling.num_resamples - start)
        drawn = generator.integers(0, num_clusters, size=(count, num_clusters))
        drawn += np.arange(count)[:, None] * num_clusters
        yield np.bincount(drawn.reshape(-1), minlength=count * num_clusters).reshape(
            count, num_clusters
        )


def percentiles(
    values: Float64[np.ndarray, "sample metric"], *, resampling: Resampling
) -> Float64[np.ndarray, "2 metric"]:
    """The percentile interval of resampled values."""
    tail = (1 - resampling.confidence) / 2
    return np.quantile(values, [tail, 1 - tail], axis=0)


def _columns(scores: QueryScores) -> Float64[np.ndarray, "query metric"]:
    return np.column_stack(
        [
            scores.recall,
            scores.average_precision,
            scores.ndcg,
            scores.first_rank,
            scores.first_rank,
        ]
    )


def _medians(
    values: Float64[np.ndarray, " query"], copies: Int64[np.ndarray, "sample query"]
) -> Float64[np.ndarray, " sample"]:
    """Medians of sorted `values`, each taken `copies` times."""
    reached = np.cumsum(copies, axis=1)
    total = reached[:, -1:]
    low = (reached > (total - 1) // 2).argmax(axis=1)
    high = (reached > total // 2).argmax(axis=1)
    return (values[low] + values[high]) / 2
