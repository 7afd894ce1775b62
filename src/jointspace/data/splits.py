"""Which episodes train, which stop the training early, and which are kept for evaluation."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from jointspace.config import DataConfig
from jointspace.data.artefact import read_json, write_json
from jointspace.data.schema import Episode, RobotDataset
from jointspace.errors import DataError, InputError

SPLITS_VERSION = 1
"""Format of `splits.json`."""


@dataclass(frozen=True)
class Splits:
    """Positions of episodes in their data set, in increasing order; no episode is in two splits."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        everything = [*self.train, *self.validation, *self.test]
        if len(set(everything)) != len(everything):
            leaked = sorted({e for e in everything if everything.count(e) > 1})
            raise InputError(
                f"splits: episodes {leaked} occur more than once; an episode that is trained on "
                "cannot also be held out"
            )


def split_dataset(dataset: RobotDataset, *, config: DataConfig) -> Splits:
    """Splits a data set as its configuration says; copies of an episode stay together.

    Args:
        dataset: the usable episodes.
        config: `split`, the two fractions, and `split_seed` are read.

    Returns:
        The splits; equal for equal episodes and configuration.

    Raises:
        InputError: too few episodes (or instructions) for the splits asked for.
    """
    ids = {text: number for number, text in enumerate(dataset.instructions)}
    instruction_ids = [ids.get(e.instruction, -1) for e in dataset.episodes]
    if config.split == "instruction":
        return split_by_instruction(
            instruction_ids,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            seed=config.split_seed,
        )
    return split_by_episode(
        instruction_ids,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        seed=config.split_seed,
        groups=duplicate_groups(dataset.episodes),
    )


def split_by_episode(
    instruction_ids: Sequence[int],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> Splits:
    """Holds out whole episodes, so that each split has each instruction where it can.

    The number of held-out episodes follows the fractions, and is at least one where the fraction is
    not zero. These places go to the instructions in proportion to their episodes; places left over
    by rounding go first to instructions that got none. Training keeps at least one episode of each
    instruction while it can.

    Args:
        instruction_ids: instruction of every episode; -1 (no instruction) counts as one of its own.
        validation_fraction: share of the episodes for validation.
        test_fraction: share of the episodes for test.
        seed: which ones.
        groups: episodes of one group (copies of each other) go to one split, counted as one
            episode, under the first one's instruction; None puts every episode in its own group.

    Returns:
        The splits.

    Raises:
        InputError: impossible fractions, lengths that differ, or too few episodes to fill every
            split.
    """
    names = range(len(instruction_ids)) if groups is None else groups
    if len(names) != len(instruction_ids):
        raise InputError(f"groups: got {len(names)} for {len(instruction_ids)} episodes")
    members: dict[int, list[int]] = {}
    for episode, group in enumerate(names):
        members.setdefault(group, []).append(episode)
    num_validation, num_test = _held_out(
        len(members), validation_fraction, test_fraction, what="episodes"
    )

    rng = np.random.default_rng(seed)
    strata: dict[int, list[int]] = {}
    for group, episodes in members.items():
        strata.setdefault(instruction_ids[episodes[0]], []).append(group)
    shuffled = {
        instruction: [strata[instruction][i] for i in rng.permutation(len(strata[instruction]))]
        for instruction in sorted(strata)
    }
    test = _take(shuffled, num_test, rng)
    validation = _take(shuffled, num_validation, rng)
    train = [group for rest in shuffled.values() for group in rest]

    def expand(chosen: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(episode for group in chosen for episode in members[group]))

    return Splits(expand(train), expand(validation), expand(test))


def split_by_instruction(
    instruction_ids: Sequence[int], *, validation_fraction: float, test_fraction: float, seed: int
) -> Splits:
    """Holds out whole instructions: every episode of a held-out instruction is in the same split.

    Args:
        instruction_ids: instruction of every episode; episodes without one (-1) are trained on.
        validation_fraction: share of the instructions for validation.
        test_fraction: share of the instructions for test.
        seed: which ones.

    Returns:
        The splits.

    Raises:
        InputError: impossible fractions, or too few distinct instructions to fill every split.
    """
    distinct = sorted({i for i in instruction_ids if i >= 0})
    num_validation, num_test = _held_out(
        len(distinct), validation_fraction, test_fraction, what="distinct instructions"
    )
    order = np.random.default_rng(seed).permutation(distinct).tolist()
    test = set(order[:num_test])
    validation = set(order[num_test : num_test + num_validation])
    return Splits(
        tuple(e for e, i in enumerate(instruction_ids) if i not in test | validation),
        tuple(e for e, i in enumerate(instruction_ids) if i in validation),
        tuple(e for e, i in enumerate(instruction_ids) if i in test),
    )


def duplicate_groups(episodes: Sequence[Episode]) -> tuple[int, ...]:
    """Finds episodes that are copies of each other: equal actions and states, value for value.

    Published data sets hold the same recording twice, once per split. An episode whose action never
    changes is no evidence of a copy and stands alone.

    Args:
        episodes: the episodes.

    Returns:
        For each episode the position of the first episode that it equals; its own if there is none.
    """
    first: dict[bytes, int] = {}
    groups = []
    for position, episode in enumerate(episodes):
        if not np.ptp(episode.action, axis=0).any():
            groups.append(position)
            continue
        content = hashlib.blake2b(np.ascontiguousarray(episode.action).tobytes(), digest_size=16)
        if episode.state is not None:
            content.update(np.ascontiguousarray(episode.state).tobytes())
        groups.append(first.setdefault(content.digest(), position))
    return tuple(groups)


def save_splits(path: Path, splits: Splits, dataset: RobotDataset) -> None:
    """Stores splits by the data set's own episode numbers.

    So they still hold when other episodes become unusable, and in another format.

    Args:
        path: the file, `splits.json` in a run folder.
        splits: positions in `dataset`.
        dataset: the data set that was split.

    Raises:
        StorageError: the file could not be written.
    """
    indices = {
        f.name: [dataset.episodes[p].index for p in getattr(splits, f.name)] for f in fields(splits)
    }
    num_frames = {str(e.index): e.num_frames for e in dataset.episodes}
    write_json(path, {"version": SPLITS_VERSION, "num_frames": num_frames, **indices})


def load_splits(path: Path, dataset: RobotDataset) -> Splits:
    """Reads stored splits back for a data set that was read again.

    Episodes that are no longer usable are left out; episodes that were not there belong to no
    split.

    Args:
        path: the file that `save_splits` wrote.
        dataset: the same data set, perhaps in another format or with other broken videos.

    Returns:
        Positions in `dataset`.

    Raises:
        RunFolderError: the file cannot be read or has another version.
        DataError: the data set is another one: an episode has another length, or none of a split is
            left.
    """
    stored = read_json(path, version=SPLITS_VERSION)
    position = {e.index: p for p, e in enumerate(dataset.episodes)}
    recorded: Mapping[str, int] = stored["num_frames"]
    for episode in dataset.episodes:
        expected = recorded.get(str(episode.index), episode.num_frames)
        if expected != episode.num_frames:
            raise DataError(
                dataset.info.path,
                f"episode {episode.index} has {episode.num_frames} steps, but {expected} in the "
                f"data set that was split in {path}; this is another data set",
            )
    found = {}
    for field in fields(Splits):
        indices = stored[field.name]
        found[field.name] = tuple(sorted(position[i] for i in indices if i in position))
        if indices and not found[field.name]:
            raise DataError(
                dataset.info.path,
                f"none of the {len(indices)} {field.name} episodes of {path} is in it; "
                "this is another data set",
            )
    return Splits(**found)


def _held_out(
    total: int, validation_fraction: float, test_fraction: float, *, what: str
) -> tuple[int, int]:
    """Returns how many of `total` go to validation and to test; training keeps at least one."""
    for name, fraction in (
        ("validation_fraction", validation_fraction),
        ("test_fraction", test_fraction),
    ):
        if not 0 <= fraction < 1:
            raise InputError(f"{name} must lie in [0, 1), got {fraction}")
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            f"validation_fraction + test_fraction is {validation_fraction + test_fraction:g}, "
            "which leaves nothing to train on; their sum must stay below 1"
        )
    held_out = {
        "validation": max(1, round(total * validation_fraction)) if validation_fraction else 0,
        "test": max(1, round(total * test_fraction)) if test_fraction else 0,
    }
    while sum(held_out.values()) >= total and max(held_out.values()) > 1:
        held_out[max(held_out, key=lambda name: held_out[name])] -= 1
    if sum(held_out.values()) >= total:
        lacking = "test" if test_fraction else "validation" if validation_fraction else "training"
        raise InputError(
            f"no {lacking} episodes: {total} {what} cannot fill every split; record more, or set "
            "test_fraction or validation_fraction to 0"
        )
    return held_out["validation"], held_out["test"]


def _take(strata: dict[int, list[int]], total: int, rng: np.random.Generator) -> list[int]:
    """Removes `total` entries from the strata, spread in proportion to their sizes."""
    sizes = {name: len(entries) for name, entries in strata.items()}
    everything = sum(sizes.values())
    share = {name: total * size / everything for name, size in sizes.items()}
    tie_break = dict(zip(sizes, rng.permutation(len(sizes)).tolist(), strict=True))
    count = {name: min(int(share[name]), max(0, size - 1)) for name, size in sizes.items()}
    # Training keeps one entry of each stratum, unless there are more places to fill than that
    # leaves.
    for keep in (1, 0):
        while sum(count.values()) < total:
            open_strata = [name for name in sizes if count[name] < sizes[name] - keep]
            if not open_strata:
                break
            open_strata.sort(
                key=lambda name: (count[name] > 0, count[name] - share[name], tie_break[name])
            )
            for name in open_strata[: total - sum(count.values())]:
                count[name] += 1
    taken = []
    for name, number in count.items():
        taken += strata[name][:number]
        strata[name] = strata[name][number:]
    return taken
