"""Pairings against the plain statement of the rules."""

import numpy as np
import pytest

from jointspace.batch import RowIds
from jointspace.losses.pairing import Pairing, Side
from jointspace.losses.relations import relate
from tests.losses.cases import PAIRS, by_goal_masks, make_pairing, make_rows

RULES = [
    {"positives": positives, "ignore": ignore}
    for positives in ("ids", "diagonal")
    for ignore in ("none", "overlap", "instruction", "goal")
]


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("rules", RULES, ids=str)
def test_pairings_state_the_rules_of_relate_in_any_order(pair, rules):
    for seed in range(4):
        rows = make_rows(17, seed=seed)
        query, target = by_goal_masks(pair, 17)
        expected = relate(rows, by_goal=query, target_by_goal=target, **rules)
        given = make_pairing(rows, pair, **rules)
        everyone = slice(0, 17), slice(0, 17)
        for pairing in (given, given.sorted()):
            grid = np.ix_(pairing.query.index, pairing.target.index)
            np.testing.assert_array_equal(pairing.positive(*everyone), expected.positive[grid])
            np.testing.assert_array_equal(pairing.ignored(*everyone), expected.ignore[grid])
        assert given.ignores_any or not expected.ignore.any()


@pytest.mark.parametrize("pair", PAIRS)
def test_groups_count_every_positive_once(pair):
    rows = make_rows(19, seed=5)
    pairing = make_pairing(rows, pair, keep_query=np.arange(19) % 3 > 0)
    positive = pairing.positive(slice(0, len(pairing.query)), slice(0, 19))
    found = np.zeros_like(positive, dtype=int)
    for each in pairing.groupings:
        found += (each.query[:, None] == each.target) & (each.query[:, None] >= 0)
    np.testing.assert_array_equal(found, positive)
    of_query, of_target = pairing.num_positives
    np.testing.assert_array_equal(of_query, positive.sum(1))
    np.testing.assert_array_equal(of_target, positive.sum(0))


def test_sides_may_hold_different_rows_of_a_larger_batch():
    rows = make_rows(12, seed=2)
    number = np.arange(12)
    whole = make_pairing(rows, "steps", ignore="goal")
    part = Pairing(
        Side.of(rows.take(slice(4, 9)), by_goal=False, number=number[4:9]),
        Side.of(rows, by_goal=False, number=number),
        ignore="goal",
    )
    everyone = slice(0, 5), slice(0, 12)
    rectangle = slice(4, 9), slice(0, 12)
    np.testing.assert_array_equal(part.positive(*everyone), whole.positive(*rectangle))
    np.testing.assert_array_equal(part.ignored(*everyone), whole.ignored(*rectangle))
    assert part.positive(*everyone).sum() == 5


def test_spans_that_lie_apart_and_texts_ignore_nobody():
    spans = np.arange(4.0), np.arange(4.0) + 0.5
    ids = np.zeros(4, dtype=int)
    apart = RowIds(ids, ids, ids, *spans)
    assert not make_pairing(apart, "steps").ignores_any
    assert make_pairing(apart, "steps", ignore="instruction").ignores_any
    together = RowIds(ids, ids, ids, spans[0], spans[0] + 1.5)
    assert make_pairing(together, "steps").ignores_any
    assert not make_pairing(together, "text").ignores_any
    assert not make_pairing(together, "steps", ignore="none").ignores_any


def test_a_long_span_meets_a_row_beyond_its_neighbour():
    start, stop = np.array([0.0, 1.0, 5.0]), np.array([10.0, 2.0, 6.0])
    ids = np.zeros(3, dtype=int)
    pairing = make_pairing(RowIds(ids, np.arange(3), np.arange(3), start, stop), "steps")
    assert pairing.ignores_any
    ignored = pairing.ignored(slice(0, 3), slice(0, 3))
    assert ignored[0, 2]
    assert not ignored[1, 2]


def test_different_sides_are_no_diagonal():
    assert not make_pairing(make_rows(6), "steps", keep_query=np.arange(6) > 1).is_diagonal
