import numpy as np
import pytest

from jointspace.evaluation import ranking
from jointspace.evaluation.ranking import count_ranks, count_ranks_both
from tests.evaluation.reference import on_grid, rank_counts, unit


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles that leave uneven last ones at the sizes of these tests."""
    monkeypatch.setattr(ranking, "_TILE_ROWS", 6)
    monkeypatch.setattr(ranking, "_COUNT_ROWS", 3)
    monkeypatch.setattr(ranking, "_RIGHT_ROWS", 4)
    monkeypatch.setattr(ranking, "_TILE_COLUMNS", 5)


def _pairs(generator, count, num_queries, num_targets):
    pairs = np.stack(
        [generator.integers(0, num_queries, count), generator.integers(0, num_targets, count)], 1
    )
    return np.unique(pairs, axis=0)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ignoring", [False, True])
def test_counts_equal_a_plain_loop_with_ties_copies_and_ignored_pairs(seed, ignoring):
    generator = np.random.default_rng(seed)
    query, target = on_grid(generator, 23), on_grid(generator, 17)
    positive = generator.integers(0, 17, size=23)
    ignore = _pairs(generator, 80, 23, 17) if ignoring else None
    counts = count_ranks(query, target, positive=positive, ignore=ignore)
    greater, equal = rank_counts(query, target, positive, [] if ignore is None else ignore)
    np.testing.assert_array_equal(counts.greater, greater)
    np.testing.assert_array_equal(counts.equal, equal)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("ignoring", [False, True])
def test_both_directions_of_one_pass_equal_a_plain_loop(copies, ignoring):
    generator = np.random.default_rng(5)
    # Without copies: distinct coarse rows, so that ties remain between different rows.
    grid = np.unique(on_grid(generator, 400, dim=4), axis=0)
    rows = 22
    first = on_grid(generator, rows) if copies else grid[generator.permutation(len(grid))[:rows]]
    second = on_grid(generator, rows, first.shape[1])
    if not copies:
        second = grid[generator.permutation(len(grid))[:rows]]
    ignore = _pairs(generator, 60, rows, rows) if ignoring else None
    if ignore is not None:
        ignore = np.unique(np.concatenate([ignore, ignore[:, ::-1]]), axis=0)
    listed = [] if ignore is None else ignore
    forward, backward = count_ranks_both(first, second, ignore=ignore)
    own = np.arange(rows)
    for counts, (query, target) in (
        (forward, (first, second)),
        (backward, (second, first)),
    ):
        greater, equal = rank_counts(query, target, own, listed)
        np.testing.assert_array_equal(counts.greater, greater)
        np.testing.assert_array_equal(counts.equal, equal)
        assert (counts.equal > 1).any()


def test_more_rows_than_a_tile_equal_a_sort():
    generator = np.random.default_rng(2)
    first = unit(generator.standard_normal((530, 16)))
    second = unit(first + 0.5 * generator.standard_normal((530, 16)))
    forward, backward = count_ranks_both(first, second)
    similarity = first.astype(np.float64) @ second.T.astype(np.float64)
    own = similarity.diagonal()
    np.testing.assert_array_equal(forward.greater, (similarity > own[:, None]).sum(axis=1))
    np.testing.assert_array_equal(backward.greater, (similarity > own[None, :]).sum(axis=0))
    assert set(forward.equal) == {1}


def test_a_column_of_a_tile_never_overflows_its_byte():
    # Every query beats every target but its own: 255 or more would wrap around to 0.
    assert ranking._COUNT_ROWS <= 255
    assert ranking._TILE_ROWS % ranking._COUNT_ROWS == 0
    assert ranking._TILE_COLUMNS <= 65_535
    count = 600
    angle = 2 * np.pi * np.arange(count) / count
    first = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    forward, backward = count_ranks_both(first, -first)
    np.testing.assert_array_equal(forward.greater, count - 1)
    np.testing.assert_array_equal(backward.greater, count - 1)


def test_copies_tie_at_every_place_of_a_tile():
    # A product rounds one dot product differently at different places on many processors.
    generator = np.random.default_rng(0)
    query = unit(generator.standard_normal((301, 100)))
    target = np.repeat(unit(generator.standard_normal((1, 100))), 301, axis=0)
    counts = count_ranks(query, target, positive=np.arange(301))
    assert set(counts.greater) == {0}
    assert set(counts.equal) == {301}
    forward, backward = count_ranks_both(query, target)
    assert set(forward.equal) == {301}
    assert set(backward.equal) == {1}


def test_expected_rank_is_the_middle_of_the_ties():
    target = np.array([[1.0], [1], [1], [2]], dtype=np.float32)
    counts = count_ranks(np.ones((1, 1), np.float32), target, positive=np.array([1]))
    assert counts.expected_rank.tolist() == [1 + 1 + (3 - 1) / 2]


def test_its_own_pair_is_never_ignored():
    rows = np.eye(3, dtype=np.float32)
    own = np.stack([np.arange(3)] * 2, axis=1)
    for counts in (
        *count_ranks_both(rows, rows, ignore=own),
        count_ranks(rows, rows, positive=np.arange(3), ignore=own),
    ):
        assert counts.expected_rank.tolist() == [1, 1, 1]
