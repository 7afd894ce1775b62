"""The run folder: what a training leaves behind, and the way to open it again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jointspace import __version__
from jointspace.batch import Modality
from jointspace.config import RunConfig, read_config, write_config
from jointspace.data.artefact import read_json, write_json
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import Finding, RobotDataset
from jointspace.data.split_file import load_splits, save_splits
from jointspace.data.splits import Splits
from jointspace.errors import RunFolderError
from jointspace.models.build import build_model
from jointspace.models.checkpoint import load_weights
from jointspace.models.joint import JointModel
from jointspace.storage import write_whole

RUN_VERSION = 1
"""Format of a run folder, stored in `run.json`."""

CONFIG_FILE = "config.toml"
SPLITS_FILE = "splits.json"
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
        preprocessor: from raw rows to model input.
        model: the best weights, in evaluation mode.
        data_path: the data set that it was trained on.
        jointspace_version: of the program that trained it.
        findings: what was wrong with the data set then.
    """

    folder: Path
    config: RunConfig
    preprocessor: Preprocessor
    model: JointModel
    data_path: Path
    jointspace_version: str
    findings: tuple[Finding, ...]

    def splits(self, dataset: RobotDataset) -> Splits:
        """Returns the run's splits as positions in its data set, read again.

        Args:
            dataset: the data set that the run was trained on, perhaps in another format.

        Returns:
            The same episodes in each split.

        Raises:
            RunFolderError: `splits.json` cannot be read or has another version.
            DataError: it is another data set.
        """
        return load_splits(self.folder / SPLITS_FILE, dataset)


def create_run(
    folder: Path,
    *,
    config: RunConfig,
    preprocessor: Preprocessor,
    splits: Splits,
    dataset: RobotDataset,
    findings: Sequence[Finding] = (),
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

    Raises:
        StorageError: a file could not be written.
    """
    preprocessor.save(folder)
    save_splits(folder / SPLITS_FILE, splits, dataset)
    write_whole(folder / CONFIG_FILE, write_config(config))
    write_json(
        folder / RUN_FILE,
        {
            "version": RUN_VERSION,
            "jointspace": __version__,
            "data": {
                "path": str(dataset.info.path.resolve()),
                "format": dataset.info.format,
                "robot_type": dataset.info.robot_type,
                "num_episodes": len(dataset.episodes),
            },
            "channels": {str(m): n for m, n in model_channels(preprocessor).items()},
            "findings": [
                {"severity": f.severity, "where": f.where, "message": f.message} for f in findings
            ],
        },
    )


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
    return read_json(folder / RUN_FILE, version=RUN_VERSION)


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
    preprocessor = Preprocessor.load(folder)
    if not (folder / WEIGHTS_FILE).is_file():
        raise RunFolderError(
            f"{folder}: has no {WEIGHTS_FILE}: its training stopped before the first evaluation; "
            "continue it with --resume"
        )
    model = build_run_model(config, preprocessor)
    load_weights(model, folder / WEIGHTS_FILE)
    return Run(
        folder=folder,
        config=config,
        preprocessor=preprocessor,
        model=model.to(device).eval(),
        data_path=Path(about["data"]["path"]),
        jointspace_version=about["jointspace"],
        findings=tuple(Finding(**finding) for finding in about["findings"]),
    )


def build_run_model(config: RunConfig, preprocessor: Preprocessor) -> JointModel:
    """Builds the model of a run, with fresh weights.

    Args:
        config: of the run.
        preprocessor: says how many channels, cameras and words there are.

    Returns:
        The model, in training mode.

    Raises:
        ConfigError: the configuration does not fit the data.
        MissingExtraError: the text tower needs a package that is not installed.
    """
    return build_model(
        config.model,
        config.loss,
        config.data,
        vocab_size=preprocessor.tokenizer.vocab_size,
        channels=model_channels(preprocessor),
        num_cameras=preprocessor.num_cameras,
    )


def model_channels(preprocessor: Preprocessor) -> Mapping[Modality, int]:
    """Returns the values per step of every modality of steps; a discrete one has one."""
    return preprocessor.channels | dict.fromkeys(preprocessor.discrete, 1)
