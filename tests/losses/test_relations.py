"""Relations between rows: from ids, over the rows that have both modalities."""

import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, STATE, TEXT, VISION, Direction, Modality, RowIds
from jointspace.losses.relations import compare_all, relate


def make_rows(episode, goal, start_s, length_s=1.0):
    start = np.asarray(start_s, dtype=float)
    ids = np.asarray(goal)
    return RowIds(np.asarray(episode), ids, ids, start, start + length_s)


ROWS = make_rows([0, 0, 0, 1, 2], [7, 7, 7, 7, 8], [0.0, 0.4, 5.0, 0.0, 0.0])


def test_text_pairs_take_every_row_of_the_goal_as_positive():
    relations = relate(ROWS, by_goal=True)
    expected = np.zeros((5, 5), dtype=bool)
    expected[:4, :4] = True
    expected[4, 4] = True
    np.testing.assert_array_equal(relations.positive, expected)
    assert not relations.ignore.any()
    np.testing.assert_array_equal(relations.negative, ~expected)


def test_paraphrases_of_one_goal_are_positives_of_each_other():
    spans = np.zeros(3), np.ones(3)
    rows = RowIds(np.arange(3), np.array([0, 1, 2]), np.array([5, 5, 6]), *spans)
    expected = [[True, True, False], [True, True, False], [False, False, True]]
    np.testing.assert_array_equal(relate(rows, by_goal=True).positive, expected)


def test_rows_without_a_goal_are_not_one_group():
    rows = make_rows([0, 1], [-1, -1], [0.0, 0.0])
    np.testing.assert_array_equal(relate(rows, by_goal=True).positive, np.eye(2, dtype=bool))


def test_other_pairs_mean_the_row_and_ignore_overlapping_rows_of_its_episode():
    relations = relate(ROWS, by_goal=False)
    np.testing.assert_array_equal(relations.positive, np.eye(5, dtype=bool))
    expected = np.zeros((5, 5), dtype=bool)
    expected[0, 1] = expected[1, 0] = True
    np.testing.assert_array_equal(relations.ignore, expected)
    assert relations.negative[0, 3], "the instruction in another episode is a hard negative"


@pytest.mark.parametrize(
    ("overlap", "start_s", "ignored"),
    [(0.5, 0.5, False), (0.5, 0.49, True), (0.0, 0.9, True), (0.0, 1.0, False), (1.0, 0.1, False)],
)
def test_the_overlap_threshold_is_exclusive(overlap, start_s, ignored):
    rows = make_rows([0, 0], [1, 1], [0.0, start_s])
    assert relate(rows, by_goal=False, overlap=overlap).ignore[0, 1] == ignored


def test_overlap_is_a_part_of_the_shorter_span():
    rows = make_rows([0, 0, 0], [1, 1, 1], [0.0, 9.0, 9.7], np.array([10.0, 1.0, 1.0]))
    ignore = relate(rows, by_goal=False).ignore
    assert ignore[0, 1]
    assert ignore[1, 0]
    assert not ignore[0, 2]


def test_spans_without_length_overlap_where_they_lie_inside():
    rows = make_rows([0, 0, 0], [1, 1, 1], [2.0, 1.5, 4.0], np.array([0.0, 1.0, 0.0]))
    expected = [[False, True, False], [True, False, False], [False, False, False]]
    np.testing.assert_array_equal(relate(rows, by_goal=False).ignore, expected)


def test_diagonal_knows_only_the_row_itself():
    relations = relate(ROWS, by_goal=True, positives="diagonal")
    np.testing.assert_array_equal(relations.positive, np.eye(5, dtype=bool))
    assert not relations.ignore.any()


def test_by_goal_can_differ_from_row_to_row():
    relations = relate(ROWS, by_goal=np.array([True, False, False, False, False]))
    np.testing.assert_array_equal(relations.positive[0], [True, True, True, True, False])
    assert not relations.ignore[0].any()
    np.testing.assert_array_equal(relations.positive[1], [False, True, False, False, False])
    np.testing.assert_array_equal(relations.ignore[1], [True, False, False, False, False])


def test_a_batch_of_one_window_repeated_has_no_negatives():
    rows = make_rows([3, 3, 3], [1, 1, 1], [2.0, 2.0, 2.0])
    assert not relate(rows, by_goal=False).negative.any()
    assert not relate(rows, by_goal=True).negative.any()


def test_a_positive_is_never_ignored():
    relations = relate(ROWS, by_goal=np.array([True, False, True, False, False]), overlap=0.0)
    assert not (relations.positive & relations.ignore).any()


def test_every_pair_is_compared_in_both_directions_over_the_rows_that_have_both():
    generator = torch.Generator().manual_seed(0)
    embeddings = {
        m: torch.randn(5, 3, generator=generator, dtype=torch.float64)
        for m in (VISION, TEXT, ACTION)
    }
    present = {
        VISION: torch.tensor([True, True, True, False, True]),
        TEXT: torch.tensor([True, True, False, True, True]),
        ACTION: torch.tensor([False, True, True, True, True]),
    }
    pairs = {p.direction: p for p in compare_all(embeddings, ROWS, present=present)}
    assert len(pairs) == 6
    both = [0, 1, 4]
    pair = pairs[Direction(TEXT, VISION)]
    torch.testing.assert_close(pair.cosine, embeddings[TEXT][both] @ embeddings[VISION][both].T)
    np.testing.assert_array_equal(
        pair.positive.numpy(), [[True, True, False], [True, True, False], [False, False, True]]
    )
    opposite = pairs[Direction(VISION, TEXT)]
    torch.testing.assert_close(opposite.cosine, pair.cosine.T)
    assert not pair.ignore.any()
    identity = np.eye(3, dtype=bool)
    np.testing.assert_array_equal(pairs[Direction(VISION, ACTION)].positive.numpy(), identity)


def test_a_pair_that_fewer_than_two_rows_have_is_left_out():
    embeddings = {m: torch.zeros(3, 2) for m in (VISION, ACTION, STATE)}
    everywhere = torch.ones(3, dtype=torch.bool)
    present = {
        VISION: everywhere,
        ACTION: everywhere,
        STATE: torch.tensor([False, True, False]),
    }
    rows = make_rows([0, 1, 2], [0, 0, 0], [0.0, 0.0, 0.0])
    found = {p.direction for p in compare_all(embeddings, rows, present=present)}
    assert found == {Direction(VISION, ACTION), Direction(ACTION, VISION)}


def test_half_precision_embeddings_are_compared_in_single_precision():
    embeddings = {m: torch.ones(2, 2, dtype=torch.bfloat16) for m in (VISION, ACTION)}
    present = {m: torch.ones(2, dtype=torch.bool) for m in embeddings}
    rows = make_rows([0, 1], [0, 0], [0.0, 0.0])
    with torch.autocast("cpu", torch.bfloat16):
        pairs = list(compare_all(embeddings, rows, present=present))
    assert {p.cosine.dtype for p in pairs} == {torch.float32}


def test_rows_of_a_fused_query_that_are_made_of_text_alone_mean_a_goal():
    fused = Modality("vision+text")
    embeddings = {fused: torch.eye(3), ACTION: torch.eye(3)}
    present = {m: torch.ones(3, dtype=torch.bool) for m in embeddings}
    rows = make_rows([0, 0, 1], [4, 4, 4], [0.0, 0.1, 0.0])
    text_only = {fused: torch.tensor([False, False, True])}
    pairs = {
        p.direction: p for p in compare_all(embeddings, rows, present=present, text_only=text_only)
    }
    pair = pairs[Direction(fused, ACTION)]
    np.testing.assert_array_equal(
        pair.positive.numpy(), [[True, False, False], [False, True, False], [True, True, True]]
    )
    np.testing.assert_array_equal(
        pair.ignore.numpy(), [[False, True, False], [True, False, False], [False, False, False]]
    )
    np.testing.assert_array_equal(
        pairs[Direction(ACTION, fused)].positive.numpy(), pair.positive.numpy().T
    )
