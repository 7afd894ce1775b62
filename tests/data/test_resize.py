import numpy as np
import pytest

from jointspace.data.resize import resize_frame
from jointspace.errors import InputError


def test_a_wide_frame_is_centred_between_black_bars():
    frame = np.full((240, 320, 3), 200, dtype=np.uint8)
    square = resize_frame(frame, image_px=64)
    assert square.shape == (64, 64, 3)
    assert (square[8:56] == 200).all()
    assert not square[:8].any()
    assert not square[56:].any()


def test_a_tall_frame_is_centred_between_black_bars():
    square = resize_frame(np.full((40, 20, 3), 9, dtype=np.uint8), image_px=10)
    assert (square[:, 2:7] == 9).all() or (square[:, 3:8] == 9).all()
    assert int((square > 0).any(axis=(0, 2)).sum()) == 5


def test_a_frame_of_the_right_size_stays_as_it_is():
    frame = np.random.default_rng(0).integers(0, 255, size=(16, 16, 3), dtype=np.uint8)
    square = resize_frame(frame, image_px=16)
    np.testing.assert_array_equal(square, frame)
    assert not np.shares_memory(square, frame)


def test_halving_a_frame_averages_its_pixels():
    # Each output pixel of a bilinear filter with support 2 lies within the values around it, and a
    # picture that is constant over blocks keeps its blocks' colours inside them.
    frame = np.zeros((32, 32, 3), dtype=np.uint8)
    frame[:, 16:, 0] = 240
    half = resize_frame(frame, image_px=16)
    assert (half[:, :7, 0] == 0).all()
    assert (half[:, 9:, 0] == 240).all()
    assert half[..., 0].mean() == pytest.approx(120, abs=1)
    assert not half[..., 1:].any()


def test_small_frames_are_enlarged():
    assert (resize_frame(np.full((2, 2, 3), 7, dtype=np.uint8), image_px=8) == 7).all()


def test_a_thin_frame_keeps_at_least_one_row():
    assert resize_frame(np.full((1, 500, 3), 7, dtype=np.uint8), image_px=8).any()


def test_a_frame_that_is_not_contiguous_gives_the_same_pixels():
    frame = np.random.default_rng(0).integers(0, 255, size=(40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        resize_frame(frame[:, ::-1], image_px=16), resize_frame(frame[:, ::-1].copy(), image_px=16)
    )


@pytest.mark.parametrize(("height", "image_px"), [(0, 8), (8, 0)])
def test_nothing_cannot_be_resized(height, image_px):
    with pytest.raises(InputError, match="expected at least 1"):
        resize_frame(np.zeros((height, 8, 3), dtype=np.uint8), image_px=image_px)
