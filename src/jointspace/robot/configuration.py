"""Everything that can be set on a robot: names, defaults, ranges and descriptions.

TOML keys and ROS parameters have the same names. `configuration_file` reads and checks them.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jointspace.robot.core.limits import Channel, Kind

Qos = Literal["SENSOR_DATA", "DEFAULT", "SYSTEM_DEFAULT"]
"""Profiles by the names that ROS gives them: best effort, reliable, reliable."""

_VELOCITY: Kind = "velocity"


@dataclass(frozen=True)
class Setting:
    """What is written beside a parameter.

    Attributes:
        description: one line.
        low: smallest number; of a list, of each.
        high: largest number.
    """

    description: str
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """The parameters of the robot node.

    Every value is a number, a flag, a text or a list of one of them, as ROS parameters are; their
    descriptions are the source of `parameters()` and of the table in `docs/concepts/robot.md`.
    """

    bundle: Annotated[str, Setting("Folder of the exported bundle.")] = ""
    decoder: Annotated[
        Literal["none", "velocity", "retrieval"],
        Setting(
            "What turns percepts into actions: none only watches, velocity drives by name, "
            "retrieval acts as demonstrated."
        ),
    ] = "none"
    policy: Annotated[
        str, Setting("Folder of the retrieval decoder, made by `jointspace learn`.")
    ] = ""

    visual_input: Annotated[
        Literal["image", "tensor_list"],
        Setting("Pictures, or embeddings that TensorRTNode has made of them (Isaac ROS)."),
    ] = "image"
    image_topics: Annotated[
        tuple[str, ...], Setting("Topic of each camera, in the order of `cameras`.")
    ] = ("camera/image_rect_color",)
    cameras: Annotated[
        tuple[str, ...],
        Setting(
            "Names of the bundle's cameras, in the order of the topics; empty: all, in its order."
        ),
    ] = ()
    image_transport: Annotated[
        Literal["raw", "compressed"],
        Setting("sensor_msgs/Image, or sensor_msgs/CompressedImage (JPEG or PNG)."),
    ] = "raw"
    image_qos: Annotated[Qos, Setting("Best effort hears every camera; DEFAULT only some.")] = (
        "SENSOR_DATA"
    )
    tensor_topic: Annotated[str, Setting("TensorList topic, for visual_input = tensor_list.")] = (
        "tensor_sub"
    )
    tensor_name: Annotated[str, Setting("Name of the tensor that holds the embedding.")] = (
        "images_embedding"
    )
    command_topic: Annotated[str, Setting("std_msgs/String with commands.")] = (
        "natural_language_command"
    )
    command_qos: Annotated[Qos, Setting("Quality of service of the commands.")] = "DEFAULT"
    state_topic: Annotated[str, Setting("sensor_msgs/JointState topic; empty: none.")] = ""
    state_names: Annotated[
        tuple[str, ...],
        Setting(
            "Joints of the state, in the order of the training data; empty: as the message has."
        ),
    ] = ()
    state_qos: Annotated[Qos, Setting("Quality of service of the states.")] = "SENSOR_DATA"

    output: Annotated[
        Literal["twist", "joint_trajectory", "float64_multi_array"],
        Setting("Message of the control vector."),
    ] = "twist"
    output_topic: Annotated[str, Setting("Topic of the control vector.")] = "robot_velocity"
    output_qos: Annotated[Qos, Setting("Quality of service of the control vector.")] = "DEFAULT"
    enable_stamped_cmd_vel: Annotated[bool, Setting("TwistStamped instead of Twist.")] = False
    frame_id: Annotated[str, Setting("Frame of stamped messages.")] = "base_link"
    embedding_topic: Annotated[str, Setting("Topic of the embeddings; empty: none.")] = "embedding"
    diagnostics_topic: Annotated[str, Setting("Topic of the diagnostics; empty: none.")] = (
        "/diagnostics"
    )
    diagnostics_rate_hz: Annotated[
        float, Setting("Diagnostics per second.", low=0.01, high=100.0)
    ] = 1.0
    autostart: Annotated[bool, Setting("Configure and activate without a lifecycle manager.")] = (
        True
    )

    control_rate_hz: Annotated[float, Setting("Decisions per second.", low=1.0, high=1000.0)] = 20.0
    image_timeout_s: Annotated[
        float, Setting("Greatest age of the picture that a motion rests on.", low=0.01, high=60.0)
    ] = 0.5
    command_timeout_s: Annotated[
        float, Setting("Greatest age of a command that is not repeated.", low=0.01, high=86400.0)
    ] = 10.0
    state_timeout_s: Annotated[
        float, Setting("Greatest age of the state, where one is needed.", low=0.01, high=60.0)
    ] = 0.5
    stamp_tolerance_s: Annotated[
        float, Setting("How far in the future a picture's stamp may lie.", low=0.0, high=10.0)
    ] = 0.1
    zero_messages: Annotated[
        int, Setting("How often standing still is said before the silence.", low=1.0, high=1000.0)
    ] = 3
    stop_exceptions: Annotated[
        tuple[str, ...],
        Setting("Phrases that are no stop although they hold such a word, as 'stop sign'."),
    ] = ()

    match_required: Annotated[
        bool, Setting("Move only where pictures and command clearly match.")
    ] = True
    use_bundle_threshold: Annotated[
        bool, Setting("Judge by the bundle's calibrated threshold, else by the two below.")
    ] = True
    accept_similarity: Annotated[
        float, Setting("Above it a command applies.", low=-1.0, high=1.0)
    ] = 0.8
    reject_similarity: Annotated[
        float, Setting("Below it a command does not.", low=-1.0, high=1.0)
    ] = 0.8
    instructions: Annotated[
        tuple[str, ...], Setting("Sentences of which the one that matches best is reported.")
    ] = ()

    channels: Annotated[
        tuple[str, ...], Setting("Names of the control vector: of a Twist, or joints.")
    ] = ("linear.x", "angular.z")
    channel_kinds: Annotated[
        tuple[Kind, ...],
        Setting(
            "What each channel is: zero stops a velocity, a position is held. Empty: velocities."
        ),
    ] = ()
    max_speeds: Annotated[
        tuple[float, ...], Setting("Largest speed of each channel.", low=1e-6, high=1e6)
    ] = (0.5, 1.0)
    max_accelerations: Annotated[
        tuple[float, ...],
        Setting("Largest change of each channel's speed per second.", low=1e-6, high=1e6),
    ] = (1.0, 2.0)
    lowest_positions: Annotated[
        tuple[float, ...],
        Setting("Smallest value of each channel; read of positions. Empty: no bound."),
    ] = ()
    highest_positions: Annotated[
        tuple[float, ...],
        Setting("Largest value of each channel; read of positions. Empty: no bound."),
    ] = ()
    state_indices: Annotated[
        tuple[int, ...],
        Setting(
            "Where the state holds each position's measured value, from 0; -1 for velocities.",
            low=-1.0,
            high=65535.0,
        ),
    ] = ()

    velocity_names: Annotated[tuple[str, ...], Setting("Commands of the velocity decoder.")] = (
        "forward",
        "backward",
        "turn left",
        "turn right",
    )
    velocity_values: Annotated[
        tuple[float, ...],
        Setting(
            "Their velocities, one number a channel, one command after the other.",
            low=-1e6,
            high=1e6,
        ),
    ] = (0.2, 0.0, -0.1, 0.0, 0.0, 0.5, 0.0, -0.5)
    velocity_min_similarity: Annotated[
        float,
        Setting(
            "Cosine of texts from which an unknown command has the nearest name's velocity.",
            low=-1.0,
            high=1.0,
        ),
    ] = 0.95

    engine: Annotated[
        Literal["auto", "onnxruntime", "openvino"], Setting("What runs the bundle.")
    ] = "auto"
    num_threads: Annotated[int, Setting("Threads of the network.", low=1.0, high=1024.0)] = 1
    domain_id: Annotated[
        int, Setting("DDS domain, of `jointspace robot run`.", low=0.0, high=232.0)
    ] = 0

    @property
    def control_channels(self) -> tuple[Channel, ...]:
        """The control vector's channels with their limits."""
        count = len(self.channels)
        kinds = self.channel_kinds or (_VELOCITY,) * count
        lows = self.lowest_positions or (-math.inf,) * count
        highs = self.highest_positions or (math.inf,) * count
        indices = self.state_indices or (-1,) * count
        return tuple(
            Channel(
                name=self.channels[i],
                kind=kinds[i],
                max_speed=self.max_speeds[i],
                max_acceleration=self.max_accelerations[i],
                low=lows[i],
                high=highs[i],
                state_index=indices[i],
            )
            for i in range(count)
        )

    @property
    def velocities(self) -> dict[str, tuple[float, ...]]:
        """Command -> one velocity a channel, of the velocity decoder."""
        count = len(self.channels)
        return {
            name: self.velocity_values[i * count : (i + 1) * count]
            for i, name in enumerate(self.velocity_names)
        }


@dataclass(frozen=True)
class Parameter:
    """What there is to know of a parameter, as a ROS `ParameterDescriptor` says it.

    Attributes:
        name: of the parameter, of the TOML key, and of the attribute.
        kind: `bool`, `int`, `float`, `str`, or a list of one: `str[]`.
        default: plain; lists as tuples.
        description: one line.
        low: smallest number; -inf where there is no bound or no number.
        high: largest number.
        choices: the texts that are allowed; empty means any.
    """

    name: str
    kind: str
    default: Any
    description: str
    low: float
    high: float
    choices: tuple[str, ...]


def parameters() -> tuple[Parameter, ...]:
    """Returns every parameter in the order of `RobotConfig`."""
    hints = typing.get_type_hints(RobotConfig, include_extras=True)
    return tuple(
        _parameter(field.name, hints[field.name], default=field.default)
        for field in dataclasses.fields(RobotConfig)
    )


def _parameter(name: str, hint: Any, *, default: Any) -> Parameter:
    kind, setting = typing.get_args(hint)
    is_list = typing.get_origin(kind) is tuple
    if is_list:
        kind = typing.get_args(kind)[0]
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    kind_name = "str" if choices else kind.__name__
    return Parameter(
        name=name,
        kind=f"{kind_name}[]" if is_list else kind_name,
        default=default,
        description=setting.description,
        low=setting.low,
        high=setting.high,
        choices=choices,
    )
