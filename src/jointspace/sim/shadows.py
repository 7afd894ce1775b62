"""Soft shadows on the table, in closed form: each thing is a rounded bar along the light."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int

from jointspace.sim.engine import load_mujoco
from jointspace.sim.rays import pixel_bounds

_DARKEST = 0.42
_FADE_PER_M = 3.5
_SOFT_M = 0.010
_SOFT_PER_M = 0.35
_HIGHEST_M = 0.5
"""Things above cast no shadow that could be seen."""


class SoftShadows:
    """How dark points of the table are.

    A thing high above the table casts a faint, blurred shadow, and one that stands on it a dark,
    sharp one. Shadows fall on the table alone, never on other things.

    Args:
        model: the scene.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._casters = _casters(model)

    def darkness(
        self,
        data: Any,
        *,
        camera: int,
        x_m: Float32[np.ndarray, "height width"],
        y_m: Float32[np.ndarray, "height width"],
    ) -> Float32[np.ndarray, "height width"]:
        """Returns the part of the light that things keep from each pixel of the table.

        Args:
            data: the scene's state, after `mj_forward`.
            camera: index of the camera that looks at the table.
            x_m: where each pixel's ray meets the table's plane.
            y_m: likewise.

        Returns:
            0 in full light.
        """
        dark = np.zeros_like(x_m)
        starts, ends, radii, heights = self._bars(data)
        soft = _SOFT_M + _SOFT_PER_M * heights
        strength = _DARKEST / (1.0 + _FADE_PER_M * heights)
        reach = (radii + soft)[:, None]
        low, high = np.minimum(starts, ends) - reach, np.maximum(starts, ends) + reach
        corners = np.zeros((len(radii), 4, 3))
        corners[:, :, 0] = np.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0]], axis=1)
        corners[:, :, 1] = np.stack([low[:, 1], high[:, 1], low[:, 1], high[:, 1]], axis=1)
        rectangles = pixel_bounds(
            self._model, data, camera=camera, places=corners, image_px=len(x_m)
        )
        for bar, (top, bottom, left, right) in enumerate(rectangles.tolist()):
            if top >= bottom or left >= right:
                continue
            part = np.s_[top:bottom, left:right]
            along = ends[bar] - starts[bar]
            dx, dy = x_m[part] - starts[bar, 0], y_m[part] - starts[bar, 1]
            length = float(along @ along)
            if length > 1e-6:
                share = np.clip((dx * along[0] + dy * along[1]) * (1.0 / length), 0.0, 1.0)
                dx -= share * along[0]
                dy -= share * along[1]
            away = np.sqrt(dx * dx + dy * dy)
            full = np.clip((reach[bar] - away) * (0.5 / soft[bar]), 0.0, 1.0)
            shade = strength[bar] * full * full * (3.0 - 2.0 * full)
            np.maximum(dark[part], shade, out=dark[part])
        return dark

    def _bars(
        self, data: Any
    ) -> tuple[
        Float32[np.ndarray, "bars 2"],
        Float32[np.ndarray, "bars 2"],
        Float32[np.ndarray, " bars"],
        Float32[np.ndarray, " bars"],
    ]:
        """Returns both ends and the radius of each bar's shadow, and the bar's lowest height."""
        shown = self._model.geom_rgba[self._casters, 3] > 0
        low = data.geom_xpos[self._casters, 2] < _HIGHEST_M
        casters = self._casters[shown & low]
        radii, halves, axes = _rounded(self._model, casters)
        turns = data.geom_xmat[casters].reshape(-1, 3, 3)
        offsets = np.take_along_axis(turns, axes[:, None, None], axis=2)[..., 0] * halves[:, None]
        middles = data.geom_xpos[casters]
        light = -data.light_xdir[0]
        flat = [
            end[:, :2] - light[:2] / light[2] * np.maximum(end[:, 2:], 0.0)
            for end in (middles - offsets, middles + offsets)
        ]
        heights = np.maximum(middles[:, 2] - np.abs(offsets[:, 2]) - radii, 0.0)
        return (
            flat[0].astype(np.float32),
            flat[1].astype(np.float32),
            radii.astype(np.float32),
            heights.astype(np.float32),
        )


def _casters(model: Any) -> Int[np.ndarray, " casters"]:
    """Returns the geoms that cast shadows: foot, limbs and gripper of the arm, one of each item."""
    cylinder = int(load_mujoco().mjtGeom.mjGEOM_CYLINDER)
    casters: list[int] = []
    for body in range(1, model.nbody):
        geoms = np.flatnonzero(model.geom_bodyid == body)
        name = model.body(body).name
        if name.startswith("link"):
            limbs = geoms[model.geom_type[geoms] != cylinder]
            casters += (limbs if len(limbs) else geoms[:1]).tolist()
        elif name.startswith("container"):
            casters += geoms[:1].tolist()
        elif not name.endswith("_cap"):
            casters += geoms.tolist()
    return np.array(casters)


def _rounded(
    model: Any, geoms: Int[np.ndarray, " geoms"]
) -> tuple[Float64[np.ndarray, " geoms"], Float64[np.ndarray, " geoms"], Int[np.ndarray, " geoms"]]:
    """Returns radius, half length and axis of the bar that stands for each geom's box."""
    halves = model.geom_aabb[geoms, 3:]
    axes = halves.argmax(axis=1)
    ordered = np.sort(halves, axis=1)
    radii = ordered[:, 1]
    return radii, np.maximum(ordered[:, 2] - radii, 0.0), axes
