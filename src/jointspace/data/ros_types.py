"""The message types of ROS 2, by the package rosbags: pure Python, no ROS needed."""

from functools import cache
from types import ModuleType
from typing import Any

from jointspace.errors import MissingExtraError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
JOINT_STATE = "sensor_msgs/msg/JointState"
STRING = "std_msgs/msg/String"
FLOAT64_ARRAY = "std_msgs/msg/Float64MultiArray"

NS_PER_S = 1_000_000_000


@cache
def ros_types() -> Any:
    """Returns the message types of ROS 2 Jazzy, a `rosbags.typesys.store.Typestore`.

    Raises:
        MissingExtraError: rosbags is not installed.
    """
    import_rosbags()
    from rosbags.typesys import Stores, get_typestore  # noqa: PLC0415 - only bags need it

    return get_typestore(Stores.ROS2_JAZZY)


def import_rosbags() -> ModuleType:
    """Returns the package that reads and writes bags.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import rosbags.rosbag2  # noqa: PLC0415 - only bags need it
    except ImportError:
        raise MissingExtraError("rosbags", "robot") from None
    return rosbags.rosbag2
