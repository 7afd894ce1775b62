"""The tables and the metadata of a LeRobot v3.0 data set, from the episodes of all its blocks."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jointspace.data.lerobot_write_block import BlockEpisode
from jointspace.data.lerobot_write_record import WriteLayout
from jointspace.data.lerobot_write_stats import ColumnStats, column_stats, picture_stats
from jointspace.data.lerobot_write_video import CODEC, GROUP, PIXEL_FORMAT, PRESET, RATE_FACTOR
from jointspace.errors import InputError

VERSION = "v3.0"
CHUNK_FILES = 1000
"""Files per folder."""

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
TASKS_PATH = "meta/tasks.parquet"
STATS_PATH = "meta/stats.json"

_COUNTERS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, kw_only=True)
class PlacedEpisode:
    """An episode that has found its place in the data set.

    Attributes:
        content: its numbers and texts.
        block: number of its files.
        number: its own number.
        first_row: number of its first step among all steps.
        first_frame: its first frame within its block's videos.
        task: number of its instruction.
    """

    content: BlockEpisode
    block: int
    number: int
    first_row: int
    first_frame: int
    task: int

    @property
    def length(self) -> int:
        """Number of steps."""
        return len(self.content.action)


def feature_name(camera: str) -> str:
    """Returns the name of a camera's feature."""
    return f"observation.images.{camera}"


def place_of(block: int) -> dict[str, int]:
    """Returns the number of a block's folder and of its file, under the names of the templates."""
    chunk, file = divmod(block, CHUNK_FILES)
    return {"chunk_index": chunk, "file_index": file}


def columns_of(episode: PlacedEpisode, *, fps: int) -> dict[str, Any]:
    """Returns an episode's columns under the names of their features; times are not yet rounded."""
    steps = np.arange(episode.length)
    return {
        "observation.state": episode.content.state,
        "action": episode.content.action,
        "timestamp": steps / fps,
        "frame_index": steps,
        "episode_index": np.full_like(steps, episode.number),
        "index": episode.first_row + steps,
        "task_index": np.full_like(steps, episode.task),
    }


def data_file(episodes: Sequence[PlacedEpisode], *, layout: WriteLayout) -> bytes:
    """Returns the Parquet file of a block's steps, one row group per episode.

    Args:
        episodes: of the block, in order.
        layout: what holds for all.

    Returns:
        The file's content.
    """
    vectors = {"observation.state": layout.state_names, "action": layout.action_names}
    types: dict[str, pa.DataType] = {
        **{name: pa.list_(pa.float32(), len(names)) for name, names in vectors.items()},
        "timestamp": pa.float32(),
        **dict.fromkeys(_COUNTERS, pa.int64()),
    }
    schema = pa.schema(list(types.items()))
    content = io.BytesIO()
    with pq.ParquetWriter(content, schema) as writer:
        for episode in episodes:
            columns = columns_of(episode, fps=layout.fps)
            arrays = [
                pa.FixedSizeListArray.from_arrays(
                    pa.array(columns[name].ravel(), pa.float32()), type=kind
                )
                if name in vectors
                else pa.array(columns[name].astype(kind.to_pandas_dtype()))
                for name, kind in types.items()
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    return content.getvalue()


def tasks_file(tasks: Sequence[str]) -> bytes:
    """Returns the Parquet file of the instructions, as pandas writes a frame with them as index.

    Args:
        tasks: the distinct instructions in the order of their numbers.

    Returns:
        The file's content.
    """

    def column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
        kinds = {"pandas_type": pandas_type, "numpy_type": numpy_type}
        return {"name": name, "field_name": name, **kinds, "metadata": None}

    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": None,
    }
    schema = pa.schema(
        [("task_index", pa.int64()), ("task", pa.string())],
        metadata={"pandas": json.dumps(pandas)},
    )
    table = pa.Table.from_arrays(
        [pa.array(range(len(tasks)), pa.int64()), pa.array(tasks, pa.string())], schema=schema
    )
    return _parquet(table)


def episodes_file(episodes: Sequence[PlacedEpisode], *, layout: WriteLayout) -> bytes:
    """Returns the Parquet file with one row per episode: its place, texts, labels and statistics.

    Args:
        episodes: all of the data set, in order.
        layout: what holds for all.

    Returns:
        The file's content.
    """
    factors = sorted({name for each in episodes for name in each.content.notes["factors"]})
    rows = [_episode_row(episode, factors, layout) for episode in episodes]
    labels: dict[str, pa.DataType] = {
        "goal": pa.string(),
        "success": pa.bool_(),
        "split": pa.string(),
        **{f"factor/{name}": pa.string() for name in factors},
        "other_instructions": pa.list_(pa.string()),
    }
    # The type of a column is that of its first value; labels may have none.
    arrays = {
        name: pa.array([row[name] for row in rows], type=labels.get(name)) for name in rows[0]
    }
    return _parquet(pa.table(arrays))


def _episode_row(
    episode: PlacedEpisode, factors: Sequence[str], layout: WriteLayout
) -> dict[str, Any]:
    place, notes, fps = place_of(episode.block), episode.content.notes, layout.fps
    row: dict[str, Any] = {"episode_index": episode.number}
    row |= {f"data/{key}": number for key, number in place.items()}
    row["dataset_from_index"] = episode.first_row
    row["dataset_to_index"] = episode.first_row + episode.length
    for name in map(feature_name, layout.cameras):
        row |= {f"videos/{name}/{key}": number for key, number in place.items()}
        row[f"videos/{name}/from_timestamp"] = episode.first_frame / fps
        row[f"videos/{name}/to_timestamp"] = (episode.first_frame + episode.length) / fps
    row |= {"tasks": [notes["instruction"]], "length": episode.length}
    row |= {name: notes[name] for name in ("goal", "success", "split")}
    row |= {f"factor/{name}": notes["factors"].get(name, "") for name in factors}
    row["other_instructions"] = notes["other_instructions"]
    for feature, stats in _stats([episode], layout):
        row |= {f"stats/{feature}/{name}": value for name, value in stats.items()}
    return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}


def stats_file(episodes: Sequence[PlacedEpisode], *, layout: WriteLayout) -> str:
    """Returns the JSON file with the statistics of all steps."""
    return json.dumps(dict(_stats(episodes, layout)), indent=4) + "\n"


def _stats(
    episodes: Sequence[PlacedEpisode], layout: WriteLayout
) -> Iterator[tuple[str, ColumnStats]]:
    parts = [columns_of(episode, fps=layout.fps) for episode in episodes]
    for name in parts[0]:
        column = np.concatenate([part[name] for part in parts])
        yield name, column_stats(column.reshape(len(column), -1))
    num_frames = sum(episode.length for episode in episodes)
    for i, camera in enumerate(layout.cameras):
        levels = np.sum([episode.content.levels[i] for episode in episodes], axis=0)
        yield feature_name(camera), picture_stats(levels, num_frames=num_frames)


def info_file(episodes: Sequence[PlacedEpisode], *, layout: WriteLayout, num_tasks: int) -> str:
    """Returns the JSON file that says what the data set is.

    Args:
        episodes: all of the data set, in order.
        layout: what holds for all.
        num_tasks: number of distinct instructions.

    Returns:
        The file's content.

    Raises:
        InputError: the episodes of a split are not consecutive.
    """
    info = {
        "codebase_version": VERSION,
        "robot_type": layout.robot_type,
        "total_episodes": len(episodes),
        "total_frames": sum(episode.length for episode in episodes),
        "total_tasks": num_tasks,
        "chunks_size": CHUNK_FILES,
        "fps": layout.fps,
        "splits": _splits(episodes),
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if layout.cameras else None,
        "features": _features(layout),
        # Above these sizes the official recorder begins a new file.
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
    }
    return json.dumps(info, indent=4) + "\n"


def _splits(episodes: Sequence[PlacedEpisode]) -> dict[str, str]:
    numbers: dict[str, list[int]] = {}
    for episode in episodes:
        numbers.setdefault(episode.content.notes["split"], []).append(episode.number)
    if set(numbers) == {""}:
        return {"train": f"0:{len(episodes)}"}
    for name, found in numbers.items():
        if name and found[-1] - found[0] + 1 != len(found):
            raise InputError(
                f"split '{name}': its episodes from {found[0]} to {found[-1]} are interrupted by "
                "others; the format knows a split as a range of episodes, so write them in order"
            )
    return {name: f"{found[0]}:{found[-1] + 1}" for name, found in numbers.items() if name}


def _features(layout: WriteLayout) -> dict[str, Any]:
    def vector(names: Sequence[str]) -> dict[str, Any]:
        return {"dtype": "float32", "shape": [len(names)], "names": list(names)}

    video = {
        "dtype": "video",
        "shape": [layout.height_px, layout.width_px, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": layout.height_px,
            "video.width": layout.width_px,
            "video.codec": CODEC,
            "video.pix_fmt": PIXEL_FORMAT,
            "video.fps": layout.fps,
            "video.channels": 3,
            "has_audio": False,
            "video.g": GROUP,
            "video.crf": RATE_FACTOR,
            "video.preset": PRESET,
            "is_depth_map": False,
        },
    }
    scalars = {"timestamp": "float32"} | dict.fromkeys(_COUNTERS, "int64")
    return {
        "observation.state": vector(layout.state_names),
        **{feature_name(camera): video for camera in layout.cameras},
        "action": vector(layout.action_names),
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()},
    }


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()
