"""A row's random numbers are its own, whatever is read with it."""

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.train.row_generator import RowGenerator


def draws(rows, *, seed=(1, 2, 3), padding=0):
    rng = RowGenerator(seed, rows=np.asarray(rows, dtype=np.int64))
    count = len(rows)
    return [
        rng.uniform(-0.5, 0.5, size=count),
        rng.integers(-3, 3, size=(count, 2), endpoint=True),
        rng.random((count, 5 + padding))[:, :5],
        rng.standard_normal((count, 4 + padding, 3), dtype=np.float32)[:, :4],
    ]


def test_a_row_draws_the_same_beside_other_rows_and_however_far_it_is_padded():
    whole = draws(range(10))
    for positions in ([7, 2], [4], []):
        for all_rows, some in zip(whole, draws(positions, padding=6), strict=True):
            np.testing.assert_array_equal(some, all_rows[positions])


def test_rows_calls_and_seeds_draw_differently():
    first, second = draws([0, 1])[2]
    assert not np.isin(first, second).any()
    rng = RowGenerator((1,), rows=np.arange(3))
    assert not np.isin(rng.random((3, 8)), rng.random((3, 8))).any()
    assert not np.isin(draws([0])[2], draws([0], seed=(1, 2, 4))[2]).any()


def test_numbers_are_uniform_and_normal_and_rows_are_independent():
    rng = RowGenerator((0, 5), rows=np.arange(40))
    uniform = rng.random((40, 5000))
    assert 0 <= uniform.min() < uniform.max() < 1
    counts = np.histogram(uniform, 20, (0, 1))[0]
    assert (abs(counts - 10_000) < 500).all()
    normal = rng.standard_normal((40, 5000), dtype=np.float32)
    assert normal.dtype == np.float32
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((normal.astype(float) ** power).mean() - moment) < 0.05
    correlated = np.corrcoef(normal) - np.eye(40)
    assert abs(correlated).max() < 0.08
    whole = rng.integers(0, 4, size=(40, 1000))
    assert sorted(np.unique(whole)) == [0, 1, 2, 3]
    assert sorted(np.unique(rng.integers(4, size=(40, 1000), endpoint=True))) == [0, 1, 2, 3, 4]


def test_an_array_without_the_rows_first_is_refused():
    with pytest.raises(InputError, match=r"size is \(4, 2\); wanted 3 rows first"):
        RowGenerator((0,), rows=np.arange(3)).random((4, 2))
