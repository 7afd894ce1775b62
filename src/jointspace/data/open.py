"""The one way in: opens a data set of any format that jointspace reads."""

from pathlib import Path

from jointspace.data.lerobot import read_lerobot
from jointspace.data.schema import RobotDataset


def open_dataset(path: Path) -> RobotDataset:
    """Opens a data set.

    Args:
        path: the folder of a LeRobot data set (v2.0, v2.1 or v3.0).

    Returns:
        Its usable episodes, and what was found wrong with it; pictures are located, not decoded.

    Raises:
        DataError: the data set cannot be used; the message names the file and the cause.
    """
    return read_lerobot(path)
