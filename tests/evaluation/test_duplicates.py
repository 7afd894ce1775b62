import numpy as np

from jointspace.evaluation import duplicates
from jointspace.evaluation.duplicates import distinct_rows


def test_copies_are_found_in_the_order_of_their_first_occurrence():
    rows = np.array([[2.0, 0], [1, 1], [2, 0], [0, 3], [1, 1], [2, 0]], dtype=np.float32)
    distinct = distinct_rows(rows)
    assert distinct.repeats
    np.testing.assert_array_equal(distinct.vectors, [[2, 0], [1, 1], [0, 3]])
    assert distinct.inverse.tolist() == [0, 1, 0, 2, 1, 0]
    assert distinct.copies.tolist() == [3, 2, 1]


def test_rows_without_copies_are_not_copied():
    rows = np.eye(3, dtype=np.float32)
    distinct = distinct_rows(rows)
    assert not distinct.repeats
    assert distinct.vectors is rows
    assert distinct.inverse.tolist() == [0, 1, 2]


def test_zero_and_minus_zero_are_one_row():
    distinct = distinct_rows(np.array([[0.0, 1], [-0.0, 1]], dtype=np.float32))
    assert distinct.copies.tolist() == [2]


def test_colliding_hashes_do_not_merge_different_rows(monkeypatch):
    monkeypatch.setattr(
        duplicates, "_row_hashes", lambda rows: np.zeros(len(rows), dtype=np.uint64)
    )
    rows = np.array([[3.0, 0], [1, 1], [3, 0]], dtype=np.float32)
    distinct = distinct_rows(rows)
    np.testing.assert_array_equal(distinct.vectors, [[3, 0], [1, 1]])
    assert distinct.inverse.tolist() == [0, 1, 0]
