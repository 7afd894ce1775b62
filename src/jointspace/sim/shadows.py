"""Soft shadows on the table, in closed form: each thing is a rounded bar along the light."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from jointspace.sim.engine import load_mujoco

Casters = Literal["all", "fixed", "moving"]
"""What casts shadows: all things, those that never move within a scene, or those that may."""

_WORLD_BODY = 0

_DARKEST = 0.42
_FADE_PER_M = 3.5
_SOFT_M = 0.010
_SOFT_PER_M = 0.35
_HIGHEST_M = 0.5
"""Things above cast no shadow that could be seen."""

_SHORT_M = 1e-3
_CHUNK = 1024
"""Points at a time: neighbours, which few shadows reach."""


class SoftShadows:
    """How dark points of the table are.

    A thing high above the table casts a faint, blurred shadow, and one that stands on it a dark,
    sharp one. Shadows fall on the table alone, never on other things.

    Args:
        model: the scene.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        casters = _casters(model)
        fixed = model.body_weldid[model.geom_bodyid[casters]] == _WORLD_BODY
        self._casters: Mapping[Casters, Int[np.ndarray, " casters"]] = {
            "all": casters,
            "fixed": casters[fixed],
            "moving": casters[~fixed],
        }

    def darkness(
        self,
        data: Any,
        *,
        x_m: Float32[np.ndarray, " points"],
        y_m: Float32[np.ndarray, " points"],
        casters: Casters = "all",
    ) -> Float32[np.ndarray, " points"]:
        """Returns the part of the light that things keep from points of the table.

        Args:
            data: the scene's state, after `mj_forward`.
            x_m: where the points are.
            y_m: likewise.
            casters: the things that count; the darkness of all is the greater of the two others.

        Returns:
            0 in full light.
        """
        dark = np.zeros_like(x_m)
        bars = self._bars(data, self._casters[casters])
        starts = np.arange(0, len(x_m), _CHUNK)
        if not len(starts) or not len(bars):
            return dark
        touched = bars.touch(
            low=[np.minimum.reduceat(axis, starts) for axis in (x_m, y_m)],
            high=[np.maximum.reduceat(axis, starts) for axis in (x_m, y_m)],
        )
        for start, near in zip(starts.tolist(), touched, strict=True):
            if near.any():
                part = np.s_[start : start + _CHUNK]
                bars[near].darken(dark[part], x_m=x_m[part], y_m=y_m[part])
        return dark

    def _bars(self, data: Any, geoms: Int[np.ndarray, " geoms"]) -> "_Bars":
        """Returns the shadows of some geoms, but for hidden ones and those too high."""
        shown = self._model.geom_rgba[geoms, 3] > 0
        geoms = geoms[shown & (data.geom_xpos[geoms, 2] < _HIGHEST_M)]
        radii, halves, axes = _rounded(self._model, geoms)
        turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
        offsets = turns[np.arange(len(geoms)), :, axes] * halves[:, None]
        middles = data.geom_xpos[geoms]
        light = -data.light_xdir[0]
        slope = light[:2] / light[2]
        starts, ends = (
            end[:, :2] - slope * np.maximum(end[:, 2:], 0.0)
            for end in (middles - offsets, middles + offsets)
        )
        heights = np.maximum(middles[:, 2] - np.abs(offsets[:, 2]) - radii, 0.0)
        return _Bars.between(starts, ends, radii=radii, heights=heights)


@dataclass(frozen=True)
class _Bars:
    """Shadows on the table: bars with round ends. Rows are bars.

    Attributes:
        box: lowest x and y, highest x and y of what a bar darkens.
        along: makes of (x, y, 1) how far a point lies from the middle along the bar. All lengths
            are in units in which the bar's soft rim is one wide.
        across: makes of (x, y, 1) how far a point lies aside.
        half: half the length of the middle line.
        reach: from the middle line to full light.
        strength: the darkest.
    """

    box: Float64[np.ndarray, "bars 4"]
    along: Float32[np.ndarray, "bars 3"]
    across: Float32[np.ndarray, "bars 3"]
    half: Float32[np.ndarray, "bars 1"]
    reach: Float32[np.ndarray, "bars 1"]
    strength: Float32[np.ndarray, "bars 1"]

    @classmethod
    def between(
        cls,
        starts: Float64[np.ndarray, "bars 2"],
        ends: Float64[np.ndarray, "bars 2"],
        *,
        radii: Float64[np.ndarray, " bars"],
        heights: Float64[np.ndarray, " bars"],
    ) -> "_Bars":
        """Returns the bars between two points each, given their radii and how high things are."""
        soft = _SOFT_M + _SOFT_PER_M * heights
        reach = radii + soft
        offset = ends - starts
        length = np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2)
        is_long = length > _SHORT_M  # what stands upright has a round shadow
        offset /= np.maximum(length, _SHORT_M)[:, None]
        offset[~is_long] = (1.0, 0.0)
        middle = (starts + ends) / 2
        scale = 0.5 / soft
        ways = np.zeros((2, len(radii), 3))
        ways[0, :, :2] = offset
        ways[1, :, 0], ways[1, :, 1] = -offset[:, 1], offset[:, 0]
        ways[:, :, 2] = -(ways[:, :, :2] * middle).sum(axis=2)
        along, across = (ways * scale[:, None]).astype(np.float32)
        strength = _DARKEST / (1.0 + _FADE_PER_M * heights)
        columns = np.stack([np.where(is_long, length / 2, 0.0) * scale, reach * scale, strength])
        half, far, strength = columns.astype(np.float32)[..., None]
        box = np.concatenate(
            [np.minimum(starts, ends) - reach[:, None], np.maximum(starts, ends) + reach[:, None]],
            axis=1,
        )
        return cls(box, along, across, half, far, strength)

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, rows: Bool[np.ndarray, " bars"]) -> "_Bars":
        parts = (self.box, self.along, self.across, self.half, self.reach, self.strength)
        return _Bars(*(part[rows] for part in parts))

    def touch(
        self,
        *,
        low: Sequence[Float32[np.ndarray, " areas"]],
        high: Sequence[Float32[np.ndarray, " areas"]],
    ) -> Bool[np.ndarray, "areas bars"]:
        """Tells which bars may darken which areas, given the lowest and highest x and y of each."""
        near = (self.box[:, 0] < high[0][:, None]) & (self.box[:, 2] > low[0][:, None])
        near &= (self.box[:, 1] < high[1][:, None]) & (self.box[:, 3] > low[1][:, None])
        return near

    def darken(
        self,
        dark: Float32[np.ndarray, " points"],
        *,
        x_m: Float32[np.ndarray, " points"],
        y_m: Float32[np.ndarray, " points"],
    ) -> None:
        """Writes the darkest of the shadows, at least one, at each point into `dark`."""
        points = np.stack([x_m, y_m, np.ones_like(x_m)])
        ahead = self.along @ points
        np.abs(ahead, out=ahead)
        ahead -= self.half
        np.maximum(ahead, 0.0, out=ahead)
        ahead *= ahead
        full = self.across @ points
        full *= full
        full += ahead
        np.sqrt(full, out=full)
        np.subtract(self.reach, full, out=full)
        np.maximum(full, 0.0, out=full)
        np.minimum(full, 1.0, out=full)
        shade = np.multiply(full, -2.0 * self.strength, out=ahead)
        shade += 3.0 * self.strength
        full *= full
        shade *= full
        shade.max(axis=0, out=dark)


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
