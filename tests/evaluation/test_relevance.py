import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation.relevance import answer_ids, distinct_texts, overlapping_pairs
from tests.evaluation.reference import row_ids


def test_each_instruction_is_listed_once_with_its_goal():
    rows = row_ids(range(5), instruction=[4, 2, 4, 3, 2], goal=[0, 1, 0, 1, 1])
    texts = distinct_texts(rows, positives="goal")
    assert texts.instruction.tolist() == [2, 3, 4]
    assert texts.row.tolist() == [1, 3, 0]
    assert texts.answers.tolist() == [1, 1, 0]
    assert distinct_texts(rows, positives="instruction").answers.tolist() == [2, 3, 4]
    assert answer_ids(rows, positives="goal").tolist() == [0, 1, 0, 1, 1]


def test_an_instruction_of_two_goals_is_refused():
    rows = row_ids(range(3), instruction=[1, 1, 2], goal=[5, 6, 7])
    with pytest.raises(InputError, match=r"instruction 1 has more than one goal \(5 and 6\)"):
        distinct_texts(rows, positives="goal")
    assert len(distinct_texts(rows, positives="instruction").row) == 2


def _plain_overlaps(rows):
    return {
        (i, j)
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j
        and rows.episode[i] == rows.episode[j]
        and rows.start_s[i] < rows.stop_s[j]
        and rows.start_s[j] < rows.stop_s[i]
    }


@pytest.mark.parametrize("seed", range(5))
def test_overlapping_rows_of_an_episode_are_found(seed):
    generator = np.random.default_rng(seed)
    start_s = generator.integers(0, 20, size=30) * 0.5
    rows = row_ids(
        generator.integers(0, 4, size=30),
        start_s=start_s,
        stop_s=start_s + generator.integers(1, 6, size=30) * 0.5,
    )
    pairs = overlapping_pairs(rows)
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs)
    assert {tuple(pair) for pair in pairs.tolist()} == _plain_overlaps(rows)
    assert len(pairs) > 0


def test_windows_that_only_touch_do_not_overlap():
    start_s = np.arange(40) * 0.1
    rows = row_ids([0] * 40, start_s=start_s, stop_s=start_s + 0.1)
    assert (rows.stop_s[:-1] > rows.start_s[1:]).any()  # by rounding: 0.1 is not exact
    assert len(overlapping_pairs(rows)) == 0
    assert len(overlapping_pairs(row_ids([]))) == 0
