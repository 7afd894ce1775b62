import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.regression import local_ridge


def _neighbours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = rng.normal(size=(40, 3))
    query = rng.normal(size=3)
    return query, rows, ((rows - query) ** 2).sum(1)


def test_a_plane_is_read_exactly_where_plain_averaging_is_off() -> None:
    rng = np.random.default_rng(0)
    query, rows, distances = _neighbours(rng)
    slopes = rng.normal(size=(3, 2))
    targets = rows @ slopes + 1.5
    exact = local_ridge(query, rows, targets, distances=distances, ridge=1e-9)
    mean = local_ridge(query, rows, targets, distances=distances, ridge=1e9)
    np.testing.assert_allclose(exact, query @ slopes + 1.5, atol=1e-5)
    assert np.abs(mean - (query @ slopes + 1.5)).max() > 0.05


def test_a_huge_ridge_leaves_the_weighted_mean() -> None:
    query, rows, distances = _neighbours(np.random.default_rng(1))
    targets = rows[:, :1] ** 3
    weights = [np.exp(-d / np.median(distances)) for d in distances]
    mean = sum(w * t for w, t in zip(weights, targets, strict=True)) / sum(weights)
    found = local_ridge(query, rows, targets, distances=distances, ridge=1e12)
    np.testing.assert_allclose(found, mean, atol=1e-6)


def test_the_index_finds_what_a_loop_finds() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 4)).astype(np.float32)
    index = DemonstrationIndex(rows, np.zeros((200, 2), np.float32), np.zeros(200, int))
    query = rng.normal(size=4).astype(np.float32)
    found = index.nearest(query, count=7)
    by_loop = sorted(range(200), key=lambda place: float(((rows[place] - query) ** 2).sum()))[:7]
    assert found.places.tolist() == by_loop
    np.testing.assert_allclose(found.distances, ((rows[by_loop] - query) ** 2).sum(1), rtol=1e-4)


def test_fewer_demonstrations_than_asked_for_are_all_found() -> None:
    index = DemonstrationIndex(
        np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.arange(3)
    )
    assert sorted(index.nearest(np.zeros(3, np.float32), count=9).places.tolist()) == [0, 1, 2]


def test_an_empty_index_and_a_query_that_is_not_finite_are_refused() -> None:
    empty = np.zeros((0, 3), np.float32)
    with pytest.raises(InputError, match="at least one"):
        DemonstrationIndex(empty, empty, np.zeros(0, int))
    index = DemonstrationIndex(
        np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.arange(3)
    )
    with pytest.raises(InputError, match="finite"):
        index.nearest(np.array([0, np.nan, 0], np.float32), count=1)
