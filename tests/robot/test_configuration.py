"""The parameters of the robot node: strict, with ranges and descriptions."""

import dataclasses
import math

import pytest

from jointspace.errors import ConfigError
from jointspace.robot.configuration import RobotConfig, parameters
from jointspace.robot.configuration_file import read_robot_config, robot_config


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_the_defaults_are_a_configuration_that_passes_its_own_checks():
    values = {parameter.name: plain(parameter.default) for parameter in parameters()}
    assert robot_config(values) == robot_config({}) == RobotConfig()


def test_every_field_is_a_parameter_with_a_kind_that_ros_has_and_a_description():
    names = [field.name for field in dataclasses.fields(RobotConfig)]
    assert [parameter.name for parameter in parameters()] == names
    for parameter in parameters():
        assert parameter.kind.removesuffix("[]") in {"bool", "int", "float", "str"}
        assert parameter.description.endswith(".")
        bounded = parameter.low > -math.inf or parameter.high < math.inf
        assert bounded <= (parameter.kind.removesuffix("[]") in {"int", "float"})
    by_name = {parameter.name: parameter for parameter in parameters()}
    rate = by_name["control_rate_hz"]
    assert (rate.kind, rate.default, rate.low, rate.high) == ("float", 20.0, 1.0, 1000.0)
    assert by_name["image_qos"].choices == ("SENSOR_DATA", "DEFAULT", "SYSTEM_DEFAULT")
    assert by_name["channel_kinds"].kind == "str[]"


def test_a_file_sets_what_it_names_and_overrides_come_after(tmp_path):
    path = tmp_path / "robot.toml"
    path.write_text('decoder = "velocity"\nimage_timeout_s = 1\nchannels = ["linear.x"]\n')
    overrides = [
        "max_speeds=[0.3]",
        "max_accelerations=[1]",
        "velocity_names=['forward']",
        "velocity_values=[0.2]",
        "output_topic=cmd_vel",
    ]
    config = read_robot_config(path, overrides=overrides)
    assert config.image_timeout_s == 1.0
    assert isinstance(config.image_timeout_s, float)
    assert config.output_topic == "cmd_vel"
    assert config.velocities == {"forward": (0.2,)}
    channel = config.control_channels[0]
    assert (channel.name, channel.kind) == ("linear.x", "velocity")
    assert (channel.max_speed, channel.max_acceleration) == (0.3, 1.0)


def test_an_arm_has_positions_with_their_bounds_and_places_in_the_state():
    config = robot_config(
        {
            "output": "joint_trajectory",
            "channels": ["shoulder", "gripper"],
            "channel_kinds": ["position", "velocity"],
            "lowest_positions": [-1.5, 0.0],
            "highest_positions": [1.5, 1.0],
            "state_indices": [4, -1],
        }
    )
    shoulder, gripper = config.control_channels
    assert (shoulder.kind, shoulder.low, shoulder.high) == ("position", -1.5, 1.5)
    assert (shoulder.state_index, gripper.state_index) == (4, -1)
    assert gripper.kind == "velocity"


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"image_timeout": 1.0}, "image_timeout: unknown key. Did you mean 'image_timeout_s'"),
        ({"image_timeout_s": "1"}, "image_timeout_s: got '1', expected a number"),
        ({"image_timeout_s": True}, "image_timeout_s: got True, expected a number"),
        ({"image_timeout_s": 0.0}, r"image_timeout_s: got 0.0, expected a value in \[0.01, 60\]"),
        ({"image_timeout_s": math.nan}, "image_timeout_s: got nan"),
        ({"control_rate_hz": math.inf}, "control_rate_hz: got inf"),
        ({"zero_messages": 2.0}, "zero_messages: got 2.0, expected an integer"),
        ({"autostart": 1}, "autostart: got 1, expected true or false"),
        ({"bundle": 3}, "bundle: got 3, expected text"),
        ({"cameras": "front"}, "cameras: got 'front', expected a list"),
        ({"cameras": [1]}, "cameras: got 1, expected text"),
        ({"decoder": "velocty"}, "decoder: got 'velocty'.*Did you mean 'velocity'"),
        ({"image_qos": "BEST_EFFORT"}, "image_qos: got 'BEST_EFFORT', expected one of 'SENSOR"),
        ({"max_speeds": [0.5, 0.0]}, "max_speeds: got 0.0"),
        ({"max_speeds": [0.5]}, r"max_speeds: got \[0.5\], expected 2 numbers, one a channel"),
        ({"max_accelerations": [1.0, math.nan]}, "max_accelerations: got nan"),
        ({"channels": []}, r"channels: got \[\], expected distinct names"),
        ({"channels": ["linear.x", "linear.x"]}, "expected distinct names"),
        ({"channels": ["linear.x", "angular"]}, "'angular' is none of a Twist. Did you mean"),
        ({"channel_kinds": ["velocity"]}, "channel_kinds: got 1 values, expected 2"),
        ({"channel_kinds": ["position", "velocity"]}, "expected velocities for output = 'twist'"),
        (
            {"output": "joint_trajectory", "channel_kinds": ["position", "velocity"]},
            "state_indices: channel 'linear.x' is a position",
        ),
        (
            {"lowest_positions": [0.0, 0.0], "highest_positions": [1.0, 0.0]},
            "lowest_positions: got 0, expected less",
        ),
        (
            {"decoder": "velocity", "velocity_values": [1.0]},
            "velocity_values: got 1 numbers, expected 8: 2 channels for each of 4",
        ),
        ({"decoder": "velocity", "velocity_names": [], "velocity_values": []}, "velocity_values"),
        (
            {"decoder": "velocity", "velocity_names": ["forward", "go ahead"]},
            "velocity_names: 'go ahead' means the same as 'forward'",
        ),
        (
            {"decoder": "velocity", "output": "float64_multi_array"}
            | {"channel_kinds": ["position", "velocity"], "state_indices": [0, 0]},
            "expected velocities for the velocity decoder",
        ),
        ({"accept_similarity": 0.2}, "reject_similarity: got 0.8, expected at most"),
        ({"cameras": ["front", "wrist"]}, "cameras: got 2, expected 1, one a topic"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(values, match):
    with pytest.raises(ConfigError, match=f"robot configuration: .*{match}"):
        robot_config(values)


def test_files_and_overrides_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read"):
        read_robot_config(tmp_path / "missing.toml")
    path = tmp_path / "robot.toml"
    path.write_text("decoder = ")
    with pytest.raises(ConfigError, match="no valid TOML"):
        read_robot_config(path)
    path.write_text("")
    with pytest.raises(ConfigError, match=r"expected key=value"):
        read_robot_config(path, overrides=["decoder"])
    with pytest.raises(ConfigError, match=r"robot\.toml, then decoder=fly: decoder: got 'fly'"):
        read_robot_config(path, overrides=["decoder=fly"])
