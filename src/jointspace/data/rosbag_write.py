"""Writes rosbag2 bags, mcap or sqlite3: whole or not at all, mcap the same bytes each time."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jointspace.data.ros_types import NS_PER_S, import_rosbags, ros_types
from jointspace.data.rosbag_messages import BagMessage
from jointspace.errors import InputError, StorageError
from jointspace.storage import force_folder

Storage = Literal["mcap", "sqlite3"]


def write_bag(
    folder: Path,
    messages: Iterable[BagMessage],
    *,
    custom_data: Mapping[str, str],
    latched: Sequence[str] = (),
    storage: Storage = "mcap",
) -> None:
    """Writes a bag that `ros2 bag play` takes (rosbag2 of Jazzy); readers see all of it or nothing.

    Args:
        folder: to make; its name becomes that of the file inside.
        messages: in the order of their times; they are serialised as they come.
        custom_data: facts about the recording, kept in `metadata.yaml`.
        latched: topics whose last message a node that comes later still gets.
        storage: mcap compresses its chunks with zstd; sqlite3 compresses nothing.

    Raises:
        InputError: the folder is there already, or there is no message.
        MissingExtraError: rosbags is not installed.
        StorageError: a file could not be written.
    """
    rosbag2 = import_rosbags()
    if folder.exists():
        raise InputError(f"{folder}: is there already; remove it, or choose another folder")
    aside = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        # The file inside is called after its folder, so the folder has its name from the start.
        writer = rosbag2.Writer(
            aside / folder.name,
            version=rosbag2.Writer.VERSION_LATEST,
            storage_plugin=rosbag2.StoragePlugin[storage.upper()],
        )
        if storage == "mcap":
            writer.set_compression(rosbag2.CompressionMode.STORAGE, rosbag2.CompressionFormat.ZSTD)
        for key, value in sorted(custom_data.items()):
            writer.set_custom_data(key, value)
        with writer:
            count = _write_all(writer, messages, latched)
        if not count:
            raise InputError(f"{folder}: no messages, expected at least one")
        for file in (aside / folder.name).iterdir():
            _force(file)
        (aside / folder.name).replace(folder)
        force_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"{folder}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(aside, ignore_errors=True)


def _write_all(writer: Any, messages: Iterable[BagMessage], latched: Sequence[str]) -> int:
    types = ros_types()
    connections: dict[tuple[str, str], Any] = {}
    count = 0
    for each in messages:
        key = each.topic, each.kind
        if key not in connections:
            connections[key] = writer.add_connection(
                each.topic,
                each.kind,
                typestore=types,
                offered_qos_profiles=[_qos(latched=each.topic in latched)],
            )
        data = types.serialize_cdr(each.message, each.kind)
        writer.write(connections[key], each.time_ns, data)
        count += 1
    return count


def _qos(*, latched: bool) -> Any:
    """Reliable and keep-last, as ROS 2 has it by default: it suits every subscriber."""
    from rosbags.interfaces import (  # noqa: PLC0415 - only bags need it
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    forever = QosTime(*divmod(2**63 - 1, NS_PER_S))
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if latched else 10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )


def _force(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
