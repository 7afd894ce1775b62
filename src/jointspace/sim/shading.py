"""Colours of things: sky, key light, a light at the camera, and a highlight."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from jointspace.sim.rays import RayHits

_AMBIENT = 0.38
_SKY = 0.16
_KEY = 0.48
_WRAP = 0.35
"""The key light is as wide as if it reached so far behind the horizon."""

_HEAD = 0.12
_SHINE = 0.16

_DIM_BELOW_M = 0.035
"""Things are up to a fifth darker below this height, as if the table kept light from them."""


def shade(
    model: Any,
    data: Any,
    *,
    origin: Float64[np.ndarray, "3"],
    rays: Float64[np.ndarray, "rays 3"],
    hits: RayHits,
) -> Float32[np.ndarray, "3 rays"]:
    """Returns red, green and blue of what rays meet.

    Args:
        model: the scene.
        data: its state, after `mj_forward`.
        origin: of the rays.
        rays: unit vectors.
        hits: what they meet; each must meet something.
    """
    normal = np.ascontiguousarray(hits.normal.T, dtype=np.float32)
    view = np.ascontiguousarray(rays.T, dtype=np.float32)
    key_x, key_y, key_z = -data.light_xdir[0].astype(np.float32)
    toward = normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]
    lit = normal[0] * key_x + normal[1] * key_y + normal[2] * key_z
    # Of the vector halfway between light and camera: its length follows from the angle.
    along = view[0] * key_x + view[1] * key_y + view[2] * key_z
    shine = (lit - toward) / np.sqrt(np.maximum(2.0 - 2.0 * along, np.float32(1e-6)))
    shine = np.minimum(np.maximum(shine, 0.0), 1.0)
    for _ in range(4):
        shine *= shine  # the sixteenth power, faster than a power
    key = np.minimum(np.maximum((lit + _WRAP) / (1.0 + _WRAP), 0.0), 1.0)
    light = _AMBIENT + _SKY * normal[2] + _KEY * key
    light += _HEAD * np.minimum(np.maximum(-toward, 0.0), 1.0)
    height = (origin[2] + hits.distance * rays[:, 2]).astype(np.float32)
    light *= 0.80 + 0.20 * np.minimum(np.maximum(height / _DIM_BELOW_M, 0.0), 1.0)
    colours = model.geom_rgba[:, :3].astype(np.float32).T[:, hits.geom]
    colours *= light
    colours += _SHINE * shine
    return colours
