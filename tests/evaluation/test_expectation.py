import math

import numpy as np
import pytest

from jointspace.evaluation.expectation import TieGroups, chance_scores, expected_scores
from jointspace.evaluation.scoring import score_queries
from tests.evaluation.reference import scores_over_tie_orders


def _row(scores, query=0):
    return np.array(
        [
            *scores.recall[query],
            scores.average_precision[query],
            scores.ndcg[query],
            scores.first_rank[query],
        ]
    )


def _groups(above, size, positives_above, positives, query=None):
    columns = [np.atleast_1d(np.asarray(c, dtype=np.int64)) for c in (above, size)]
    columns += [np.atleast_1d(np.asarray(c, dtype=np.int64)) for c in (positives_above, positives)]
    query = np.zeros(len(columns[0]), dtype=np.int64) if query is None else np.asarray(query)
    return TieGroups(query, *columns)


@pytest.mark.parametrize("seed", range(12))
def test_scores_equal_the_mean_over_every_order_of_ties(seed):
    generator = np.random.default_rng(seed)
    similarity = generator.integers(0, 3, size=6).astype(np.float32)
    positive = generator.integers(0, 2, size=6)
    positive[0] = 1
    scored = score_queries(
        np.ones((1, 1), dtype=np.float32),
        similarity[:, None],
        query_ids=np.array([1]),
        target_ids=positive,
    )
    np.testing.assert_allclose(
        _row(scored.scores), scores_over_tie_orders(similarity, positive), atol=1e-12
    )


@pytest.mark.parametrize("num_positives", [1, 2, 5])
def test_chance_equals_the_mean_over_every_ranking(num_positives):
    positive = np.arange(6) < num_positives
    chance = chance_scores(np.array([num_positives]), np.array([6]))
    np.testing.assert_allclose(
        _row(chance), scores_over_tie_orders(np.zeros(6), positive), atol=1e-12
    )


def test_chance_of_one_right_answer_among_four_is_known_by_hand():
    chance = chance_scores(np.array([1]), np.array([4]))
    assert chance.recall[0, 0] == pytest.approx(1 / 4)
    assert chance.first_rank[0] == pytest.approx(2.5)
    assert chance.average_precision[0] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_a_single_right_answer_among_ties_has_the_middle_place():
    scores = expected_scores(
        _groups(above=3, size=4, positives_above=0, positives=1), num_queries=1
    )
    assert scores.first_rank[0] == 1 + 3 + (4 - 1) / 2
    # Places 4 to 7: two of the four lie within the first five, all within the first ten.
    np.testing.assert_allclose(scores.recall[0], [0, 2 / 4, 1])
    assert scores.average_precision[0] == pytest.approx(np.mean([1 / 4, 1 / 5, 1 / 6, 1 / 7]))
    assert scores.ndcg[0] == pytest.approx(np.mean([1 / math.log2(1 + p) for p in (4, 5, 6, 7)]))


def test_ndcg_stops_at_ten_places():
    scores = expected_scores(
        _groups(above=10, size=1, positives_above=0, positives=1), num_queries=1
    )
    assert scores.ndcg[0] == 0
    assert scores.recall[0].tolist() == [0, 0, 0]
    assert scores.average_precision[0] == pytest.approx(1 / 11)


def test_queries_without_a_right_answer_hold_nan():
    scores = expected_scores(
        _groups(above=0, size=1, positives_above=0, positives=1, query=[1]), num_queries=2
    )
    assert np.isnan(_row(scores, 0)).all()
    np.testing.assert_allclose(_row(scores, 1), 1)


def test_only_ties_with_wrong_answers_count_as_tied():
    groups = _groups([0, 0], [2, 2], [0, 0], [2, 1], query=[0, 1])
    assert expected_scores(groups, num_queries=2).tied.tolist() == [False, True]


def test_a_group_of_no_candidates_adds_nothing():
    # A resample may draw none of a group's candidates.
    groups = _groups([0, 0], [0, 1], [0, 0], [0, 1])
    np.testing.assert_allclose(_row(expected_scores(groups, num_queries=1)), 1)
