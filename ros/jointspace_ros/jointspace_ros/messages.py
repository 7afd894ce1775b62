"""Makes messages of ROS from plain Python and NumPy values, as strictly as rosidl wants them."""

import array
import importlib
from functools import cache
from typing import Any

import numpy as np

from jointspace.errors import ConfigError


@cache
def message_class(type_name: str) -> Any:
    """Returns the class of a message.

    Args:
        type_name: as ROS writes it: `std_msgs/msg/String`.

    Raises:
        ConfigError: its package is not installed.
    """
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"message type {type_name}: not found; install and source the package '{package}'"
        ) from error


def make(type_name: str, **fields: Any) -> Any:
    """Returns a message.

    rosidl takes `float` and nothing like it, a `byte` as one of `bytes`, and of arrays only
    `array.array` at once: a NumPy array would be read element by element, in 120 ms for a picture.

    Args:
        type_name: as ROS writes it: `std_msgs/msg/String`.
        fields: of the message; the others keep their defaults.

    Raises:
        ConfigError: the package of the type is not installed.
    """
    message = message_class(type_name)()
    kinds = message.get_fields_and_field_types()
    for name, value in fields.items():
        setattr(message, name, _as_rosidl(value, kinds[name]))
    return message


def _as_rosidl(value: Any, kind: str) -> Any:
    if isinstance(value, np.ndarray):
        # The type code of the buffer: "f", "d", "B", ...
        return array.array(value.dtype.char, np.ascontiguousarray(value).tobytes())
    if isinstance(value, np.generic):
        value = value.item()
    if kind in ("double", "float"):
        return float(value)
    if kind == "octet" and isinstance(value, int):
        return bytes([value])
    return value
