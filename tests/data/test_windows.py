from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointspace.data.windows import (
    Window,
    clip_positions,
    num_short_episodes,
    sliding_windows,
    whole_episodes,
    window_steps,
)
from jointspace.errors import InputError


def test_windows_start_at_multiples_of_the_stride_and_stay_inside():
    windows = sliding_windows([10, 4], fps=10.0, window_s=0.4, stride_s=0.3)
    assert windows == (Window(0, 0, 4), Window(0, 3, 7), Window(0, 6, 10), Window(1, 0, 4))


def test_a_last_window_that_would_reach_past_the_end_is_left_out():
    assert sliding_windows([9], fps=10.0, window_s=0.4, stride_s=0.3)[-1] == Window(0, 3, 7)


def test_an_episode_shorter_than_a_window_gives_none_and_is_counted():
    lengths = [3, 4, 0, 5]
    windows = sliding_windows(lengths, fps=10.0, window_s=0.4, stride_s=0.4)
    assert [w.episode for w in windows] == [1, 3]
    assert num_short_episodes(lengths, fps=10.0, window_s=0.4) == 2
    assert num_short_episodes(lengths, fps=10.0, window_s=0.4, episodes=[0, 1]) == 1


def test_only_the_chosen_episodes_are_cut_under_their_own_positions():
    windows = sliding_windows([8, 8, 8], fps=10.0, window_s=0.8, stride_s=0.8, episodes=[2, 0])
    assert [w.episode for w in windows] == [2, 0]
    assert whole_episodes([8, 0, 5], episodes=[2, 1]) == (Window(2, 0, 5),)


@settings(max_examples=40)
@given(
    length=st.integers(1, 400),
    fps=st.sampled_from([5.0, 10.0, 15.0, 29.97, 30.0, 50.0]),
    seconds=st.floats(0.05, 4.0),
)
def test_equal_length_and_stride_touch_without_overlap_at_any_rate(length, fps, seconds):
    windows = sliding_windows([length], fps=fps, window_s=seconds, stride_s=seconds)
    steps = window_steps(seconds, fps=fps)
    assert len(windows) == length // steps
    for before, after in pairwise(windows):
        assert after.start == before.stop
    assert all(len(w) == steps and w.stop <= length for w in windows)


def test_a_window_shorter_than_a_step_is_one_step():
    assert window_steps(0.01, fps=10.0) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_s": 0.0}, "window_s must be a positive number of seconds, got 0.0"),
        ({"stride_s": -1.0}, "stride_s must be a positive number of seconds, got -1.0"),
        ({"window_s": float("nan")}, "window_s must be a positive"),
        ({"fps": 0.0}, "fps must be positive, got 0.0"),
        ({"episodes": [1]}, "episode position 1 does not exist: there are 1 episodes"),
    ],
)
def test_impossible_windows_are_refused(change, message):
    arguments = {"fps": 10.0, "window_s": 1.0, "stride_s": 1.0} | change
    with pytest.raises(InputError, match=message):
        sliding_windows([20], **arguments)


def test_one_picture_is_the_first_and_several_reach_from_first_to_last():
    assert clip_positions(11, 1).tolist() == [0]
    assert clip_positions(11, 3).tolist() == [0, 5, 10]
    assert clip_positions(10, 4).tolist() == [0, 3, 6, 9]


def test_a_span_with_fewer_steps_than_pictures_gives_each_step_once():
    assert clip_positions(3, 8).tolist() == [0, 1, 2]
    assert clip_positions(1, 8).tolist() == [0]


def test_phase_moves_each_picture_by_its_share_of_the_distance_and_stays_inside():
    phase = np.array([-0.5, 0.5, 0.5])
    assert clip_positions(9, 3, phase=phase).tolist() == [0, 6, 8]
    assert clip_positions(9, 1, phase=np.array([0.5])).tolist() == [0]


@settings(max_examples=40)
@given(num_steps=st.integers(1, 300), num_pictures=st.integers(1, 16), seed=st.integers(0, 99))
def test_clips_are_in_order_and_inside_the_span(num_steps, num_pictures, seed):
    phase = np.random.default_rng(seed).uniform(-0.5, 0.5, size=num_pictures)
    positions = clip_positions(num_steps, num_pictures, phase=phase)
    assert (np.diff(positions) >= 0).all()
    assert positions.min() >= 0
    assert positions.max() < num_steps
