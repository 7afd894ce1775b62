"""Rays from a camera: where they go, what they meet, and how much of a thing is seen."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from jointspace.sim.engine import load_mujoco

NOTHING = -1
_WORLD_BODY = 0
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
) -> RayHits:
    """Returns what unit rays from one point meet first; the table is left out."""
    number = len(rays)
    geom = np.full(number, NOTHING, dtype=np.int32)
    distance, normal = np.zeros(number), np.zeros(3 * number)
    if number:
        groups = np.ones(6, dtype=np.uint8)
        flat = np.ascontiguousarray(rays).reshape(-1)
        load_mujoco().mj_multiRay(
            model,
            data,
            origin,
            flat,
            groups,
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
    boxes = model.geom_aabb[geoms]
    corners = boxes[:, None, :3] + _CORNERS * boxes[:, None, 3:]
    turns = data.geom_xmat[geoms].reshape(-1, 3, 3)
    return corners @ turns.transpose(0, 2, 1) + data.geom_xpos[geoms][:, None]


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
    seen = (places - data.cam_xpos[camera]) @ data.cam_xmat[camera].reshape(3, 3)
    depth = -seen[..., 2]
    scale = image_px / (2 * math.tan(math.radians(float(model.cam_fovy[camera])) / 2))
    scales = scale / np.where(np.abs(depth) < _NEAR_M, _NEAR_M, depth)
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
    row, column, depth = projected(model, data, camera=camera, places=places, image_px=image_px)
    bounds = np.stack(
        [row.min(1) - 1, row.max(1) + 2, column.min(1) - 1, column.max(1) + 2], axis=1
    )
    behind = depth < _NEAR_M
    for thing in np.flatnonzero(behind.any(axis=1)):
        bounds[thing] = 0
        if not behind[thing].all():
            crossings = _crossings(places[thing], depth[thing])[None]
            rows, columns, _ = projected(
                model, data, camera=camera, places=crossings, image_px=image_px
            )
            bounds[thing] = (rows.min() - 1, rows.max() + 2, columns.min() - 1, columns.max() + 2)
    return np.clip(bounds, 0, image_px).astype(np.int64)


def _crossings(
    places: Float64[np.ndarray, "corners 3"], depth: Float64[np.ndarray, " corners"]
) -> Float64[np.ndarray, "crossings 3"]:
    """Returns the corners of the part of a hull that lies just before the camera and beyond."""
    front = np.flatnonzero(depth >= _NEAR_M)
    back = np.flatnonzero(depth < _NEAR_M)
    ahead, behind = depth[front][:, None], depth[back][None]
    share = ((ahead - _NEAR_M) / (ahead - behind))[..., None]
    between = places[front][:, None] * (1 - share) + places[back][None] * share
    return np.concatenate([places[front], between.reshape(-1, 3)])


def subpixel_rays(
    fovy_degrees: float, image_px: int, samples: int
) -> Float64[np.ndarray, "pixels samples 3"]:
    """Returns `samples` times `samples` rays for each pixel, in the camera's axes."""
    fine = camera_rays(fovy_degrees, image_px * samples)
    grid = fine.reshape(image_px, samples, image_px, samples, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid).reshape(image_px**2, samples**2, 3)
