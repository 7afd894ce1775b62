"""What the robot says, read back from its bytes."""

from types import SimpleNamespace

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot import messages
from jointspace.robot.dds.types import decode, encode, message


def over_the_wire(sent):
    return decode(encode(sent), sent.__msgtype__)


def header(frame_id="front"):
    return messages.header(message, time_ns=3_000_000_004, frame_id=frame_id)


def test_times_come_back_to_the_nanosecond():
    stamp = over_the_wire(header()).stamp
    assert (stamp.sec, stamp.nanosec) == (3, 4)
    assert messages.time_ns(stamp) == 3_000_000_004


def test_velocities_go_where_their_names_say_and_the_rest_is_zero():
    sent = messages.twist(message, ["angular.z", "linear.x"], np.array([0.5, -0.25]))
    received = over_the_wire(sent)
    assert (received.linear.x, received.linear.y, received.linear.z) == (-0.25, 0, 0)
    assert (received.angular.x, received.angular.y, received.angular.z) == (0, 0, 0.5)


def test_velocities_are_stamped_where_a_header_is_given():
    sent = messages.twist(message, ["linear.x"], np.array([0.25]), stamped=header("base"))
    received = over_the_wire(sent)
    assert received.header.frame_id == "base"
    assert received.twist.linear.x == 0.25


def test_an_arm_is_told_positions_and_when_to_be_there():
    sent = messages.joint_trajectory(
        message, ["a", "b"], np.array([0.5, 1.5]), reach_ns=1_050_000_000, header=header("")
    )
    received = over_the_wire(sent)
    (point,) = received.points
    assert received.joint_names == ["a", "b"]
    assert point.positions.tolist() == [0.5, 1.5]
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (1, 50_000_000)


def test_joints_are_read_by_name_whatever_their_order():
    state = SimpleNamespace(name=["b", "wheel", "a"], position=np.array([2.0, 9.0, 1.0]))
    assert messages.joint_positions(state, ["a", "b"]).tolist() == [1, 2]
    assert messages.joint_positions(state, []).tolist() == [2, 9, 1]
    with pytest.raises(InputError, match="no position of 'c', expected all of state_names"):
        messages.joint_positions(state, ["a", "c"])
    short = SimpleNamespace(name=["b", "a"], position=np.array([2.0]))
    with pytest.raises(InputError, match="no position of 'a'"):
        messages.joint_positions(short, ["a", "b"])


def test_numbers_are_labelled_with_their_channels():
    received = over_the_wire(messages.number_array(message, ["a", "b"], np.array([1.0, 2.0])))
    assert received.data.tolist() == [1, 2]
    (axis,) = received.layout.dim
    assert (axis.label, axis.size, axis.stride) == ("a,b", 2, 2)


def test_an_embedding_says_of_which_model_modality_and_picture_it_is():
    row = np.array([0.6, 0.8], dtype=np.float32)
    sent = messages.embedding(message, row, model_id="ab12", modality="vision", source=header())
    received = over_the_wire(sent)
    assert received.data.dtype == np.float32
    assert np.array_equal(received.data, row)
    assert [(axis.label, axis.size, axis.stride) for axis in received.layout.dim] == [
        ("model=ab12", 1, 2),
        ("modality=vision", 1, 2),
        ("stamp=3.000000004", 1, 2),
        ("frame_id=front", 1, 2),
        ("embedding", 2, 2),
    ]
    without = messages.embedding(message, row, model_id="ab12", modality="text", source=None)
    assert [a.label for a in without.layout.dim] == ["model=ab12", "modality=text", "embedding"]


def test_diagnostics_hold_their_numbers_by_name():
    sent = messages.diagnostics(
        message,
        header=header(""),
        name="/jointspace",
        level=1,
        summary="no picture yet",
        values={"state": "waiting", "fps": "0.0"},
    )
    (status,) = over_the_wire(sent).status
    assert (status.level, status.name, status.message) == (1, "/jointspace", "no picture yet")
    assert {pair.key: pair.value for pair in status.values} == {"state": "waiting", "fps": "0.0"}


def test_messages_are_made_by_whatever_makes_them():
    def make(type_name, **fields):
        return SimpleNamespace(type_name=type_name, **fields)

    sent = messages.twist(make, ["linear.x"], np.array([0.25]))
    assert (sent.type_name, sent.linear.x) == ("geometry_msgs/msg/Twist", 0.25)
