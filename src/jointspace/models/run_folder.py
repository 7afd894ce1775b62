"""The run folder: what a training leaves behind, and the way to open it again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from jointspace import __version__
from jointspace.batch import Modality
from jointspace.config import RunConfig, read_config, write_config
from jointspace.data.artefact import read_json, write_json
from jointspace.data.embodiments import DataSource, Embodiment, match_embodiments
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import Finding, RobotDataset, SharedTexts
from jointspace.data.split_file import copy_splits, save_splits
from jointspace.data.splits import Splits
from jointspace.encoders.embodiments import Sizes
from jointspace.errors import RunFolderError
from jointspace.models.build import build_model
from jointspace.models.checkpoint import load_weights
from jointspace.models.joint import JointModel
from jointspace.models.run_data import (
    DATA_FOLDER,
    SPLITS_FILE,
    RunData,
    embodiment_preprocessors,
    read_run_data,
)
from jointspace.storage import write_whole

RUN_VERSION = 1
"""Format of the folder of a run of one data set, stored in `run.json`."""

SEVERAL_VERSION = 2
"""Format of the folder of a run of several data sets, or of one that started from another run."""

CONFIG_FILE = "config.toml"
WEIGHTS_FILE = "model.safetensors"
RUN_FILE = "run.json"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
CHECKPOINT_FOLDER = "checkpoints"


@dataclass(frozen=True)
class Run:
    """A training run, opened.

    Attributes:
        folder: where it lies.
        config: what it was trained with.
        model: the best weights, in evaluation mode.
        data: the data sets that it was trained on, with what turns their rows into model input;
            `run_data.choose_data` finds the one that a data set is.
        jointspace_version: of the program that trained it.
        findings: what was wrong with the data sets then.
    """

    folder: Path
    config: RunConfig
    model: JointModel
    data: tuple[RunData, ...]
    jointspace_version: str
    findings: tuple[Finding, ...]

    @property
    def preprocessor(self) -> Preprocessor:
        """From raw rows to model input, in a run of one data set.

        Raises:
            RunFolderError: the run is of several data sets.
        """
        return self._only_data.preprocessor

    @property
    def data_path(self) -> Path:
        """The data set that it was trained on, in a run of one.

        Raises:
            RunFolderError: the run is of several data sets.
        """
        return self._only_data.path

    def splits(self, dataset: RobotDataset) -> Splits:
        """Returns the run's splits as positions in its data set, read again.

        Args:
            dataset: the data set that a run of one was trained on, perhaps in another format.

        Returns:
            The same episodes in each split.

        Raises:
            RunFolderError: `splits.json` cannot be read or has another version, or the run is of
                several data sets.
            DataError: it is another data set.
        """
        return self._only_data.splits(dataset)

    @property
    def _only_data(self) -> RunData:
        if len(self.data) > 1:
            raise RunFolderError(
                f"{self.folder}: is a run of {len(self.data)} data sets "
                f"({', '.join(each.name for each in self.data)}); choose one of Run.data"
            )
        return self.data[0]


def create_run(
    folder: Path,
    *,
    config: RunConfig,
    preprocessor: Preprocessor,
    splits: Splits,
    dataset: RobotDataset,
    findings: Sequence[Finding] = (),
    embodiment: str = "",
) -> None:
    """Writes everything of a run folder that is known before the first step.

    `run.json` comes last: a folder that has it has the rest.

    Args:
        folder: made if it is missing.
        config: of the run.
        preprocessor: fitted on the training split.
        splits: of `dataset`.
        dataset: what is trained on.
        findings: what is wrong with it.
        embodiment: name of its robot; empty takes the robot's type, or the folder's name.

    Raises:
        StorageError: a file could not be written.
    """
    shown = Embodiment.of(dataset.info, sensors=preprocessor.sensors)
    source = DataSource(dataset.info.path, embodiment)
    (own,), _ = match_embodiments([(source, shown)])
    preprocessor.save(folder)
    save_splits(folder / SPLITS_FILE, splits, dataset)
    write_whole(folder / CONFIG_FILE, write_config(config))
    write_json(
        folder / RUN_FILE,
        {
            "version": RUN_VERSION,
            "jointspace": __version__,
            "data": {**_about(dataset), "embodiment": own.to_json()},
            "channels": {str(m): n for m, n in model_channels(preprocessor).items()},
            "findings": [asdict(finding) for finding in findings],
        },
    )


@dataclass(frozen=True)
class NewData:
    """A data set that a run of several robots is about to be trained on.

    Attributes:
        name: unique within the run.
        dataset: the usable episodes.
        splits: of them.
        preprocessor: fitted on the training split.
    """

    name: str
    dataset: RobotDataset
    splits: Splits
    preprocessor: Preprocessor


def create_run_of_several(
    folder: Path,
    *,
    config: RunConfig,
    embodiments: Sequence[Embodiment],
    texts: SharedTexts,
    earlier: Sequence[RunData],
    data: Sequence[NewData],
    findings: Sequence[Finding] = (),
) -> None:
    """Writes everything of the folder of a run of several robots that is known at the start.

    Each data set has a folder of its own in `data_sets`. `run.json` comes last.

    Args:
        folder: made if it is missing.
        config: of the run.
        embodiments: all of them, in the order of their numbers.
        texts: of all data sets.
        earlier: data sets of the run that this one starts from; what is known of them is copied.
        data: what is trained on.
        findings: what is wrong with it.

    Raises:
        StorageError: a file could not be written.
        RunFolderError: the splits of an earlier data set cannot be read.
    """
    entries: list[dict[str, Any]] = []
    for old in earlier:
        old.preprocessor.save(folder / DATA_FOLDER / old.name)
        copy_splits(old.splits_file, folder / DATA_FOLDER / old.name / SPLITS_FILE)
        entry = {"path": str(old.path), "embodiment": old.embodiment.name, "trained": False}
        entries.append({"name": old.name, **entry})
    for new in data:
        new.preprocessor.save(folder / DATA_FOLDER / new.name)
        save_splits(folder / DATA_FOLDER / new.name / SPLITS_FILE, new.splits, new.dataset)
        name = embodiments[new.preprocessor.embodiment].name
        entry = {**_about(new.dataset), "embodiment": name, "trained": True}
        entries.append({"name": new.name, **entry})
    write_whole(folder / CONFIG_FILE, write_config(config))
    write_json(
        folder / RUN_FILE,
        {
            "version": SEVERAL_VERSION,
            "jointspace": __version__,
            "embodiments": [each.to_json() for each in embodiments],
            "data": entries,
            "instructions": list(texts.instructions),
            "goals": list(texts.goals),
            "findings": [asdict(finding) for finding in findings],
        },
    )


def _about(dataset: RobotDataset) -> dict[str, Any]:
    return {
        "path": str(dataset.info.path.resolve()),
        "format": dataset.info.format,
        "robot_type": dataset.info.robot_type,
        "num_episodes": len(dataset.episodes),
    }


def read_run(folder: Path) -> dict[str, Any]:
    """Reads `run.json`.

    Args:
        folder: the run folder.

    Returns:
        Its content.

    Raises:
        RunFolderError: there is no run in the folder, or it has another version.
    """
    if not (folder / RUN_FILE).is_file():
        raise RunFolderError(f"{folder}: is no run folder: it has no {RUN_FILE}")
    with suppress(RunFolderError):
        return read_json(folder / RUN_FILE, version=RUN_VERSION)
    return read_json(folder / RUN_FILE, version=SEVERAL_VERSION)


def remove_stale(folder: Path) -> None:
    """Removes what a killed process had not finished writing.

    Args:
        folder: the run folder; no other process may be writing there.
    """
    for aside in folder.glob(".*.tmp"):
        aside.unlink(missing_ok=True)


def load_run(folder: Path, *, device: torch.device | str = "cpu") -> Run:
    """Opens a run folder: for evaluation, export or further use.

    Args:
        folder: what `train` wrote.
        device: where the model goes.

    Returns:
        The run.

    Raises:
        RunFolderError: the folder holds no run, not yet any weights, or one of another version.
        ConfigError: its `config.toml` was changed into one that cannot be.
        MissingExtraError: the text tower needs a package that is not installed.
    """
    about = read_run(folder)
    config = read_config(folder / CONFIG_FILE)
    data = read_run_data(folder, about)
    if not (folder / WEIGHTS_FILE).is_file():
        raise RunFolderError(
            f"{folder}: has no {WEIGHTS_FILE}: its training stopped before the first evaluation; "
            "continue it with --resume"
        )
    model = build_run_model(config, model_inputs(about, data))
    load_weights(model, folder / WEIGHTS_FILE)
    return Run(
        folder=folder,
        config=config,
        model=model.to(device).eval(),
        data=data,
        jointspace_version=about["jointspace"],
        findings=tuple(Finding(**finding) for finding in about["findings"]),
    )


def model_inputs(
    about: Mapping[str, Any], data: Sequence[RunData]
) -> Preprocessor | tuple[Preprocessor, ...]:
    """Returns what `build_run_model` needs to know of a run's data sets.

    Args:
        about: content of `run.json`.
        data: from `read_run_data`.

    Returns:
        The preprocessor of a run of one data set; else one for each embodiment.
    """
    if about["version"] == RUN_VERSION:
        return data[0].preprocessor
    return embodiment_preprocessors(data)


def build_run_model(
    config: RunConfig, preprocessor: Preprocessor | Sequence[Preprocessor]
) -> JointModel:
    """Builds the model of a run, with fresh weights.

    Args:
        config: of the run.
        preprocessor: says how many channels, cameras and words there are. One for each embodiment
            gives each of them input layers of its own.

    Returns:
        The model, in training mode.

    Raises:
        ConfigError: the configuration does not fit the data.
        MissingExtraError: the text tower needs a package that is not installed.
    """
    channels: Mapping[Modality, Sizes]
    num_cameras: Sizes
    if isinstance(preprocessor, Preprocessor):
        tokenizer = preprocessor.tokenizer
        channels, num_cameras = model_channels(preprocessor), preprocessor.num_cameras
    else:
        tokenizer = preprocessor[0].tokenizer
        every = [model_channels(each) for each in preprocessor]
        modalities = dict.fromkeys(m for each in every for m in each)
        channels = {m: tuple(each.get(m, 0) for each in every) for m in modalities}
        num_cameras = tuple(each.num_cameras for each in preprocessor)
    return build_model(
        config.model,
        config.loss,
        config.data,
        vocab_size=tokenizer.vocab_size,
        channels=channels,
        num_cameras=num_cameras,
    )


def model_channels(preprocessor: Preprocessor) -> Mapping[Modality, int]:
    """Returns the values per step of every modality of steps; a discrete one has one."""
    return preprocessor.channels | dict.fromkeys(preprocessor.discrete, 1)
