"""Retrieval metrics: relevance from ids, ties in expectation, chance and an interval for each."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import (
    METRICS,
    Resampling,
    TargetResampler,
    query_intervals,
    summarise,
)
from jointspace.evaluation.expectation import chance_scores, expected_scores
from jointspace.evaluation.products import BlockProduct
from jointspace.evaluation.ranking import count_ranks_both
from jointspace.evaluation.scoring import ScoredQueries, score_queries, single_groups


@dataclass(frozen=True)
class Estimate:
    """A number with what it would be by chance, and how far it may be off.

    Attributes:
        value: measured.
        chance: exact expectation when candidates are ranked at random.
        low: lower end of the bootstrap interval; NaN where there is none.
        high: upper end.
    """

    value: float
    chance: float
    low: float
    high: float


@dataclass(frozen=True)
class RetrievalMetrics:
    """One direction of retrieval, averaged over its queries and over the order of ties.

    Attributes:
        recall_at_1: share of queries with a right answer in first place.
        recall_at_5: ... among the first five.
        recall_at_10: ... among the first ten.
        mean_average_precision: how purely the right answers fill the top of the list; 1 is perfect.
        ndcg_at_10: how well the first ten places are used, the top weighing most; 1 is perfect.
        median_rank: median place of the best-placed right answer, counted from 1.
        mean_rank: mean place of it.
        tie_rate: share of queries whose result depends on the order of ties; a collapsed model
            reaches 1.
        num_queries: queries that have a right answer.
        num_unanswered: queries without one, left out.
        num_targets: candidates.
        num_answers: distinct ids asked for: rows where each row is its own answer, goals where
            texts repeat.
        num_texts: distinct texts on the side of the texts; 0 where neither side is text.
        num_episodes: episodes that the intervals resample.
        num_resamples: how often they were resampled.
        positives_per_query: right answers per query, on average.
    """

    recall_at_1: Estimate
    recall_at_5: Estimate
    recall_at_10: Estimate
    mean_average_precision: Estimate
    ndcg_at_10: Estimate
    median_rank: Estimate
    mean_rank: Estimate
    tie_rate: float
    num_queries: int
    num_unanswered: int
    num_targets: int
    num_answers: int
    num_texts: int
    num_episodes: int
    num_resamples: int
    positives_per_query: float


def evaluate_retrieval(
    query: Float[np.ndarray, "query dim"],
    target: Float[np.ndarray, "target dim"],
    *,
    query_ids: Int[np.ndarray, " query"],
    target_ids: Int[np.ndarray, " target"],
    query_episodes: Int[np.ndarray, " query"] | None = None,
    target_episodes: Int[np.ndarray, " target"] | None = None,
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    resampling: Resampling | None = None,
    product: BlockProduct | None = None,
) -> RetrievalMetrics:
    """Measures how well queries find their right answers; the sides may differ in length.

    Args:
        query: one row per query; unit rows make the dot product a cosine.
        target: one row per candidate.
        query_ids: what each query asks for.
        target_ids: what each candidate answers; equal ids make a right answer.
        query_episodes: the episode of each query: intervals resample the queries by episode.
            Without any episodes each query is drawn by itself.
        target_episodes: the episode of each candidate: intervals resample the candidates by
            episode. For text queries, where the episodes are on the other side.
        ignore: pairs (query, target) that count neither for nor against, unless their ids are
            equal.
        resampling: of the intervals; 1,000 draws at 95 % by default.
        product: arithmetic of the scores; float32 by default.

    Returns:
        The metrics; `num_texts` is 0, since this function does not know what the rows are.

    Raises:
        InputError: lengths disagree, no query has a right answer, a row is not finite, or both
            sides have episodes.

    Source:
        The textbook's `evaluate_retrieval`, which takes the diagonal as the only right answer,
        breaks ties by the order of sorting, and sorts once per query.

    Example:
        Two texts, three pictures, of which the first two answer text 0:

        >>> texts = np.eye(2)
        >>> pictures = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> result = evaluate_retrieval(
        ...     texts, pictures, query_ids=np.array([0, 1]), target_ids=np.array([0, 0, 1])
        ... )
        >>> result.recall_at_1.value, round(result.recall_at_1.chance, 3)
        (1.0, 0.5)
    """
    resampling = Resampling() if resampling is None else resampling
    _check_rows("query", query, query_ids, query_episodes)
    _check_rows("target", target, target_ids, target_episodes)
    if query.shape[1] != target.shape[1]:
        raise InputError(
            f"query and target must have one width, got {query.shape[1]} and {target.shape[1]}"
        )
    if query_episodes is not None and target_episodes is not None:
        raise InputError(
            "give query_episodes or target_episodes: the side whose episodes are resampled"
        )
    resampler = None
    if target_episodes is not None:
        resampler = TargetResampler(target_episodes, num_queries=len(query), resampling=resampling)
    scored = score_queries(
        query,
        target,
        query_ids=query_ids,
        target_ids=target_ids,
        ignore=ignore,
        product=product,
        visit=None if resampler is None else resampler.add,
    )
    if resampler is not None and target_episodes is not None:
        intervals = resampler.intervals(summarise(scored.scores))
        return _metrics(scored, query_ids, target_episodes, intervals, resampler.num_resamples)
    episodes = np.arange(len(query)) if query_episodes is None else query_episodes
    return query_metrics(scored, query_ids, episodes=episodes, resampling=resampling)


def evaluate_both_ways(
    first: Float[np.ndarray, "row dim"],
    second: Float[np.ndarray, "row dim"],
    *,
    episodes: Int[np.ndarray, " row"],
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    resampling: Resampling | None = None,
    product: BlockProduct | None = None,
) -> tuple[RetrievalMetrics, RetrievalMetrics]:
    """Measures two aligned sides both ways in one pass: each row's right answer is its own row.

    Args:
        first: queries of the first result, candidates of the second.
        second: candidates of the first result, queries of the second.
        episodes: the episode of each row; intervals resample the queries by episode.
        ignore: pairs (row, row) that count neither for nor against, in either direction.
        resampling: of the intervals; 1,000 draws at 95 % by default.
        product: arithmetic of the scores; float32 by default.

    Raises:
        InputError: the sides differ in shape, hold no row, or hold a value that is not finite.
    """
    resampling = Resampling() if resampling is None else resampling
    if first.shape != second.shape:
        raise InputError(f"the two sides must be row-aligned, got {first.shape} and {second.shape}")
    rows = np.arange(len(first), dtype=np.int64)
    _check_rows("first", first, rows, episodes)
    _check_rows("second", second, rows, episodes)
    candidates = np.full(len(rows), len(rows), dtype=np.int64)
    if ignore is not None:
        ignore = ignore[ignore[:, 0] != ignore[:, 1]]
        candidates -= np.bincount(ignore[:, 0], minlength=len(rows))
    one = np.ones(len(rows), dtype=np.int64)
    chance = chance_scores(one, candidates)
    forward, backward = count_ranks_both(first, second, ignore=ignore, product=product)
    results = []
    for counts in (forward, backward):
        scores = expected_scores(single_groups(counts, rows), num_queries=len(rows))
        scored = ScoredQueries(scores, chance, one, len(rows))
        results.append(query_metrics(scored, rows, episodes=episodes, resampling=resampling))
    return results[0], results[1]


def query_metrics(
    scored: ScoredQueries,
    query_ids: Int[np.ndarray, " query"],
    *,
    episodes: Int[np.ndarray, " query"],
    resampling: Resampling,
) -> RetrievalMetrics:
    """Averages scored queries, with intervals from resampling the queries by episode.

    Raises:
        InputError: no query has a right answer.
    """
    intervals = query_intervals(scored.scores, episodes, resampling=resampling)
    episodes = episodes[scored.num_positives > 0]
    return _metrics(scored, query_ids, episodes, intervals, resampling.num_resamples)


def _metrics(
    scored: ScoredQueries,
    query_ids: Int[np.ndarray, " query"],
    episodes: Int[np.ndarray, " row"],
    intervals: Float64[np.ndarray, "2 metric"],
    num_resamples: int,
) -> RetrievalMetrics:
    answered = scored.num_positives > 0
    if not answered.any():
        raise InputError("no query has a right answer among the targets: their ids never meet")
    values, chance = summarise(scored.scores), summarise(scored.chance)
    estimates = {
        name: Estimate(*map(float, numbers))
        for name, *numbers in zip(METRICS, values, chance, *intervals, strict=True)
    }
    return RetrievalMetrics(
        **estimates,
        tie_rate=float(scored.scores.tied[answered].mean()),
        num_queries=int(answered.sum()),
        num_unanswered=int((~answered).sum()),
        num_targets=scored.num_targets,
        num_answers=len(np.unique(query_ids[answered])),
        num_texts=0,
        num_episodes=len(np.unique(episodes)),
        num_resamples=num_resamples,
        positives_per_query=float(scored.num_positives[answered].mean()),
    )


def _check_rows(
    name: str,
    vectors: Float[np.ndarray, "row dim"],
    ids: np.ndarray,
    episodes: np.ndarray | None,
) -> None:
    if not len(vectors):
        raise InputError(f"{name} holds no row; retrieval needs at least one query and one target")
    for what, values in (("ids", ids), ("episodes", episodes)):
        if values is not None and len(values) != len(vectors):
            raise InputError(f"{name} has {len(vectors)} rows but {len(values)} {what}")
    finite = np.isfinite(vectors.sum(axis=1))
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InputError(f"{name}: row {row} is not finite; look for NaN in the model's inputs")
