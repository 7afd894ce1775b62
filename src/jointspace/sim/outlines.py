"""Where in a picture things can be: the outlines of the boxes around them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int

from jointspace.sim.engine import load_mujoco
from jointspace.sim.rays import box_corners, corners_of, pixel_bounds

_WORLD_BODY = 0
_CROWD = 4
"""A body of more geoms has one outline for all of them."""


@dataclass(frozen=True)
class InView:
    """What a picture can show.

    Attributes:
        mask: the pixels within the outline of any of the geoms.
        geoms: those whose outline holds a pixel.
    """

    mask: Bool[np.ndarray, "height width"]
    geoms: Int[np.ndarray, " geoms"]


class Outlines:
    """The boxes around the things of a model: around each geom, and around each crowd of geoms.

    Args:
        model: the scene.
        geoms: those that count; hidden ones never do.
    """

    def __init__(self, model: Any, geoms: Int[np.ndarray, " geoms"]) -> None:
        self._model = model
        geoms = geoms[model.geom_bodyid[geoms] != _WORLD_BODY]
        bodies, sizes = np.unique(model.geom_bodyid[geoms], return_counts=True)
        self._crowded = bodies[sizes > _CROWD]
        self._crowds = [geoms[model.geom_bodyid[geoms] == body] for body in self._crowded]
        self._single = geoms[~np.isin(model.geom_bodyid[geoms], self._crowded)]

        self._boxes = np.zeros((len(self._crowds), 6))
        for row, members in enumerate(self._crowds):
            self._boxes[row] = _box_in_body(model, members)

    def in_view(self, data: Any, *, camera: int, image_px: int) -> InView:
        """Finds what a camera can see, and where.

        Args:
            data: the scene's state, after `mj_forward`.
            camera: its index.
            image_px: side of the square picture.
        """
        model = self._model
        single = self._single[model.geom_rgba[self._single, 3] > 0]
        crowds = [row for row, geoms in enumerate(self._crowds) if model.geom_rgba[geoms[0], 3] > 0]
        places = box_corners(model, data, single)
        if crowds:
            bodies = self._crowded[crowds]
            around = corners_of(self._boxes[crowds], data.xmat[bodies], data.xpos[bodies])
            places = np.concatenate([places, around])
        bounds = pixel_bounds(model, data, camera=camera, places=places, image_px=image_px)
        mask = np.zeros((image_px, image_px), dtype=bool)
        seen = (bounds[:, 0] < bounds[:, 1]) & (bounds[:, 2] < bounds[:, 3])
        for top, bottom, left, right in bounds[seen].tolist():
            mask[top:bottom, left:right] = True
        members = [
            self._crowds[row]
            for row, shown in zip(crowds, seen[len(single) :], strict=True)
            if shown
        ]
        return InView(mask, np.concatenate([single[seen[: len(single)]], *members]))


def _box_in_body(model: Any, geoms: Int[np.ndarray, " geoms"]) -> Float64[np.ndarray, "6"]:
    """Returns middle and half sizes of the box around a body's geoms, in the body's axes."""
    turns = np.zeros((len(geoms), 9))
    for row, geom in enumerate(geoms):
        load_mujoco().mju_quat2Mat(turns[row], model.geom_quat[geom])
    corners = corners_of(model.geom_aabb[geoms], turns, model.geom_pos[geoms])
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    return np.concatenate([(low + high) / 2, (high - low) / 2])
