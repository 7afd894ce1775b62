"""Begins a run of several data sets: which are of one robot, how they are split, what is fitted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jointspace.batch import Modality
from jointspace.config import RunConfig
from jointspace.data.embodiments import DataSource, Embodiment, match_embodiments, unique_name
from jointspace.data.feature_store import FeatureStore
from jointspace.data.frames import FrameStore
from jointspace.data.goals import share_texts
from jointspace.data.normalise import Normaliser
from jointspace.data.preprocess import Preprocessor, fit_normaliser, fit_tokenizer
from jointspace.data.schema import Finding, RobotDataset, SharedTexts
from jointspace.data.split_file import num_stored_episodes
from jointspace.data.splits import Splits, split_dataset
from jointspace.data.tokenizer import TextEncoding
from jointspace.errors import ConfigError
from jointspace.models.run_data import RunData, embodiment_preprocessors
from jointspace.train.base_run import open_base_run
from jointspace.train.narrowing import check_cameras, check_sensors, narrowed
from jointspace.train.rows import recorded_sensors
from jointspace.train.setup import fit_preprocessor, prepare_rows, read_pictures
from jointspace.train.several import PreparedSeveral


@dataclass(frozen=True)
class _Part:
    """A data set of the run, read and split.

    Attributes:
        source: as the user names it.
        config: of the run, narrowed to what the data set records.
        dataset: the usable episodes, with the texts of the run.
        store: what the vision tower reads; None without cameras.
        seen: the same data set in the run to start from; None where it is new.
        splits: those of the run to start from, or new ones.
    """

    source: DataSource
    config: RunConfig
    dataset: RobotDataset
    store: FrameStore | FeatureStore | None
    seen: RunData | None
    splits: Splits


def begin_several(
    config: RunConfig,
    sources: Sequence[DataSource],
    datasets: Sequence[RobotDataset],
    *,
    out: Path,
    show_progress: bool,
) -> PreparedSeveral:
    """Splits the data sets and fits the preprocessing, beside that of the run to start from.

    Args:
        config: of the run.
        sources: the data sets, as the user names them.
        datasets: the same, opened.
        out: the run folder.
        show_progress: tell on standard error how far decoding is.

    Returns:
        The run.

    Raises:
        ConfigError: data sets of one name are of different robots; or the run to start from has
            another model, or has seen a robot whose adapter alone is to be trained.
        DataError: a data set cannot be used.
        InputError: a data set is too small for the splits; or none has a camera or sensor that is
            asked for.
        RunFolderError: there is no run to start from.
    """
    base = open_base_run(config) if config.train.start_from else None
    earlier = () if base is None else base.data
    check_cameras(config, datasets)
    if base is None:
        check_sensors(config, datasets)
    sensors = config.model.sensors if base is None else base.model.modalities
    configs = [narrowed(config, dataset.info, sensors=sensors) for dataset in datasets]
    pictures = [
        read_pictures(dataset, each, show_progress=show_progress)
        for dataset, each in zip(datasets, configs, strict=True)
    ]
    texts = _shared_texts([dataset for dataset, _ in pictures], earlier)
    parts = [
        _part(source, own, replace(dataset, shared=texts), store, earlier=earlier)
        for source, own, (dataset, store) in zip(sources, configs, pictures, strict=True)
    ]
    known = {each.preprocessor.embodiment: each.embodiment for each in reversed(earlier)}
    embodiments, numbers = _match(parts, known=[known[number] for number in sorted(known)])
    if config.train.trainable == "adapters":
        _refuse_seen(parts, embodiments, numbers, num_known=len(known))
    tokenizer = earlier[0].preprocessor.tokenizer if earlier else _tokenizer(config, parts)
    preprocessors = [
        replace(
            fit_preprocessor(each.config, each.dataset, each.splits),
            tokenizer=tokenizer,
            embodiment=number,
        )
        for each, number in zip(parts, numbers, strict=True)
    ]
    preprocessors = _pooled(preprocessors, parts, known=embodiment_preprocessors(earlier))
    runs = tuple(
        prepare_rows(
            each.config,
            folder=out,
            exists=False,
            pictures=(each.dataset, each.store),
            preprocessor=preprocessor,
            splits=each.splits,
        )
        for each, preprocessor in zip(parts, preprocessors, strict=True)
    )
    again = {
        each.seen.name
        for each, number in zip(parts, numbers, strict=True)
        if each.seen is not None and each.seen.preprocessor.embodiment == number
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
        findings=tuple(_unsplit(parts, names=names)),
    )


def _shared_texts(datasets: Sequence[RobotDataset], earlier: Sequence[RunData]) -> SharedTexts:
    """Numbers the texts: those of the run to start from keep their ids, if it shared any."""
    own = share_texts(datasets)
    before = next((each.texts for each in earlier if each.texts), SharedTexts((), ()))
    return SharedTexts(
        tuple(dict.fromkeys((*before.instructions, *own.instructions))),
        tuple(dict.fromkeys((*before.goals, *own.goals))),
    )


def _part(
    source: DataSource,
    config: RunConfig,
    dataset: RobotDataset,
    store: FrameStore | FeatureStore | None,
    *,
    earlier: Sequence[RunData],
) -> _Part:
    seen = _seen(dataset, earlier)
    if seen is None:
        splits = split_dataset(dataset, config=config.data)
    else:
        splits = seen.splits(dataset, to_train=True)
    return _Part(source, config, dataset, store, seen, splits)


def _seen(dataset: RobotDataset, earlier: Sequence[RunData]) -> RunData | None:
    """Finds the data set among those of the run to start from: its held-out episodes stay so.

    It may have grown or lost episodes since, but most of them must be there; a few are copies.
    """
    for each in earlier:
        if 2 * num_stored_episodes(each.splits_file, dataset) > len(dataset.episodes):
            return each
    return None


def _match(
    parts: Sequence[_Part], *, known: Sequence[Embodiment]
) -> tuple[tuple[Embodiment, ...], tuple[int, ...]]:
    """Decides which data sets are of one robot; one seen before is of the robot that it was of."""
    found = []
    for each in parts:
        name = each.source.embodiment or (each.seen.embodiment.name if each.seen else "")
        shown = Embodiment.of(
            each.dataset.info, sensors=recorded_sensors(each.config, each.dataset)
        )
        found.append((replace(each.source, embodiment=name), shown))
    return match_embodiments(found, known=known)


def _refuse_seen(
    parts: Sequence[_Part],
    embodiments: Sequence[Embodiment],
    numbers: Sequence[int],
    *,
    num_known: int,
) -> None:
    for each, number in zip(parts, numbers, strict=True):
        if number < num_known:
            raise ConfigError(
                f"{each.source.path}: is of embodiment '{embodiments[number].name}', which "
                f"{each.config.train.start_from} has been trained on; train.trainable = "
                "'adapters' trains new robots alone: set it to 'all'"
            )


def _tokenizer(config: RunConfig, parts: Sequence[_Part]) -> TextEncoding:
    """Fits one vocabulary on the training splits of all data sets."""
    told = [
        each.dataset.episodes[position].instruction
        for each in parts
        for position in each.splits.train
    ]
    return fit_tokenizer(
        [text for text in told if text], config=config.data, text=config.model.text
    )


def _pooled(
    preprocessors: Sequence[Preprocessor],
    parts: Sequence[_Part],
    *,
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
                (part.dataset, part.splits.train)
                for part, other in zip(parts, preprocessors, strict=True)
                if other.embodiment == number
            ]
            pooled[number] = {m: fit_normaliser(m, own) for m in each.normalisers}
    return [replace(each, normalisers=pooled[each.embodiment]) for each in preprocessors]


def _unsplit(parts: Sequence[_Part], *, names: Sequence[str]) -> Iterator[Finding]:
    """Tells of episodes that came to a data set after it was split."""
    for each, name in zip(parts, names, strict=True):
        if each.seen is None:
            continue
        total = len(each.dataset.episodes)
        number = total - num_stored_episodes(each.seen.splits_file, each.dataset)
        if number:
            message = (
                f"{number} of {total} episodes were not there when the run to start from split "
                "the data set; they are in no split, and do not train"
            )
            yield Finding("warning", f"{name}: data.split", message)


def _names(sources: Sequence[DataSource], *, taken: Sequence[str]) -> tuple[str, ...]:
    names = list(taken)
    for source in sources:
        names.append(unique_name(source.path.resolve().name, taken=names))
    return tuple(names[len(taken) :])
