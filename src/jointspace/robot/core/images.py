"""Pictures as messages carry them: decoded by the thread that needs them, not by who hears."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from jointspace.data.ros_images import Bytes, image_from_bytes, image_from_file_bytes

__all__ = [
    "Bytes",
    "CompressedPicture",
    "Picture",
    "RawPicture",
    "RgbPicture",
    "image_from_bytes",
    "image_from_file_bytes",
]


@runtime_checkable
class Picture(Protocol):
    """A picture as a message carries it, decoded when `rgb` is called."""

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Decodes the picture.

        Raises:
            InputError: the message holds no whole picture that a colour model reads.
        """
        ...


@dataclass(frozen=True)
class RawPicture:
    """The fields of a `sensor_msgs/Image`.

    Attributes:
        data: the bytes, row by row; they must not change afterwards.
        height_px: rows.
        width_px: columns.
        step: bytes from one row to the next, padding included.
        encoding: its name in `sensor_msgs`.
        is_bigendian: byte order of encodings with more than one byte a channel.
    """

    data: Bytes
    height_px: int
    width_px: int
    step: int
    encoding: str
    is_bigendian: bool = False

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Returns the picture as a view of the bytes; see `image_from_bytes`.

        Raises:
            InputError: see `image_from_bytes`.
        """
        return image_from_bytes(
            self.data,
            height_px=self.height_px,
            width_px=self.width_px,
            step=self.step,
            encoding=self.encoding,
            is_bigendian=self.is_bigendian,
        )


@dataclass(frozen=True)
class CompressedPicture:
    """The fields of a `sensor_msgs/CompressedImage`: JPEG or PNG.

    Attributes:
        data: the file's bytes.
        format: what the message says of them, for messages of errors; the bytes decide.
    """

    data: Bytes
    format: str = ""

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Decodes the file.

        Raises:
            InputError: it is neither JPEG nor PNG, is damaged or cut off, or holds no colours.
        """
        return image_from_file_bytes(self.data, format_name=self.format)


@dataclass(frozen=True)
class RgbPicture:
    """A picture that is decoded already, as a simulator makes it.

    Attributes:
        pixels: RGB.
    """

    pixels: UInt8[np.ndarray, "height width 3"]

    def rgb(self) -> UInt8[np.ndarray, "height width 3"]:
        """Returns the pixels."""
        return self.pixels
