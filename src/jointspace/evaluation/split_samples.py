"""The rows that a split is measured on: windows and whole episodes."""

from collections.abc import Sequence

import numpy as np

from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.schema import RobotDataset
from jointspace.data.windows import num_short_episodes
from jointspace.evaluation.scales import EPISODES, WINDOWS

_CANDIDATES_SEED = 0


def split_samples(
    dataset: RobotDataset,
    store: FrameStore | FeatureStore | None,
    preprocessor: Preprocessor,
    *,
    episodes: Sequence[int],
    candidates: int | None = None,
) -> dict[str, SampleSet]:
    """Returns a split's rows at both scales, windows first.

    Args:
        dataset: the usable episodes.
        store: their pictures, or features of them; None if the preprocessor has no cameras.
        preprocessor: of the run.
        episodes: positions of the split's episodes.
        candidates: draw as many windows at random, always the same; None takes all.

    Returns:
        Name of the scale -> rows; without windows where all episodes are too short for one.
    """
    num_short = num_short_episodes(
        [episode.num_frames for episode in dataset.episodes],
        fps=dataset.info.fps,
        window_s=preprocessor.window_s,
        episodes=episodes,
    )
    samples = {}
    if num_short < len(episodes):
        windows = SampleSet.of_windows(dataset, store, preprocessor, episodes=episodes)
        if candidates is not None and len(windows) > candidates:
            generator = np.random.default_rng(_CANDIDATES_SEED)
            kept = np.sort(generator.choice(len(windows), candidates, replace=False))
            windows = SampleSet(
                dataset,
                store,
                preprocessor,
                [windows.windows[row] for row in kept],
                clip_frames=preprocessor.window_frames,
            )
        samples[WINDOWS] = windows
    samples[EPISODES] = SampleSet.of_episodes(dataset, store, preprocessor, episodes=episodes)
    return samples
