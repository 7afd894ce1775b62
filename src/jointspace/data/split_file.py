"""Splits on disk: by the data set's own episode numbers, with what tells data sets apart."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jointspace.data.artefact import read_json, write_json
from jointspace.data.copies import recording_digest
from jointspace.data.schema import RobotDataset
from jointspace.data.split_sets import CORE_SPLITS, Splits
from jointspace.errors import DataError, RunFolderError

SPLITS_VERSION = 3
"""Format of `splits.json`; version 1 had no digests, and cannot tell data sets apart."""

WITHOUT_OTHERS = 2
"""The format that knew no further test splits; it is still read."""

MAX_NAMED = 20
"""Missing episodes that an error names; it counts the rest."""


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
        name: [dataset.episodes[p].index for p in splits.positions(name)] for name in splits.names
    }
    core = {name: indices.pop(name) for name in CORE_SPLITS}
    num_frames = {str(e.index): e.num_frames for e in dataset.episodes}
    digests = {str(e.index): recording_digest(e) for e in dataset.episodes}
    write_json(
        path,
        {
            "version": SPLITS_VERSION,
            "num_frames": num_frames,
            "digests": digests,
            **core,
            "others": indices,
        },
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
    stored = _read(path)
    _refuse_other_recordings(path, stored, dataset)
    position = {e.index: p for p, e in enumerate(dataset.episodes)}
    named: dict[str, list[int]] = {name: stored[name] for name in CORE_SPLITS} | stored["others"]
    found = {}
    for name, indices in named.items():
        found[name] = tuple(sorted(position[i] for i in indices if i in position))
        if indices and not found[name]:
            raise DataError(
                dataset.info.path,
                f"none of the {len(indices)} {name} episodes of {path} is in it; "
                "this is another data set",
            )
    missing = sorted({*stored["train"], *stored["validation"]} - position.keys())
    if to_train and missing:
        listed = ", ".join(map(str, missing[:MAX_NAMED]))
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise DataError(
            dataset.info.path,
            f"{len(missing)} of the training and validation episodes of {path} are missing or no "
            f"longer usable: {listed}{more}; the run cannot be continued without them: restore "
            "them, or train a new run in another folder",
        )
    core = {name: found.pop(name) for name in CORE_SPLITS}
    return Splits(**core, others=found)


def copy_splits(source: Path, target: Path) -> None:
    """Copies stored splits into another run folder.

    Args:
        source: the file that `save_splits` wrote.
        target: the file to write.

    Raises:
        RunFolderError: the source cannot be read or has another version.
        StorageError: the target could not be written.
    """
    write_json(target, _read(source) | {"version": SPLITS_VERSION})


def num_stored_episodes(path: Path, dataset: RobotDataset) -> int:
    """Counts the episodes of a data set whose numbers are those of the data set that was split.

    Args:
        path: the file that `save_splits` wrote.
        dataset: any data set.

    Returns:
        How many have equal actions and states under the same episode number.

    Raises:
        RunFolderError: the file cannot be read or has another version.
    """
    digests: Mapping[str, str] = _read(path)["digests"]
    return sum(digests.get(str(e.index)) == recording_digest(e) for e in dataset.episodes)


def _read(path: Path) -> dict[str, Any]:
    with suppress(RunFolderError):
        return read_json(path, version=WITHOUT_OTHERS) | {"others": {}}
    return read_json(path, version=SPLITS_VERSION)


def _refuse_other_recordings(path: Path, stored: Mapping[str, Any], dataset: RobotDataset) -> None:
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
        if digests[key] != recording_digest(episode):
            raise DataError(
                dataset.info.path,
                f"episode {episode.index} has other actions or states than in the data set that "
                f"was split in {path}; this is another data set",
            )
