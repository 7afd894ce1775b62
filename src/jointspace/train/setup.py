"""From files to everything that the first step needs; writes nothing before all of it is there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from jointspace.batch import TEXT, VISION, Batch
from jointspace.config import RunConfig, TrainConfig
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore, prepare_frames
from jointspace.data.goals import goal_findings
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.schema import Finding, RobotDataset
from jointspace.data.split_file import load_splits
from jointspace.data.splits import Splits, split_dataset, split_findings
from jointspace.errors import ConfigError
from jointspace.models.embed import TorchEmbedder
from jointspace.models.feature_cache import remember_texts, vision_features
from jointspace.models.joint import JointModel
from jointspace.models.run_data import SPLITS_FILE
from jointspace.models.run_folder import (
    RUN_VERSION,
    build_run_model,
    create_run,
    read_run,
    remove_stale,
)
from jointspace.progress import progress_bar
from jointspace.train.balance import GoalRows
from jointspace.train.devices import choose_device
from jointspace.train.rows import SplitRows, check_rows, recorded_sensors
from jointspace.train.run_check import check_folder
from jointspace.train.sampling import WHOLE, RowKind, Share, augment_generator, step_rows
from jointspace.train.validation import Validation, validate


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
        findings: what is wrong with the data set, and how it was split.
        embodiment: the name that the user gives the robot; empty if none.
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
    embodiment: str = ""

    def new_model(self) -> JointModel:
        """Builds the model with fresh weights, on the processor.

        Raises:
            ConfigError: the configuration does not fit the data.
            MissingExtraError: a tower needs a package that is not installed.
            StorageError: the cache of what a frozen text tower reads cannot be written.
        """
        model = build_run_model(self.config, self.preprocessor)
        remember_texts(model, self.preprocessor.tokenizer, self.dataset.instructions)
        return model

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
                embodiment=self.embodiment,
            )

    def batch_at(self, step: int, *, share: Share = WHOLE, num_first: int | None = None) -> Batch:
        """Reads the training batch of a step.

        Args:
            step: the step, from 0.
            share: which part of its rows.
            num_first: so many steps at the start train vision and text alone, where two of their
                rows have a text; None takes `train.vision_text_fraction` of all.

        Returns:
            The same rows for the same arguments, whatever was asked for before.
        """
        windows, episodes = self.train_windows, self.train_episodes
        if num_first is None:
            num_first = num_first_steps(self.config.train)
        rows = step_rows(
            step,
            seed=self.config.seed,
            num_windows=0 if windows is None else len(windows),
            num_episodes=len(episodes),
            batch_size=self.config.train.batch_size,
            episode_fraction=self.config.train.episode_fraction,
            num_first=num_first,
            goal_rows=self._goal_rows,
        )
        chosen = episodes if windows is None or rows.kind == "episodes" else windows
        own = share.positions(
            np.asarray([chosen.windows[i].episode for i in rows.indices.tolist()], dtype=np.int64)
        )
        # Where there are fewer rows than processes, some read none, and nothing to augment.
        rng = augment_generator(step, seed=self.config.seed, rows=own) if len(own) else None
        batch = chosen.batch(rows.indices[own], rng=rng)
        if step < num_first and VISION in batch.inputs:
            # Of all rows of the step, so that several processes decide alike.
            if np.count_nonzero(chosen.rows.instruction[rows.indices] >= 0) < 2:
                return batch
            return Batch({m: batch[m] for m in (VISION, TEXT)}, batch.rows)
        if chosen is windows and not self.config.train.text_on_windows:
            return Batch({m: each for m, each in batch.inputs.items() if m != TEXT}, batch.rows)
        return batch

    @property
    def validate(self) -> Callable[[JointModel], Validation] | None:
        """Measures a model on the validation split; None where the split is empty."""
        windows, episodes = self.validation_windows, self.validation_episodes
        if episodes is None:
            return None

        def measure(model: JointModel) -> Validation:
            device = next(model.parameters()).device
            embedder = TorchEmbedder(model, device=device, only=self.preprocessor.modalities)
            return validate(embedder, windows=windows, episodes=episodes)

        return measure

    @cached_property
    def _goal_rows(self) -> Mapping[RowKind, GoalRows] | None:
        if self.config.train.balance == "none":
            return None
        kinds: dict[RowKind, SampleSet | None] = {
            "windows": self.train_windows,
            "episodes": self.train_episodes,
        }
        return {kind: GoalRows(rows.rows.goal) for kind, rows in kinds.items() if rows is not None}


def num_first_steps(config: TrainConfig) -> int:
    """Returns how many steps at the start train vision and text alone."""
    return round(config.vision_text_fraction * config.num_steps)


def prepare_run(
    config: RunConfig,
    *,
    data: Path,
    out: Path,
    resume: bool,
    show_progress: bool,
    embodiment: str = "",
) -> PreparedRun:
    """Reads the data set, decodes its pictures, splits it and fits the preprocessing.

    Args:
        config: of the run.
        data: folder of the data set.
        out: the run folder.
        resume: continue a run that is there; splits and preprocessing are then read from it.
        show_progress: tell on standard error how far decoding is.
        embodiment: the name that the user gives the robot; empty if none.

    Returns:
        The run.

    Raises:
        ConfigError: the run in the folder has another configuration, or is of several data sets.
        DataError: the data set cannot be used.
        InputError: the data set is too small for the splits, ships none though they are asked for,
            holds failures alone, or lacks a camera or sensor.
        RunFolderError: the folder holds something that must not be overwritten.
        StorageError: a cache of pictures or features cannot be written.
    """
    exists = check_folder(out, config, resume=resume)
    if exists and read_run(out)["version"] != RUN_VERSION:
        raise ConfigError(
            f"{out}: holds a run of several data sets, or one that started from another run; "
            "continue it with the data sets and the configuration that it was trained with"
        )
    dataset, store = read_pictures(open_dataset(data), config, show_progress=show_progress)
    if exists:
        splits = load_splits(out / SPLITS_FILE, dataset, to_train=True)
        preprocessor = Preprocessor.load(out)
    else:
        splits = split_dataset(dataset, config=config.data)
        preprocessor = fit_preprocessor(config, dataset, splits)
    return prepare_rows(
        config,
        folder=out,
        exists=exists,
        pictures=(dataset, store),
        preprocessor=preprocessor,
        splits=splits,
        embodiment=embodiment,
    )


def read_pictures(
    dataset: RobotDataset, config: RunConfig, *, show_progress: bool
) -> tuple[RobotDataset, FrameStore | FeatureStore | None]:
    """Decodes the pictures of a data set, and reads their features where those are to be cached.

    Args:
        dataset: from `open_dataset`.
        config: of the run.
        show_progress: tell on standard error how far it is.

    Returns:
        The episodes that have pictures, and what the vision tower reads of them: see
        `prepare_frames` and `vision_features`; None where the data set has no cameras.
    """
    if not dataset.info.cameras:
        return dataset, None
    with progress_bar("decoding", show=show_progress) as report:
        dataset, store = prepare_frames(
            dataset,
            image_px=config.data.image_px,
            cameras=config.data.cameras,
            progress=report,
        )
    with progress_bar("reading pictures", show=show_progress) as report:
        device = choose_device(config.train.device)
        return dataset, vision_features(config, store, device=device, progress=report)


def fit_preprocessor(config: RunConfig, dataset: RobotDataset, splits: Splits) -> Preprocessor:
    """Fits the preprocessing on the training split of a data set."""
    return Preprocessor.fit(
        dataset,
        train=splits.train,
        config=config.data,
        text=config.model.text,
        sensors=recorded_sensors(config, dataset),
        discrete=_discrete(config, dataset),
    )


def prepare_rows(
    config: RunConfig,
    *,
    folder: Path,
    exists: bool,
    pictures: tuple[RobotDataset, FrameStore | FeatureStore | None],
    preprocessor: Preprocessor,
    splits: Splits,
    embodiment: str = "",
) -> PreparedRun:
    """Cuts a data set into the rows of training and validation.

    Args:
        config: of the run.
        folder: the run folder.
        exists: the folder already holds this run.
        pictures: from `read_pictures`.
        preprocessor: fitted on the training split.
        splits: of the data set.
        embodiment: the name that the user gives the robot; empty if none.

    Returns:
        The run.

    Raises:
        InputError: a split has a single row.
    """
    dataset, seen = pictures
    rows = SplitRows(config, dataset, seen, preprocessor)
    run = PreparedRun(
        config=config,
        folder=folder,
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
        findings=(
            *dataset.findings,
            *goal_findings(dataset),
            *split_findings(dataset, splits, config=config.data),
            *rows.findings(splits.train),
            *(
                [Finding("note", "model.vision.cache_features", seen.size)]
                if isinstance(seen, FeatureStore)
                else []
            ),
        ),
        embodiment=embodiment,
    )
    check_rows("training", run.train_windows, run.train_episodes, cure="record more episodes")
    if run.validation_episodes is not None:
        check_rows(
            "validation",
            run.validation_windows,
            run.validation_episodes,
            cure="raise data.validation_fraction, or set it to 0 to train without",
        )
    return run


def _discrete(config: RunConfig, dataset: RobotDataset) -> dict[str, int]:
    """Returns the modalities of integer steps, with the size of their sets."""
    towers = {"action": config.model.action} | dict.fromkeys(
        recorded_sensors(config, dataset), config.model.sensor
    )
    return {
        name: tower.num_actions
        for name, tower in towers.items()
        if tower.tower in {"discrete", "sequence"}
    }
