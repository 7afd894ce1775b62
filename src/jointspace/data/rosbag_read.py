"""Opens bags of ROS 2: folders with `metadata.yaml`, and single `.mcap` and `.db3` files."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.data.ros_types import import_rosbags, ros_types
from jointspace.errors import DataError

METADATA_FILE = "metadata.yaml"
_FILE_SUFFIXES = frozenset((".mcap", ".db3"))
_STORED = ("*.mcap", "*.db3", "*.mcap.zstd", "*.db3.zstd")


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: of the topic.
        kind: type of its messages, such as `sensor_msgs/msg/Image`.
        count: number of messages.
    """

    name: str
    kind: str
    count: int


def is_bag(path: Path) -> bool:
    """Tells whether a path is a bag: a folder that rosbag2 made, or a single file of one."""
    return path.suffix in _FILE_SUFFIXES if path.is_file() else (path / METADATA_FILE).is_file()


def find_bags(path: Path) -> tuple[Path, ...]:
    """Finds the bags at a path, or below it.

    Args:
        path: a bag, or a folder that holds bags at any depth.

    Returns:
        The bags by their paths; files without a `metadata.yaml` beside them count as a bag each.
        None where there is nothing of the kind.
    """
    if is_bag(path):
        return (path,)
    folders = {file.parent for file in path.rglob(METADATA_FILE)}
    files = {
        file
        for suffix in _FILE_SUFFIXES
        for file in path.rglob(f"*{suffix}")
        if file.parent not in folders
    }
    return tuple(sorted(folders | files))


def bag_files(bag: Path) -> tuple[Path, ...]:
    """Returns the files that hold a bag's messages."""
    if bag.is_file():
        return (bag,)
    return tuple(sorted(file for pattern in _STORED for file in bag.glob(pattern)))


class OpenBag:
    """A bag that is open for reading.

    Attributes:
        path: of the bag.
        topics: those that it names, with messages or without.
        custom_data: facts about the recording; none in files without `metadata.yaml`.
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self.path = path
        self._reader = reader
        # One topic has several connections where several nodes published it.
        counts: dict[tuple[str, str], int] = {}
        for each in reader.connections:
            key = each.topic, each.msgtype
            counts[key] = counts.get(key, 0) + each.msgcount
        self.topics = tuple(BagTopic(*key, count) for key, count in sorted(counts.items()))
        custom = reader.storage.metadata.custom
        self.custom_data: Mapping[str, str] = custom if isinstance(custom, dict) else {}

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, bytes]]:
        """Reads messages in the order of the bag.

        Args:
            topics: whose.

        Yields:
            The topic, when the bag received it in nanoseconds since 1970, and the serialised
            message.

        Raises:
            DataError: the bag is damaged.
        """
        wanted = {*topics}
        connections = [each for each in self._reader.connections if each.topic in wanted]
        if not connections:
            return
        with _broken_as_data_error(self.path):
            for connection, time_ns, data in self._reader.messages(connections):
                yield connection.topic, time_ns, data

    def types_of(self, topic: str) -> tuple[Any, str]:
        """Returns what deserialises the messages of a topic.

        Args:
            topic: of the bag.

        Returns:
            A typestore, and the type's name there. Types that Jazzy ships are read as it has them,
            others by the definition in the bag.

        Raises:
            DataError: neither knows the type.
        """
        connection = next(each for each in self._reader.connections if each.topic == topic)
        if connection.msgtype in ros_types().fielddefs:
            return ros_types(), connection.msgtype
        return _types_by_definition(connection, self.path), connection.msgtype


@contextlib.contextmanager
def open_bag(path: Path) -> Iterator[OpenBag]:
    """Opens a bag.

    Args:
        path: a folder with `metadata.yaml`, or a single `.mcap` or `.db3` file.

    Yields:
        The bag.

    Raises:
        DataError: it cannot be read; the message says why, and how to mend it.
        MissingExtraError: rosbags is not installed.
    """
    rosbag2 = import_rosbags()
    with _broken_as_data_error(path):
        reader = rosbag2.Reader(path)
        reader.open()
    try:
        with _broken_as_data_error(path):
            bag = OpenBag(path, reader)
        yield bag
    finally:
        reader.close()


@contextlib.contextmanager
def _broken_as_data_error(path: Path) -> Iterator[None]:
    """Only rosbags may run within: it raises whatever damaged bytes lead its parsers to."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        cause = str(error) or type(error).__name__
        raise DataError(
            path,
            f"cannot be read as a bag: {cause}; a recording that was cut off is mended by "
            "`mcap recover` or `ros2 bag reindex`",
        ) from error


def _types_by_definition(connection: Any, path: Path) -> Any:
    from rosbags.typesys import (  # noqa: PLC0415 - only bags need it
        Stores,
        TypesysError,
        get_types_from_idl,
        get_types_from_msg,
        get_typestore,
    )

    kind, text = connection.msgtype, connection.msgdef.data
    if not text:
        raise DataError(path, f"{connection.topic}: type {kind} is not known, nor does the bag say")
    store = get_typestore(Stores.EMPTY)
    try:
        if connection.msgdef.format.name == "MSG":
            store.register(get_types_from_msg(text, kind))
        else:
            for part in text.split("=" * 80 + "\n"):
                store.register(get_types_from_idl(part.removeprefix("IDL: ").split("\n", 1)[-1]))
    except TypesysError as error:
        raise DataError(
            path, f"{connection.topic}: type {kind} is not understood: {error}"
        ) from None
    return store
