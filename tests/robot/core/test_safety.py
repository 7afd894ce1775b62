"""Each condition of the safety gate by itself: the state it leads to, and that nothing moves."""

import math
from dataclasses import replace

import numpy as np
import pytest

from jointspace.robot.core.limits import Channel
from jointspace.robot.core.percept import ActionChunk, Command, Percept
from jointspace.robot.core.safety import CLOCK_SLACK_S, INPUT_LEAD_S, SafetyGate, State

DRIVE = Channel(name="linear.x", max_speed=0.5, max_acceleration=1.0)
JOINT = Channel(
    name="joint",
    kind="position",
    max_speed=1.0,
    max_acceleration=10.0,
    low=-1.0,
    high=1.0,
    state_index=2,
)
COMMAND = Command(number=1, text="forward", received_s=0.0)


def make_gate(*channels, **changes):
    options = {
        "control_rate_hz": 20.0,
        "image_timeout_s": 0.5,
        "command_timeout_s": 10.0,
        "state_timeout_s": 0.3,
        "zero_messages": 2,
    }
    return SafetyGate(channels or (DRIVE,), **{**options, **changes})


def percept(now_s, *, command=COMMAND, verdict="accept", **changes):
    return Percept(frame_s=now_s, command=command, similarity=0.9, verdict=verdict, **changes)


def forward(*values, hold=True, start_s=0.0):
    return ActionChunk(values=np.array([values or (0.5,)]), rate_hz=1.0, start_s=start_s, hold=hold)


def moving_gate(**changes):
    """A gate at t = 1 s that has been moving for some ticks, its last picture from t = 1 s."""
    gate = make_gate(**changes)
    gate.tick(0.5)
    gate.tell(replace(COMMAND, received_s=0.5))
    for step in range(1, 11):
        gate.see(percept(0.5 + step / 20), forward())
        decision = gate.tick(0.5 + step / 20)
    assert decision.state is State.ACTING
    assert decision.values[0] > 0.4
    return gate


def assert_still(decision, state, *, publish=True, match=""):
    assert decision.state is state
    assert decision.publish is publish
    assert not decision.values.any()
    assert match in decision.reason


def test_there_is_silence_before_the_first_command_and_a_reason_for_it():
    gate = make_gate()
    gate.see(percept(0.0, command=None, verdict=None), None)
    assert_still(gate.tick(0.0), State.IDLE, publish=False, match="no command yet")


def test_a_command_waits_for_its_first_picture():
    gate = make_gate()
    gate.tick(0.0)
    gate.tell(COMMAND)
    assert_still(gate.tick(0.05), State.WAITING, match="no picture yet")


def test_a_picture_that_was_compared_with_another_command_moves_nothing():
    gate = moving_gate()
    gate.tell(Command(number=2, text="turn left", received_s=1.0))
    assert_still(gate.tick(1.05), State.WAITING, match="turn left")
    gate.see(percept(1.05, command=None), forward())
    assert_still(gate.tick(1.1), State.WAITING)
    gate.see(percept(1.1, command=Command(2, "turn left", 1.0)), forward())
    assert gate.tick(1.15).state is State.ACTING


def test_a_command_that_is_said_again_goes_on_without_a_break():
    gate = moving_gate()
    before = gate.tick(1.0).values[0]
    gate.tell(replace(COMMAND, received_s=1.01))
    assert gate.tick(1.05).values[0] >= before


def test_the_first_tick_moves_nothing_since_no_time_has_passed():
    gate = make_gate()
    gate.tell(COMMAND)
    gate.see(percept(0.0), forward())
    assert gate.tick(0.0).values[0] == 0
    assert gate.tick(0.05).values[0] == pytest.approx(0.05)


def test_a_late_tick_allows_no_larger_step_than_two_periods():
    gate = make_gate()
    gate.tell(COMMAND)
    gate.tick(0.0)
    gate.see(percept(0.4), forward())
    assert gate.tick(0.8).values[0] == pytest.approx(0.1)


@pytest.mark.parametrize("age_s", [0.0, 0.5])
def test_motion_goes_on_to_the_end_of_the_image_timeout(age_s):
    assert moving_gate().tick(1.0 + age_s).state is State.ACTING


def test_row_23_after_the_image_timeout_everything_stands_still_at_once():
    assert_still(moving_gate().tick(1.501), State.BLIND, match="0.50 s old")


@pytest.mark.parametrize("frame_s", [math.nan, -math.inf])
def test_a_picture_of_no_time_moves_nothing(frame_s):
    gate = moving_gate()
    gate.see(percept(frame_s), forward())
    assert_still(gate.tick(1.05), State.BLIND)


@pytest.mark.parametrize("frame_s", [math.inf, 1.4])
def test_a_picture_from_the_future_is_a_broken_clock(frame_s):
    gate = moving_gate()
    gate.see(percept(frame_s), forward())
    assert_still(gate.tick(1.05), State.FAULT, match="in the future")


def test_a_picture_or_command_that_overtook_a_tick_is_good():
    gate = moving_gate()
    gate.see(percept(1.05 + INPUT_LEAD_S * 0.9), forward())
    assert gate.tick(1.05).state is State.ACTING
    gate.tell(replace(COMMAND, received_s=1.1 + INPUT_LEAD_S * 0.9))
    assert gate.tick(1.1).state is State.ACTING


def test_ages_count_from_the_latest_time_that_anything_came_at():
    gate = moving_gate(command_timeout_s=9.0)
    gate.tell(replace(COMMAND, received_s=1.6))
    assert_still(gate.tick(1.45), State.BLIND, match="0.60 s old")


def test_an_input_that_overtook_a_tick_makes_no_larger_step():
    gate = make_gate()
    gate.tell(COMMAND)
    gate.tick(0.0)
    gate.see(percept(0.2), forward())
    assert gate.tick(0.05).values[0] == pytest.approx(0.05)


def test_motion_comes_back_up_the_ramp_when_pictures_come_back():
    gate = moving_gate()
    gate.tick(1.6)
    gate.see(percept(1.64), forward())
    assert gate.tick(1.65).values[0] == pytest.approx(0.05)


def test_after_the_command_timeout_there_are_zeros_and_then_silence():
    gate = moving_gate(command_timeout_s=1.0)
    gate.see(percept(1.45), forward())
    assert gate.tick(1.45).state is State.ACTING
    gate.see(percept(1.55), forward())
    assert_still(gate.tick(1.55), State.IDLE, match="not repeated for 1 s")
    assert_still(gate.tick(1.6), State.IDLE)
    assert_still(gate.tick(1.65), State.IDLE, publish=False, match="not repeated")


def test_a_stop_gives_zeros_and_then_silence_until_the_next_command():
    gate = moving_gate()
    gate.stop("told to stop")
    assert_still(gate.tick(1.05), State.STOPPED, match="told to stop")
    assert_still(gate.tick(1.1), State.STOPPED)
    assert_still(gate.tick(1.15), State.STOPPED, publish=False)
    gate.tell(Command(2, "forward", 1.2))
    gate.see(percept(1.2, command=Command(2, "forward", 1.2)), forward())
    assert gate.tick(1.2).state is State.ACTING


def test_a_stop_is_said_even_if_the_robot_was_told_nothing():
    gate = make_gate()
    gate.stop("told to stop")
    assert_still(gate.tick(0.0), State.STOPPED)


@pytest.mark.parametrize("verdict", ["abstain", "reject", None])
def test_a_command_that_does_not_clearly_apply_moves_nothing(verdict):
    gate = moving_gate()
    gate.see(percept(1.05, verdict=verdict), forward())
    assert_still(gate.tick(1.05), State.ABSTAINING, match=f"similarity 0.9, {verdict}")


def test_a_match_may_be_left_out_by_configuration():
    gate = make_gate(needs_match=False)
    gate.tick(0.0)
    gate.tell(COMMAND)
    gate.see(percept(0.05, verdict=None), forward())
    assert gate.tick(0.05).state is State.ACTING


def test_a_decoder_that_knows_no_action_moves_nothing():
    gate = moving_gate()
    gate.see(percept(1.05), None)
    assert_still(gate.tick(1.05), State.ABSTAINING, match="knows no action")


def test_actions_that_are_over_move_nothing():
    gate = moving_gate()
    gate.see(percept(1.05), forward(hold=False, start_s=0.0))
    assert_still(gate.tick(1.05), State.ABSTAINING, match="actions are over")


@pytest.mark.parametrize("values", [(math.nan,), (math.inf,), (0.1, 0.2)])
def test_an_action_that_is_not_finite_or_of_another_length_is_a_fault(values):
    gate = moving_gate()
    gate.see(percept(1.05), forward(*values))
    assert_still(gate.tick(1.05), State.FAULT, match="the decoder's action is")


def test_a_fault_of_perception_moves_nothing_until_the_next_good_percept():
    gate = moving_gate()
    gate.see(percept(1.05, fault="RuntimeError: out of memory"), forward())
    assert_still(gate.tick(1.05), State.FAULT, match="out of memory")
    assert_still(gate.tick(1.1), State.FAULT)
    gate.see(percept(1.15), forward())
    assert gate.tick(1.15).state is State.ACTING


@pytest.mark.parametrize("now_s", [math.nan, math.inf, -math.inf])
def test_a_clock_that_says_no_time_is_a_fault_for_that_tick(now_s):
    gate = moving_gate()
    assert_still(gate.tick(now_s), State.FAULT, match="the clock says")
    assert gate.tick(1.05).state is State.ACTING
    assert_still(make_gate().tick(now_s), State.FAULT, publish=False)


def test_a_clock_that_goes_back_forgets_the_command_and_what_was_seen():
    gate = moving_gate()
    assert_still(gate.tick(0.9), State.FAULT, match="went back by 0.100 s; give the command again")
    assert gate.num_clock_jumps == 1
    assert_still(gate.tick(0.95), State.FAULT)
    assert_still(gate.tick(1.0), State.FAULT, publish=False)
    gate.tell(Command(2, "forward", 1.0))
    assert_still(gate.tick(1.05), State.WAITING, match="no picture yet")


def test_threads_may_read_the_clock_a_moment_out_of_order():
    gate = moving_gate()
    before = gate.tick(1.05).values[0]
    decision = gate.tick(1.05 - CLOCK_SLACK_S / 2)
    assert decision.state is State.ACTING
    assert decision.values[0] == before
    assert gate.tick(1.05 - CLOCK_SLACK_S * 1.5).state is State.FAULT


def test_a_command_from_the_future_is_a_broken_clock():
    gate = moving_gate()
    gate.tell(replace(COMMAND, received_s=1.06 + INPUT_LEAD_S))
    assert_still(gate.tick(1.05), State.FAULT, match="in the future")


@pytest.mark.parametrize("received_s", [math.nan, math.inf])
def test_a_command_of_no_time_is_not_taken(received_s):
    gate = make_gate()
    assert not gate.tell(replace(COMMAND, received_s=received_s))
    assert gate.command is None


def test_a_clock_that_jumps_forward_runs_into_the_timeouts():
    gate = moving_gate()
    assert_still(gate.tick(1000.0), State.IDLE, match="not repeated")


def test_shutting_down_says_zero_once_and_is_silent_for_good():
    gate = moving_gate()
    assert_still(gate.shut_down_now(), State.SHUT_DOWN)
    assert not gate.tell(replace(COMMAND, received_s=1.0))
    gate.see(percept(1.05), forward())
    gate.stop("told to stop")
    assert_still(gate.tick(1.05), State.SHUT_DOWN, publish=False)


def test_activating_starts_anew_and_silent():
    gate = moving_gate()
    gate.shut_down_now()
    gate.activate()
    assert_still(gate.tick(1.1), State.IDLE, publish=False, match="no command yet")
    gate.tell(Command(2, "forward", 1.1))
    assert_still(gate.tick(1.15), State.WAITING, match="no picture yet")


def test_activating_in_the_middle_of_a_motion_forgets_the_command():
    gate = moving_gate()
    gate.activate()
    assert gate.command is None
    assert_still(gate.tick(1.05), State.IDLE, publish=False, match="no command yet")


def arm_gate():
    gate = make_gate(JOINT)
    gate.tick(0.0)
    gate.tell(COMMAND)
    gate.see(percept(0.05), forward(0.8))
    return gate


def test_an_arm_does_not_move_before_it_is_measured():
    assert_silent = arm_gate().tick(0.05)
    assert assert_silent.state is State.BLIND
    assert not assert_silent.publish


def test_an_arm_whose_state_lacks_the_channel_does_not_move():
    gate = arm_gate()
    gate.measure(np.array([0.1, 0.2]), 0.05)
    decision = gate.tick(0.05)
    assert (decision.state, decision.publish) == (State.WAITING, False)
    assert "not measured" in decision.reason


def test_an_arm_starts_from_where_it_was_measured_and_holds_where_it_stops():
    gate = arm_gate()
    gate.measure(np.array([9.0, 9.0, 0.3]), 0.05)
    first = gate.tick(0.05)
    assert first.state is State.ACTING
    assert 0.3 < first.values[0] <= 0.3 + 10 * 0.05**2
    second = gate.tick(0.1)
    gate.stop("told to stop")
    held = gate.tick(0.15)
    assert held.publish
    assert held.values[0] == second.values[0]
    assert gate.shut_down_now().values[0] == second.values[0]


def test_an_arm_stands_still_when_its_state_is_too_old_or_from_the_future():
    gate = arm_gate()
    gate.measure(np.array([9.0, 9.0, 0.3]), 0.05)
    moved = gate.tick(0.3)
    assert moved.state is State.ACTING
    decision = gate.tick(0.36)
    assert decision.state is State.BLIND
    assert "newest state is 0.31 s old" in decision.reason
    assert decision.values[0] == moved.values[0]
    gate.measure(np.array([9.0, 9.0, 0.3]), 0.7)
    assert gate.tick(0.4).state is State.FAULT


def test_an_arm_that_somebody_moved_in_the_meantime_starts_from_there():
    gate = arm_gate()
    gate.measure(np.array([9.0, 9.0, 0.3]), 0.05)
    gate.tick(0.05)
    gate.stop("told to stop")
    gate.tick(0.1)
    gate.measure(np.array([9.0, 9.0, -0.7]), 0.15)
    command = Command(2, "forward", 0.15)
    gate.tell(command)
    gate.see(percept(0.15, command=command), forward(0.8))
    decision = gate.tick(0.2)
    assert decision.state is State.ACTING
    assert decision.values[0] == pytest.approx(-0.7, abs=0.11)


def test_a_base_needs_no_state_unless_its_decoder_does():
    gate = make_gate(needs_state=True)
    gate.tick(0.0)
    gate.tell(COMMAND)
    gate.see(percept(0.05), forward())
    assert_still(gate.tick(0.05), State.BLIND, match="newest state")
    gate.measure(np.array([1.0]), 0.06)
    assert gate.tick(0.1).state is State.ACTING
