"""Every pair of a batch, and what its pairs share."""

import itertools

import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, STATE, TEXT, VISION, Modality, RowIds
from jointspace.losses.all_pairs import pair_all
from tests.losses.cases import make_rows


def test_pairs_of_alike_rows_share_what_is_worked_out():
    rows = make_rows(5)
    everywhere = torch.ones(5, dtype=torch.bool)
    present = dict.fromkeys((VISION, TEXT, ACTION), everywhere) | {
        STATE: torch.tensor([True, False, True, True, True])
    }
    pairs = {(a, b): p for a, b, p in pair_all(present, rows, present=present)}
    assert set(pairs) == set(itertools.combinations((VISION, TEXT, ACTION, STATE), 2))
    assert pairs[VISION, TEXT] is pairs[TEXT, ACTION]
    assert pairs[VISION, TEXT] is not pairs[VISION, ACTION]
    np.testing.assert_array_equal(pairs[VISION, STATE].query.index, [0, 2, 3, 4])


def test_rows_that_are_a_text_alone_mean_a_goal_on_either_side():
    ids = np.zeros(3, dtype=int)
    rows = RowIds(np.arange(3), ids, ids, np.zeros(3), np.ones(3))
    fused = Modality("vision+text")
    present = dict.fromkeys((ACTION, fused), torch.ones(3, dtype=torch.bool))
    text_only = {fused: torch.tensor([False, True, False])}
    ((_, _, pairing),) = pair_all(present, rows, present=present, text_only=text_only)
    np.testing.assert_array_equal(
        pairing.positive(slice(0, 3), slice(0, 3)),
        [[True, True, False], [False, True, False], [False, True, True]],
    )


@pytest.mark.parametrize("positives", ["ids", "diagonal"])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_diagonal_of_positives_is_known_without_the_matrix(positives, repeated):
    number = np.arange(6)
    goal = np.where(repeated, number // 2, number - 2)  # two rows name no goal
    rows = RowIds(number, goal, goal, np.zeros(6), np.ones(6))
    present = {m: torch.ones(6, dtype=torch.bool) for m in (VISION, TEXT, ACTION)}
    everyone = slice(0, 6), slice(0, 6)
    for first, second, pairing in pair_all(present, rows, present=present, positives=positives):
        is_eye = np.array_equal(pairing.positive(*everyone), np.eye(6, dtype=bool))
        assert pairing.is_diagonal == is_eye
        assert is_eye == (positives == "diagonal" or not repeated or TEXT not in {first, second})
