"""The one way in: opens a data set of any format that jointspace reads."""

from pathlib import Path

from jointspace.data.lerobot import read_lerobot
from jointspace.data.lerobot_meta import INFO_FILE
from jointspace.data.rosbag import read_rosbags
from jointspace.data.rosbag_read import find_bags
from jointspace.data.schema import RobotDataset
from jointspace.errors import DataError


def open_dataset(path: Path) -> RobotDataset:
    """Opens a data set.

    Args:
        path: the folder of a LeRobot data set (v2.0, v2.1 or v3.0), a bag of ROS 2 (the folder of
            rosbag2, or a `.mcap` or `.db3` file), or a folder of such bags.

    Returns:
        Its usable episodes, and what was found wrong with it; pictures are located, not decoded.

    Raises:
        ConfigError: the `bags.toml` of a folder of bags is not understood.
        DataError: the data set cannot be used; the message names the file and the cause.
        MissingExtraError: it is a bag, and rosbags is not installed.
    """
    if path.suffix == ".bag":
        raise DataError(path, "is a bag of ROS 1; convert it: rosbags-convert --src IN --dst OUT")
    if not is_lerobot(path) and find_bags(path):
        return read_rosbags(path)
    return read_lerobot(path)


def is_lerobot(path: Path) -> bool:
    """Tells whether a folder says that it is a LeRobot data set."""
    return (path / INFO_FILE).is_file()
