"""A trained space to give away: a folder, or a model on the hub, that embeds exactly as its run.

Beside a run folder it lacks what belongs to the training alone (splits, log, checkpoints), and it
has a model card.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from jointspace import __version__
from jointspace.config import ModelConfig, RunConfig, read_config, write_config
from jointspace.data.artefact import read_json, write_json
from jointspace.data.preprocess import PREPROCESSING_FILE, Preprocessor
from jointspace.encoders.embodiments import PerEmbodiment
from jointspace.errors import InputError, MissingExtraError, RunFolderError
from jointspace.models.checkpoint import load_weights, save_weights
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel
from jointspace.models.model_card import model_card
from jointspace.models.run_folder import (
    CONFIG_FILE,
    RUN_FILE,
    WEIGHTS_FILE,
    build_run_model,
    load_run,
)
from jointspace.storage import write_whole

HUB_VERSION = 1
"""Format of the folder, stored in `config.json`."""

HUB_FILE = "config.json"
"""What says that a folder holds a space; the hub counts downloads by this name."""

CARD_FILE = "README.md"
METRICS_FILE = "metrics.json"

_PRETRAINED_FOLDER = "pretrained"
_TOWERS = {"vision": "pretrained", "text": "sentence"}
"""Tower -> the name under which it has a pretrained network."""


@dataclass(frozen=True)
class JointSpace:
    """A trained model with all that embedding needs, apart from the training that made it.

    Attributes:
        config: what it was trained with.
        preprocessor: from raw rows to model input.
        model: in evaluation mode.
        metrics: what `jointspace evaluate` measured, as `metrics.json` holds it; empty if nothing.
        datasets: names of what it was trained on, for the model card.
        license: under which it is given away, in the hub's spelling.
    """

    config: RunConfig
    preprocessor: Preprocessor
    model: JointModel
    metrics: Mapping[str, Any] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    license: str = "unknown"

    @property
    def embedder(self) -> TorchEmbedder:
        """Embeds batches of the preprocessor, on the model's device."""
        return TorchEmbedder(self.model, device=next(self.model.parameters()).device)

    @staticmethod
    def of_run(folder: Path, *, device: torch.device | str = "cpu") -> "JointSpace":
        """Takes the space out of a run folder.

        Args:
            folder: what `train` wrote, with `metrics.json` where `evaluate` has measured it.
            device: where the model goes.

        Returns:
            The space; its data set is named by the last part of its path.

        Raises:
            RunFolderError: the folder holds no run with weights, one of another version, or one of
                several data sets.
            ConfigError: its configuration was changed into one that cannot be.
            MissingExtraError: a tower needs a package that is not installed.
        """
        run = load_run(folder, device=device)
        if len(run.data) > 1:
            raise RunFolderError(
                f"{folder}: is a run of {len(run.data)} data sets "
                f"({', '.join(each.name for each in run.data)}), but a space to give away is of "
                "one; give the run folder away as it is, or train a run on one of them alone"
            )
        return JointSpace(
            config=run.config,
            preprocessor=run.preprocessor,
            model=run.model,
            metrics=_without_places(_read_metrics(run.data[0].report_folder)),
            datasets=(run.data_path.name,) if run.data_path.name else (),
        )

    @staticmethod
    def from_pretrained(
        source: str | Path,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        local_files_only: bool = False,
    ) -> "JointSpace":
        """Opens a space that `save_pretrained` or `push_to_hub` wrote, or a run folder.

        Args:
            source: a folder, or the id of a model on the hub (`owner/name`).
            revision: branch, tag or commit of a model on the hub.
            device: where the model goes.
            local_files_only: take what was downloaded before, and never ask the hub.

        Returns:
            A space that embeds exactly as the run that it was made of.

        Raises:
            InputError: it is neither a folder nor a model that the hub gives out.
            RunFolderError: the folder holds no space, or one of another version.
            ConfigError: its configuration was changed into one that cannot be.
            MissingExtraError: a package of an extra is not installed.
        """
        folder = Path(source)
        if not folder.is_dir():
            folder = _download(str(source), revision=revision, local_files_only=local_files_only)
        if (folder / RUN_FILE).is_file():
            return JointSpace.of_run(folder, device=device)
        if not (folder / HUB_FILE).is_file():
            raise RunFolderError(
                f"{folder}: has neither {HUB_FILE} nor {RUN_FILE}; wanted a folder that "
                "`jointspace save` or `jointspace train` wrote"
            )
        about = read_json(folder / HUB_FILE, version=HUB_VERSION)
        config = read_config(folder / CONFIG_FILE)
        preprocessor = Preprocessor.load(folder)
        here = dataclasses.replace(config, model=_with_folders(config.model, folder))
        # A run that went on from another one has layers per robot, even where it is of one alone.
        numbered = about.get("numbered_layers", False)
        model = build_run_model(here, (preprocessor,) if numbered else preprocessor)
        load_weights(model, folder / WEIGHTS_FILE)
        return JointSpace(
            config=here,
            preprocessor=preprocessor,
            model=model.to(device).eval(),
            metrics=_read_metrics(folder),
            datasets=tuple(about["datasets"]),
            license=about["license"],
        )

    def save_pretrained(self, folder: Path, *, name: str = "") -> Path:
        """Writes the space and its model card.

        A pretrained network that was read from a folder is copied into this one; one of the hub
        stays a reference to the hub.

        Args:
            folder: made if it is missing; files of an earlier space are replaced.
            name: of the model, in the card, or its id on the hub; the folder's name by default.

        Returns:
            The folder.

        Raises:
            RunFolderError: the folder holds a run, which would be mixed up with it.
            StorageError: a file could not be written.
        """
        if (folder / RUN_FILE).is_file():
            raise RunFolderError(f"{folder}: holds a run; choose another folder for the space")
        folder.mkdir(parents=True, exist_ok=True)
        model = _with_copies(self.config.model, folder)
        write_whole(
            folder / CONFIG_FILE, write_config(dataclasses.replace(self.config, model=model))
        )
        self.preprocessor.save(folder)
        save_weights(self.model, folder / WEIGHTS_FILE)
        if self.metrics:
            write_whole(folder / METRICS_FILE, json.dumps(self.metrics, indent=1) + "\n")
        card = model_card(
            name or folder.resolve().name,
            config=self.config,
            modalities=self.model.modalities,
            cameras=self.preprocessor.cameras,
            metrics=self.metrics,
            datasets=self.datasets,
            license_name=self.license,
        )
        write_whole(folder / CARD_FILE, card)
        write_json(
            folder / HUB_FILE,
            {
                "version": HUB_VERSION,
                "library_name": "jointspace",
                "model_type": "jointspace",
                "architectures": [self.config.model.name],
                "jointspace": __version__,
                "embed_dim": self.model.embed_dim,
                "numbered_layers": any(
                    isinstance(each, PerEmbodiment) for each in self.model.modules()
                ),
                "modalities": [str(each) for each in self.model.modalities],
                "datasets": list(self.datasets),
                "license": self.license,
            },
        )
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = False,
        revision: str | None = None,
        message: str = "Add a joint space",
    ) -> str:
        """Uploads the space, its model card included.

        Who uploads is who `hf auth login` or the variable HF_TOKEN says.

        Args:
            repo_id: `owner/name`; made if it is missing.
            private: whether a model that is made is private.
            revision: branch to upload to; the main one by default.
            message: of the commit.

        Returns:
            Address of the commit.

        Raises:
            InputError: the hub refuses, or is out of reach.
            MissingExtraError: `huggingface_hub` is not installed.
        """
        try:
            from huggingface_hub import HfApi  # noqa: PLC0415 -- an extra
            from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("huggingface_hub", "pretrained") from error
        # Without a connection, the error of whatever HTTP client this version of the package uses.
        refusals: tuple[Any, ...] = (OSError, ValueError, HfHubHTTPError.__bases__[0])
        api = HfApi(library_name="jointspace", library_version=__version__)
        with tempfile.TemporaryDirectory() as aside:
            folder = self.save_pretrained(Path(aside) / "space", name=repo_id)
            try:
                api.create_repo(repo_id, private=private, exist_ok=True)
                done = api.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message=message, revision=revision
                )
            except refusals as error:
                raise InputError(
                    f"'{repo_id}' was not uploaded ({_first_line(error)}); wanted an id "
                    "'owner/name' that you may write to: log in with `hf auth login`"
                ) from error
        return str(done.commit_url)


def with_license(
    space: JointSpace, *, license_name: str | None, datasets: Sequence[str] = ()
) -> JointSpace:
    """Returns a space with another licence and data sets in its card.

    Args:
        space: the space.
        license_name: in the hub's spelling, such as `apache-2.0`; None keeps it.
        datasets: ids on the hub; none keeps what is there.
    """
    return dataclasses.replace(
        space,
        license=license_name or space.license,
        datasets=tuple(datasets) or space.datasets,
    )


def _download(source: str, *, revision: str | None, local_files_only: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise MissingExtraError("huggingface_hub", "pretrained") from error
    try:
        return Path(
            snapshot_download(
                source,
                revision=revision,
                local_files_only=local_files_only,
                allow_patterns=[
                    HUB_FILE,
                    CONFIG_FILE,
                    PREPROCESSING_FILE,
                    WEIGHTS_FILE,
                    METRICS_FILE,
                    f"{_PRETRAINED_FOLDER}/*",
                ],
            )
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{source}' is no folder here, and the hub does not give it out "
            f"({_first_line(error)}); wanted a folder or the id of a model on the hub"
        ) from error


def _with_copies(config: ModelConfig, folder: Path) -> ModelConfig:
    """Copies pretrained networks that lie in folders, and names them from the space's folder."""
    for tower, kind in _TOWERS.items():
        section = getattr(config, tower)
        source, copy = Path(section.pretrained), folder / _PRETRAINED_FOLDER / tower
        if section.tower != kind or not source.is_dir():
            continue
        if source.resolve() != copy.resolve():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        name = copy.relative_to(folder).as_posix()
        changed = dataclasses.replace(section, pretrained=name)
        config = dataclasses.replace(config, **{tower: changed})
    return config


def _with_folders(config: ModelConfig, folder: Path) -> ModelConfig:
    """Finds the copies of `_with_copies` again."""
    for tower, kind in _TOWERS.items():
        section = getattr(config, tower)
        copy = folder / section.pretrained
        if section.tower == kind and copy.is_dir():
            changed = dataclasses.replace(section, pretrained=str(copy))
            config = dataclasses.replace(config, **{tower: changed})
    return config


def _read_metrics(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RunFolderError(f"{folder / METRICS_FILE}: is no valid JSON: {error}") from error
    return found


def _without_places(metrics: dict[str, Any]) -> dict[str, Any]:
    """Leaves out where run and data set lay: that is nobody's business whom the model is given."""
    about = {key: text for key, text in metrics.get("about", {}).items() if key != "run"}
    if "data set" in about:
        place, _, kind = str(about["data set"]).rpartition(" (")
        about["data set"] = f"{Path(place).name} ({kind}" if place else Path(kind).name
    return {**metrics, "about": about} if about else metrics


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
