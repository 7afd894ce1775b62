import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import (
    METRICS,
    Resampling,
    TargetResampler,
    draw_copies,
    mean_interval,
    query_intervals,
    summarise,
)
from jointspace.evaluation.expectation import QueryScores
from jointspace.evaluation.retrieval import evaluate_retrieval
from jointspace.evaluation.scoring import score_queries
from jointspace.evaluation.sorting import rankings
from tests.evaluation.reference import on_grid

MEDIAN = METRICS.index("median_rank")


def _scores(first_rank):
    rank = np.asarray(first_rank, dtype=np.float64)
    hit = (rank[:, None] <= np.array([1, 5, 10])).astype(np.float64)
    return QueryScores(hit, 1 / rank, 1 / rank, rank, np.zeros(len(rank), dtype=bool))


def test_the_median_of_an_even_count_lies_between_the_middle_two():
    assert summarise(_scores([1, 2, 10, 100]))[MEDIAN] == 6
    assert summarise(_scores([1, 2, 10]))[MEDIAN] == 2


def test_queries_without_an_answer_do_not_count():
    scores = _scores([2, 4])
    with_nan = _scores([2, 4, np.nan])
    with_nan.recall[2] = np.nan
    np.testing.assert_array_equal(summarise(with_nan), summarise(scores))
    assert np.isnan(summarise(_scores([]))).all()


def test_intervals_equal_a_plain_resampling_of_the_rows():
    generator = np.random.default_rng(0)
    ranks = generator.integers(1, 30, size=24)
    episodes = np.repeat([5, 9, 2, 7, 1, 3], [1, 2, 3, 4, 6, 8])
    resampling = Resampling(num_resamples=200, confidence=0.9, seed=3)
    copies = np.concatenate(list(draw_copies(6, width=24, resampling=resampling)))
    names = np.unique(episodes)
    values = []
    for sample in copies:
        rows = [
            i
            for name, n in zip(names, sample, strict=True)
            for _ in range(n)
            for i in np.flatnonzero(episodes == name)
        ]
        values.append(summarise(_scores(ranks[rows])))
    np.testing.assert_allclose(
        query_intervals(_scores(ranks), episodes, resampling=resampling),
        np.quantile(values, [0.05, 0.95], axis=0),
    )


def test_alike_rows_of_an_episode_do_not_narrow_the_interval():
    # Ten episodes of 30 equal rows know as much as ten rows.
    ranks = np.repeat([1, 1, 20, 1, 20, 20, 1, 1, 20, 1], 30)
    by_episode = query_intervals(
        _scores(ranks), np.repeat(np.arange(10), 30), resampling=Resampling()
    )
    by_row = query_intervals(_scores(ranks), np.arange(300), resampling=Resampling())
    assert np.diff(by_episode[:, 0]) > 3 * np.diff(by_row[:, 0])


def test_the_same_seed_gives_the_same_interval():
    ranks, episodes = np.arange(1, 40), np.arange(39) // 3
    first, again = (
        query_intervals(_scores(ranks), episodes, resampling=Resampling(seed=4)) for _ in range(2)
    )
    other = query_intervals(_scores(ranks), episodes, resampling=Resampling(seed=5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_chunks_do_not_change_the_draws_of_a_seed():
    resampling = Resampling(num_resamples=7, seed=1)
    whole = np.concatenate(list(draw_copies(5, width=1, resampling=resampling)))
    chunked = list(draw_copies(5, width=1 << 20, resampling=resampling))
    assert len(chunked) > 1
    np.testing.assert_array_equal(np.concatenate(chunked), whole)
    assert (whole.sum(axis=1) == 5).all()


def test_one_episode_has_no_interval():
    assert np.isnan(
        query_intervals(_scores([1, 2]), np.array([3, 3]), resampling=Resampling())
    ).all()
    assert np.isnan(
        query_intervals(_scores([1, 2]), np.array([3, 4]), resampling=Resampling(num_resamples=0))
    ).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [({"num_resamples": -1}, "num_resamples"), ({"confidence": 1.0}, "between 0 and 1")],
)
def test_impossible_resampling_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        Resampling(**values)


def test_resampled_candidates_equal_measuring_them_anew():
    generator = np.random.default_rng(2)
    query, target = on_grid(generator, 3), on_grid(generator, 20)
    query_ids, target_ids = np.arange(3), generator.integers(0, 3, size=20)
    episodes = np.repeat(np.arange(5), 4)
    resampling = Resampling(num_resamples=60, confidence=0.8, seed=7)
    resampler = TargetResampler(episodes, num_queries=3, resampling=resampling)
    for ranking in rankings(query, target, query_ids=query_ids, target_ids=target_ids):
        resampler.add(ranking)
    values = []
    for sample in np.concatenate(list(draw_copies(5, width=1, resampling=resampling))):
        rows = np.repeat(np.arange(20), sample[episodes])
        values.append(
            summarise(
                score_queries(
                    query, target[rows], query_ids=query_ids, target_ids=target_ids[rows]
                ).scores
            )
        )
    measured = summarise(
        score_queries(query, target, query_ids=query_ids, target_ids=target_ids).scores
    )
    # Around what was measured, and no rate above 1 nor rank below it.
    expected = np.quantile(values, [0.1, 0.9], axis=0) - np.mean(values, axis=0) + measured
    for column, name in enumerate(METRICS):
        least, most = (1.0, np.inf) if name.endswith("rank") else (0.0, 1.0)
        expected[:, column] = [min(max(end, least), most) for end in expected[:, column]]
    np.testing.assert_allclose(resampler.intervals(measured), expected)


def test_an_interval_over_candidates_holds_what_was_measured():
    generator = np.random.default_rng(0)
    target = generator.normal(size=(80, 6))
    query = target[:40] + generator.normal(size=(40, 6))
    found = evaluate_retrieval(
        query,
        target,
        query_ids=np.arange(40),
        target_ids=np.arange(80) % 40,
        target_episodes=np.arange(80),
    )
    for name in METRICS:
        estimate = getattr(found, name)
        assert estimate.low <= estimate.value <= estimate.high, name
    assert 0 < found.recall_at_1.low < found.recall_at_1.high < 1


def test_very_many_candidates_are_resampled_less_often():
    resampler = TargetResampler(
        np.arange(1000), num_queries=2000, resampling=Resampling(num_resamples=1000)
    )
    assert resampler.num_resamples == 500
    assert (
        TargetResampler(
            np.zeros(4, dtype=np.int64), num_queries=1, resampling=Resampling()
        ).num_resamples
        == 0
    )


def test_the_interval_of_a_mean_equals_drawing_whole_episodes_anew():
    generator = np.random.default_rng(3)
    values, episodes = generator.normal(size=30), generator.integers(0, 6, size=30)
    resampling = Resampling(num_resamples=80, confidence=0.9, seed=5)
    drawn = np.concatenate(list(draw_copies(6, width=1, resampling=resampling)))
    means = [np.repeat(values, copies[episodes]).mean() for copies in drawn]
    low, high = mean_interval(values, episodes, resampling=resampling)
    np.testing.assert_allclose([low, high], np.quantile(means, [0.05, 0.95]))


def test_the_mean_of_one_episode_has_no_interval():
    low, high = mean_interval(np.ones(3), np.zeros(3, dtype=np.int64), resampling=Resampling())
    assert np.isnan([low, high]).all()
