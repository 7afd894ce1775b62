"""Speed, acceleration and range, against plain arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointspace.errors import InputError
from jointspace.robot.core.limits import Channel, MotionLimiter

DRIVE = Channel(name="linear.x", max_speed=0.5, max_acceleration=1.0)
JOINT = Channel(
    name="joint", kind="position", max_speed=0.8, max_acceleration=2.0, low=-1.0, high=1.0
)


def test_a_velocity_climbs_by_its_acceleration_to_its_largest_speed():
    limiter = MotionLimiter([DRIVE])
    got = [limiter.follow(np.array([9.0]), dt_s=0.1)[0] for _ in range(7)]
    np.testing.assert_allclose(got, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])
    got = [limiter.follow(np.array([-9.0]), dt_s=0.2)[0] for _ in range(6)]
    np.testing.assert_allclose(got, [0.3, 0.1, -0.1, -0.3, -0.5, -0.5])


def test_no_time_no_change():
    limiter = MotionLimiter([DRIVE])
    assert limiter.follow(np.array([0.3]), dt_s=0.0)[0] == 0
    assert limiter.follow(np.array([0.3]), dt_s=-1.0)[0] == 0


def test_stop_is_at_once_and_the_ramp_starts_anew():
    limiter = MotionLimiter([DRIVE])
    for _ in range(9):
        limiter.follow(np.array([0.5]), dt_s=0.1)
    assert limiter.stop()[0] == 0
    assert limiter.follow(np.array([0.5]), dt_s=0.1)[0] == pytest.approx(0.1)


def test_a_stop_holds_a_position_where_it_is():
    limiter = MotionLimiter([JOINT, DRIVE])
    limiter.start_from(np.array([0.2, math.nan]))
    for _ in range(3):
        moving = limiter.follow(np.array([1.0, 0.5]), dt_s=0.05)
    assert moving[0] > 0.2
    np.testing.assert_array_equal(limiter.stop(), [moving[0], 0.0])
    first = limiter.follow(np.array([1.0, 0.5]), dt_s=0.05)
    assert first[0] - moving[0] <= 2.0 * 0.05**2 + 1e-12  # from rest


def test_a_position_is_unknown_until_it_is_measured():
    limiter = MotionLimiter([DRIVE, JOINT])
    assert not limiter.knows_positions
    assert np.isnan(limiter.stop()).tolist() == [False, True]
    limiter.start_from(np.array([3.0, math.nan]))
    assert not limiter.knows_positions
    limiter.start_from(np.array([3.0, 0.5]))
    assert limiter.knows_positions
    np.testing.assert_array_equal(limiter.values, [0.0, 0.5])


def test_a_position_arrives_and_stays():
    limiter = MotionLimiter([JOINT])
    limiter.start_from(np.array([0.0]))
    path = np.array([limiter.follow(np.array([0.6]), dt_s=0.05)[0] for _ in range(80)])
    assert path.max() <= 0.6 + 1e-9
    assert path[-1] == pytest.approx(0.6, abs=1e-3)


def test_velocities_alone_know_all_of_their_positions():
    assert MotionLimiter([DRIVE]).knows_positions
    assert MotionLimiter([]).follow(np.zeros(0), dt_s=0.1).shape == (0,)


any_number = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=150)
@given(
    steps=st.lists(
        st.tuples(any_number, any_number, st.floats(0.001, 0.3), st.booleans()), max_size=60
    ),
    start=st.floats(-1.0, 1.0),
)
def test_whatever_the_targets_speed_acceleration_and_range_are_kept(steps, start):
    limiter = MotionLimiter([DRIVE, JOINT])
    limiter.start_from(np.array([0.0, start]))
    velocity, position, speed = 0.0, start, 0.0
    for first, second, dt_s, stop in steps:
        if stop:
            values = limiter.stop()
            assert values[0] == 0
            assert values[1] == position
            velocity = speed = 0.0
            continue
        values = limiter.follow(np.array([first, second]), dt_s=dt_s)
        assert abs(values[0]) <= 0.5
        assert abs(values[0] - velocity) <= 1.0 * dt_s + 1e-9
        new_speed = (values[1] - position) / dt_s
        assert abs(new_speed) <= 0.8 + 1e-9
        assert abs(new_speed - speed) <= 2.0 * dt_s + 1e-9
        assert -1.0 - 1e-9 <= values[1] <= 1.0 + 1e-9
        velocity, position, speed = values[0], values[1], new_speed


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"max_speed": 0.0}, "max_speed: got 0.0"),
        ({"max_speed": math.nan}, "max_speed: got nan"),
        ({"max_acceleration": -1.0}, "max_acceleration: got -1.0"),
        ({"max_acceleration": math.inf}, "max_acceleration: got inf"),
        ({"low": 1.0, "high": 1.0}, "low 1.0 and high 1.0"),
        ({"low": math.nan}, "low nan"),
    ],
)
def test_a_channel_without_usable_limits_is_refused(changes, match):
    with pytest.raises(InputError, match=f"channel 'x'.*{match}"):
        Channel(**{"name": "x", "max_speed": 1.0, "max_acceleration": 1.0, **changes})
