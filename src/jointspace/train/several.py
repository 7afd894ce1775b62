"""A run of several data sets, or one that starts from another run, up to its first step.

A step trains on rows of one data set. Pictures, actions and states of two robots are told apart by
which robot it is, so that a row of another robot is an answer which is wrong for the wrong reason;
and the rows of one data set need no padding to another's channels, cameras and rate.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from jointspace.batch import STATE, Batch, Modality
from jointspace.config import ModelConfig, RunConfig
from jointspace.data.copies import duplicate_groups
from jointspace.data.embodiments import DataSource, Embodiment, match_embodiments, unique_name
from jointspace.data.goals import share_texts
from jointspace.data.normalise import Normaliser
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor, fit_normaliser, fit_tokenizer
from jointspace.data.schema import DatasetInfo, Finding, RobotDataset, SharedTexts
from jointspace.data.split_file import num_stored_episodes
from jointspace.data.splits import split_dataset
from jointspace.errors import ConfigError, InputError, did_you_mean
from jointspace.models.adapt import start_from_weights, train_adapters_alone
from jointspace.models.feature_cache import remember_texts
from jointspace.models.joint import JointModel
from jointspace.models.run_data import RunData, embodiment_preprocessors, read_run_data
from jointspace.models.run_folder import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    SEVERAL_VERSION,
    NewData,
    Run,
    build_run_model,
    create_run_of_several,
    load_run,
    read_run,
    remove_stale,
)
from jointspace.train.checkpointing import checkpoints
from jointspace.train.mixing import mixture_steps
from jointspace.train.rows import recorded_sensors
from jointspace.train.sampling import WHOLE, Share
from jointspace.train.setup import (
    PreparedRun,
    check_folder,
    first_difference,
    fit_preprocessor,
    num_first_steps,
    prepare_rows,
    prepare_run,
    read_pictures,
)
from jointspace.train.validation import Validation, combine


@dataclass(frozen=True)
class PreparedSeveral:
    """Everything that a run of several data sets needs, and nothing written yet.

    Attributes:
        config: of the run.
        folder: the run folder.
        exists: the folder already holds this run, which is continued.
        names: of the data sets, unique within the run.
        runs: of the data sets, each as if it were trained on alone.
        embodiments: of the run, in the order of their numbers.
        texts: of all data sets, numbered alike.
        earlier: data sets of the run that this one starts from.
        start: weights to start from, and how many embodiments they know; None for fresh ones.
        findings: what is wrong with the data sets, and how they were split.
    """

    config: RunConfig
    folder: Path
    exists: bool
    names: tuple[str, ...]
    runs: tuple[PreparedRun, ...]
    embodiments: tuple[Embodiment, ...]
    texts: SharedTexts
    earlier: tuple[RunData, ...]
    start: tuple[Mapping[str, Tensor], int] | None
    findings: tuple[Finding, ...]

    def new_model(self) -> JointModel:
        """Builds the model, on the processor: fresh weights, or those that the run starts from.

        Raises:
            ConfigError: the configuration does not fit the data.
            RunFolderError: the weights to start from are of another model.
            MissingExtraError: a tower needs a package that is not installed.
            StorageError: the cache of what a frozen text tower reads cannot be written.
        """
        trained = [each.preprocessor for each in self.runs]
        every = [*(each.preprocessor for each in self.earlier), *trained]
        first = {each.embodiment: each for each in reversed(every)}
        model = build_run_model(self.config, [first[number] for number in sorted(first)])
        settings = self.config.train
        if self.start is not None:
            weights, num_known = self.start
            start_from_weights(model, weights, num_known=num_known, source=settings.start_from)
        if settings.trainable == "adapters":
            train_adapters_alone(model, embodiments={each.embodiment for each in trained})
        remember_texts(model, trained[0].tokenizer, self.texts.instructions)
        return model

    def create(self) -> None:
        """Writes the run folder, unless it is there.

        Raises:
            StorageError: a file could not be written.
        """
        if self.exists:
            remove_stale(self.folder)
            return
        create_run_of_several(
            self.folder,
            config=self.config,
            embodiments=self.embodiments,
            texts=self.texts,
            earlier=self.earlier,
            data=[
                NewData(name, run.dataset, run.splits, run.preprocessor)
                for name, run in zip(self.names, self.runs, strict=True)
            ],
            findings=self.findings,
        )

    def batch_at(self, step: int, *, share: Share = WHOLE) -> Batch:
        """Reads the training batch of a step.

        Args:
            step: the step, from 0.
            share: which part of its rows.

        Returns:
            The same rows for the same arguments, whatever was asked for before.
        """
        places, before = self._order
        place = places[step]
        num_first = int((places[: num_first_steps(self.config.train)] == place).sum())
        return self.runs[place].batch_at(int(before[step]), share=share, num_first=num_first)

    @property
    def validate(self) -> Callable[[JointModel], Validation] | None:
        """Measures a model on every validation split; None where all of them are empty."""
        measures = {
            name: run.validate
            for name, run in zip(self.names, self.runs, strict=True)
            if run.validate is not None
        }
        if not measures:
            return None
        return lambda model: combine({name: each(model) for name, each in measures.items()})

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray]:
        weights = self.config.data.mixture_weights or (1.0,) * len(self.runs)
        return mixture_steps(weights, num_steps=self.config.train.num_steps)


def prepare(
    config: RunConfig,
    *,
    data: Path | Sequence[DataSource],
    out: Path,
    resume: bool,
    show_progress: bool,
) -> PreparedRun | PreparedSeveral:
    """Prepares a run of one data set or of several.

    Args:
        config: of the run.
        data: folder of the data set, or the data sets.
        out: the run folder.
        resume: continue a run that is there.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run. One data set that starts from no other run makes the plain kind of run folder.

    Raises:
        ConfigError: there is no data set, or not one weight for each; otherwise as `prepare_run`
            and `prepare_several`.
    """
    sources = [DataSource(data)] if isinstance(data, Path) else list(data)
    weights = config.data.mixture_weights
    if not sources:
        raise ConfigError("no data set to train on: name one with --data")
    if weights and len(weights) != len(sources):
        raise ConfigError(
            f"data.mixture_weights: got {len(weights)} for {len(sources)} data sets; expected one "
            "for each --data, in their order, or none"
        )
    if len(sources) == 1 and not config.train.start_from:
        (source,) = sources
        return prepare_run(
            config,
            data=source.path,
            out=out,
            resume=resume,
            show_progress=show_progress,
            embodiment=source.embodiment,
        )
    return prepare_several(config, sources, out=out, resume=resume, show_progress=show_progress)


def prepare_several(
    config: RunConfig,
    sources: Sequence[DataSource],
    *,
    out: Path,
    resume: bool,
    show_progress: bool,
) -> PreparedSeveral:
    """Reads the data sets, finds out which are of one robot, splits them, fits the preprocessing.

    Args:
        config: of the run.
        sources: the data sets.
        out: the run folder.
        resume: continue a run that is there.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run.

    Raises:
        ConfigError: the run in the folder has another configuration or other data sets; data sets
            of one name are of different robots; or the run to start from has another model, or has
            seen a robot whose adapter alone is to be trained.
        DataError: a data set cannot be used.
        InputError: two data sets are the same one; a data set is too small for the splits; or none
            has a camera or sensor that is asked for.
        RunFolderError: a folder holds something that must not be overwritten, or no run to start
            from.
    """
    exists = check_folder(out, config, resume=resume)
    datasets = [open_dataset(source.path) for source in sources]
    copies = _copies(datasets)
    if exists:
        run = _continued(config, sources, datasets, out=out, show_progress=show_progress)
    else:
        run = _fresh(config, sources, datasets, out=out, show_progress=show_progress)
    found = [
        replace(finding, where=f"{name}: {finding.where}")
        for name, each in zip(run.names, run.runs, strict=True)
        for finding in (*each.findings, *_unrecorded(config, each))
    ]
    return replace(run, findings=(*found, *run.findings, *copies))


def _continued(
    config: RunConfig,
    sources: Sequence[DataSource],
    datasets: Sequence[RobotDataset],
    *,
    out: Path,
    show_progress: bool,
) -> PreparedSeveral:
    """Reads from the run folder what the data sets were split and fitted into."""
    about = read_run(out)
    stored = read_run_data(out, about)
    trained = [each for each in stored if each.trained]
    same = about["version"] == SEVERAL_VERSION and len(trained) == len(sources)
    if not same or any(
        source.embodiment not in ("", each.embodiment.name)
        for source, each in zip(sources, trained, strict=True)
    ):
        was = " ".join(f"--data {each.embodiment.name}={each.path}" for each in trained)
        raise ConfigError(
            f"{out}: the run is of other data sets; to continue it give those that it was trained "
            f"with, in their order: {was}"
        )
    runs = []
    for dataset, own in zip(datasets, trained, strict=True):
        narrowed = _narrowed(config, dataset.info, sensors=own.preprocessor.sensors)
        shared = replace(dataset, shared=own.texts)
        pictures = read_pictures(shared, narrowed, show_progress=show_progress)
        splits = own.splits(pictures[0], to_train=True)
        runs.append(
            prepare_rows(
                narrowed,
                folder=out,
                exists=True,
                pictures=pictures,
                preprocessor=own.preprocessor,
                splits=splits,
            )
        )
    start = None
    if config.train.start_from and not checkpoints(out / CHECKPOINT_FOLDER):
        base = _base(config)
        start = (base.model.state_dict(), len(embodiment_preprocessors(base.data)))
    return PreparedSeveral(
        config=config,
        folder=out,
        exists=True,
        names=tuple(each.name for each in trained),
        runs=tuple(runs),
        embodiments=tuple(Embodiment.from_json(each) for each in about["embodiments"]),
        texts=SharedTexts(tuple(about["instructions"]), tuple(about["goals"])),
        earlier=tuple(each for each in stored if not each.trained),
        start=start,
        findings=(),
    )


def _fresh(
    config: RunConfig,
    sources: Sequence[DataSource],
    datasets: Sequence[RobotDataset],
    *,
    out: Path,
    show_progress: bool,
) -> PreparedSeveral:
    """Splits the data sets and fits the preprocessing, beside that of the run to start from."""
    base = _base(config) if config.train.start_from else None
    earlier = () if base is None else base.data
    known = {each.preprocessor.embodiment: each.embodiment for each in reversed(earlier)}
    sensors = config.model.sensors if base is None else base.model.modalities
    _check_cameras(config, datasets)
    if base is None:
        _check_sensors(config, datasets)
    configs = [_narrowed(config, dataset.info, sensors=sensors) for dataset in datasets]
    pictures = [
        read_pictures(dataset, each, show_progress=show_progress)
        for dataset, each in zip(datasets, configs, strict=True)
    ]
    texts = _shared_texts([dataset for dataset, _ in pictures], earlier)
    pictures = [(replace(dataset, shared=texts), store) for dataset, store in pictures]
    read = [dataset for dataset, _ in pictures]
    seen = [_seen(dataset, earlier) for dataset in read]
    splits = [
        each.splits(dataset, to_train=True) if each else split_dataset(dataset, config=own.data)
        for dataset, each, own in zip(read, seen, configs, strict=True)
    ]
    named = [
        replace(source, embodiment=source.embodiment or (each.embodiment.name if each else ""))
        for source, each in zip(sources, seen, strict=True)
    ]
    shown = [
        Embodiment.of(dataset.info, sensors=recorded_sensors(each, dataset))
        for dataset, each in zip(read, configs, strict=True)
    ]
    embodiments, numbers = match_embodiments(
        list(zip(named, shown, strict=True)), known=[known[number] for number in sorted(known)]
    )
    if config.train.trainable == "adapters":
        _refuse_seen(sources, embodiments, numbers, num_known=len(known), config=config)
    if base is None:
        told = [
            dataset.episodes[position].instruction
            for dataset, each in zip(read, splits, strict=True)
            for position in each.train
        ]
        tokenizer = fit_tokenizer(
            [text for text in told if text], config=config.data, text=config.model.text
        )
    else:
        tokenizer = base.data[0].preprocessor.tokenizer
    preprocessors = _shared(
        [
            replace(fit_preprocessor(own, dataset, each), tokenizer=tokenizer, embodiment=number)
            for own, dataset, each, number in zip(configs, read, splits, numbers, strict=True)
        ],
        parts=[(dataset, each.train) for dataset, each in zip(read, splits, strict=True)],
        known=embodiment_preprocessors(earlier),
    )
    runs = tuple(
        prepare_rows(
            own, folder=out, exists=False, pictures=each, preprocessor=preprocessor, splits=split
        )
        for own, each, preprocessor, split in zip(
            configs, pictures, preprocessors, splits, strict=True
        )
    )
    again = {
        each.name
        for each, number in zip(seen, numbers, strict=True)
        if each is not None and each.preprocessor.embodiment == number
    }
    kept = tuple(replace(each, trained=False) for each in earlier if each.name not in again)
    names = _names(sources, taken=[each.name for each in kept])
    return PreparedSeveral(
        config=config,
        folder=out,
        exists=False,
        names=names,
        runs=runs,
        embodiments=embodiments,
        texts=texts,
        earlier=kept,
        start=None if base is None else (base.model.state_dict(), len(known)),
        findings=tuple(_unsplit(read, seen, names=names)),
    )


def _shared_texts(datasets: Sequence[RobotDataset], earlier: Sequence[RunData]) -> SharedTexts:
    """Numbers the texts: those of the run to start from keep their ids, if it shared any."""
    own = share_texts(datasets)
    before = next((each.texts for each in earlier if each.texts), SharedTexts((), ()))
    return SharedTexts(
        tuple(dict.fromkeys((*before.instructions, *own.instructions))),
        tuple(dict.fromkeys((*before.goals, *own.goals))),
    )


def _base(config: RunConfig) -> Run:
    """Opens the run to start from, which must have the same model, but for `_free`."""
    base = load_run(Path(config.train.start_from))
    pairs = (
        ("model", _free(base.config.model, config.model), config.model),
        ("data.image_px", base.config.data.image_px, config.data.image_px),
        ("data.max_tokens", base.config.data.max_tokens, config.data.max_tokens),
        ("data.split", base.config.data.split, config.data.split),
    )
    for section, stored, wanted in pairs:
        difference = first_difference(stored, wanted, section)
        if difference:
            key, was, now = difference
            raise ConfigError(
                f"{key}: is {now!r}, but {was!r} in {base.folder}, which the training "
                f"starts from (train.start_from); use its {base.folder / CONFIG_FILE}"
            )
    return base


def _free(base: ModelConfig, wanted: ModelConfig) -> ModelConfig:
    """Returns the model to start from with what may be wanted otherwise of its weights."""
    vision, text = base.vision, base.text
    if vision.trainable == "frozen":
        layers = wanted.vision.num_trainable_layers
        vision = replace(vision, trainable=wanted.vision.trainable, num_trainable_layers=layers)
    if text.trainable == "frozen":
        layers = wanted.text.num_trainable_layers
        text = replace(text, trainable=wanted.text.trainable, num_trainable_layers=layers)
    vision = replace(vision, cache_features=wanted.vision.cache_features)
    # Gates of 1 compare as the cosine.
    metric = wanted.pair_metric if base.pair_metric == "cosine" else base.pair_metric
    return replace(base, pair_metric=metric, vision=vision, text=text)


def _narrowed(config: RunConfig, info: DatasetInfo, *, sensors: Collection[str]) -> RunConfig:
    """Returns the configuration as it reads for one data set: with what that one records."""
    cameras = tuple(name for name in config.data.cameras if _has_camera(info, name))
    if config.data.cameras and not cameras:
        raise InputError(
            f"{info.path}: has none of the cameras of data.cameras: "
            f"{', '.join(config.data.cameras)}.{did_you_mean(config.data.cameras[0], info.cameras)}"
        )
    recorded = tuple(
        name for name in config.model.sensors if name in sensors and _has_sensor(info, name)
    )
    return replace(
        config,
        data=replace(config.data, cameras=cameras),
        model=replace(config.model, sensors=recorded),
    )


def _check_cameras(config: RunConfig, datasets: Sequence[RobotDataset]) -> None:
    infos = [dataset.info for dataset in datasets]
    for name in config.data.cameras:
        if not any(_has_camera(info, name) for info in infos):
            known = {camera for info in infos for camera in info.cameras}
            raise InputError(f"data.cameras: no data set has '{name}'.{did_you_mean(name, known)}")


def _check_sensors(config: RunConfig, datasets: Sequence[RobotDataset]) -> None:
    infos = [dataset.info for dataset in datasets]
    for name in config.model.sensors:
        if name != STATE and not any(_has_sensor(info, name) for info in infos):
            known = {sensor for info in infos for sensor in info.sensors}
            raise InputError(f"model.sensors: no data set has '{name}'.{did_you_mean(name, known)}")


def _has_camera(info: DatasetInfo, name: str) -> bool:
    return any(camera == name or camera.endswith(f".{name}") for camera in info.cameras)


def _has_sensor(info: DatasetInfo, name: str) -> bool:
    return bool(info.state_names) if name == STATE else name in info.sensors


def _unrecorded(config: RunConfig, run: PreparedRun) -> Iterator[Finding]:
    missing = [name for name in config.model.sensors if name not in run.config.model.sensors]
    if missing:
        yield Finding(
            "note",
            "model.sensors",
            f"{', '.join(missing)}: not recorded here, or not in the run to start from; this data "
            "set trains without",
        )


def _seen(dataset: RobotDataset, earlier: Sequence[RunData]) -> RunData | None:
    """Finds the data set among those of the run to start from: its held-out episodes stay so.

    It may have grown or lost episodes since, but most of them must be there; a few are copies.
    """
    for each in earlier:
        if 2 * num_stored_episodes(each.splits_file, dataset) > len(dataset.episodes):
            return each
    return None


def _unsplit(
    datasets: Sequence[RobotDataset], seen: Sequence[RunData | None], *, names: Sequence[str]
) -> Iterator[Finding]:
    """Tells of episodes that came to a data set after it was split."""
    for dataset, each, name in zip(datasets, seen, names, strict=True):
        if each is not None:
            number = len(dataset.episodes) - num_stored_episodes(each.splits_file, dataset)
            if number:
                message = (
                    f"{number} of {len(dataset.episodes)} episodes were not there when the run to "
                    "start from split the data set; they are in no split, and do not train"
                )
                yield Finding("warning", f"{name}: data.split", message)


def _refuse_seen(
    sources: Sequence[DataSource],
    embodiments: Sequence[Embodiment],
    numbers: Sequence[int],
    *,
    num_known: int,
    config: RunConfig,
) -> None:
    for source, number in zip(sources, numbers, strict=True):
        if number < num_known:
            raise ConfigError(
                f"{source.path}: is of embodiment '{embodiments[number].name}', which "
                f"{config.train.start_from} has been trained on; train.trainable = 'adapters' "
                "trains new robots alone: set it to 'all'"
            )


def _shared(
    preprocessors: Sequence[Preprocessor],
    *,
    parts: Sequence[tuple[RobotDataset, Sequence[int]]],
    known: Sequence[Preprocessor],
) -> list[Preprocessor]:
    """Gives data sets of one robot the same statistics: those that it has, or of all of them."""
    pooled: dict[int, Mapping[Modality, Normaliser]] = {
        number: each.normalisers for number, each in enumerate(known)
    }
    for each in preprocessors:
        number = each.embodiment
        if number not in pooled:
            own = [
                part
                for part, other in zip(parts, preprocessors, strict=True)
                if other.embodiment == number
            ]
            pooled[number] = {m: fit_normaliser(m, own) for m in each.normalisers}
    return [replace(each, normalisers=pooled[each.embodiment]) for each in preprocessors]


def _names(sources: Sequence[DataSource], *, taken: Sequence[str]) -> tuple[str, ...]:
    names = list(taken)
    for source in sources:
        names.append(unique_name(source.path.resolve().name, taken=names))
    return tuple(names[len(taken) :])


def _copies(datasets: Sequence[RobotDataset]) -> tuple[Finding, ...]:
    """Refuses a data set that is there twice, and tells of single episodes that are."""
    owner = [place for place, dataset in enumerate(datasets) for _ in dataset.episodes]
    groups = duplicate_groups([episode for dataset in datasets for episode in dataset.episodes])
    shared = Counter(
        (owner[first], place)
        for first, place in zip(groups, owner, strict=True)
        if owner[first] != place
    )
    findings = []
    for (one, two), number in sorted(shared.items()):
        first, second = datasets[one], datasets[two]
        if number >= min(len(first.episodes), len(second.episodes)):
            raise InputError(
                f"{second.info.path}: holds the same episodes as {first.info.path}; name each data "
                "set once, and raise its data.mixture_weights to train more on it"
            )
        message = (
            f"{number} of {len(second.episodes)} episodes are copies of episodes of "
            f"{first.info.path}: where one trains and the other is held out, scores are too good"
        )
        findings.append(Finding("warning", str(second.info.path), message))
    return tuple(findings)
