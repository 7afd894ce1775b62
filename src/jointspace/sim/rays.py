"""Rays from a camera: where they go, what they meet, and how much of a thing is seen."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from jointspace.sim.engine import load_mujoco

NOTHING = -1
_WORLD_BODY = 0
_NUM_GROUPS = 6
_FAR_M = 10.0
_NEAR_M = 1e-3
_OUTLINE_RAYS = 16
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)


@dataclass(frozen=True)
class RayHits:
    """Where rays meet things: rows are rays; `geom` is -1 where a ray meets none."""

    geom: Int[np.ndarray, " rays"]
    distance: Float64[np.ndarray, " rays"]
    normal: Float64[np.ndarray, "rays 3"]

    def of(self, rows: Bool[np.ndarray, " rays"]) -> "RayHits":
        """Returns what the chosen rays meet."""
        return RayHits(self.geom[rows], self.distance[rows], self.normal[rows])


def camera_rays(fovy_degrees: float, image_px: int) -> Float64[np.ndarray, "rays 3"]:
    """Returns unit rays through the middles of the pixels, row by row, in the camera's axes."""
    reach = math.tan(math.radians(fovy_degrees) / 2)
    middle = (2 * np.arange(image_px) + 1) / image_px - 1
    up, right = np.meshgrid(-middle * reach, middle * reach, indexing="ij")
    rays = np.stack([right, up, -np.ones_like(up)], axis=-1).reshape(-1, 3)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def cast_rays(
    model: Any,
    data: Any,
    origin: Float64[np.ndarray, "3"],
    rays: Float64[np.ndarray, "rays 3"],
    *,
    groups: tuple[int, ...] | None = None,
) -> RayHits:
    """Returns what unit rays from one point meet first; the table is left out.

    Args:
        model: the scene.
        data: its state, after `mj_forward`.
        origin: of all rays.
        rays: their directions.
        groups: of the geoms that rays meet; all if None.
    """
    number = len(rays)
    geom = np.full(number, NOTHING, dtype=np.int32)
    distance, normal = np.zeros(number), np.zeros(3 * number)
    if number:
        met = np.ones(_NUM_GROUPS, dtype=np.uint8)
        if groups is not None:
            met[:] = 0
            met[list(groups)] = 1
        flat = np.ascontiguousarray(rays).reshape(-1)
        load_mujoco().mj_multiRay(
            model,
            data,
            origin,
            flat,
            met,
            1,
            _WORLD_BODY,
            geom,
            distance,
            normal,
            number,
            _FAR_M,
        )
    return RayHits(geom=geom, distance=distance, normal=normal.reshape(number, 3))


def visible_fraction(
    model: Any, data: Any, *, camera: str, geoms: Int[np.ndarray, " geoms"]
) -> float:
    """Returns the share of some geoms' outline that a camera sees.

    Args:
        model: the scene.
        data: its state, after `mj_forward`.
        camera: its name.
        geoms: of one thing.

    Returns:
        0..1: what lies in the frame with nothing before it, of what would be seen if there were no
        other thing and no frame.
    """
    index = model.camera(camera).id
    corners = box_corners(model, data, geoms)
    row, column, depth = projected(model, data, camera=index, places=corners, image_px=1)
    if depth.min() < _NEAR_M:
        return 0.0
    rows, columns = (np.linspace(part.min(), part.max(), _OUTLINE_RAYS) for part in (row, column))
    down, right = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    reach = 2 * math.tan(math.radians(float(model.cam_fovy[index])) / 2)
    rays = np.stack([(right - 0.5) * reach, (0.5 - down) * reach, -np.ones_like(down)], axis=1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    rays = rays @ data.cam_xmat[index].reshape(3, 3).T
    origin = data.cam_xpos[index].copy()
    seen = np.isin(cast_rays(model, data, origin, rays).geom, geoms)
    seen &= (np.minimum(down, right) >= 0) & (np.maximum(down, right) <= 1)
    alpha = model.geom_rgba[:, 3].copy()
    model.geom_rgba[np.setdiff1d(np.arange(model.ngeom), geoms), 3] = 0.0
    outline = cast_rays(model, data, origin, rays).geom != NOTHING
    model.geom_rgba[:, 3] = alpha
    return float(seen.sum() / max(outline.sum(), 1))


def box_corners(
    model: Any, data: Any, geoms: Int[np.ndarray, " geoms"]
) -> Float64[np.ndarray, "geoms 8 3"]:
    """Returns the corners of the boxes around geoms, in the base frame."""
    return corners_of(model.geom_aabb[geoms], data.geom_xmat[geoms], data.geom_xpos[geoms])


def corners_of(
    boxes: Float64[np.ndarray, "things 6"],
    turns: Float64[np.ndarray, "things 9"],
    places: Float64[np.ndarray, "things 3"],
) -> Float64[np.ndarray, "things 8 3"]:
    """Returns the corners of boxes, which are given by middle and half sizes in axes of their own.

    Args:
        boxes: three numbers for the middle, three for the half sizes.
        turns: the rotation matrix of each one's axes.
        places: the origin of each one's axes.
    """
    corners = boxes[:, None, :3] + _CORNERS * boxes[:, None, 3:]
    return corners @ turns.reshape(-1, 3, 3).transpose(0, 2, 1) + places[:, None]


def projected(
    model: Any,
    data: Any,
    *,
    camera: int,
    places: Float64[np.ndarray, "things corners 3"],
    image_px: int,
) -> tuple[
    Float64[np.ndarray, "things corners"],
    Float64[np.ndarray, "things corners"],
    Float64[np.ndarray, "things corners"],
]:
    """Returns row and column in a picture, and depth in metres, of points."""
    seen = _in_camera(data, camera, places)
    depth = -seen[..., 2]
    scales = _scale(model, camera, image_px) / np.where(np.abs(depth) < _NEAR_M, _NEAR_M, depth)
    return image_px / 2 - scales * seen[..., 1], image_px / 2 + scales * seen[..., 0], depth


def pixel_bounds(
    model: Any,
    data: Any,
    *,
    camera: int,
    places: Float64[np.ndarray, "things corners 3"],
    image_px: int,
) -> Int[np.ndarray, "things 4"]:
    """Returns the part of a picture that holds each thing, given points whose hull it fills.

    Returns:
        First and last row, first and last column of each thing, the last ones excluded: nothing
        for what lies behind the camera.
    """
    seen = _in_camera(data, camera, places)
    scale = _scale(model, camera, image_px)
    flat, depth = seen[..., 1::-1] * (-1.0, 1.0), -seen[..., 2]  # down and to the right
    front = depth >= _NEAR_M
    onto = flat * (scale / np.where(front, depth, np.inf))[..., None]
    hidden = np.where(front, 0.0, np.inf)[..., None]
    low, high = (onto + hidden).min(axis=1), (onto - hidden).max(axis=1)
    for_crossings = np.flatnonzero(front.any(axis=1) & ~front.all(axis=1))
    if len(for_crossings):
        crossings = _crossings(flat[for_crossings], depth[for_crossings]) * (scale / _NEAR_M)
        low[for_crossings] = np.minimum(low[for_crossings], np.nanmin(crossings, axis=1))
        high[for_crossings] = np.maximum(high[for_crossings], np.nanmax(crossings, axis=1))
    low += image_px / 2 - 1
    high += image_px / 2 + 2
    bounds = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    bounds[~front.any(axis=1)] = 0
    return np.clip(bounds, 0, image_px).astype(np.int64)


def _in_camera(
    data: Any, camera: int, places: Float64[np.ndarray, "things corners 3"]
) -> Float64[np.ndarray, "things corners 3"]:
    """Returns points in a camera's axes: right, up, and back."""
    return (places - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)


def _scale(model: Any, camera: int, image_px: int) -> float:
    """Returns the pixels to which one metre shrinks one metre before a camera."""
    return image_px / (2 * math.tan(math.radians(float(model.cam_fovy[camera])) / 2))


def _crossings(
    flat: Float64[np.ndarray, "things corners 2"], depth: Float64[np.ndarray, "things corners"]
) -> Float64[np.ndarray, "things pairs 2"]:
    """Returns where the lines between the corners of a hull come to lie just before a camera.

    Args:
        flat: where the corners are, across the camera's view.
        depth: how far before it.

    Returns:
        As `flat`; NaN for pairs of corners on the same side.
    """
    one, other = np.triu_indices(depth.shape[1], k=1)
    ahead, behind = depth[:, one], depth[:, other]
    cuts = (ahead >= _NEAR_M) != (behind >= _NEAR_M)
    share = np.where(cuts, (ahead - _NEAR_M) / np.where(cuts, ahead - behind, 1.0), np.nan)
    return flat[:, one] * (1 - share[..., None]) + flat[:, other] * share[..., None]


def subpixel_rays(
    fovy_degrees: float, image_px: int, samples: int
) -> Float64[np.ndarray, "pixels samples 3"]:
    """Returns `samples` times `samples` rays for each pixel, in the camera's axes."""
    fine = camera_rays(fovy_degrees, image_px * samples)
    grid = fine.reshape(image_px, samples, image_px, samples, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid).reshape(image_px**2, samples**2, 3)
