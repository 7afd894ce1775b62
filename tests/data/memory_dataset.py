"""Data sets made in memory, with their pictures in a file: for tests that need no video."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jointspace.data.frames import FrameStore
from jointspace.data.schema import DatasetInfo, Episode, RobotDataset, VideoSpan

FPS = 10.0
PX = 16
CAMERAS = ("top", "wrist")


def make_episode(
    index: int,
    *,
    num_frames: int = 12,
    instruction: str = "",
    seed: int | None = None,
    action: np.ndarray | None = None,
    state: np.ndarray | None = None,
    sensors: Mapping[str, np.ndarray] | None = None,
    cameras: Sequence[str] = (),
    goal: str = "",
    success: bool | None = None,
    split: str = "",
) -> Episode:
    rng = np.random.default_rng(index if seed is None else seed)
    if action is None:
        action = rng.normal(size=(num_frames, 3)).astype(np.float32)
    return Episode(
        index=index,
        instruction=instruction,
        action=action,
        state=state,
        sensors=sensors or {},
        time_s=np.arange(len(action)) / FPS,
        videos={camera: VideoSpan(Path(f"{index}-{camera}"), 0, len(action)) for camera in cameras},
        goal=goal,
        success=success,
        split=split,
    )


def make_dataset(
    episodes: Sequence[Episode],
    *,
    cameras: Sequence[str] = (),
    state_dim: int = 0,
    sensors: Mapping[str, int] | None = None,
    fps: float = FPS,
) -> RobotDataset:
    info = DatasetInfo(
        path=Path("in-memory"),
        format="test",
        robot_type="",
        fps=fps,
        cameras=tuple(cameras),
        action_names=("x", "y", "z"),
        state_names=tuple(f"s{i}" for i in range(state_dim)),
        sensors=sensors or {},
    )
    return RobotDataset(info, tuple(episodes))


def make_store(dataset: RobotDataset, folder: Path) -> FrameStore:
    """Pictures whose every value tells the episode, the camera and the step."""
    files = {}
    for episode in dataset.episodes:
        for camera, span in episode.videos.items():
            frames = np.empty((episode.num_frames, PX, PX, 3), dtype=np.uint8)
            frames[:] = np.arange(episode.num_frames, dtype=np.uint8)[:, None, None, None]
            frames[..., 0] = episode.index
            frames[..., 1] = dataset.info.cameras.index(camera)
            file = folder / f"{episode.index}-{camera}.npy"
            np.save(file, frames)
            files[span.path, ""] = file
    return FrameStore(
        [e.videos for e in dataset.episodes], files, cameras=dataset.info.cameras, image_px=PX
    )
