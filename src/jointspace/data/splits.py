"""Which episodes train, which stop the training early, and which are kept for evaluation."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from jointspace.config import DataConfig
from jointspace.data.copies import duplicate_groups
from jointspace.data.holdout import split_by_episode, split_by_instruction
from jointspace.data.schema import Episode, Finding, RobotDataset
from jointspace.data.split_sets import CORE_SPLITS, Splits, make_splits
from jointspace.errors import InputError

__all__ = ["SplitRule", "Splits", "split_dataset", "split_findings", "split_rule"]

SplitRule = Literal["shipped", "episode", "instruction"]
"""How a data set is split once `auto` is decided."""

_SYNONYMS = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
    "eval": "test",
}


def split_rule(dataset: RobotDataset, *, config: DataConfig) -> SplitRule:
    """Returns how a data set is split.

    `auto` takes the splits that the data set ships where every episode names one, some train and
    some are held out: a data set that calls all of its episodes `train`, as most do, ships none.

    Args:
        dataset: the usable episodes.
        config: `split` and `failures` are read.

    Returns:
        The rule; `auto` is decided.
    """
    if config.split != "auto":
        return config.split
    names = {_core_name(dataset.episodes[p].split) for p in _positions(dataset, config)}
    return "shipped" if "" not in names and names > {"train"} else "episode"


def split_dataset(dataset: RobotDataset, *, config: DataConfig) -> Splits:
    """Splits a data set as its configuration says.

    Copies of an episode stay together, unless the data set's own splits part them; see
    `split_findings`.

    Args:
        dataset: the usable episodes.
        config: `split`, the two fractions, `split_seed` and `failures` are read.

    Returns:
        The splits; equal for equal episodes and configuration.

    Raises:
        InputError: too few episodes (or instructions) for the splits asked for, the data set ships
            no splits though they are asked for, or all of its episodes failed.
    """
    positions = _positions(dataset, config)
    if not positions:
        raise InputError(
            f"no episode to train on: all {len(dataset.episodes)} are labelled as failures; set "
            "data.failures = 'keep' to use them"
        )
    kept = replace(dataset, episodes=tuple(dataset.episodes[p] for p in positions))
    rule = split_rule(dataset, config=config)
    splits = _shipped(kept, config) if rule == "shipped" else _drawn(kept, config, rule=rule)
    return make_splits(
        (name, positions[place]) for name in splits.names for place in splits.positions(name)
    )


def split_findings(
    dataset: RobotDataset, splits: Splits, *, config: DataConfig
) -> tuple[Finding, ...]:
    """Tells what a person should know of how a data set was split.

    Args:
        dataset: the usable episodes.
        splits: of them.
        config: what they were made with.

    Returns:
        The failures left out; which shipped splits are used, and which of their episodes are not;
        copies of an episode in two splits.
    """
    return (
        *_failure_findings(dataset, splits),
        *(_shipped_findings(dataset, splits, config)),
        *_leak_findings(dataset, splits),
    )


def _positions(dataset: RobotDataset, config: DataConfig) -> list[int]:
    """Returns the episodes that are split: all, or all that did not fail."""
    keep = config.failures == "keep"
    return [p for p, e in enumerate(dataset.episodes) if keep or e.success is not False]


def _core_name(name: str) -> str:
    """Returns the name of the core split that is meant, else the data set's own name."""
    plain = name.strip().lower()
    plain = _SYNONYMS.get(plain, plain)
    return plain if plain in CORE_SPLITS else name.strip()


def _drawn(dataset: RobotDataset, config: DataConfig, *, rule: SplitRule) -> Splits:
    ids = {text: number for number, text in enumerate(dataset.instructions)}
    split = split_by_instruction if rule == "instruction" else split_by_episode
    return split(
        [ids.get(e.instruction, -1) for e in dataset.episodes],
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        seed=config.split_seed,
        groups=duplicate_groups(dataset.episodes),
    )


def _shipped(dataset: RobotDataset, config: DataConfig) -> Splits:
    names = [_core_name(e.split) for e in dataset.episodes]
    splits = make_splits((name, place) for place, name in enumerate(names) if name)
    if not splits.train:
        shipped = ", ".join(f"'{e}'" for e in sorted({e.split for e in dataset.episodes} - {""}))
        found = f"its episodes name {shipped}" if shipped else "its episodes name no split"
        raise InputError(
            f"data.split is 'shipped', but {dataset.info.path} ships no training split: {found}; "
            "set data.split to 'episode' or 'instruction'"
        )
    if splits.validation or not config.validation_fraction:
        return splits
    train = replace(dataset, episodes=tuple(dataset.episodes[p] for p in splits.train))
    parted = _drawn(train, replace(config, test_fraction=0.0), rule="episode")
    return replace(
        splits,
        train=tuple(splits.train[place] for place in parted.train),
        validation=tuple(splits.train[place] for place in parted.validation),
    )


def _failure_findings(dataset: RobotDataset, splits: Splits) -> Iterator[Finding]:
    used = {p for name in splits.names for p in splits.positions(name)}
    failures = [p for p, e in enumerate(dataset.episodes) if e.success is False]
    number = len([p for p in failures if p not in used])
    if number:
        yield Finding(
            "note",
            "data.failures",
            f"{number} of {len(dataset.episodes)} episodes are labelled as failures; they neither "
            "train nor measure (data.failures = 'keep' uses them)",
        )


def _shipped_findings(
    dataset: RobotDataset, splits: Splits, config: DataConfig
) -> Iterator[Finding]:
    if split_rule(dataset, config=config) != "shipped":
        return
    sizes = [(name, len(splits.positions(name))) for name in splits.names]
    counts = ", ".join(f"{name} {size}" for name, size in sizes if size)
    yield Finding("note", "data.split", f"the splits that the data set ships are used: {counts}")
    episodes: Sequence[Episode] = [dataset.episodes[p] for p in _positions(dataset, config)]
    names = Counter(_core_name(e.split) for e in episodes)
    if splits.validation and not names["validation"]:
        yield Finding(
            "note",
            "data.split",
            f"the data set ships no validation split; {len(splits.validation)} of its training "
            "episodes validate instead (data.validation_fraction)",
        )
    if names[""]:
        yield Finding(
            "warning",
            "data.split",
            f"{names['']} of {len(episodes)} episodes name no split; they are not used",
        )


def _leak_findings(dataset: RobotDataset, splits: Splits) -> Iterator[Finding]:
    groups = duplicate_groups(dataset.episodes)
    for number, seen in enumerate(("train", "validation"), start=1):
        originals = {groups[p] for p in splits.positions(seen)}
        for name in splits.names[number:]:
            copies = [p for p in splits.positions(name) if groups[p] in originals]
            if copies:
                index = dataset.episodes[copies[0]].index
                yield Finding(
                    "warning",
                    "data.split",
                    f"{len(copies)} of {len(splits.positions(name))} {name} episodes are copies of "
                    f"{seen} episodes, as episode {index}: a leak, their scores are too good",
                )
