"""Encoded pictures."""

import io

import numpy as np
from PIL import Image


def jpeg():
    """A small grey picture as JPEG."""
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 99, dtype=np.uint8)).save(content, "JPEG")
    return content.getvalue()
