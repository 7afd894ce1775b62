"""What rows of one episode are cut from: its readings and its pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from jointspace.batch import ACTION, Modality
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor, sensor_readings
from jointspace.data.schema import Episode


@dataclass(frozen=True)
class Recording:
    """Readings and pictures of an episode.

    Attributes:
        readings: the steps of every modality that the episode has, in raw units.
        cameras: the pictures of each camera, "time px px 3"; None where the episode lacks it.
        image_px: side of a picture.
    """

    readings: Mapping[Modality, np.ndarray]
    cameras: tuple[np.ndarray | None, ...]
    image_px: int

    @staticmethod
    def of_episode(
        episode: Episode, position: int, store: FrameStore | None, preprocessor: Preprocessor
    ) -> "Recording":
        """Opens an episode.

        Args:
            episode: what was recorded.
            position: its place in the data set.
            store: the pictures; None if there are none.
            preprocessor: names the sensors and cameras.

        Returns:
            The recording; its pictures stay on disk until they are asked for.
        """
        found = {
            modality: sensor_readings(episode, modality)
            for modality in (ACTION, *preprocessor.sensors)
        }
        cameras: tuple[np.ndarray | None, ...] = ()
        if store is not None:
            # np.asarray keeps the mapping and drops the slow indexing of np.memmap.
            cameras = tuple(
                np.asarray(store.frames(position, camera)) if camera in episode.videos else None
                for camera in preprocessor.cameras
            )
        readings = {modality: each for modality, each in found.items() if each is not None}
        return Recording(readings, cameras, preprocessor.image_px)

    def frames(
        self, at: Int64[np.ndarray, " picture"]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gathers pictures of all cameras.

        Args:
            at: steps of the episode.

        Returns:
            The pictures, "picture camera px px 3", and which of them are real, "picture camera".
            The first is None where no camera delivered, the second where all did.
        """
        if not any(pictures is not None for pictures in self.cameras):
            return None, None
        px = self.image_px
        frames = np.zeros((len(at), len(self.cameras), px, px, 3), dtype=np.uint8)
        for camera, pictures in enumerate(self.cameras):
            if pictures is not None:
                for picture, frame in enumerate(at.tolist()):
                    frames[picture, camera] = pictures[frame]
        if all(pictures is not None for pictures in self.cameras):
            return frames, None
        delivered = np.asarray([pictures is not None for pictures in self.cameras], dtype=np.bool_)
        return frames, np.tile(delivered, (len(at), 1))
