"""The numbers of a message, under their names."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jointspace.data.ros_types import FLOAT64_ARRAY, JOINT_STATE
from jointspace.data.rosbag_messages import NAME_SEPARATOR
from jointspace.errors import did_you_mean

_FIELDS = {
    JOINT_STATE: ("position",),
    FLOAT64_ARRAY: ("data",),
    "std_msgs/msg/Float32MultiArray": ("data",),
    "trajectory_msgs/msg/JointTrajectory": ("points.0.positions",),
    "geometry_msgs/msg/Twist": ("linear", "angular"),
    "geometry_msgs/msg/TwistStamped": ("twist",),
    "geometry_msgs/msg/WrenchStamped": ("wrench",),
    "geometry_msgs/msg/PoseStamped": ("pose",),
    "nav_msgs/msg/Odometry": ("pose.pose", "twist.twist"),
    "sensor_msgs/msg/Imu": ("angular_velocity", "linear_acceleration"),
}
"""What is read of a type where nothing else is said; all numbers of a type that is not here."""

Named = tuple[tuple[str, ...], tuple[float, ...]]
"""Names of channels, and one number for each."""


def numbers_of(message: Any, kind: str, fields: Sequence[str] = ()) -> Named:
    """Takes the numbers out of a message.

    Args:
        message: as rosbags deserialises it.
        kind: its type.
        fields: dotted paths, as in `NumbersTopic`.

    Returns:
        The channels' names and values. Joints have the names that the message gives them.

    Raises:
        ValueError: the message has no such field, or it holds no numbers.
    """
    named = [pair for path in fields or _FIELDS.get(kind, ("",)) for pair in _at(message, path)]
    names, values = (tuple(part) for part in zip(*named, strict=True)) if named else ((), ())
    return _better_names(message, names), values


def reordered(found: Named, names: Sequence[str]) -> tuple[float, ...] | None:
    """Returns the values in the order of the names; None where these are not the channels' names.

    Publishers may name the joints in another order from one message to the next.
    """
    if found[0] == tuple(names):
        return found[1]
    by_name = dict(zip(*found, strict=True))
    if len(by_name) != len(names) or by_name.keys() != {*names}:
        return None
    return tuple(by_name[name] for name in names)


def _at(message: Any, path: str) -> Iterator[tuple[str, float]]:
    part = message
    for name in path.split(".") if path else ():
        if name.isdecimal() and isinstance(part, list | np.ndarray):
            if int(name) >= len(part):
                raise ValueError(f"'{path}': there are only {len(part)}")
            part = part[int(name)]
        elif hasattr(part, name):
            part = getattr(part, name)
        else:
            known = getattr(part, "__dataclass_fields__", {})
            raise ValueError(f"no field '{path}'.{did_you_mean(name, known)}")
    yield from _flat(part, path)


def _flat(part: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(part, bool | int | float | np.number):
        yield path, float(part)
    elif isinstance(part, list | np.ndarray):
        for i, each in enumerate(part):
            yield from _flat(each, f"{path}.{i}" if path else str(i))
    elif hasattr(part, "__dataclass_fields__"):
        for name in part.__dataclass_fields__:
            if name not in {"header", "layout", "__msgtype__"}:
                yield from _flat(getattr(part, name), f"{path}.{name}" if path else name)


def _better_names(message: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Names that the message itself gives its channels, where there is one for each."""
    given: Sequence[str] = ()
    if hasattr(message, "name"):
        given = message.name
    elif hasattr(message, "joint_names"):
        given = message.joint_names
    elif hasattr(message, "layout") and len(message.layout.dim) == 1:
        given = message.layout.dim[0].label.split(NAME_SEPARATOR)
    if len(given) == len(names) and len({*given}) == len(given) and all(given):
        return tuple(given)
    return names
