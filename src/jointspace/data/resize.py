"""One path from a frame to what the vision tower sees.

Training, export, HTTP and the robot all resize with `resize_frame`: they see the same pixels.
"""

import numpy as np
from jaxtyping import UInt8

from jointspace.errors import InputError


def resize_frame(
    frame: UInt8[np.ndarray, "height width 3"], *, image_px: int
) -> UInt8[np.ndarray, "{image_px} {image_px} 3"]:
    """Fits a frame into a square: aspect kept, centred, black bars on the short sides.

    Args:
        frame: RGB picture of any size.
        image_px: side of the square.

    Returns:
        The square picture; equal pixels for equal input, whoever calls.

    Raises:
        InputError: `image_px` is below 1, or the frame has no pixels.
    """
    height, width = frame.shape[:2]
    if image_px < 1 or not frame.size:
        raise InputError(
            f"resize_frame: cannot fit {height}x{width} pixels into {image_px}; expected at least 1"
        )
    if height == width == image_px:
        return frame.copy()
    from PIL import Image  # noqa: PLC0415 - a camera of the model's own size needs no Pillow

    scale = image_px / max(height, width)
    new_height, new_width = (max(1, round(side * scale)) for side in (height, width))
    resized = Image.fromarray(np.ascontiguousarray(frame)).resize(
        (new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=2.0
    )
    square = np.zeros((image_px, image_px, 3), dtype=np.uint8)
    top, left = (image_px - new_height) // 2, (image_px - new_width) // 2
    square[top : top + new_height, left : left + new_width] = np.asarray(resized)
    return square
