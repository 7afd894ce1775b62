"""Soft shadows on the table, in closed form: each thing is a rounded bar along the light."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int

_DARKEST = 0.42
_FADE_PER_M = 3.5
_SOFT_M = 0.010
_SOFT_PER_M = 0.35
_ROUND_WORDS = ("bowl", "plate", "tray")


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
        self, data: Any, x_m: Float32[np.ndarray, " points"], y_m: Float32[np.ndarray, " points"]
    ) -> Float32[np.ndarray, " points"]:
        """Returns the part of the light that things keep from points of the table.

        Args:
            data: the scene's state, after `mj_forward`.
            x_m: of each point.
            y_m: of each point.

        Returns:
            0 in full light.
        """
        dark = np.zeros_like(x_m)
        starts, ends, radii, heights = self._bars(data)
        soft = _SOFT_M + _SOFT_PER_M * heights
        strength = _DARKEST / (1.0 + _FADE_PER_M * heights)
        reach = (radii + soft)[:, None]
        low, high = np.minimum(starts, ends) - reach, np.maximum(starts, ends) + reach
        for bar in range(len(radii)):
            near = np.flatnonzero(
                (x_m > low[bar, 0])
                & (x_m < high[bar, 0])
                & (y_m > low[bar, 1])
                & (y_m < high[bar, 1])
            )
            if not len(near):
                continue
            along = ends[bar] - starts[bar]
            dx, dy = x_m[near] - starts[bar, 0], y_m[near] - starts[bar, 1]
            part = np.clip((dx * along[0] + dy * along[1]) / max(along @ along, 1e-9), 0.0, 1.0)
            away = np.hypot(dx - part * along[0], dy - part * along[1])
            full = np.clip((radii[bar] + soft[bar] - away) / (2.0 * soft[bar]), 0.0, 1.0)
            shade = strength[bar] * full * full * (3.0 - 2.0 * full)
            dark[near] = np.maximum(dark[near], shade)
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
        casters = self._casters[self._model.geom_rgba[self._casters, 3] > 0]
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
    """Returns the geoms that cast shadows: all of the arm, one of each item."""
    casters = []
    for body in range(1, model.nbody):
        geoms = np.flatnonzero(model.geom_bodyid == body)
        name = model.body(body).name
        if name.endswith("_cap"):
            continue
        casters += geoms[:1].tolist() if name.endswith(_ROUND_WORDS) else geoms.tolist()
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
