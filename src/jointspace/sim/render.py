"""Pictures of the scene: a ray renderer that needs no graphics library, and OpenGL as an option."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8

from jointspace.errors import InputError
from jointspace.sim.rays import (
    NOTHING,
    RayHits,
    box_corners,
    camera_rays,
    cast_rays,
    pixel_bounds,
    subpixel_rays,
)
from jointspace.sim.render_gl import GlRenderer
from jointspace.sim.scene import TABLE_HALF_M, TABLE_MIDDLE_M
from jointspace.sim.shadows import SoftShadows

_WORLD_BODY = 0
_MIN_PX = 8

_AMBIENT = 0.38
_SKY = 0.16
_KEY = 0.48
_WRAP = 0.35
"""The key light is as wide as if it reached so far behind the horizon."""

_HEAD = 0.12
_SHINE = 0.16
_JUMP = 0.08
"""Neighbours whose colours differ by more are an edge."""

_DIM_BELOW_M = 0.035
"""Things are up to a fifth darker below this height, as if the table kept light from them."""

_WALL_TOP = np.array((0.83, 0.85, 0.87), dtype=np.float32)
_WALL_BOTTOM = np.array((0.66, 0.685, 0.71), dtype=np.float32)
_TABLE_LIGHT = 1.10
_TABLE_FADE = 0.35


@runtime_checkable
class Renderer(Protocol):
    """Takes pictures."""

    def picture(self, data: Any, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a camera's picture of the scene as it is."""
        ...


def make_renderer(model: Any, *, kind: str, image_px: int, shadows: bool, samples: int) -> Renderer:
    """Builds a renderer for a compiled scene.

    Args:
        model: the scene.
        kind: `ray` or `gl`.
        image_px: side of the square pictures.
        shadows: whether things cast soft shadows on the table (`ray` only).
        samples: rays along each side of a pixel at edges (`ray` only).

    Returns:
        The renderer.

    Raises:
        InputError: an unknown kind, a size below 8, samples not in 1..4, or no OpenGL.
    """
    if image_px < _MIN_PX:
        raise InputError(f"image_px: got {image_px}, expected at least {_MIN_PX}")
    if not 1 <= samples <= 4:
        raise InputError(f"samples: got {samples}, expected 1 to 4 rays along each side of a pixel")
    if kind == "ray":
        return RayRenderer(model, image_px=image_px, shadows=shadows, samples=samples)
    if kind == "gl":
        return GlRenderer(model, image_px=image_px)
    raise InputError(f"renderer: got '{kind}', expected 'ray' or 'gl'")


class RayRenderer:
    """Casts rays on the processor, and only where a thing can be.

    The table and the wall behind it are drawn in closed form. Rays are cast within the outlines
    of the geoms' boxes: one through the middle of each pixel, and more where colours meet.

    Args:
        model: the scene.
        image_px: side of the square pictures.
        shadows: whether things cast soft shadows on the table.
        samples: rays along each side of a pixel where colours meet.
    """

    def __init__(self, model: Any, *, image_px: int, shadows: bool, samples: int) -> None:
        self._model = model
        self._px = image_px
        self._shadows = SoftShadows(model) if shadows else None
        self._rays = [camera_rays(float(fovy), image_px) for fovy in model.cam_fovy]
        self._fine_rays = [
            subpixel_rays(float(fovy), image_px, samples) if samples > 1 else None
            for fovy in model.cam_fovy
        ]
        self._things = np.flatnonzero(model.geom_bodyid != _WORLD_BODY)

    def picture(self, data: Any, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a camera's picture of the scene as it is.

        Args:
            data: the scene's state, after `mj_forward`.
            camera: its name.
        """
        index = self._model.camera(camera).id
        axes = data.cam_xmat[index].reshape(3, 3)
        origin = data.cam_xpos[index].copy()
        rays = self._rays[index] @ axes.T
        image = self._background(data, index, rays)
        behind = image.copy()

        where = np.flatnonzero(self._outlines(data, index))
        hits = cast_rays(self._model, data, origin, rays[where])
        seen = hits.geom != NOTHING
        pixels = where[seen]
        image[pixels] = self._shade(data, origin, rays[pixels], hits.of(seen))

        fine = self._fine_rays[index]
        if fine is not None:
            geoms = np.full(len(rays), NOTHING, dtype=np.int32)
            geoms[where] = hits.geom
            edges = where[self._edges(image, geoms)[where]]
            image[edges] = self._blend(data, origin, fine[edges] @ axes.T, behind[edges])
        levels = np.clip(image * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
        return levels.reshape(self._px, self._px, 3)

    def _blend(
        self,
        data: Any,
        origin: Float64[np.ndarray, "3"],
        rays: Float64[np.ndarray, "pixels samples 3"],
        behind: Float32[np.ndarray, "pixels 3"],
    ) -> Float32[np.ndarray, "pixels 3"]:
        """Returns the mean colour of several rays a pixel."""
        colours = np.repeat(behind[:, None], rays.shape[1], axis=1).reshape(-1, 3)
        flat = rays.reshape(-1, 3)
        hits = cast_rays(self._model, data, origin, flat)
        seen = hits.geom != NOTHING
        colours[seen] = self._shade(data, origin, flat[seen], hits.of(seen))
        return np.clip(colours, 0.0, 1.0).reshape(rays.shape).mean(axis=1)

    def _edges(
        self, image: Float32[np.ndarray, "pixels 3"], geoms: Int[np.ndarray, " pixels"]
    ) -> Bool[np.ndarray, " pixels"]:
        """Marks both pixels on either side of a jump of colour, or of a change of geom.

        A seam between geoms may hide a sliver too thin for one ray a pixel to find it.
        """
        grid = image.reshape(self._px, self._px, 3)
        owner = geoms.reshape(self._px, self._px)
        edges = np.zeros((self._px, self._px), dtype=bool)
        across = (np.abs(grid[:, 1:] - grid[:, :-1]) > _JUMP).any(axis=2)
        across |= owner[:, 1:] != owner[:, :-1]
        along = (np.abs(grid[1:] - grid[:-1]) > _JUMP).any(axis=2)
        along |= owner[1:] != owner[:-1]
        edges[:, 1:] |= across
        edges[:, :-1] |= across
        edges[1:] |= along
        edges[:-1] |= along
        return edges.reshape(-1)

    def _outlines(self, data: Any, camera: int) -> Bool[np.ndarray, "height width"]:
        """Marks the pixels within the outline of any visible geom's box."""
        model = self._model
        geoms = self._things[model.geom_rgba[self._things, 3] > 0]
        bounds = pixel_bounds(
            model,
            data,
            camera=camera,
            places=box_corners(model, data, geoms),
            image_px=self._px,
        )
        mask = np.zeros((self._px, self._px), dtype=bool)
        for top, bottom, left, right in bounds.tolist():
            mask[top:bottom, left:right] = True
        return mask

    def _background(
        self, data: Any, camera: int, rays: Float64[np.ndarray, "rays 3"]
    ) -> Float32[np.ndarray, "rays 3"]:
        """Draws the table, its shadows, and the wall behind."""
        x, y, z = rays.T.astype(np.float32)
        image = _WALL_BOTTOM + (_WALL_TOP - _WALL_BOTTOM) * np.clip(z + 0.6, 0.0, 1.0)[:, None]
        origin = data.cam_xpos[camera].astype(np.float32)
        length = -origin[2] / np.minimum(z, -1e-6)
        x, y = origin[0] + length * x, origin[1] + length * y
        light = _TABLE_LIGHT - _TABLE_FADE * ((x - 0.5) ** 2 + y**2)
        if self._shadows is not None:
            shape = (self._px, self._px)
            light *= 1.0 - self._shadows.darkness(
                data, camera=camera, x_m=x.reshape(shape), y_m=y.reshape(shape)
            ).reshape(-1)
        table = np.abs(x - np.float32(TABLE_MIDDLE_M[0])) < TABLE_HALF_M[0]
        table &= np.abs(y - np.float32(TABLE_MIDDLE_M[1])) < TABLE_HALF_M[1]
        table &= z < 0
        tint = self._model.geom("table").rgba[:3].astype(np.float32)
        image[table] = light[table, None] * tint
        return image

    def _shade(
        self,
        data: Any,
        origin: Float64[np.ndarray, "3"],
        rays: Float64[np.ndarray, "rays 3"],
        hits: RayHits,
    ) -> Float32[np.ndarray, "rays 3"]:
        """Returns the colours of things: sky, key light, a light at the camera, and a highlight."""
        normal, view = hits.normal.astype(np.float32), rays.astype(np.float32)
        to_key = -data.light_xdir[0].astype(np.float32)
        halfway = to_key - view
        halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
        shine = np.clip(np.einsum("rc,rc->r", normal, halfway), 0.0, 1.0)
        for _ in range(4):
            shine *= shine  # the sixteenth power, faster than a power
        head = np.clip(-np.einsum("rc,rc->r", normal, view), 0.0, 1.0)
        key = np.clip((normal @ to_key + _WRAP) / (1.0 + _WRAP), 0.0, 1.0)
        light = _AMBIENT + _SKY * normal[:, 2] + _KEY * key + _HEAD * head
        height = (origin[2] + hits.distance * rays[:, 2]).astype(np.float32)
        light *= 0.80 + 0.20 * np.clip(height / _DIM_BELOW_M, 0.0, 1.0)
        paint = self._model.geom_rgba[hits.geom, :3].astype(np.float32)
        return paint * light[:, None] + _SHINE * shine[:, None]
