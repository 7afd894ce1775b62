"""Writes LeRobot v3.0 data sets, block by block, by several processes, whole or not at all."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.data.lerobot_meta import INFO_FILE
from jointspace.data.lerobot_write_block import (
    BLOCKS_FOLDER,
    BlockEpisode,
    block_file,
    notes_of,
    read_block_file,
    write_block_file,
)
from jointspace.data.lerobot_write_meta import (
    DATA_PATH,
    EPISODES_PATH,
    STATS_PATH,
    TASKS_PATH,
    VIDEO_PATH,
    PlacedEpisode,
    data_file,
    episodes_file,
    feature_name,
    info_file,
    place_of,
    stats_file,
    tasks_file,
)
from jointspace.data.lerobot_write_record import EpisodeRecord, WriteLayout, check_record
from jointspace.data.lerobot_write_stats import count_levels
from jointspace.data.lerobot_write_video import VideoEncoder
from jointspace.errors import DataError, InputError, StorageError
from jointspace.storage import write_whole

__all__ = ["EpisodeRecord", "WriteLayout", "finish_dataset", "finished_blocks", "write_block"]


def write_block(
    folder: Path,
    records: Iterable[EpisodeRecord],
    *,
    layout: WriteLayout,
    block: int,
    first_episode: int,
) -> None:
    """Writes a block of consecutive episodes; until `finish_dataset` it is no data set yet.

    Several processes may write different blocks of one folder at the same time. A block that is
    interrupted leaves nothing that counts, and is written again. Pictures are held in memory for
    one episode at a time, videos as they are encoded.

    Args:
        folder: of the data set; made if it is not there.
        records: the episodes in order.
        layout: what holds for all episodes of the data set.
        block: number of the block, from 0 on: the number of its files.
        first_episode: number of the block's first episode.

    Raises:
        InputError: no episodes, a number below 0, or an episode that could not be read back as it
            is: an array of another type, shape or length than the layout says, NaN or infinity,
            fewer than two steps, a camera too few or too many, an instruction that is none.
        MissingExtraError: PyAV is not installed.
        StorageError: a file could not be written.
    """
    if block < 0 or first_episode < 0:
        raise InputError(
            f"block {block}, first_episode {first_episode}: expected numbers from 0 on"
        )
    sidecar = block_file(folder, block)
    sidecar.unlink(missing_ok=True)  # the block is not whole while its videos are replaced
    encoders = {
        camera: VideoEncoder(height_px=layout.height_px, width_px=layout.width_px, fps=layout.fps)
        for camera in layout.cameras
    }
    episodes = []
    for number, record in enumerate(records, start=first_episode):
        check_record(record, layout=layout, episode=number)
        levels = np.zeros((len(layout.cameras), 3, 256), dtype=np.int64)
        for i, (camera, encoder) in enumerate(encoders.items()):
            levels[i] = count_levels(record.pictures[camera])
            encoder.add(record.pictures[camera])
        episodes.append(
            BlockEpisode(
                notes=notes_of(record), action=record.action, state=record.state, levels=levels
            )
        )
    if not episodes:
        raise InputError(f"block {block}: no episodes, expected at least one")
    for camera, encoder in encoders.items():
        write_whole(_video_file(folder, camera, block), encoder.finish())
    write_block_file(sidecar, episodes, first_episode=first_episode)


def finished_blocks(folder: Path) -> set[int]:
    """Finds the blocks of an unfinished data set that need not be written again.

    Args:
        folder: of the data set, which need not be there.

    Returns:
        The numbers of the whole blocks. Whether they are of the same plan, the caller must know.
    """
    return {
        int(file.stem)
        for file in (folder / BLOCKS_FOLDER).glob("*.npz")
        if file.stem.isdecimal() and _is_readable(file)
    }


def finish_dataset(
    folder: Path,
    *,
    layout: WriteLayout,
    num_blocks: int,
    manifest: Mapping[str, Any],
    manifest_name: str = "simulation.json",
) -> None:
    """Makes a data set of the blocks: tables, tasks, statistics, and last `meta/info.json`.

    The same blocks give the same bytes, in whatever order they were written. Interrupted, it can
    be called again; where `meta/info.json` is there already, it only clears away what is left of
    the blocks.

    Args:
        folder: that holds the blocks.
        layout: the one that they were written with.
        num_blocks: how many there have to be.
        manifest: what is to be known of the data set's origin, as JSON has it.
        manifest_name: name of the manifest's file in `meta`.

    Raises:
        DataError: a block is missing, damaged, or does not follow the one before.
        InputError: a block was written with another layout, or the episodes of a split are not
            consecutive.
        StorageError: a file could not be written.
    """
    if not (folder / INFO_FILE).is_file():
        tasks: dict[str, int] = {}
        episodes: list[PlacedEpisode] = []
        for block in range(num_blocks):
            placed = _place(folder, block, episodes, tasks, layout)
            file = folder / DATA_PATH.format(**place_of(block))
            write_whole(file, data_file(placed, layout=layout))
            episodes += placed
        if not episodes:
            raise InputError(f"num_blocks: got {num_blocks}, expected at least 1")
        info = info_file(episodes, layout=layout, num_tasks=len(tasks))
        write_whole(folder / TASKS_PATH, tasks_file(list(tasks)))
        write_whole(folder / EPISODES_PATH, episodes_file(episodes, layout=layout))
        write_whole(folder / STATS_PATH, stats_file(episodes, layout=layout))
        write_whole(folder / "meta" / manifest_name, json.dumps(manifest, indent=1) + "\n")
        write_whole(folder / INFO_FILE, info)
    try:
        shutil.rmtree(folder / BLOCKS_FOLDER)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StorageError(f"{folder / BLOCKS_FOLDER}: could not be removed: {error}") from error


def _place(
    folder: Path,
    block: int,
    before: list[PlacedEpisode],
    tasks: dict[str, int],
    layout: WriteLayout,
) -> list[PlacedEpisode]:
    """Numbers the steps and the tasks of a block's episodes, after those of the blocks before."""
    file = block_file(folder, block)
    if not file.is_file():
        raise DataError(file, f"block {block} is not there; write it before finishing the data set")
    first_episode, contents = read_block_file(file)
    if first_episode != len(before):
        raise DataError(
            file, f"begins with episode {first_episode}; the blocks before hold {len(before)}"
        )
    for camera in layout.cameras:
        video = _video_file(folder, camera, block)
        if not video.is_file():
            raise DataError(video, f"no such file, although block {block} is finished")
    first_row = before[-1].first_row + before[-1].length if before else 0
    first_frame = 0
    placed = []
    for number, content in enumerate(contents, start=first_episode):
        found = content.action.shape[1], content.state.shape[1], len(content.levels)
        wanted = len(layout.action_names), len(layout.state_names), len(layout.cameras)
        if found != wanted:
            raise InputError(
                f"layout: has {wanted} actions, states and cameras; episode {number} was written "
                f"with {found}"
            )
        task = tasks.setdefault(content.notes["instruction"], len(tasks))
        placed.append(
            PlacedEpisode(
                content=content,
                block=block,
                number=number,
                first_row=first_row + first_frame,
                first_frame=first_frame,
                task=task,
            )
        )
        first_frame += len(content.action)
    return placed


def _video_file(folder: Path, camera: str, block: int) -> Path:
    return folder / VIDEO_PATH.format(video_key=feature_name(camera), **place_of(block))


def _is_readable(file: Path) -> bool:
    try:
        read_block_file(file)
    except DataError:
        return False
    return True
