import numpy as np
import pytest

from jointspace.evaluation import sorting
from jointspace.evaluation.expectation import expected_scores
from jointspace.evaluation.ranking import count_ranks
from jointspace.evaluation.sorting import rankings
from tests.evaluation.reference import on_grid, unit


def test_sorting_and_counting_agree_where_one_answer_is_right(monkeypatch):
    monkeypatch.setattr(sorting, "_MAX_BLOCK_ROWS", 3)
    monkeypatch.setattr(sorting, "_TILE_COLUMNS", 4)
    generator = np.random.default_rng(0)
    query, target = on_grid(generator, 10), on_grid(generator, 14)
    positive = generator.integers(0, 14, size=10)
    ignore = np.array([[0, 1], [0, 2], [5, 13], [9, 0]])
    counts = count_ranks(query, target, positive=positive, ignore=ignore)
    ranked = rankings(query, target, query_ids=positive, target_ids=np.arange(14), ignore=ignore)
    for i, ranking in enumerate(ranked):
        groups = ranking.groups()
        assert (groups.above.item(), groups.size.item()) == (counts.greater[i], counts.equal[i])


def test_resampled_groups_equal_those_of_repeated_candidates():
    generator = np.random.default_rng(1)
    query, target = on_grid(generator, 1), on_grid(generator, 12)
    ids = generator.integers(0, 2, size=12)
    copies = np.array([generator.integers(0, 3, size=12)])
    (ranking,) = rankings(query, target, query_ids=np.array([1]), target_ids=ids)
    drawn = np.repeat(np.arange(12), copies[0])
    (repeated,) = rankings(query, target[drawn], query_ids=np.array([1]), target_ids=ids[drawn])
    got = expected_scores(ranking.resampled_groups(copies[:, ranking.order]), num_queries=1)
    wanted = expected_scores(repeated.groups(), num_queries=1)
    for name in ("recall", "average_precision", "ndcg", "first_rank", "tied"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), err_msg=name)


def test_best_comes_first_and_ignored_candidates_are_left_out():
    target = unit([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]])
    (ranking,) = rankings(
        unit([[1, 0]]),
        target,
        query_ids=np.array([7]),
        target_ids=np.array([0, 7, 7, 0]),
        ignore=np.array([[0, 0], [0, 2]]),
    )
    # Target 2 is listed as ignored, but is a right answer.
    assert ranking.order.tolist() == [1, 2, 3]
    assert ranking.positive.tolist() == [True, True, False]


@pytest.mark.parametrize("num_targets", [1, 5000])
def test_blocks_of_any_number_of_targets_are_ranked_whole(num_targets):
    target = unit(np.random.default_rng(0).standard_normal((num_targets, 3)))
    ids = np.zeros(num_targets, dtype=np.int64)
    (ranking,) = rankings(target[:1], target, query_ids=ids[:1], target_ids=ids)
    assert sorted(ranking.order) == list(range(num_targets))
    assert ranking.order[0] == 0
