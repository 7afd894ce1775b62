"""ROS 2 messages on the wire: their bytes by rosbags, their names and hashes for DDS.

cyclonedds reads a `sequence[uint8]` element by element, which costs 80 to 130 ms for a 640 x 480
picture. So a sample here is the bytes of a message and nothing else: cyclonedds carries them
unread, and rosbags turns them into a message whose arrays are views, in a tenth of a millisecond.
"""

import threading
from functools import cache
from typing import Any

from cyclonedds.idl import make_idl_struct
from cyclonedds.idl import types as idl_types
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError

from jointspace.data.ros_types import ros_types
from jointspace.errors import ConfigError, WireError, did_you_mean

# cyclonedds builds its types of arrays in a way that type checkers cannot follow.
idl: Any = idl_types

_IDL_OF = {
    "bool": bool,
    "byte": idl.byte,
    "char": idl.uint8,
    "int8": idl.int8,
    "uint8": idl.uint8,
    "int16": idl.int16,
    "uint16": idl.uint16,
    "int32": idl.int32,
    "uint32": idl.uint32,
    "int64": idl.int64,
    "uint64": idl.uint64,
    "float32": idl.float32,
    "float64": idl.float64,
    "string": str,
}

_BUILDING = threading.Lock()


class Sample:
    """A message as the bytes that travel: four of encapsulation, then CDR."""

    def __init__(self, cdr: bytes) -> None:
        self.cdr = cdr

    def serialize(self, *_: Any, **__: Any) -> bytes:
        """Returns the bytes; what cyclonedds calls when it writes."""
        return self.cdr

    @classmethod
    def deserialize(cls, data: bytes, *_: Any, **__: Any) -> Any:
        """Returns a sample of the bytes; what cyclonedds calls when it reads."""
        return cls(data)

    @classmethod
    def deserialize_key(cls, data: bytes, *_: Any, **__: Any) -> Any:
        """Returns a sample of the bytes; for a writer that left, which sends no message."""
        return cls(data)


def message(type_name: str, **fields: Any) -> Any:
    """Returns a message of a type.

    Args:
        type_name: as ROS 2 writes it: `std_msgs/msg/String`.
        fields: every field of it.

    Raises:
        ConfigError: ROS 2 has no such type.
    """
    return _known(type_name)(**fields)


def encode(message: Any) -> bytes:
    """Returns the bytes of a message as they travel, little-endian CDR with its encapsulation."""
    return bytes(ros_types().serialize_cdr(message, message.__msgtype__, little_endian=True))


def decode(cdr: bytes, type_name: str) -> Any:
    """Returns the message that bytes hold; its arrays are read-only views of them.

    Raises:
        WireError: the bytes are cut off, or hold no such message.
    """
    try:
        return ros_types().deserialize_cdr(cdr, type_name)
    except (SerdeError, IndexError) as error:
        raise WireError(
            f"a message of {len(cdr)} bytes is no {type_name}: {error}; expected CDR of the type"
        ) from error


def type_hash(type_name: str) -> str:
    """Returns the hash by which ROS 2 tells versions of a type apart: `RIHS01_...`."""
    _known(type_name)
    return ros_types().hash_rihs01(type_name)


def dds_type_name(type_name: str) -> str:
    """Returns the name of a type on the wire: `sensor_msgs::msg::dds_::Image_`."""
    package, _, name = type_name.rpartition("/")
    return f"{package.replace('/', '::')}::dds_::{name}_"


def dds_type(type_name: str) -> type[Any]:
    """Returns the class that cyclonedds needs of a type; its instances are `Sample`.

    Args:
        type_name: as ROS 2 writes it: `sensor_msgs/msg/Image`.

    Raises:
        ConfigError: ROS 2 has no such type.
    """
    _known(type_name)
    with _BUILDING:
        return _dds_type(type_name)


@cache
def _dds_type(type_name: str) -> type[Any]:
    # Not by inheritance: cyclonedds takes every base for a base of the type on the wire.
    struct: type[Any] = _struct(type_name)
    for method in ("__init__", "serialize", "deserialize", "deserialize_key"):
        setattr(struct, method, Sample.__dict__[method])
    # Otherwise done by the first topic, where two threads would be in each other's way.
    struct.__idl__.populate()
    struct.__idl__.fill_type_data()
    return struct


def _known(type_name: str) -> Any:
    types = ros_types().types
    if type_name not in types:
        hint = did_you_mean(type_name, types)
        raise ConfigError(f"got message type '{type_name}', expected one of ROS 2 Jazzy's.{hint}")
    return types[type_name]


def _idl(kind: Any) -> Any:
    """Turns a field of rosbags' (a kind and what it is of) into one of cyclonedds'."""
    node, of = kind
    if node == Nodetype.BASE:
        return _IDL_OF[of[0]]
    if node == Nodetype.NAME:
        return _struct(of)
    element, length = of
    if node == Nodetype.ARRAY:
        return idl.array[_idl(element), length]
    return idl.sequence[_idl(element), length] if length else idl.sequence[_idl(element)]


def _struct(type_name: str) -> Any:
    fields = {name: _idl(kind) for name, kind in ros_types().fielddefs[type_name][1]}
    name = type_name.rpartition("/")[2]
    return make_idl_struct(name, dds_type_name(type_name), fields, dataclassify=False)
