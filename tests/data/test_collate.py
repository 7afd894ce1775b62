import numpy as np
import pytest

from jointspace.batch import STATE, Modality
from jointspace.data.collate import Sample, Steps, collate_frames, collate_rows, collate_steps
from jointspace.errors import InputError


def clip(num_pictures, value=7, *, cameras=2, px=4, **kwargs):
    frames = np.full((num_pictures, cameras, px, px, 3), value, dtype=np.uint8)
    return Sample(frames=frames, **kwargs)


def readings(length, channels=2):
    values = np.arange(1, length * channels + 1, dtype=np.float32).reshape(length, channels)
    return Sample(steps={STATE: Steps(values, np.arange(length) * 0.5)})


def test_clips_are_padded_to_the_longest_with_black_that_is_not_valid():
    out = collate_frames([clip(1), clip(3), Sample()], image_px=4, num_cameras=2)
    assert out.values.shape == (3, 3, 2, 4, 4, 3)
    assert out.valid[:, :, 0].tolist() == [[True, False, False], [True] * 3, [False] * 3]
    assert (out.values[out.valid] == 7).all()
    assert not out.values[~out.valid].any()
    assert out.present.tolist() == [True, True, False]


def test_a_camera_that_delivered_nothing_is_masked_and_blackened():
    delivered = np.array([[True, False], [True, True]])
    out = collate_frames([clip(2, frames_valid=delivered)], image_px=4, num_cameras=2)
    np.testing.assert_array_equal(out.valid[0], delivered)
    assert not out.values[0, 0, 1].any()
    assert out.values[0, 0, 0].all()


def test_picture_times_are_kept():
    sample = clip(2, frames_time_s=np.array([0.0, 0.7]))
    out = collate_frames([sample, clip(3)], image_px=4, num_cameras=2)
    np.testing.assert_allclose(out.time_s, [[0.0, 0.7, 0.0], [0.0, 0.0, 0.0]])


def test_rows_without_any_picture_still_make_an_array():
    out = collate_frames([Sample(), Sample()], image_px=4, num_cameras=1)
    assert out.values.shape == (2, 1, 1, 4, 4, 3)
    assert not out.valid.any()


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (clip(1, px=5), r"row 0: pictures of shape \(2, 5, 5, 3\).*expected \(2, 4, 4, 3\)"),
        (clip(1, cameras=1), r"row 0: pictures of shape \(1, 4, 4, 3\)"),
        (clip(2, frames_time_s=np.zeros(3)), "row 0: 2 pictures but 3 times"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(sample, message):
    with pytest.raises(InputError, match=message):
        collate_frames([sample], image_px=4, num_cameras=2)


def test_readings_are_padded_with_zeros_beside_their_times():
    out = collate_steps([readings(1), readings(3), Sample()], modality=STATE, channels=2)
    assert out.values.tolist() == [
        [[1, 2], [0, 0], [0, 0]],
        [[1, 2], [3, 4], [5, 6]],
        [[0, 0], [0, 0], [0, 0]],
    ]
    assert out.valid.sum(axis=1).tolist() == [1, 3, 0]
    assert out.time_s.tolist() == [[0, 0, 0], [0, 0.5, 1.0], [0, 0, 0]]


def test_a_reading_that_is_not_finite_counts_as_missing():
    sample = readings(4)
    sample.steps[STATE].values[1, 0] = np.nan
    sample.steps[STATE].values[2, 1] = np.inf
    out = collate_steps([sample], modality=STATE, channels=2)
    assert out.valid.tolist() == [[True, False, False, True]]
    assert out.values[0].tolist() == [[1, 2], [0, 0], [0, 0], [7, 8]]


def test_a_sensor_that_no_row_has_gives_one_masked_step():
    out = collate_steps([Sample(), Sample()], modality=Modality("force"), channels=6)
    assert out.values.shape == (2, 1, 6)
    assert not out.valid.any()


def test_readings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="row 1: 'state' has 3 channels, expected 2 as in"):
        collate_steps([readings(2), readings(2, channels=3)], modality=STATE, channels=2)
    short = Sample(steps={STATE: Steps(np.zeros((3, 2), dtype=np.float32), np.zeros(2))})
    with pytest.raises(InputError, match="row 0: 'state' has 3 steps but 2 times"):
        collate_steps([short], modality=STATE, channels=2)


def test_row_ids_are_gathered_in_order():
    rows = collate_rows(
        [Sample(episode=4, instruction=1, goal=2, start_s=0.5, stop_s=1.5), Sample()]
    )
    assert rows.episode.tolist() == [4, -1]
    assert rows.instruction.tolist() == [1, -1]
    assert rows.goal.tolist() == [2, -1]
    assert rows.start_s.tolist() == [0.5, 0.0]
    assert rows.stop_s.tolist() == [1.5, 0.0]
