"""Which episodes are the same recording, told by their numbers."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from jointspace.data.schema import Episode, Finding, RobotDataset
from jointspace.errors import InputError


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
        groups.append(first.setdefault(recording_digest(episode), position) if moves else position)
    return tuple(groups)


def copies_between(datasets: Sequence[RobotDataset]) -> tuple[Finding, ...]:
    """Tells of episodes that two data sets hold.

    Args:
        datasets: that are to be trained on together.

    Returns:
        A warning for every two data sets that share episodes.

    Raises:
        InputError: a data set is there twice.
    """
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


def recording_digest(episode: Episode) -> str:
    """Returns what tells an episode's numbers from others', however they are stored on disk."""
    content = hashlib.blake2b(digest_size=16)
    for rows in (episode.action, episode.state):
        if rows is not None:
            # The shape keeps apart what is equal only once the rows are put end to end.
            content.update(repr(rows.shape).encode())
            content.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return content.hexdigest()
