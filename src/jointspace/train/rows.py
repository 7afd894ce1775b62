"""The rows of a split: what a step draws from, and what validation measures."""

from collections import Counter

from jointspace.batch import STATE
from jointspace.config import RunConfig
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore
from jointspace.data.goals import goal_names
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.schema import Finding, RobotDataset
from jointspace.data.windows import num_short_episodes
from jointspace.errors import InputError
from jointspace.train.validation import MAX_ROWS


def recorded_sensors(config: RunConfig, dataset: RobotDataset) -> tuple[str, ...]:
    """Returns the configured sensors; the state, which is a default, only where it is recorded.

    Args:
        config: `model.sensors` is read.
        dataset: says whether there is a state.

    Returns:
        Names of modalities.
    """
    has_state = bool(dataset.info.state_names)
    return tuple(name for name in config.model.sensors if has_state or name != STATE)


def check_rows(split: str, windows: SampleSet | None, episodes: SampleSet, *, cure: str) -> None:
    """Refuses a split in which nothing can be compared, before anything is written.

    Args:
        split: its name.
        windows: its windows; None where every episode is shorter than one.
        episodes: its whole episodes.
        cure: what the user can do.

    Raises:
        InputError: neither kind has two rows.
    """
    if max(len(episodes), 0 if windows is None else len(windows)) < 2:
        raise InputError(
            f"the {split} split has a single row: two windows or episodes are needed to compare; "
            f"{cure}"
        )


class SplitRows:
    """Cuts splits into rows.

    Args:
        config: of the run.
        dataset: the usable episodes.
        store: their pictures, or features of them; None where the model sees none.
        preprocessor: fitted on the training split.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: RobotDataset,
        store: FrameStore | FeatureStore | None,
        preprocessor: Preprocessor,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._store = store
        self._preprocessor = preprocessor

    def windows(self, episodes: tuple[int, ...], *, training: bool) -> SampleSet | None:
        """Cuts episodes into windows.

        Args:
            episodes: positions in the data set.
            training: overlapping and augmented; else undisturbed, and at most `MAX_ROWS`.

        Returns:
            The rows; None where every episode is shorter than a window.
        """
        if len(episodes) == self._num_short(episodes):
            return None
        samples = SampleSet.of_windows(
            self._dataset,
            self._store,
            self._preprocessor,
            episodes=episodes,
            stride_s=self._config.data.stride_s if training else None,
            augment=self._config.augment if training else None,
            word_dropout=self._config.model.text.word_dropout,
        )
        return samples if training else self._thinned(samples)

    def episodes(self, episodes: tuple[int, ...], *, training: bool) -> SampleSet:
        """Makes one row of each episode.

        Args:
            episodes: positions in the data set.
            training: augmented; else undisturbed, and at most `MAX_ROWS`.

        Returns:
            The rows.
        """
        samples = SampleSet.of_episodes(
            self._dataset,
            self._store,
            self._preprocessor,
            episodes=episodes,
            augment=self._config.augment if training else None,
            word_dropout=self._config.model.text.word_dropout,
        )
        return samples if training else self._thinned(samples)

    def findings(self, train: tuple[int, ...]) -> tuple[Finding, ...]:
        """Tells what does not train as it was configured.

        Args:
            train: positions of the training episodes.

        Returns:
            A missing state, a single episode, episodes shorter than a window, nothing to begin
            with, how many goals have wordings to choose from.
        """
        found = []
        if len(recorded_sensors(self._config, self._dataset)) < len(self._config.model.sensors):
            message = "the data set records no state; the space is trained without it"
            found.append(Finding("note", "model.sensors", message))
        if len(train) == 1:
            message = "one training episode: no step trains on whole episodes"
            found.append(Finding("warning", "data.split", message))
        number = self._num_short(train)
        if number:
            window_s = self._config.data.window_s
            message = (
                f"{number} of {len(train)} training episodes are shorter than a window of "
                f"{window_s:g} s; they train as whole episodes only"
            )
            found.append(Finding("note", "data.window_s", message))
        told = sum(bool(self._dataset.episodes[position].instruction) for position in train)
        if self._config.train.vision_text_fraction > 0 and (self._store is None or told < 2):
            missing = "no pictures" if self._store is None else "too few instructions"
            message = f"{missing} to begin with; the first steps train every modality"
            found.append(Finding("note", "train.vision_text_fraction", message))
        if self._config.augment.paraphrase > 0:
            found.append(Finding("note", "augment.paraphrase", self._wordings(train)))
        return tuple(found)

    def _wordings(self, train: tuple[int, ...]) -> str:
        names = goal_names(self._dataset)
        told = {self._dataset.episodes[position].instruction for position in train} - {""}
        wordings = Counter(names[text] for text in told)
        several = sum(count > 1 for count in wordings.values())
        return (
            f"{several} of {len(wordings)} goals of the training episodes have several wordings; "
            "rows of other goals keep theirs"
        )

    def _num_short(self, episodes: tuple[int, ...]) -> int:
        return num_short_episodes(
            [episode.num_frames for episode in self._dataset.episodes],
            fps=self._dataset.info.fps,
            window_s=self._config.data.window_s,
            episodes=episodes,
        )

    def _thinned(self, samples: SampleSet) -> SampleSet:
        """Returns evenly chosen rows where there are too many to measure again and again."""
        total = len(samples)
        if total <= MAX_ROWS:
            return samples
        return SampleSet(
            self._dataset,
            self._store,
            self._preprocessor,
            [samples.windows[i * total // MAX_ROWS] for i in range(MAX_ROWS)],
            clip_frames=samples.clip_frames,
        )
