"""Rows of a data set, windows or whole episodes: read from the frame cache, made into batches."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int, Int64

from jointspace.batch import Batch, RowIds
from jointspace.config import AugmentConfig
from jointspace.data.augment import augment_batch
from jointspace.data.collate import Sample, Steps
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore
from jointspace.data.goals import goal_ids, other_wordings
from jointspace.data.preprocess import Preprocessor
from jointspace.data.recording import Recording
from jointspace.data.schema import RobotDataset
from jointspace.data.windows import Window, clip_positions, sliding_windows, whole_episodes
from jointspace.errors import InputError

__all__ = ["Sample", "SampleSet", "Steps"]


_LEAST_FRAMES = 2
"""Pictures that a training row of a clip keeps, so that it still shows a motion."""


class SampleSet:
    """Rows cut from the episodes of a data set, one per window.

    Without a generator every row is the same each time, as evaluation needs. With one, `batch`
    draws where a window starts, which pictures of a clip are taken, which wording of its goal the
    robot is told, and the augmentation: equal generators give equal batches, whatever was drawn
    before, so that a training step depends on its number alone.

    Args:
        dataset: the usable episodes.
        store: their pictures, or a frozen network's features of them; None if the preprocessor has
            no cameras.
        preprocessor: what was fitted on the training split.
        windows: the rows.
        clip_frames: pictures per row: 1 is the picture at the window's start, more are spread
            evenly from its first step to its last. A window with fewer steps than that gives each
            of its pictures once.
        augment: random changes; None makes none, with or without a generator.
        word_dropout: probability of each word to be replaced in training rows; used only with
            `augment`.

    Raises:
        InputError: a window outside its episode, no picture store where there are cameras, or a
            shift as wide as the picture.
    """

    def __init__(
        self,
        dataset: RobotDataset,
        store: FrameStore | FeatureStore | None,
        preprocessor: Preprocessor,
        windows: Sequence[Window],
        *,
        clip_frames: int,
        augment: AugmentConfig | None = None,
        word_dropout: float = 0.0,
    ) -> None:
        if clip_frames < 1:
            raise InputError(f"clip_frames must be at least 1, got {clip_frames}")
        if store is None and preprocessor.cameras:
            raise InputError(
                f"a picture store is needed for the cameras {list(preprocessor.cameras)}"
            )
        if store is not None and preprocessor.cameras and store.image_px != preprocessor.image_px:
            raise InputError(
                f"the picture store has {store.image_px} px, the preprocessor expects "
                f"{preprocessor.image_px} px"
            )
        if augment is not None and augment.shift_px >= preprocessor.image_px:
            raise InputError(
                f"augment.shift_px is {augment.shift_px}, but the pictures have "
                f"{preprocessor.image_px} px"
            )
        self.dataset = dataset
        self.preprocessor = preprocessor
        self.clip_frames = clip_frames
        self.augment = augment
        self.word_dropout = word_dropout
        self.windows = tuple(windows)
        self._episode = np.asarray([w.episode for w in windows], dtype=np.int64)
        self._start = np.asarray([w.start for w in windows], dtype=np.int64)
        self._stop = np.asarray([w.stop for w in windows], dtype=np.int64)
        self._num_frames = np.asarray([e.num_frames for e in dataset.episodes], dtype=np.int64)
        self._check_windows()
        self._index = np.asarray([e.index for e in dataset.episodes], dtype=np.int64)
        self._instructions = dataset.instructions
        ids = {text: number for number, text in enumerate(self._instructions)}
        self._instruction = np.asarray(
            [ids.get(e.instruction, -1) for e in dataset.episodes], dtype=np.int64
        )
        goals = goal_ids(dataset)
        self._goal = np.asarray(
            [goals.get(e.instruction, -1) for e in dataset.episodes], dtype=np.int64
        )
        self._other_wordings = other_wordings(
            self._instruction[self._episode], self._goal[self._episode]
        )
        self._recordings = {
            position: Recording.of_episode(
                dataset.episodes[position], position, store, preprocessor
            )
            for position in np.unique(self._episode).tolist()
        }

    @staticmethod
    def of_windows(
        dataset: RobotDataset,
        store: FrameStore | FeatureStore | None,
        preprocessor: Preprocessor,
        *,
        episodes: Iterable[int],
        stride_s: float | None = None,
        augment: AugmentConfig | None = None,
        word_dropout: float = 0.0,
    ) -> "SampleSet":
        """Makes rows of the preprocessor's window length.

        Args:
            dataset: the usable episodes.
            store: their pictures.
            preprocessor: says how long a window is and how many pictures it has.
            episodes: positions of the episodes to cut.
            stride_s: distance between starts; None leaves no overlap, as evaluation wants it.
            augment: random changes for training.
            word_dropout: probability of each word to be replaced in training rows.

        Returns:
            The rows, in order of episode and start.

        Raises:
            InputError: every episode is shorter than a window.
        """
        positions = list(episodes)
        window_s = preprocessor.window_s
        windows = sliding_windows(
            [e.num_frames for e in dataset.episodes],
            fps=dataset.info.fps,
            window_s=window_s,
            stride_s=window_s if stride_s is None else stride_s,
            episodes=positions,
        )
        if not windows:
            raise InputError(
                f"no rows: none of {len(positions)} episodes is as long as a window of "
                f"{window_s:g} s; choose a smaller data.window_s"
            )
        return SampleSet(
            dataset,
            store,
            preprocessor,
            windows,
            clip_frames=preprocessor.window_frames,
            augment=augment,
            word_dropout=word_dropout,
        )

    @staticmethod
    def of_episodes(
        dataset: RobotDataset,
        store: FrameStore | FeatureStore | None,
        preprocessor: Preprocessor,
        *,
        episodes: Iterable[int],
        augment: AugmentConfig | None = None,
        word_dropout: float = 0.0,
    ) -> "SampleSet":
        """Makes one row of each whole episode.

        Args:
            dataset: the usable episodes.
            store: their pictures.
            preprocessor: says how many pictures an episode's row has.
            episodes: positions of the episodes.
            augment: random changes for training.
            word_dropout: probability of each word to be replaced in training rows.

        Returns:
            The rows, in order of the positions given.
        """
        num_frames = [e.num_frames for e in dataset.episodes]
        return SampleSet(
            dataset,
            store,
            preprocessor,
            whole_episodes(num_frames, episodes=episodes),
            clip_frames=preprocessor.episode_frames,
            augment=augment,
            word_dropout=word_dropout,
        )

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def rows(self) -> RowIds:
        """Ids of all rows, at their undisturbed places."""
        return RowIds(
            episode=self._index[self._episode],
            instruction=self._instruction[self._episode],
            goal=self._goal[self._episode],
            start_s=self._start / self.dataset.info.fps,
            stop_s=self._stop / self.dataset.info.fps,
        )

    @property
    def texts(self) -> Mapping[int, str]:
        """The text of every instruction id of the data set."""
        return dict(enumerate(self.dataset.instructions))

    def sample(self, index: int) -> Sample:
        """Reads one row in raw units, undisturbed.

        Args:
            index: which row.

        Returns:
            The row; its pictures are copies, its readings views of the episode.

        Raises:
            InputError: there is no such row.
        """
        return self._samples(np.asarray([index], dtype=np.int64), rng=None)[0]

    def batch(
        self,
        indices: Int[np.ndarray, " row"] | Sequence[int],
        *,
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Reads rows as model input.

        Args:
            indices: which rows, in any order, repeated or not.
            rng: draws jitter and augmentation where the set has `augment`; None reads the rows
                undisturbed.

        Returns:
            The batch; its row ids hold the time spans that were really read.

        Raises:
            InputError: there is no such row.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        if self.augment is None or rng is None:
            return self.preprocessor.batch(self._samples(chosen, rng=None))
        changed = augment_batch(
            self.preprocessor.batch(self._samples(chosen, rng=rng)),
            config=self.augment,
            word_dropout=self.word_dropout,
            tokenizer=self.preprocessor.tokenizer,
            max_tokens=self.preprocessor.max_tokens,
            rng=rng,
        )
        return changed.of_embodiment(self.preprocessor.embodiment)

    def _samples(
        self, indices: Int64[np.ndarray, " row"], *, rng: np.random.Generator | None
    ) -> list[Sample]:
        outside = (indices < 0) | (indices >= len(self))
        if outside.any():
            raise InputError(
                f"row {int(indices[outside][0])} does not exist: there are {len(self)}"
            )
        episode, start = self._episode[indices], self._start[indices]
        length = self._stop[indices] - start
        phase, clip_frames = None, self.clip_frames
        if rng is not None and self.augment is not None:
            start = self._jitter(start, length, self._num_frames[episode], rng)
            clip_frames = max(
                min(clip_frames, _LEAST_FRAMES), round(self.augment.frame_fraction * clip_frames)
            )
            phase = rng.uniform(-0.5, 0.5, size=(len(indices), clip_frames))
            phase *= self.augment.frame_jitter
        instructions = self._told(episode, rng)
        fps = self.dataset.info.fps
        steps = zip(episode.tolist(), start.tolist(), length.tolist(), strict=True)
        samples = []
        for row, (position, first, count) in enumerate(steps):
            recorded = self.dataset.episodes[position]
            time_s = recorded.time_s[first : first + count] - recorded.time_s[first]
            at = clip_positions(count, clip_frames, phase=None if phase is None else phase[row])
            recording = self._recordings[position]
            frames, frames_valid = recording.frames(at + first)
            instruction = instructions[row]
            samples.append(
                Sample(
                    frames=frames,
                    frames_valid=frames_valid,
                    frames_time_s=None if frames is None else time_s[at],
                    text=self._instructions[instruction] if instruction >= 0 else None,
                    steps={
                        modality: Steps(readings[first : first + count], time_s)
                        for modality, readings in recording.readings.items()
                    },
                    episode=recorded.index,
                    instruction=instruction,
                    goal=int(self._goal[position]),
                    start_s=first / fps,
                    stop_s=(first + count) / fps,
                )
            )
        return samples

    def _jitter(
        self,
        start: Int64[np.ndarray, " row"],
        length: Int64[np.ndarray, " row"],
        num_frames: Int64[np.ndarray, " row"],
        rng: np.random.Generator,
    ) -> Int64[np.ndarray, " row"]:
        """Moves windows by up to `start_jitter_s`, within their episodes."""
        reach = 0.0 if self.augment is None else self.augment.start_jitter_s * self.dataset.info.fps
        shift = np.rint(rng.uniform(-reach, reach, size=len(start))).astype(np.int64)
        return np.clip(start + shift, 0, num_frames - length)

    def _told(
        self, episode: Int64[np.ndarray, " row"], rng: np.random.Generator | None
    ) -> list[int]:
        """Returns the instruction of each row, some of them replaced by another wording."""
        told: list[int] = self._instruction[episode].tolist()
        if rng is None or self.augment is None or self.augment.paraphrase == 0:
            return told
        # For every row alike, so that what a row draws depends on no other.
        draws = rng.random((len(told), 2))
        for row in np.flatnonzero(draws[:, 0] < self.augment.paraphrase).tolist():
            others = self._other_wordings.get(told[row], ())
            if others:
                told[row] = others[int(draws[row, 1] * len(others))]
        return told

    def _check_windows(self) -> None:
        for window in self.windows:
            inside = 0 <= window.episode < len(self._num_frames)
            if not (inside and 0 <= window.start < window.stop <= self._num_frames[window.episode]):
                raise InputError(f"{window} lies outside the episodes of the data set")
