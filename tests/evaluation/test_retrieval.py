import doctest
import tracemalloc
from dataclasses import fields

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation import alignment, retrieval
from jointspace.evaluation.bootstrap import METRICS, Resampling
from jointspace.evaluation.retrieval import evaluate_both_ways, evaluate_retrieval
from tests.evaluation.reference import on_grid, rank_counts, scores_of_order, unit

QUICK = Resampling(num_resamples=50)


def _values(metrics, what="value"):
    return {name: getattr(getattr(metrics, name), what) for name in METRICS}


def _perfect_space(num_instructions, rows_each):
    instruction = np.repeat(np.arange(num_instructions), rows_each)
    return np.eye(num_instructions, dtype=np.float32)[instruction], instruction


def test_row_3_sides_of_different_length_and_integer_ranks_are_measured():
    # The textbook takes the mean of integer ranks, and the diagonal of a matrix that has none.
    query = unit([[1, 0], [0, 1], [1, 1]])
    target = unit([[1, 0.1], [0, 1], [1, 0.9], [0.9, 1], [1, 0]])
    metrics = evaluate_retrieval(
        query, target, query_ids=np.array([0, 1, 2]), target_ids=np.array([0, 1, 2, 3, 4])
    )
    # Query 0 finds target 4 first, then its own; query 2 has targets 2 and 3 at the same cosine.
    assert metrics.mean_rank.value == pytest.approx((2 + 1 + 1.5) / 3)
    assert (metrics.num_queries, metrics.num_targets) == (3, 5)


def test_row_27_a_perfect_model_on_repeated_instructions_scores_one():
    # Of 20 instructions with 10 episodes each, the diagonal finds a tenth.
    rows, instruction = _perfect_space(20, 10)
    metrics = evaluate_retrieval(
        rows, rows, query_ids=instruction, target_ids=instruction, resampling=QUICK
    )
    assert _values(metrics) == pytest.approx(dict.fromkeys(METRICS, 1.0))
    assert metrics.positives_per_query == 10
    assert metrics.num_answers == 20
    diagonal, _ = evaluate_both_ways(rows, rows, episodes=np.arange(200), resampling=QUICK)
    assert diagonal.recall_at_1.value == pytest.approx(0.1)


@pytest.mark.parametrize("several", [False, True])
def test_row_28_collapsed_model_scores_chance(several):
    # Sorting gives a collapsed model the ranks of its row numbers; counting only what is greater
    # gives it R@1 = 1.
    generator = np.random.default_rng(0)
    rows = np.repeat(unit(generator.standard_normal((1, 37))), 90, axis=0)
    ids = generator.integers(0, 12, size=90) if several else np.arange(90)
    metrics = evaluate_retrieval(rows, rows, query_ids=ids, target_ids=ids, resampling=QUICK)
    assert _values(metrics) == pytest.approx(_values(metrics, "chance"))
    assert metrics.tie_rate == 1
    assert metrics.recall_at_1.value < 0.2


def test_row_28_collapsed_model_scores_chance_both_ways():
    rows = np.repeat(unit([[1, 2, 3]]), 40, axis=0)
    other = unit(np.random.default_rng(0).standard_normal((40, 3)))
    for first, second in ((rows, rows), (other, rows)):
        metrics, _ = evaluate_both_ways(first, second, episodes=np.arange(40), resampling=QUICK)
        assert _values(metrics) == pytest.approx(_values(metrics, "chance"))
        assert metrics.tie_rate == 1


def test_row_28_the_median_of_an_even_number_of_ranks_lies_between_the_middle_two():
    target = np.eye(4, dtype=np.float32)
    # Ranks 1 and 4: the textbook's lower median is 1.
    query = np.array([[1, 0.3, 0.2, 0.1], [0.3, 0, 0.2, 0.1]], dtype=np.float32)
    metrics = evaluate_retrieval(query, target, query_ids=np.array([0, 1]), target_ids=np.arange(4))
    assert metrics.median_rank.value == 2.5


def test_row_29_every_number_has_its_chance_and_its_interval():
    generator = np.random.default_rng(1)
    first = unit(generator.standard_normal((60, 8)))
    second = unit(first + 0.6 * generator.standard_normal((60, 8)))
    metrics, _ = evaluate_both_ways(
        first, second, episodes=np.arange(60) // 3, resampling=Resampling()
    )
    for name in METRICS:
        estimate = getattr(metrics, name)
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.low < estimate.high, name
    assert metrics.recall_at_1.chance == pytest.approx(1 / 60)
    assert metrics.recall_at_10.chance == pytest.approx(10 / 60)
    assert metrics.median_rank.chance == metrics.mean_rank.chance == 30.5
    assert (metrics.num_episodes, metrics.num_resamples) == (20, 1000)


def test_row_30_ranks_need_neither_the_whole_matrix_nor_a_sort(monkeypatch):
    generator = np.random.default_rng(2)
    first = unit(generator.standard_normal((4000, 8)))
    second = unit(first + 0.3 * generator.standard_normal((4000, 8)))
    rows = np.arange(4000)
    monkeypatch.setattr(np, "sort", None)
    tracemalloc.start()
    forward, backward = evaluate_both_ways(
        first, second, episodes=rows, resampling=Resampling(num_resamples=0)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 4000 * 4 / 10
    similarity = first.astype(np.float64) @ second.T.astype(np.float64)
    for metrics, scores in ((forward, similarity), (backward, similarity.T)):
        ranks = 1 + (scores > scores.diagonal()[:, None]).sum(axis=1)
        assert metrics.mean_rank.value == pytest.approx(ranks.mean(), rel=1e-4)
        assert metrics.median_rank.value == np.median(ranks)
        assert metrics.recall_at_5.value == pytest.approx((ranks <= 5).mean(), abs=1e-3)
        assert metrics.mean_average_precision.value == pytest.approx((1 / ranks).mean(), rel=1e-4)


def test_metrics_equal_a_plain_sort_with_one_none_and_several_right_answers():
    generator = np.random.default_rng(3)
    query = unit(generator.standard_normal((40, 5)))
    target = unit(generator.standard_normal((30, 5)))
    query_ids, target_ids = np.arange(40) % 25, generator.integers(0, 20, size=30)
    ignore = np.array([[i, j] for i in range(40) for j in (i % 30, (i + 7) % 30)])
    metrics = evaluate_retrieval(
        query, target, query_ids=query_ids, target_ids=target_ids, ignore=ignore, resampling=QUICK
    )
    rows = []
    ignored = {tuple(pair) for pair in ignore.tolist()}
    for i, scores in enumerate(query.astype(np.float64) @ target.T.astype(np.float64)):
        order = [
            j for j in np.argsort(-scores) if (i, j) not in ignored or query_ids[i] == target_ids[j]
        ]
        positive = [bool(query_ids[i] == target_ids[j]) for j in order]
        if any(positive):
            rows.append(scores_of_order(positive))
    wanted = np.mean(rows, axis=0)
    got = _values(metrics)
    np.testing.assert_allclose([got[name] for name in METRICS if name != "median_rank"], wanted)
    assert metrics.median_rank.value == np.median([row[-1] for row in rows])
    assert metrics.num_queries == len(rows)
    assert metrics.num_unanswered == 40 - len(rows) > 0


def test_ignored_candidates_are_no_candidates_of_chance_either():
    rows = unit(np.random.default_rng(0).standard_normal((6, 4)))
    ignore = np.array([[i, j] for i in range(6) for j in range(6) if abs(i - j) == 1])
    metrics, _ = evaluate_both_ways(rows, rows, episodes=np.arange(6), ignore=ignore)
    assert metrics.recall_at_1.chance == pytest.approx((2 / 5 + 4 / 4) / 6)
    same = evaluate_retrieval(
        rows, rows, query_ids=np.arange(6), target_ids=np.arange(6), ignore=ignore
    )
    assert _values(same, "chance") == _values(metrics, "chance")
    assert _values(same) == _values(metrics)


def test_both_ways_equals_each_way_by_itself():
    generator = np.random.default_rng(4)
    first, second = on_grid(generator, 30), on_grid(generator, 30)
    ids, episodes = np.arange(30), np.arange(30) // 2
    results = evaluate_both_ways(first, second, episodes=episodes, resampling=QUICK)
    for metrics, (query, target) in zip(results, ((first, second), (second, first)), strict=True):
        alone = evaluate_retrieval(
            query, target, query_ids=ids, target_ids=ids, query_episodes=episodes, resampling=QUICK
        )
        for field in fields(metrics):
            assert getattr(metrics, field.name) == getattr(alone, field.name), field.name
        greater, equal = rank_counts(query, target, ids)
        assert metrics.mean_rank.value == pytest.approx((1 + greater + (equal - 1) / 2).mean())


def test_candidates_are_resampled_for_text_queries():
    rows, instruction = _perfect_space(4, 5)
    noisy = unit(rows + 0.5 * np.random.default_rng(0).standard_normal(rows.shape))
    metrics = evaluate_retrieval(
        np.eye(4, dtype=np.float32),
        noisy,
        query_ids=np.arange(4),
        target_ids=instruction,
        target_episodes=np.arange(20),
        resampling=QUICK,
    )
    assert metrics.num_episodes == 20
    assert metrics.mean_average_precision.low < metrics.mean_average_precision.value
    assert metrics.num_resamples == 50


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_ids": np.array([0])}, "query has 2 rows but 1 ids"),
        ({"target_episodes": np.arange(5)}, "target has 2 rows but 5 episodes"),
        ({"target": np.eye(3)[:2]}, "one width, got 2 and 3"),
        ({"query": np.empty((0, 2)), "query_ids": np.arange(0)}, "query holds no row"),
        ({"query_ids": np.array([7, 8])}, "no query has a right answer"),
        ({"query": np.array([[0, 1], [np.nan, 1]])}, "query: row 1 is not finite"),
        (
            {"query_episodes": np.arange(2), "target_episodes": np.arange(2)},
            "query_episodes or target_episodes",
        ),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {
        "query": np.eye(2),
        "target": np.eye(2),
        "query_ids": np.arange(2),
        "target_ids": np.arange(2),
    }
    arguments |= change
    query, target = arguments.pop("query"), arguments.pop("target")
    with pytest.raises(InputError, match=message):
        evaluate_retrieval(query, target, **arguments)


@pytest.mark.usefixtures("unchecked_shapes")
def test_sides_that_are_not_aligned_are_refused():
    with pytest.raises(InputError, match=r"row-aligned, got \(2, 2\) and \(3, 3\)"):
        evaluate_both_ways(np.eye(2), np.eye(3), episodes=np.arange(2))


@pytest.mark.parametrize("module", [retrieval, alignment])
def test_examples_in_the_documentation_hold(module):
    assert doctest.testmod(module).failed == 0
