"""Holds out whole episodes or whole instructions, drawn by a seed."""

from collections.abc import Sequence

import numpy as np

from jointspace.data.split_sets import Splits
from jointspace.errors import InputError


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
