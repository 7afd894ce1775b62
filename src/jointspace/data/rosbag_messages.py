"""Messages of ROS 2, ready to be written to a bag."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jointspace.data.ros_types import (
    FLOAT64_ARRAY,
    IMAGE,
    JOINT_STATE,
    NS_PER_S,
    STRING,
    ros_types,
)

NAME_SEPARATOR = ","
"""Stands between the channels' names in the label of an array's only dimension."""


@dataclass(frozen=True)
class BagMessage:
    """One message on its way into a bag.

    Attributes:
        topic: where it is published.
        kind: type of the message, such as `std_msgs/msg/String`.
        time_ns: when the bag says that it was received, in nanoseconds since 1970.
        message: of the type that `kind` names in `ros_types()`.
    """

    topic: str
    kind: str
    time_ns: int
    message: Any


def image_message(
    topic: str, picture: UInt8[np.ndarray, "height width 3"], *, time_ns: int, frame_id: str
) -> BagMessage:
    """Returns an RGB picture as `sensor_msgs/Image`, nothing lost.

    Args:
        topic: where it is published.
        picture: the picture.
        time_ns: when it was taken.
        frame_id: of the header: the camera.
    """
    height, width = picture.shape[:2]
    message = ros_types().types[IMAGE](
        header=_header(time_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * 3,
        data=np.ascontiguousarray(picture).reshape(-1),
    )
    return BagMessage(topic, IMAGE, time_ns, message)


def joint_state_message(
    topic: str, values: Float[np.ndarray, " channel"], *, names: Sequence[str], time_ns: int
) -> BagMessage:
    """Returns a measured state as `sensor_msgs/JointState`: names and positions.

    Args:
        topic: where it is published.
        values: one per name.
        names: of the channels.
        time_ns: when it was measured.
    """
    empty = np.zeros(0)
    message = ros_types().types[JOINT_STATE](
        header=_header(time_ns, ""),
        name=list(names),
        position=values.astype(np.float64),
        velocity=empty,
        effort=empty,
    )
    return BagMessage(topic, JOINT_STATE, time_ns, message)


def array_message(
    topic: str, values: Float[np.ndarray, " channel"], *, names: Sequence[str], time_ns: int
) -> BagMessage:
    """Returns a command as `std_msgs/Float64MultiArray`, its channels named in the label.

    Args:
        topic: where it is published.
        values: one per name.
        names: of the channels.
        time_ns: when it was sent; the message itself has no stamp.
    """
    types = ros_types().types
    dimension = types["std_msgs/msg/MultiArrayDimension"](
        label=NAME_SEPARATOR.join(names), size=len(values), stride=len(values)
    )
    layout = types["std_msgs/msg/MultiArrayLayout"](dim=[dimension], data_offset=0)
    message = types[FLOAT64_ARRAY](layout=layout, data=values.astype(np.float64))
    return BagMessage(topic, FLOAT64_ARRAY, time_ns, message)


def text_message(topic: str, text: str, *, time_ns: int) -> BagMessage:
    """Returns a text as `std_msgs/String`.

    Args:
        topic: where it is published.
        text: what is said.
        time_ns: when it is said.
    """
    return BagMessage(topic, STRING, time_ns, ros_types().types[STRING](data=text))


def _header(time_ns: int, frame_id: str) -> Any:
    types = ros_types().types
    sec, nanosec = divmod(time_ns, NS_PER_S)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)
