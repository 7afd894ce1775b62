"""An observation as the numbers that the control head reads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from jointspace.robot.policy.grounding import Grounding
from jointspace.robot.policy.motion import MOTION_DIM
from jointspace.robot.policy.palette import Palette
from jointspace.robot.policy.places import PLACE_DIM, densest_place

_BLUR_PX = 2
_RADIUS_PX = (6, 14)
"""Surroundings in pictures of 64 pixels: of the first camera, which stands far off, and others."""
_PX = 64
_TABLE_SCALE = 10.0

Relevance = tuple[Float64[np.ndarray, " word"], Float64[np.ndarray, " word"]]


@dataclass(frozen=True)
class Observer:
    """Finds what a command is about in the pictures of a moment.

    Attributes:
        palette: visual words.
        grounding: which of them a command is about.
        num_cameras: pictures of a moment; the first camera stands still.
    """

    palette: Palette
    grounding: Grounding
    num_cameras: int

    @property
    def dim(self) -> int:
        """Numbers of an observation."""
        return 2 * (self.num_cameras * PLACE_DIM + 2) + MOTION_DIM

    def observe(
        self,
        words: UInt8[np.ndarray, "camera px px"],
        motion: Float32[np.ndarray, "13"],
        pose: Float[np.ndarray, "4"],
        relevance: Relevance,
    ) -> Float32[np.ndarray, " feature"]:
        """Returns where item and target are, seen by each camera and from the tool, and the motion.

        Args:
            words: of every pixel of every camera, in the order of training.
            motion: of `MotionMemory`.
            pose: of the tool.
            relevance: of the visual words to the command.
        """
        parts = []
        for relevant in relevance:
            for camera in range(self.num_cameras):
                place = self._place(words[camera], relevant, camera=camera)
                parts.append(place)
                if camera == 0:
                    away_m = self.grounding.on_table(place[:2]) - pose[:2]
                    parts.append(away_m * _TABLE_SCALE if place[3] else np.zeros(2))
        return np.concatenate([*parts, motion]).astype(np.float32)

    def find(
        self, words: UInt8[np.ndarray, "px px"], relevant: Float64[np.ndarray, " word"]
    ) -> Float64[np.ndarray, "2"]:
        """Returns where on the table something is, x and y in metres; NaN if it is not found.

        Args:
            words: of every pixel of the first camera.
            relevant: relevance of every visual word to what is looked for.
        """
        place = self._place(words, relevant, camera=0)
        return self.grounding.on_table(place[:2]) if place[3] else np.full(2, np.nan)

    def _place(
        self,
        words: UInt8[np.ndarray, "px px"],
        relevant: Float64[np.ndarray, " word"],
        *,
        camera: int,
    ) -> Float32[np.ndarray, "6"]:
        scale = words.shape[-1] / _PX
        radius_px = round(_RADIUS_PX[min(camera, 1)] * scale)
        return densest_place(relevant, words, blur_px=round(_BLUR_PX * scale), radius_px=radius_px)
