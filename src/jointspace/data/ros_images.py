"""Pictures from the bytes of ROS messages, without OpenCV and without cv_bridge."""

import array
import io
import sys

import numpy as np
from jaxtyping import UInt8

from jointspace.errors import InputError, did_you_mean

Bytes = bytes | bytearray | memoryview | array.array | np.ndarray  # type: ignore[type-arg]
"""What message libraries hand out. (Arrays take no type argument at run time in Python 3.11.)"""

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_NO_COLOUR = {
    "mono16": "16-bit grey",
    "16UC1": "16-bit depth in millimetres",
    "32FC1": "depth in metres",
}
_MOST_PX = 1 << 13
_COLOUR_MODES = frozenset(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"))


def image_from_bytes(
    data: Bytes,
    *,
    height_px: int,
    width_px: int,
    step: int,
    encoding: str,
    is_bigendian: bool = False,
) -> UInt8[np.ndarray, "height width 3"]:
    """Makes RGB of the bytes of a `sensor_msgs/Image`.

    Args:
        data: the bytes, row by row.
        height_px: rows.
        width_px: columns.
        step: bytes from one row to the next; more than a row needs is padding.
        encoding: `rgb8`, `bgr8`, `rgba8`, `bgra8` (alpha is dropped) or `mono8` (grey).
        is_bigendian: named in the refusal of encodings with more than one byte a channel; single
            bytes have no order.

    Returns:
        A read-only view of the bytes, valid as long as they are.

    Raises:
        InputError: an encoding that is unknown or holds no colours, a size outside of 1 to 8192
            pixels, a step shorter than a row, or fewer bytes than the rows need.
    """
    if encoding in _NO_COLOUR:
        order = "big" if is_bigendian else "little"
        host = "" if order == sys.byteorder else f" (in {order}-endian order)"
        raise InputError(
            f"image encoding: got '{encoding}', which is {_NO_COLOUR[encoding]}{host}; the model "
            f"reads colours. Subscribe the camera's colour topic: {', '.join(_CHANNELS)}"
        )
    if encoding not in _CHANNELS:
        raise InputError(
            f"image encoding: unknown '{encoding}'.{did_you_mean(encoding, _CHANNELS)}"
        )
    if not (1 <= height_px <= _MOST_PX and 1 <= width_px <= _MOST_PX):
        raise InputError(
            f"image size: got {width_px}x{height_px} pixels, expected 1 to {_MOST_PX} each"
        )
    channels = _CHANNELS[encoding]
    row_bytes = width_px * channels
    if step < row_bytes:
        raise InputError(
            f"image step: got {step}, expected at least {row_bytes} bytes for {width_px} pixels "
            f"of {encoding}"
        )
    flat = np.frombuffer(data, dtype=np.uint8) if len(data) else np.zeros(0, dtype=np.uint8)
    needed = step * (height_px - 1) + row_bytes
    if flat.size < needed:
        raise InputError(
            f"image data: got {flat.size} bytes, expected {needed} for {width_px}x{height_px} "
            f"pixels of {encoding} at step {step}; the message is cut off"
        )
    pixels = np.lib.stride_tricks.as_strided(
        flat, (height_px, width_px, channels), (step, channels, 1), writeable=False
    )
    if channels == 1:
        return np.broadcast_to(pixels, (height_px, width_px, 3))
    return pixels[..., 2::-1] if encoding.startswith("bgr") else pixels[..., :3]


def image_from_file_bytes(
    data: Bytes, *, format_name: str = ""
) -> UInt8[np.ndarray, "height width 3"]:
    """Makes RGB of the bytes of a JPEG or PNG file.

    Args:
        data: the file.
        format_name: what the message calls it, for the error.

    Returns:
        The picture; grey becomes three equal channels, alpha is dropped.

    Raises:
        InputError: it is neither JPEG nor PNG, is damaged or cut off, is too large, or holds depth
            instead of colours.
    """
    # Robots with raw pictures never load Pillow.
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    raw = bytes(data)
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as picture:
            mode, size = picture.mode, picture.size
            pixels = None
            if mode in _COLOUR_MODES and max(size) <= _MOST_PX:
                pixels = np.asarray(picture.convert("RGB"))
    except (
        *(UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning),
        *(OSError, SyntaxError, ValueError),
    ) as error:
        raise InputError(
            f"compressed image: {len(raw)} bytes of '{format_name}' are no whole JPEG or PNG: "
            f"{error}"
        ) from error
    if pixels is None:
        raise InputError(
            f"compressed image: got {size[0]}x{size[1]} pixels of mode '{mode}', expected colours "
            f"and at most {_MOST_PX} pixels a side; subscribe the camera's colour topic"
        )
    return pixels
