"""Which episodes are the same recording, told by their numbers."""

import hashlib
from collections.abc import Sequence

import numpy as np

from jointspace.data.schema import Episode


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


def recording_digest(episode: Episode) -> str:
    """Returns what tells an episode's numbers from others', however they are stored on disk."""
    content = hashlib.blake2b(digest_size=16)
    for rows in (episode.action, episode.state):
        if rows is not None:
            # The shape keeps apart what is equal only once the rows are put end to end.
            content.update(repr(rows.shape).encode())
            content.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
    return content.hexdigest()
