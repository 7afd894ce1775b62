"""A block on its way into a LeRobot data set: all of it but the pictures, kept until the end.

Where an episode's steps lie among all, and which number its instruction has, is known only when all
blocks are there. So a block keeps its numbers and texts in a file of its own, whose presence says
that the block is whole.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from jointspace.data.lerobot_write_record import EpisodeRecord
from jointspace.errors import DataError
from jointspace.storage import write_whole

BLOCKS_FOLDER = ".blocks"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class BlockEpisode:
    """One episode of a block without its pictures.

    Attributes:
        notes: the texts and labels of its `EpisodeRecord`, under their names, as JSON has them.
        action: its commands.
        state: its states.
        levels: how often each level occurs in the pictures, per camera and colour.
    """

    notes: dict[str, Any]
    action: Float32[np.ndarray, "time action_dim"]
    state: Float32[np.ndarray, "time state_dim"]
    levels: Int64[np.ndarray, "camera 3 256"]


def notes_of(record: EpisodeRecord) -> dict[str, Any]:
    """Returns the texts and labels of an episode, as JSON has them."""
    return {
        "instruction": record.instruction,
        "goal": record.goal,
        "success": record.success,
        "split": record.split,
        "factors": dict(record.factors),
        "other_instructions": list(record.other_instructions),
    }


def block_file(folder: Path, block: int) -> Path:
    """Returns where a block keeps its numbers and texts."""
    return folder / BLOCKS_FOLDER / f"{block:06d}.npz"


def write_block_file(
    file: Path,
    episodes: Sequence[BlockEpisode],
    *,
    first_episode: int,
) -> None:
    """Writes a block's numbers and texts; from now on the block counts as whole.

    Args:
        file: from `block_file`.
        episodes: in order, at least one.
        first_episode: number of the first.

    Raises:
        StorageError: the file could not be written.
    """
    header = {
        "format": _FORMAT,
        "first_episode": first_episode,
        "lengths": [len(episode.action) for episode in episodes],
        "notes": [episode.notes for episode in episodes],
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        action=np.concatenate([episode.action for episode in episodes]),
        state=np.concatenate([episode.state for episode in episodes]),
        levels=np.stack([episode.levels for episode in episodes]),
    )
    write_whole(file, content.getvalue())


def read_block_file(file: Path) -> tuple[int, tuple[BlockEpisode, ...]]:
    """Reads a block's numbers and texts back.

    Args:
        file: from `block_file`.

    Returns:
        Number of the first episode, and the episodes in order.

    Raises:
        DataError: the file is missing, damaged, or of another version.
    """
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("header", "action", "state", "levels")}
        header = json.loads(arrays["header"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(file, f"cannot be read: {error}") from None
    if header.get("format") != _FORMAT:
        raise DataError(file, f"has format {header.get('format')!r}, expected {_FORMAT}")
    stops = np.cumsum(header["lengths"])[:-1]
    parts = (np.split(arrays[name], stops) for name in ("action", "state"))
    episodes = tuple(
        BlockEpisode(notes=notes, action=action, state=state, levels=levels)
        for notes, action, state, levels in zip(
            header["notes"], *parts, arrays["levels"], strict=True
        )
    )
    return int(header["first_episode"]), episodes
