import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation.projection import principal_components


def test_axes_are_those_of_a_singular_value_decomposition():
    rows = np.random.default_rng(0).standard_normal((40, 6)) * np.array([5, 3, 1, 1, 1, 1])
    projection = principal_components(rows)
    left, singular, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(projection.points), np.abs(left[:, :2] * singular[:2]))
    np.testing.assert_allclose(projection.explained, (singular**2 / (singular**2).sum())[:2])


def test_the_largest_loading_points_up():
    rows = np.array([[0.0, 0], [1, -3], [2, -6], [3, -9]])
    for sign in (1, -1):
        points = principal_components(sign * rows).points[:, 0]
        assert np.all(np.diff(points) * sign < 0)


def test_equal_rows_explain_nothing():
    projection = principal_components(np.ones((3, 4)))
    assert projection.explained.tolist() == [0, 0]
    np.testing.assert_allclose(projection.points, 0)


def test_too_few_dimensions_are_refused():
    with pytest.raises(InputError, match="got 3 rows of 1"):
        principal_components(np.ones((3, 1)))
    with pytest.raises(InputError, match="got 0 rows"):
        principal_components(np.ones((0, 4)))
