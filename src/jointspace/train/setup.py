"""From files to everything that the first step needs; writes nothing before all of it is there."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from jointspace.batch import STATE, Batch
from jointspace.config import RunConfig, read_config
from jointspace.data.frames import FrameStore, prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import PREPROCESSING_FILE, Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.schema import Finding, RobotDataset
from jointspace.data.splits import Splits, load_splits, split_dataset
from jointspace.data.windows import num_short_episodes
from jointspace.errors import ConfigError, InputError, RunFolderError
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel
from jointspace.models.run_folder import (
    CONFIG_FILE,
    RUN_FILE,
    SPLITS_FILE,
    create_run,
    read_run,
    remove_stale,
)
from jointspace.train.sampling import augment_generator, step_rows
from jointspace.train.validation import MAX_ROWS, Validation, validate


@dataclass(frozen=True)
class PreparedRun:
    """Everything that a run needs, and nothing written yet.

    Attributes:
        config: of the run.
        folder: the run folder.
        exists: the folder already holds this run, which is continued.
        dataset: the usable episodes.
        preprocessor: fitted on the training split, or read from the folder.
        splits: made, or read from the folder.
        train_windows: None where every training episode is shorter than a window.
        train_episodes: one row per training episode.
        validation_windows: None as `train_windows`.
        validation_episodes: None where the validation split is empty.
        findings: what is wrong with the data set.
    """

    config: RunConfig
    folder: Path
    exists: bool
    dataset: RobotDataset
    preprocessor: Preprocessor
    splits: Splits
    train_windows: SampleSet | None
    train_episodes: SampleSet
    validation_windows: SampleSet | None
    validation_episodes: SampleSet | None
    findings: tuple[Finding, ...]

    def create(self) -> None:
        """Writes the run folder, unless it is there.

        Raises:
            StorageError: a file could not be written.
        """
        if self.exists:
            remove_stale(self.folder)
        else:
            create_run(
                self.folder,
                config=self.config,
                preprocessor=self.preprocessor,
                splits=self.splits,
                dataset=self.dataset,
                findings=self.findings,
            )

    def batch_at(self, step: int) -> Batch:
        """Returns the training batch of a step, whatever was asked for before."""
        windows, episodes = self.train_windows, self.train_episodes
        rows = step_rows(
            step,
            seed=self.config.seed,
            num_windows=0 if windows is None else len(windows),
            num_episodes=len(episodes),
            batch_size=self.config.train.batch_size,
            episode_fraction=self.config.train.episode_fraction,
        )
        chosen = episodes if windows is None or rows.kind == "episodes" else windows
        return chosen.batch(rows.indices, rng=augment_generator(step, seed=self.config.seed))

    @property
    def validate(self) -> Callable[[JointModel], Validation] | None:
        """Measures a model on the validation split; None where the split is empty."""
        windows, episodes = self.validation_windows, self.validation_episodes
        if episodes is None:
            return None

        def measure(model: JointModel) -> Validation:
            device = next(model.parameters()).device
            embedder = TorchEmbedder(model, device=device)
            return validate(embedder, windows=windows, episodes=episodes)

        return measure


def prepare_run(
    config: RunConfig, *, data: Path, out: Path, resume: bool, show_progress: bool
) -> PreparedRun:
    """Reads the data set, decodes its pictures, splits it and fits the preprocessing.

    Args:
        config: of the run.
        data: folder of the data set.
        out: the run folder.
        resume: continue a run that is there; splits and preprocessing are then read from it.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run.

    Raises:
        ConfigError: the run in the folder has another configuration.
        DataError: the data set cannot be used.
        InputError: the data set is too small for the splits, or lacks a camera or sensor.
        RunFolderError: the folder holds something that must not be overwritten.
    """
    exists = _check_folder(out, config, resume=resume)
    dataset = open_dataset(data)
    with _decoding(show=show_progress) as report:
        store: FrameStore | None = None
        if dataset.info.cameras:
            dataset, store = prepare_frames(
                dataset,
                image_px=config.data.image_px,
                cameras=config.data.cameras,
                progress=report,
            )
    if exists:
        splits = load_splits(out / SPLITS_FILE, dataset, to_train=True)
        preprocessor = Preprocessor.load(out)
    else:
        splits = split_dataset(dataset, config=config.data)
        preprocessor = Preprocessor.fit(
            dataset,
            train=splits.train,
            config=config.data,
            text=config.model.text,
            sensors=_sensors(config, dataset),
            discrete=_discrete(config, dataset),
        )
    rows = _Rows(config, dataset, store, preprocessor)
    run = PreparedRun(
        config=config,
        folder=out,
        exists=exists,
        dataset=dataset,
        preprocessor=preprocessor,
        splits=splits,
        train_windows=rows.windows(splits.train, training=True),
        train_episodes=rows.episodes(splits.train, training=True),
        validation_windows=rows.windows(splits.validation, training=False),
        validation_episodes=(
            rows.episodes(splits.validation, training=False) if splits.validation else None
        ),
        findings=dataset.findings + rows.findings(splits.train),
    )
    _check_rows("training", run.train_windows, run.train_episodes, cure="record more episodes")
    if run.validation_episodes is not None:
        _check_rows(
            "validation",
            run.validation_windows,
            run.validation_episodes,
            cure="raise data.validation_fraction, or set it to 0 to train without",
        )
    return run


def _check_rows(split: str, windows: SampleSet | None, episodes: SampleSet, *, cure: str) -> None:
    """Refuses a split in which nothing can be compared, before anything is written."""
    if max(len(episodes), 0 if windows is None else len(windows)) < 2:
        raise InputError(
            f"the {split} split has a single row: two windows or episodes are needed to compare; "
            f"{cure}"
        )


class _Rows:
    """Cuts splits into rows."""

    def __init__(
        self,
        config: RunConfig,
        dataset: RobotDataset,
        store: FrameStore | None,
        preprocessor: Preprocessor,
    ) -> None:
        self._config = config
        self._dataset = dataset
        self._store = store
        self._preprocessor = preprocessor

    def windows(self, episodes: tuple[int, ...], *, training: bool) -> SampleSet | None:
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
        found = []
        if len(_sensors(self._config, self._dataset)) < len(self._config.model.sensors):
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
        return tuple(found)

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


def _check_folder(out: Path, config: RunConfig, *, resume: bool) -> bool:
    """Returns whether the folder holds the run that is to be continued."""
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out}: is a file; choose a folder for the run")
    if not out.exists() or not any(out.iterdir()):
        return False
    holds_run = (out / RUN_FILE).is_file()
    if holds_run and not resume:
        raise RunFolderError(
            f"{out}: already holds a run; add --resume to continue it, or choose another folder"
        )
    if not holds_run:
        # A run that was killed before its first step has left nothing else; it begins again.
        begun = {CONFIG_FILE, SPLITS_FILE, PREPROCESSING_FILE}
        foreign = [p.name for p in out.iterdir() if p.name not in begun and p.suffix != ".tmp"]
        if foreign or not resume:
            raise RunFolderError(f"{out}: is not empty, and holds no run; choose another folder")
        return False
    read_run(out)
    difference = _first_difference(read_config(out / CONFIG_FILE), config)
    if difference:
        key, stored, wanted = difference
        raise ConfigError(
            f"{key}: is {wanted!r}, but the run in {out} has {stored!r}; to continue a run its "
            f"configuration must not change: use {out / CONFIG_FILE}"
        )
    return True


def _first_difference(stored: Any, wanted: Any, key: str = "") -> tuple[str, Any, Any] | None:
    if is_dataclass(stored):
        for field in fields(stored):
            name = f"{key}.{field.name}" if key else field.name
            found = _first_difference(
                getattr(stored, field.name), getattr(wanted, field.name), name
            )
            if found:
                return found
        return None
    return None if stored == wanted else (key, stored, wanted)


def _sensors(config: RunConfig, dataset: RobotDataset) -> tuple[str, ...]:
    """Returns the configured sensors; the state, which is a default, only where it is recorded."""
    has_state = bool(dataset.info.state_names)
    return tuple(name for name in config.model.sensors if has_state or name != STATE)


def _discrete(config: RunConfig, dataset: RobotDataset) -> dict[str, int]:
    """Returns the modalities of integer steps, with the size of their sets."""
    towers = {"action": config.model.action} | dict.fromkeys(
        _sensors(config, dataset), config.model.sensor
    )
    return {
        name: tower.num_actions
        for name, tower in towers.items()
        if tower.tower in {"discrete", "sequence"}
    }


@contextlib.contextmanager
def _decoding(*, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    if not show:
        yield None
        return
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("decoding", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield report
