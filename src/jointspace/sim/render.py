"""Pictures of the scene: a ray renderer that needs no graphics library, and OpenGL as an option."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, UInt8

from jointspace.errors import InputError
from jointspace.sim.ground import draw_ground
from jointspace.sim.outlines import Outlines
from jointspace.sim.rays import (
    NOTHING,
    camera_rays,
    cast_rays,
    subpixel_rays,
)
from jointspace.sim.render_gl import GlRenderer
from jointspace.sim.shading import shade
from jointspace.sim.shadows import Casters, SoftShadows

_WORLD_BODY = 0
_MIN_PX = 8

_JUMP = 0.08
"""Neighbours whose colours differ by more are an edge."""

_FIXED, _MOVING, _OUT_OF_VIEW = 0, 1, 5
"""Groups of geoms: what stays where a layout puts it, what may move, what a picture leaves out."""


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


@dataclass(frozen=True)
class _Backdrop:
    """What a picture shows before anything that moves is drawn, in full light.

    Attributes:
        image: red, green and blue of each pixel.
        distance: from the camera to the things in the picture; infinite where there are none.
        dark: the part of the light that the things in the picture keep from each pixel.
        open: the pixels that show the table.
        x_m: where the ray of each of these meets the table.
        y_m: likewise.
    """

    image: Float32[np.ndarray, "3 pixels"]
    distance: Float64[np.ndarray, " pixels"]
    dark: Float32[np.ndarray, " pixels"]
    open: Int[np.ndarray, " open_pixels"]
    x_m: Float32[np.ndarray, " open_pixels"]
    y_m: Float32[np.ndarray, " open_pixels"]


class RayRenderer:
    """Casts rays on the processor, and only where a thing can be.

    The table and the wall behind it are drawn in closed form. Rays are cast within the outlines
    of the geoms' boxes: one through the middle of each pixel, and more where colours meet. What
    cannot move before a camera that cannot either is drawn once a scene.

    Args:
        model: the scene; its geoms are sorted into groups.
        image_px: side of the square pictures.
        shadows: whether things cast soft shadows on the table.
        samples: rays along each side of a pixel where colours meet.
    """

    def __init__(self, model: Any, *, image_px: int, shadows: bool, samples: int) -> None:
        self._model = model
        self._px = image_px
        self._shadows = SoftShadows(model) if shadows else None
        self._rays = [camera_rays(float(fovy), image_px) for fovy in model.cam_fovy]
        self._columns = [np.ascontiguousarray(rays.T, dtype=np.float32) for rays in self._rays]
        self._fine_rays = [
            subpixel_rays(float(fovy), image_px, samples) if samples > 1 else None
            for fovy in model.cam_fovy
        ]
        things = np.flatnonzero(model.geom_bodyid != _WORLD_BODY)
        is_fixed = model.body_dofnum[model.body_weldid[model.geom_bodyid]] == 0
        self._group = np.where(is_fixed, _FIXED, _MOVING).astype(model.geom_group.dtype)
        self._fixed = things[is_fixed[things]]
        self._outlines_of_fixed = Outlines(model, self._fixed)
        self._outlines_of_moving = Outlines(model, things[~is_fixed[things]])
        self._outlines_of_all = Outlines(model, things)
        # A thing that never moves still has an edge toward one that does, so finer rays need both.
        self._keeps_things = [
            samples == 1 and bool(model.body_dofnum[model.body_weldid[body]] == 0)
            for body in model.cam_bodyid
        ]
        self._kept: dict[int, tuple[bytes, _Backdrop]] = {}

    def picture(self, data: Any, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """Returns a camera's picture of the scene as it is.

        Args:
            data: the scene's state, after `mj_forward`.
            camera: its name.
        """
        index = int(self._model.camera(camera).id)
        keeps_things = self._keeps_things[index]
        backdrop = self._kept_backdrop(data, index) if keeps_things else self._ground(data, index)
        image = self._in_shadow(data, backdrop, casters="moving" if keeps_things else "all")
        fine = self._fine_rays[index]
        behind = image.copy() if fine is not None else image

        axes = data.cam_xmat[index].reshape(3, 3)
        origin = data.cam_xpos[index].copy()
        outlines = self._outlines_of_moving if keeps_things else self._outlines_of_all
        view = outlines.in_view(data, camera=index, image_px=self._px)
        self._leave_out_all_but(view.geoms)
        where = np.flatnonzero(view.mask)
        rays = self._rays[index][where] @ axes.T
        groups = (_MOVING,) if keeps_things else (_FIXED, _MOVING)
        hits = cast_rays(self._model, data, origin, rays, groups=groups)
        seen = (hits.geom != NOTHING) & (hits.distance < backdrop.distance[where])
        image[:, where[seen]] = shade(
            self._model, data, origin=origin, rays=rays[seen], hits=hits.of(seen)
        )
        if fine is not None:
            geoms = np.full(self._px**2, NOTHING, dtype=np.int32)
            geoms[where] = hits.geom
            edges = where[self._edges(image, geoms)[where]]
            image[:, edges] = self._blend(data, origin, fine[edges] @ axes.T, behind[:, edges])
        image *= 255.0
        image += 0.5
        np.maximum(image, 0.0, out=image)
        np.minimum(image, 255.0, out=image)
        levels = np.ascontiguousarray(image.astype(np.uint8).T)
        return levels.reshape(self._px, self._px, 3)

    def _kept_backdrop(self, data: Any, camera: int) -> _Backdrop:
        """Returns what a fixed camera sees of what is fixed; drawn anew when any of it changed."""
        model, fixed = self._model, self._fixed
        places = (data.cam_xpos[camera], data.cam_xmat[camera], data.light_xdir[0])
        poses = (data.geom_xpos[fixed], data.geom_xmat[fixed])
        paints = (model.geom_rgba[fixed], model.geom("table").rgba)
        state = b"".join(part.tobytes() for part in (*places, *poses, *paints))
        kept = self._kept.get(camera)
        if kept is None or kept[0] != state:
            kept = state, self._with_fixed(data, camera, self._ground(data, camera))
            self._kept[camera] = kept
        return kept[1]

    def _ground(self, data: Any, camera: int) -> _Backdrop:
        axes = data.cam_xmat[camera].reshape(3, 3).astype(np.float32)
        ground = draw_ground(
            self._model, origin=data.cam_xpos[camera], rays=axes @ self._columns[camera]
        )
        return _Backdrop(
            image=ground.image,
            distance=np.full(self._px**2, np.inf),
            dark=np.zeros(self._px**2, dtype=np.float32),
            open=ground.table,
            x_m=ground.x_m,
            y_m=ground.y_m,
        )

    def _with_fixed(self, data: Any, camera: int, ground: _Backdrop) -> _Backdrop:
        """Draws what is fixed to the world onto the ground."""
        origin = data.cam_xpos[camera].copy()
        axes = data.cam_xmat[camera].reshape(3, 3)
        view = self._outlines_of_fixed.in_view(data, camera=camera, image_px=self._px)
        self._leave_out_all_but(view.geoms)
        where = np.flatnonzero(view.mask)
        rays = self._rays[camera][where] @ axes.T
        hits = cast_rays(self._model, data, origin, rays, groups=(_FIXED,))
        seen = hits.geom != NOTHING
        image, distance, dark = ground.image.copy(), ground.distance.copy(), ground.dark.copy()
        image[:, where[seen]] = shade(
            self._model, data, origin=origin, rays=rays[seen], hits=hits.of(seen)
        )
        distance[where[seen]] = hits.distance[seen]
        bare = np.isinf(distance[ground.open])
        pixels, x_m, y_m = ground.open[bare], ground.x_m[bare], ground.y_m[bare]
        if self._shadows is not None:
            dark[pixels] = self._shadows.darkness(data, x_m=x_m, y_m=y_m, casters="fixed")
        return _Backdrop(image, distance, dark, pixels, x_m, y_m)

    def _in_shadow(
        self, data: Any, backdrop: _Backdrop, *, casters: Casters
    ) -> Float32[np.ndarray, "3 pixels"]:
        """Returns a backdrop's image in its own shadows and in those of more things."""
        if self._shadows is None:
            return backdrop.image.copy()
        more = self._shadows.darkness(data, x_m=backdrop.x_m, y_m=backdrop.y_m, casters=casters)
        light = backdrop.dark.copy()
        light[backdrop.open] = np.maximum(light[backdrop.open], more)
        return backdrop.image * np.subtract(1.0, light, out=light)

    def _leave_out_all_but(self, geoms: Int[np.ndarray, " geoms"]) -> None:
        """Spares each ray the geoms that no ray meets."""
        self._model.geom_group[:] = _OUT_OF_VIEW
        self._model.geom_group[geoms] = self._group[geoms]

    def _blend(
        self,
        data: Any,
        origin: Float64[np.ndarray, "3"],
        rays: Float64[np.ndarray, "pixels samples 3"],
        behind: Float32[np.ndarray, "3 pixels"],
    ) -> Float32[np.ndarray, "3 pixels"]:
        """Returns the mean colour of several rays a pixel."""
        colours = np.repeat(behind, rays.shape[1], axis=1)
        flat = rays.reshape(-1, 3)
        hits = cast_rays(self._model, data, origin, flat, groups=(_FIXED, _MOVING))
        seen = hits.geom != NOTHING
        colours[:, seen] = shade(
            self._model, data, origin=origin, rays=flat[seen], hits=hits.of(seen)
        )
        return np.clip(colours, 0.0, 1.0).reshape(3, *rays.shape[:2]).mean(axis=2)

    def _edges(
        self, image: Float32[np.ndarray, "3 pixels"], geoms: Int[np.ndarray, " pixels"]
    ) -> Bool[np.ndarray, " pixels"]:
        """Marks both pixels on either side of a jump of colour, or of a change of geom.

        A seam between geoms may hide a sliver too thin for one ray a pixel to find it.
        """
        grid = image.T.reshape(self._px, self._px, 3)
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
