import numpy as np
import pytest

from jointspace.data.lerobot_write_stats import (
    QUANTILES,
    column_stats,
    count_levels,
    picture_stats,
)

NAMES = ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]


def test_statistics_of_numbers_are_those_of_each_dimension():
    values = np.random.default_rng(0).normal(size=(37, 3)).astype(np.float32)
    stats = column_stats(values)
    assert list(stats) == NAMES
    assert stats["count"] == [37]
    for i in range(3):
        column = [float(value) for value in values[:, i]]
        mean = sum(column) / 37
        assert stats["min"][i] == min(column)
        assert stats["max"][i] == max(column)
        assert stats["mean"][i] == pytest.approx(mean, rel=1e-12)
        spread = (sum((value - mean) ** 2 for value in column) / 37) ** 0.5
        assert stats["std"][i] == pytest.approx(spread, rel=1e-12)
        assert stats["q50"][i] == sorted(column)[18]
        assert stats["q10"][i] < stats["q50"][i] < stats["q90"][i]


def test_whole_numbers_keep_whole_bounds():
    stats = column_stats(np.array([[3], [5], [10]]))
    assert (stats["min"], stats["max"], stats["count"]) == ([3], [10], [3])
    assert all(type(stats[name][0]) is int for name in ("min", "max", "count"))
    assert stats["mean"] == [6.0]


def test_statistics_of_pictures_are_those_of_their_pixels():
    rng = np.random.default_rng(1)
    pictures = rng.integers(7, 201, size=(4, 6, 8, 3)).astype(np.uint8)
    pictures[..., 2] //= 3
    stats = picture_stats(count_levels(pictures), num_frames=4)
    assert list(stats) == NAMES
    assert stats["count"] == [4]
    for i in range(3):
        pixels = pictures[..., i].ravel() / 255
        wanted = {"min": pixels.min(), "max": pixels.max(), "mean": pixels.mean()}
        wanted["std"] = pixels.std()
        for name, share in zip(NAMES[5:], QUANTILES, strict=True):
            wanted[name] = np.quantile(pixels, share, method="inverted_cdf")
        for name, value in wanted.items():
            assert np.shape(stats[name]) == (3, 1, 1)
            assert stats[name][i][0][0] == pytest.approx(value, abs=1e-12), name


def test_a_quantile_is_the_smallest_level_that_enough_pixels_do_not_exceed():
    pictures = np.zeros((2, 5, 5, 3), dtype=np.uint8)
    pictures[1] = 51  # exactly half of the pixels are darker
    stats = picture_stats(count_levels(pictures), num_frames=2)
    assert stats["q50"] == [[[0.0]]] * 3
    assert stats["q90"] == [[[0.2]]] * 3


def test_counts_of_levels_add_up():
    pictures = np.random.default_rng(2).integers(0, 256, size=(5, 4, 4, 3)).astype(np.uint8)
    parts = count_levels(pictures[:2]) + count_levels(pictures[2:])
    np.testing.assert_array_equal(parts, count_levels(pictures))
    assert parts.sum() == pictures.size
