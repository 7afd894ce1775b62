"""Expected retrieval scores over the order of ties: closed forms, no sampling, no luck.

A ranking with ties is a sequence of groups of equal score. Every score here is the mean over all
orders within the groups, each equally likely. A ranking at random is one single group of all
candidates, so that the same formulas give the chance level.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

RECALL_DEPTHS = (1, 5, 10)
"""The k of R@k."""

NDCG_DEPTH = 10
"""Only the first ten places earn gain."""


@dataclass(frozen=True)
class TieGroups:
    """The groups of equally scored candidates that hold at least one right answer, of many queries.

    Attributes:
        query: which query a group belongs to.
        above: candidates ranked strictly above the group.
        size: candidates in the group.
        positives_above: right answers strictly above the group.
        positives: right answers in the group; a group without any adds nothing.
    """

    query: Int64[np.ndarray, " group"]
    above: Int64[np.ndarray, " group"]
    size: Int64[np.ndarray, " group"]
    positives_above: Int64[np.ndarray, " group"]
    positives: Int64[np.ndarray, " group"]


@dataclass(frozen=True)
class QueryScores:
    """What each query earns, expected over the order of ties; NaN without a right answer.

    Attributes:
        recall: probability that a right answer is among the first 1, 5 and 10 (`RECALL_DEPTHS`).
        average_precision: precision at the place of each right answer, averaged over the right
            answers.
        ndcg: discounted gain of the first ten places over the best possible.
        first_rank: place of the best-placed right answer, counted from 1.
        tied: True where the score depends on the order of ties.
    """

    recall: Float64[np.ndarray, "query depth"]
    average_precision: Float64[np.ndarray, " query"]
    ndcg: Float64[np.ndarray, " query"]
    first_rank: Float64[np.ndarray, " query"]
    tied: Bool[np.ndarray, " query"]


def expected_scores(groups: TieGroups, *, num_queries: int) -> QueryScores:
    """Scores queries from their tie groups.

    With `g` candidates above a group of `n`, of which `m` are right answers, `p` right answers
    above and `M` in all:

    - place of the first right answer: `g + (n + 1) / (m + 1)`, which for `m = 1` is `1 + g + (n -
      1) / 2`;
    - R@k: `1 - C(n - m, j) / C(n, j)` with `j = clip(k - g, 0, n)`, in the first group that holds a
      right answer;
    - average precision: `1/M` times the sum over groups of
      `m/n * sum_{i=1..n} (p + 1 + (i - 1)(m - 1)/(n - 1)) / (g + i)`: a place of the group holds a
      right answer with probability `m/n`, and then `(i - 1)(m - 1)/(n - 1)` of the others stand
      before it. The sum is a difference of harmonic numbers;
    - nDCG: gain `1/log2(1 + place)` of the group's places times `m/n`, over the gain of `M` right
      answers at the top.

    Args:
        groups: in the order of the ranking within each query, best first.
        num_queries: how many queries there are.

    Returns:
        One row per query.

    Source:
        McSherry and Najork, "Computing information retrieval performance measures efficiently in
        the presence of tied scores" (ECIR 2008); the place of the first right answer is the mean of
        the smallest of `m` draws without replacement.
    """
    query, above, size = groups.query, groups.above, groups.size
    positives, before = groups.positives, groups.positives_above
    holds = positives > 0
    share = np.divide(positives, size, out=np.zeros(len(query)), where=size > 0)
    total = _sums(query, positives, num_queries)
    answerable = total > 0

    last = int((above + size).max(initial=0))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, last + 1))])
    inverse_places = harmonic[above + size] - harmonic[above]
    spread = np.divide(positives - 1, size - 1, out=np.zeros(len(query)), where=size > 1)
    precision = share * (
        (before + 1) * inverse_places + spread * (size - (above + 1) * inverse_places)
    )
    precision_sum = _sums(query, precision, num_queries)

    gain = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, NDCG_DEPTH + 2)))])
    reached = gain[np.minimum(above + size, NDCG_DEPTH)] - gain[np.minimum(above, NDCG_DEPTH)]
    gain_sum = _sums(query, share * reached, num_queries)
    best_gain = gain[np.minimum(total, NDCG_DEPTH).astype(np.int64)]

    first = holds & (before == 0)
    first_rank = np.full(num_queries, np.nan)
    first_rank[query[first]] = above[first] + (size[first] + 1) / (positives[first] + 1)
    recall = np.full((num_queries, len(RECALL_DEPTHS)), np.nan)
    for column, depth in enumerate(RECALL_DEPTHS):
        recall[query[first], column] = 1.0 - _miss_probability(
            np.clip(depth - above[first], 0, size[first]), size[first], positives[first]
        )
    tied = np.zeros(num_queries, dtype=bool)
    tied[query[holds & (positives < size)]] = True
    return QueryScores(
        recall=recall,
        average_precision=_ratio(precision_sum, total, answerable),
        ndcg=_ratio(gain_sum, best_gain, answerable),
        first_rank=first_rank,
        tied=tied,
    )


def chance_scores(
    num_positives: Int64[np.ndarray, " query"], num_candidates: Int64[np.ndarray, " query"]
) -> QueryScores:
    """Returns what a ranking at random earns: the exact expectation, one row per query.

    Example:
        One right answer among four: R@1 is 1/4, the expected place 2.5, the average precision
        (1 + 1/2 + 1/3 + 1/4) / 4.
    """
    count = len(num_positives)
    nothing = np.zeros(count, dtype=np.int64)
    groups = TieGroups(
        np.arange(count, dtype=np.int64), nothing, num_candidates, nothing, num_positives
    )
    return expected_scores(groups, num_queries=count)


def _sums(
    query: Int64[np.ndarray, " group"], values: Shaped[np.ndarray, " group"], num_queries: int
) -> Float64[np.ndarray, " query"]:
    """Sums of each query's groups; float even where there is no group at all."""
    return np.bincount(query, weights=values, minlength=num_queries).astype(np.float64)


def _miss_probability(
    drawn: Int64[np.ndarray, " group"],
    size: Int64[np.ndarray, " group"],
    positives: Int64[np.ndarray, " group"],
) -> Float64[np.ndarray, " group"]:
    """Probability that `drawn` of `size` places hold none of the `positives`."""
    miss = np.ones(len(drawn))
    for i in range(int(drawn.max(initial=0))):
        still = i < drawn
        miss[still] *= np.maximum(size - positives - i, 0)[still] / (size - i)[still]
    return miss


def _ratio(
    numerator: Float64[np.ndarray, " query"],
    denominator: Float64[np.ndarray, " query"],
    valid: Bool[np.ndarray, " query"],
) -> Float64[np.ndarray, " query"]:
    out = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=out, where=valid)
