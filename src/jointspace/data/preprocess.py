"""The one way from raw rows to model input: fitted in training, stored with the run."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, Modality, ModalityInput
from jointspace.config import DataConfig, TextConfig
from jointspace.data.artefact import read_json, write_json
from jointspace.data.collate import Sample, collate_frames, collate_rows, collate_steps
from jointspace.data.normalise import Normaliser
from jointspace.data.schema import Episode, RobotDataset
from jointspace.data.tokenizer import (
    HubTokenizer,
    TextEncoding,
    Tokenizer,
    tokenizer_from_json,
)
from jointspace.errors import InputError, RunFolderError, did_you_mean

PREPROCESSING_FILE = "preprocessing.json"
"""Its name in a run folder."""

PREPROCESSING_VERSION = 1
"""Format of that file."""


@dataclass(frozen=True)
class Preprocessor:
    """Everything about the training data that turning a raw row into model input needs.

    Attributes:
        image_px: side of the square pictures.
        cameras: names of the cameras, in the order of the camera axis; empty means no vision.
        fps: steps per second of the training data.
        window_s: length of the windows that were trained on.
        window_frames: pictures per window.
        episode_frames: pictures per whole-episode row.
        max_tokens: longest row of token ids.
        tokenizer: of the instructions.
        normalisers: of every continuous modality: `action` (unless discrete), `state`, sensors by
            feature name.
        discrete: size of the id set of every discrete modality.
        embodiment: number of the robot in a run of several robots; stored with the run, not here.
    """

    image_px: int
    cameras: tuple[str, ...]
    fps: float
    window_s: float
    window_frames: int
    episode_frames: int
    max_tokens: int
    tokenizer: TextEncoding
    normalisers: Mapping[Modality, Normaliser]
    discrete: Mapping[Modality, int] = dataclasses.field(default_factory=dict)
    embodiment: int = 0

    @staticmethod
    def fit(
        dataset: RobotDataset,
        *,
        train: Sequence[int],
        config: DataConfig,
        text: TextConfig,
        sensors: Sequence[str] = (),
        discrete: Mapping[str, int] | None = None,
    ) -> "Preprocessor":
        """Computes statistics and vocabulary from the training episodes alone.

        Args:
            dataset: what `prepare_frames` returned; all its cameras are used.
            train: positions of the training episodes.
            config: pictures, windows and the length of a text.
            text: which text tower the tokens are for.
            sensors: modalities beside vision, text and action: `state`, or the name of a sensor
                feature.
            discrete: modalities (`action` or a sensor) whose steps are one whole number in [0,
                size), with their sizes; all others are continuous.

        Returns:
            The preprocessor.

        Raises:
            InputError: no training episodes, a sensor that the data set lacks, or
                discrete readings that are no ids.
            MissingExtraError: a pretrained text encoder is asked for, and its package is not
                installed.
        """
        episodes = [dataset.episodes[position] for position in train]
        if not episodes:
            raise InputError("preprocessing: there are no training episodes to fit on")
        sizes = {Modality(name): size for name, size in (discrete or {}).items()}
        normalisers = {}
        for modality in (ACTION, *(Modality(name) for name in sensors)):
            if modality in sizes:
                for each in _finite_readings(modality, episodes, dataset):
                    _check_ids(each, size=sizes[modality], modality=modality)
            else:
                normalisers[modality] = fit_normaliser(modality, [(dataset, train)])
        texts = [e.instruction for e in episodes if e.instruction]
        tokenizer = fit_tokenizer(texts, config=config, text=text)
        return Preprocessor(
            image_px=config.image_px,
            cameras=dataset.info.cameras,
            fps=dataset.info.fps,
            window_s=config.window_s,
            window_frames=config.window_frames,
            episode_frames=config.episode_frames,
            max_tokens=config.max_tokens,
            tokenizer=tokenizer,
            normalisers=normalisers,
            discrete=sizes,
        )

    @property
    def sensors(self) -> tuple[Modality, ...]:
        """The modalities beside vision, text and action."""
        return tuple(m for m in (*self.normalisers, *self.discrete) if m != ACTION)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What a batch holds."""
        vision = (VISION,) if self.cameras else ()
        return (*vision, TEXT, ACTION, *self.sensors)

    @property
    def channels(self) -> dict[Modality, int]:
        """Values per step of every continuous modality."""
        return {modality: each.dim for modality, each in self.normalisers.items()}

    @property
    def num_cameras(self) -> int:
        """Length of the camera axis."""
        return len(self.cameras)

    def batch(self, samples: Sequence[Sample]) -> Batch:
        """Turns raw rows into model input.

        Args:
            samples: the rows, any of which may lack any part.

        Returns:
            Every modality of `modalities`, padded to the longest row; masked entries are zero.

        Raises:
            InputError: pictures of another size or number of cameras, readings with another number
                of channels than in training, a modality that was not trained on, or a discrete id
                that does not exist.
        """
        known = {ACTION, *self.sensors}
        for sample in samples:
            for modality in sample.steps:
                if modality not in known:
                    raise InputError(
                        f"no modality '{modality}' in training.{did_you_mean(modality, known)}"
                    )
        inputs: dict[Modality, ModalityInput] = {}
        if self.cameras:
            inputs[VISION] = collate_frames(
                samples, image_px=self.image_px, num_cameras=self.num_cameras
            )
        inputs[TEXT] = self._tokens(samples)
        for modality, size in self.discrete.items():
            raw = collate_steps(samples, modality=modality, channels=1)
            ids = _check_ids(raw.values, size=size, modality=modality)
            inputs[modality] = ModalityInput(ids, raw.valid, raw.time_s)
        for modality, normaliser in self.normalisers.items():
            raw = collate_steps(samples, modality=modality, channels=normaliser.dim)
            values = normaliser.apply(raw.values)
            values *= raw.valid[..., None]
            inputs[modality] = ModalityInput(values, raw.valid, raw.time_s)
        return Batch(inputs, collate_rows(samples)).of_embodiment(self.embodiment)

    def save(self, folder: Path) -> None:
        """Stores the preprocessor as `preprocessing.json`, whole or not at all.

        Args:
            folder: the run folder; made if it is missing.

        Raises:
            StorageError: the file could not be written.
        """
        plain = {
            name: getattr(self, name)
            for name in _field_names()
            if name not in ("tokenizer", "normalisers")
        }
        normalisers = [
            {"modality": modality, **each.to_json()} for modality, each in self.normalisers.items()
        ]
        payload = {
            **plain,
            "version": PREPROCESSING_VERSION,
            "cameras": list(self.cameras),
            "tokenizer": self.tokenizer.to_json(),
            "normalisers": normalisers,
        }
        write_json(folder / PREPROCESSING_FILE, payload)

    @staticmethod
    def load(folder: Path) -> "Preprocessor":
        """Reads what `save` stored.

        Args:
            folder: the run folder.

        Returns:
            A preprocessor that makes the same batches, number for number.

        Raises:
            RunFolderError: the file is missing, incomplete, or of another version.
            MissingExtraError: the tokenizer is a pretrained one, and its package is not installed.
        """
        path = folder / PREPROCESSING_FILE
        stored = read_json(path, version=PREPROCESSING_VERSION)
        missing = [name for name in _field_names() if name not in stored]
        if missing:
            raise RunFolderError(f"{path}: lacks {', '.join(missing)}")
        normalisers = {
            Modality(each["modality"]): Normaliser.from_json(
                {name: value for name, value in each.items() if name != "modality"}
            )
            for each in stored["normalisers"]
        }
        return Preprocessor(
            **{
                **{name: stored[name] for name in _field_names()},
                "cameras": tuple(stored["cameras"]),
                "tokenizer": tokenizer_from_json(stored["tokenizer"]),
                "normalisers": normalisers,
            }
        )

    def _tokens(self, samples: Sequence[Sample]) -> ModalityInput:
        """Encodes each distinct text once."""
        number: dict[str, int] = {}
        text_of_row = [
            -1 if s.text is None else number.setdefault(s.text, len(number)) for s in samples
        ]
        # One row more than texts, without a valid id, for the rows (-1) that have no text.
        ids, valid = self.tokenizer.encode(list(number))
        width = max(ids.shape[1], 1)
        all_ids = np.zeros((len(number) + 1, width), dtype=np.int64)
        all_valid = np.zeros(all_ids.shape, dtype=np.bool_)
        all_ids[:-1, : ids.shape[1]] = ids
        all_valid[:-1, : ids.shape[1]] = valid
        index = np.asarray(text_of_row, dtype=np.int64)
        return ModalityInput(all_ids[index], all_valid[index])


def fit_normaliser(
    modality: Modality, parts: Sequence[tuple[RobotDataset, Sequence[int]]]
) -> Normaliser:
    """Computes the statistics of a continuous modality over one or several data sets of one robot.

    Args:
        modality: `action`, `state`, or a sensor's feature name.
        parts: data sets, each with the positions of its training episodes.

    Returns:
        The normaliser.

    Raises:
        InputError: a data set lacks the modality, or they differ in its channels.
    """
    readings = [
        each
        for dataset, train in parts
        for each in _finite_readings(modality, [dataset.episodes[p] for p in train], dataset)
    ]
    return Normaliser.fit(readings, name=modality)


def fit_tokenizer(texts: Sequence[str], *, config: DataConfig, text: TextConfig) -> TextEncoding:
    """Builds the vocabulary of the training instructions, or reads that of a pretrained encoder.

    Args:
        texts: the instruction of every training episode that has one.
        config: the length of a text.
        text: which text tower the tokens are for.

    Returns:
        The tokenizer.

    Raises:
        MissingExtraError: a pretrained text encoder is asked for, and its package is not installed.
    """
    if text.tower == "sentence":
        return HubTokenizer.read(text.pretrained, max_tokens=config.max_tokens)
    return Tokenizer.fit(texts, max_tokens=config.max_tokens)


def _field_names() -> tuple[str, ...]:
    """The fields that are stored."""
    return tuple(f.name for f in dataclasses.fields(Preprocessor) if f.name != "embodiment")


def _finite_readings(
    modality: Modality, episodes: Sequence[Episode], dataset: RobotDataset
) -> list[np.ndarray]:
    """Gathers the training readings, without the steps that every batch masks as not finite."""
    readings = [r for e in episodes if (r := sensor_readings(e, modality)) is not None]
    finite = [r[np.isfinite(r).all(axis=1)] for r in readings]
    if sum(len(r) for r in finite):
        return finite
    known = [ACTION, *dataset.info.sensors, *([STATE] if dataset.info.state_names else [])]
    if modality in known:
        raise InputError(f"no training episode has a finite reading of '{modality}'")
    raise InputError(
        f"model.sensors: the data set has no '{modality}'.{did_you_mean(modality, known[1:])}"
        + ("" if known[1:] else " It has no sensors at all: set sensors = [].")
    )


def sensor_readings(episode: Episode, modality: Modality) -> np.ndarray | None:
    """Finds the readings of a modality in an episode.

    Args:
        episode: the episode.
        modality: `action`, `state`, or a sensor's feature name.

    Returns:
        Readings "time channel" in raw units; None if the episode has none.
    """
    if modality == ACTION:
        return episode.action
    if modality == STATE:
        return episode.state
    return episode.sensors.get(modality)


def _check_ids(values: np.ndarray, *, size: int, modality: Modality) -> np.ndarray:
    """Returns the ids in "... 1" values as int64, without the last axis."""
    if values.shape[-1] != 1:
        raise InputError(
            f"'{modality}' has {values.shape[-1]} values per step, a discrete one has one; "
            "choose a continuous tower"
        )
    ids = values[..., 0].astype(np.int64)
    if ids.size and ((ids != values[..., 0]) | (ids < 0) | (ids >= size)).any():
        raise InputError(
            f"'{modality}': discrete ids must be whole numbers in [0, {size}), got values in "
            f"[{values.min():g}, {values.max():g}]"
        )
    return ids
