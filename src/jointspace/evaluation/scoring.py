"""Scores of single queries: counting where one answer is right, sorting where several are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int64

from jointspace.evaluation.expectation import (
    QueryScores,
    TieGroups,
    chance_scores,
    expected_scores,
)
from jointspace.evaluation.products import BlockProduct
from jointspace.evaluation.ranking import RankCounts, count_ranks
from jointspace.evaluation.sorting import Ranking, rankings


@dataclass(frozen=True)
class ScoredQueries:
    """Scores of single queries, and what chance would give each.

    Attributes:
        scores: expected over the order of ties; NaN where a query has no right answer.
        chance: expected for candidates in random order.
        num_positives: right answers of each query.
        num_targets: candidates before any is ignored.
    """

    scores: QueryScores
    chance: QueryScores
    num_positives: Int64[np.ndarray, " query"]
    num_targets: int


def score_queries(
    query: Float[np.ndarray, "query dim"],
    target: Float[np.ndarray, "target dim"],
    *,
    query_ids: Int[np.ndarray, " query"],
    target_ids: Int[np.ndarray, " target"],
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    product: BlockProduct | None = None,
    visit: Callable[[Ranking], None] | None = None,
) -> ScoredQueries:
    """Scores each query by itself: by counting with one right answer, by sorting with several.

    Args:
        query: one row per query.
        target: one row per candidate.
        query_ids: what each query asks for.
        target_ids: what each candidate answers; equal ids make a right answer.
        ignore: pairs (query, target) that count neither for nor against, unless their ids are
            equal.
        product: arithmetic of the scores; float32 by default.
        visit: is shown the ranking of every query that has a right answer, one at a time; all are
            then sorted.
    """
    known, first, count = np.unique(target_ids, return_index=True, return_counts=True)
    slot = np.minimum(np.searchsorted(known, query_ids), max(len(known) - 1, 0))
    found = known[slot] == query_ids if len(known) else np.zeros(len(query_ids), dtype=bool)
    num_positives = np.where(found, count[slot], 0).astype(np.int64)
    groups = []
    single = np.flatnonzero((num_positives == 1) & (visit is None))
    if len(single):
        counts = count_ranks(
            query[single],
            target,
            positive=first[slot[single]],
            ignore=_pairs_of(ignore, single, len(query)),
            product=product,
        )
        groups.append(single_groups(counts, single))
    several = np.flatnonzero(num_positives > (1 if visit is None else 0))
    if len(several):
        ranked = rankings(
            query[several],
            target,
            query_ids=query_ids[several],
            target_ids=target_ids,
            ignore=_pairs_of(ignore, several, len(query)),
            product=product,
        )
        for i, ranking in zip(several, ranked, strict=True):
            groups.append(_renumbered(ranking.groups(), int(i)))
            if visit is not None:
                visit(ranking)
    candidates = np.full(len(query), len(target), dtype=np.int64)
    if ignore is not None and len(ignore):
        wrong = query_ids[ignore[:, 0]] != target_ids[ignore[:, 1]]
        candidates -= np.bincount(ignore[wrong, 0], minlength=len(query))
    return ScoredQueries(
        scores=expected_scores(_joined(groups), num_queries=len(query)),
        chance=chance_scores(num_positives, candidates),
        num_positives=num_positives,
        num_targets=len(target),
    )


def single_groups(counts: RankCounts, queries: Int64[np.ndarray, " query"]) -> TieGroups:
    """Turns counts into the one tie group that matters for each of `queries`."""
    nothing = np.zeros_like(counts.greater)
    return TieGroups(queries, counts.greater, counts.equal, nothing, nothing + 1)


def _renumbered(groups: TieGroups, query: int) -> TieGroups:
    return TieGroups(
        groups.query + query, groups.above, groups.size, groups.positives_above, groups.positives
    )


def _joined(groups: list[TieGroups]) -> TieGroups:
    nothing = np.empty(0, dtype=np.int64)
    return TieGroups(
        *(
            np.concatenate([nothing, *(getattr(g, name) for g in groups)])
            for name in TieGroups.__dataclass_fields__
        )
    )


def _pairs_of(
    pairs: Int[np.ndarray, "pair 2"] | None, queries: Int64[np.ndarray, " some"], num_queries: int
) -> Int64[np.ndarray, "kept 2"] | None:
    """The pairs of some queries, with the queries renumbered."""
    if pairs is None:
        return None
    place = np.full(num_queries, -1, dtype=np.int64)
    place[queries] = np.arange(len(queries))
    kept = pairs[place[pairs[:, 0]] >= 0]
    return np.stack([place[kept[:, 0]], kept[:, 1]], axis=1).astype(np.int64)
