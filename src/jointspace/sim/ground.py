"""The table and the wall behind, as a camera sees them: what lies where, and its colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int

from jointspace.sim.scene import TABLE_HALF_M, TABLE_MIDDLE_M

_WALL_TOP = np.array((0.83, 0.85, 0.87), dtype=np.float32)
_WALL_BOTTOM = np.array((0.66, 0.685, 0.71), dtype=np.float32)
_TABLE_LIGHT = 1.10
_TABLE_FADE = 0.35


@dataclass(frozen=True)
class Ground:
    """Table and wall without any shadow.

    Attributes:
        image: red, green and blue of each pixel.
        table: the pixels that show the table.
        x_m: where the ray of each of these meets the table.
        y_m: likewise.
    """

    image: Float32[np.ndarray, "3 pixels"]
    table: Int[np.ndarray, " table_pixels"]
    x_m: Float32[np.ndarray, " table_pixels"]
    y_m: Float32[np.ndarray, " table_pixels"]


def draw_ground(
    model: Any,
    *,
    origin: Float64[np.ndarray, "3"],
    rays: Float32[np.ndarray, "3 pixels"],
) -> Ground:
    """Draws table and wall.

    Args:
        model: the scene, whose table has a tint.
        origin: where the camera is.
        rays: unit vectors in the base frame, one column a pixel.
    """
    right, ahead, up = rays[0].copy(), rays[1].copy(), rays[2]
    x, y, z = origin.astype(np.float32)
    length = -z / np.minimum(up, np.float32(-1e-6))
    right *= length
    right += x
    ahead *= length
    ahead += y
    seen = np.abs(right - np.float32(TABLE_MIDDLE_M[0])) < TABLE_HALF_M[0]
    seen &= np.abs(ahead - np.float32(TABLE_MIDDLE_M[1])) < TABLE_HALF_M[1]
    seen &= up < 0
    light = (right - np.float32(0.5)) ** 2
    light += ahead * ahead
    light *= np.float32(-_TABLE_FADE)
    light += np.float32(_TABLE_LIGHT)
    image = model.geom("table").rgba[:3].astype(np.float32)[:, None] * light
    if seen.all():
        return Ground(image, np.arange(len(up)), right, ahead)
    wall = np.flatnonzero(~seen)
    share = np.clip(up[wall] + np.float32(0.6), 0.0, 1.0)
    image[:, wall] = _WALL_BOTTOM[:, None] + (_WALL_TOP - _WALL_BOTTOM)[:, None] * share
    return Ground(image, np.flatnonzero(seen), right[seen], ahead[seen])
