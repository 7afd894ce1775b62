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

SPLITS_VERSION = 2
"""Format of `splits.json`; version 1 had no digests, and cannot tell data sets apart."""

MAX_NAMED = 20
"""Missing episodes that an error names; it counts the rest."""


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
    groups = duplicate_groups(dataset.episodes)
    if config.split == "instruction":
        return split_by_instruction(
            instruction_ids,
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            seed=config.split_seed,
            groups=groups,
        )
    return split_by_episode(
        instruction_ids,
        validation_fraction=config.validation_fraction,
        test_fraction=config.test_fraction,
        seed=config.split_seed,
        groups=groups,
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
    members: dict[int, list[int]] = {}
    for episode, group in enumerate(_checked_groups(groups, len(instruction_ids))):
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
    instruction_ids: Sequence[int],
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    groups: Sequence[int] | None = None,
) -> Splits:
    """Holds out whole instructions: every episode of a held-out instruction is in the same split.

    Args:
        instruction_ids: instruction of every episode; episodes without one (-1) are trained on,
            except copies of an episode with one, which go where that one goes.
        validation_fraction: share of the instructions for validation.
        test_fraction: share of the instructions for test.
        seed: which ones.
        groups: instructions that have episodes of one group (copies of each other) go to one split,
            counted as one instruction; None puts every episode in its own group.

    Returns:
        The splits.

    Raises:
        InputError: impossible fractions, lengths that differ, or too few distinct instructions to
            fill every split.
    """
    joined = _join_instructions(instruction_ids, _checked_groups(groups, len(instruction_ids)))
    distinct = sorted({i for i in joined if i >= 0})
    what = "distinct instructions"
    if len(distinct) < len({i for i in instruction_ids if i >= 0}):
        what += " without copies of each other's episodes"
    num_validation, num_test = _held_out(
        len(distinct), validation_fraction, test_fraction, what=what
    )
    order = np.random.default_rng(seed).permutation(distinct).tolist()
    test = set(order[:num_test])
    validation = set(order[num_test : num_test + num_validation])
    return Splits(
        tuple(e for e, i in enumerate(joined) if i not in test | validation),
        tuple(e for e, i in enumerate(joined) if i in validation),
        tuple(e for e, i in enumerate(joined) if i in test),
    )


def duplicate_groups(episodes: Sequence[Episode]) -> tuple[int, ...]:
    """Finds episodes that are copies of each other: equal actions and states, value for value.

    Published data sets hold the same recording twice, once per split. An episode in which neither
    action nor state ever changes is no evidence of a copy and stands alone.

    Args:
        episodes: the episodes.

    Returns:
        For each episode the position of the first episode that it equals; its own if there is none.
    """
    first: dict[str, int] = {}
    groups = []
    for position, episode in enumerate(episodes):
        recorded = (episode.action, episode.state)
        moves = any(rows is not None and np.ptp(rows, axis=0).any() for rows in recorded)
        groups.append(first.setdefault(_digest(episode), position) if moves else position)
    return tuple(groups)


def save_splits(path: Path, splits: Splits, dataset: RobotDataset) -> None:
    """Stores splits by the data set's own episode numbers.

    So they still hold when other episodes become unusable, and in another format. A digest of every
    episode's numbers tells another data set from this one.

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
    digests = {str(e.index): _digest(e) for e in dataset.episodes}
    write_json(
        path,
        {"version": SPLITS_VERSION, "num_frames": num_frames, "digests": digests, **indices},
    )


def load_splits(path: Path, dataset: RobotDataset, *, to_train: bool = False) -> Splits:
    """Reads stored splits back for a data set that was read again.

    Episodes that are no longer usable are left out; episodes that were not there belong to no
    split.

    Args:
        path: the file that `save_splits` wrote.
        dataset: the same data set, perhaps in another format or with other broken videos.
        to_train: refuse a data set that lacks an episode of training or validation: the steps of a
            continued run would silently draw other rows.

    Returns:
        Positions in `dataset`.

    Raises:
        RunFolderError: the file cannot be read or has another version.
        DataError: the data set is another one: an episode has another length or other numbers, or
            none of a split is left; or it lacks an episode that `to_train` needs.
    """
    stored = read_json(path, version=SPLITS_VERSION)
    position = {e.index: p for p, e in enumerate(dataset.episodes)}
    recorded: Mapping[str, int] = stored["num_frames"]
    digests: Mapping[str, str] = stored["digests"]
    for episode in dataset.episodes:
        key = str(episode.index)
        if key not in recorded:
            continue
        expected = recorded[key]
        if expected != episode.num_frames:
            raise DataError(
                dataset.info.path,
                f"episode {episode.index} has {episode.num_frames} steps, but {expected} in the "
                f"data set that was split in {path}; this is another data set",
            )
        if digests[key] != _digest(episode):
            raise DataError(
                dataset.info.path,
                f"episode {episode.index} has other actions or states than in the data set that "
                f"was split in {path}; this is another data set",
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
    missing = sorted({*stored["train"], *stored["validation"]} - position.keys())
    if to_train and missing:
        named = ", ".join(map(str, missing[:MAX_NAMED]))
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise DataError(
            dataset.info.path,
            f"{len(missing)} of the training and validation episodes of {path} are missing or no "
            f"longer usable: {named}{more}; the run cannot be continued without them: restore "
            "them, or train a new run in another folder",
        )
    return Splits(**found)


def _digest(episode: Episode) -> str:
    """Returns what tells an episode's numbers from others', however they are stored on disk."""
    content = hashlib.blake2b(digest_size=16)
    for rows in (episode.action, episode.state):
        if rows is not None:
            # The shape keeps apart what is equal only once the rows are put end to end.
            content.update(repr(rows.shape).encode())
            content.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return content.hexdigest()


def _checked_groups(groups: Sequence[int] | None, num_episodes: int) -> Sequence[int]:
    names = range(num_episodes) if groups is None else groups
    if len(names) != num_episodes:
        raise InputError(f"groups: got {len(names)} for {num_episodes} episodes")
    return names


def _join_instructions(instruction_ids: Sequence[int], groups: Sequence[int]) -> list[int]:
    """Returns for every episode the smallest id of all instructions that copies link to its own.

    An episode without an instruction takes that of its copies (-1 if none has one) and links
    nothing: else all episodes without one would be held out together.
    """
    parent = {i: i for i in instruction_ids if i >= 0}

    def root(instruction: int) -> int:
        while parent[instruction] != instruction:
            instruction = parent[instruction]
        return instruction

    first: dict[int, int] = {}
    for group, instruction in zip(groups, instruction_ids, strict=True):
        if instruction >= 0:
            one, other = sorted((root(first.setdefault(group, instruction)), root(instruction)))
            parent[other] = one
    return [root(first[group]) if group in first else -1 for group in groups]


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
