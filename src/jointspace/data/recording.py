"""What rows of one episode are cut from: its readings and its pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from jointspace.batch import ACTION, Modality
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor, sensor_readings
from jointspace.data.schema import Episode


@dataclass(frozen=True)
class Recording:
    """Readings and pictures of an episode.

    Attributes:
        readings: the steps of every modality that the episode has, in raw units.
        cameras: the pictures of each camera, "time px px 3", or a frozen network's features of
            them, "time token channel"; None where the episode lacks it.
    """

    readings: Mapping[Modality, np.ndarray]
    cameras: tuple[np.ndarray | None, ...]

    @staticmethod
    def of_episode(
        episode: Episode,
        position: int,
        store: FrameStore | FeatureStore | None,
        preprocessor: Preprocessor,
    ) -> "Recording":
        """Opens an episode.

        Args:
            episode: what was recorded.
            position: its place in the data set.
            store: the pictures, or their features; None if there are none.
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
        return Recording(readings, cameras)

    def frames(
        self, at: Int64[np.ndarray, " picture"]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Gathers pictures of all cameras.

        Args:
            at: steps of the episode.

        Returns:
            The pictures, "picture camera px px 3", or their features, "picture camera token
            channel"; and which of them are real, "picture camera". The first is None where no
            camera delivered, the second where all did.
        """
        delivering = [pictures for pictures in self.cameras if pictures is not None]
        if not delivering:
            return None, None
        shape = (len(at), len(self.cameras), *delivering[0].shape[1:])
        frames = np.zeros(shape, dtype=delivering[0].dtype)
        for camera, pictures in enumerate(self.cameras):
            if pictures is not None:
                for picture, frame in enumerate(at.tolist()):
                    frames[picture, camera] = pictures[frame]
        if len(delivering) == len(self.cameras):
            return frames, None
        delivered = np.asarray([pictures is not None for pictures in self.cameras], dtype=np.bool_)
        return frames, np.tile(delivered, (len(at), 1))
