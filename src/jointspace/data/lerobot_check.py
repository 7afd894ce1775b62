"""Where the metadata of a LeRobot data set and its files disagree; the reader trusts the files."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jointspace.data.inspect_cameras import IN_TABLES, CameraFacts
from jointspace.data.lerobot_meta import LerobotMeta, read_lerobot_meta
from jointspace.data.lerobot_videos import find_videos, video_notes
from jointspace.data.schema import Finding, RobotDataset

_INFO = "meta/info.json"
_SPLIT = re.compile(r"\s*(\d+)\s*:\s*(\d+)\s*")


def check_lerobot_metadata(
    path: Path, dataset: RobotDataset, *, cameras: Sequence[CameraFacts] = ()
) -> tuple[Finding, ...]:
    """Compares what the metadata says with what is in the files.

    Args:
        path: folder of the data set.
        dataset: as read from there.
        cameras: what their files are; cameras that are not named are not compared.

    Returns:
        One finding per disagreement: totals, splits, lengths, shapes, features, paths,
        codecs, sizes and rates.

    Raises:
        DataError: the metadata cannot be read.
    """
    meta = read_lerobot_meta(path)
    lengths, columns = _tables(path)
    return (
        *_totals(meta, lengths),
        *_splits(meta, set(lengths)),
        *_episodes(meta, lengths),
        *_shapes(meta, dataset),
        *_features(meta, dataset, columns),
        *_paths(meta, dataset),
        *_places(meta),
        *_cameras(meta, cameras),
    )


def _tables(path: Path) -> tuple[Counter[int], set[str]]:
    """Rows per episode and the names of all columns, from every table that can be read."""
    lengths: Counter[int] = Counter()
    columns: set[str] = set()
    for file in sorted((path / "data").rglob("*.parquet")):
        named = re.fullmatch(r"episode[-_]?(\d+)", file.stem)
        try:
            with pq.ParquetFile(file) as parquet:
                columns.update(parquet.schema_arrow.names)
                if named:
                    lengths[int(named[1])] += parquet.metadata.num_rows
                else:
                    lengths.update(parquet.read(columns=["episode_index"])[0].to_pylist())
        except (OSError, pa.ArrowException):
            continue  # the reader reports it
    return lengths, columns


def _totals(meta: LerobotMeta, lengths: Mapping[int, int]) -> Iterator[Finding]:
    files = find_videos(meta)
    real = {
        "total_episodes": len(lengths),
        "total_frames": sum(lengths.values()),
        "total_tasks": len(meta.tasks),
    }
    if meta.version != "v3.0":
        real["total_videos"] = len(files.by_episode)
    for key, value in real.items():
        said = meta.info.get(key)
        if said is not None and said != value:
            yield Finding("warning", _INFO, f"{key} is {said}, the files have {value}")


def _splits(meta: LerobotMeta, episodes: set[int]) -> Iterator[Finding]:
    splits = meta.info.get("splits")
    ranges: dict[str, range] = {}
    for name, text in splits.items() if isinstance(splits, dict) else ():
        match = _SPLIT.fullmatch(text) if isinstance(text, str) else None
        if not match:
            yield Finding(
                "note", _INFO, f"split '{name}' is {text!r}, which is no range of episodes"
            )
            continue
        ranges[name] = range(int(match[1]), int(match[2]))
        absent = len(set(ranges[name]) - episodes)
        if absent:
            message = f"split '{name}' is {text}; {absent} of its episodes do not exist"
            yield Finding("warning", _INFO, message)
    for (one, first), (other, second) in combinations(ranges.items(), 2):
        shared = set(first) & set(second) & episodes
        if shared:
            message = f"splits '{one}' and '{other}' share {len(shared)} episodes: a leak"
            yield Finding("warning", _INFO, message)


def _episodes(meta: LerobotMeta, lengths: Mapping[int, int]) -> Iterator[Finding]:
    if not meta.episodes:
        yield Finding("warning", "meta/episodes", "not found, so lengths and texts are unchecked")
        return
    absent = sorted(set(meta.episodes) - set(lengths))
    if absent:
        message = f"lists {len(absent)} episodes without rows, as episode {absent[0]}"
        yield Finding("warning", "meta/episodes", message)
    unlisted = sorted(set(lengths) - set(meta.episodes))
    if unlisted:
        message = f"does not list {len(unlisted)} episodes that have rows, as episode {unlisted[0]}"
        yield Finding("warning", "meta/episodes", message)
    for index, length in sorted(lengths.items()):
        said = meta.episodes[index].length if index in meta.episodes else None
        if said is not None and said != length:
            message = f"meta/episodes says {said} steps, the table has {length}"
            yield Finding("warning", f"episode {index}", message)


def _shapes(meta: LerobotMeta, dataset: RobotDataset) -> Iterator[Finding]:
    first = dataset.episodes[0]
    arrays = {"action": first.action, "observation.state": first.state, **first.sensors}
    for name, values in arrays.items():
        shape = meta.features.get(name, {}).get("shape")
        if values is None or not isinstance(shape, list):
            continue
        size = 1
        for side in shape:
            size *= side if isinstance(side, int) else 1
        if size != values.shape[1]:
            message = f"{_INFO} says shape {shape}, the tables have {values.shape[1]} numbers"
            yield Finding("warning", name, message)


def _features(meta: LerobotMeta, dataset: RobotDataset, columns: set[str]) -> Iterator[Finding]:
    if not meta.features:
        yield Finding("warning", _INFO, "names no features; the columns of the tables are used")
    for name, feature in meta.features.items():
        is_video = feature.get("dtype") == "video"
        if not is_video and name not in columns and name not in dataset.info.cameras:
            yield Finding("warning", name, f"declared in {_INFO}, but no table has the column")


def _paths(meta: LerobotMeta, dataset: RobotDataset) -> Iterator[Finding]:
    """Fills in the path templates for the first episode, and looks whether the file is there."""
    index = dataset.episodes[0].index
    chunks_size = meta.info.get("chunks_size")
    chunk = index // chunks_size if isinstance(chunks_size, int) and chunks_size > 0 else 0
    has_videos = bool(find_videos(meta).cameras)
    for key in ("data_path", "video_path"):
        template = meta.info.get(key)
        if not isinstance(template, str) or (key == "video_path" and not has_videos):
            continue
        cameras = dataset.info.cameras if key == "video_path" else ("",)
        values: dict[str, Any] = {"episode_index": index, "episode_chunk": chunk}
        values |= {"chunk_index": 0, "file_index": 0}
        try:
            expected = [template.format(**values, video_key=camera) for camera in cameras]
        except (KeyError, IndexError, ValueError):
            yield Finding("warning", _INFO, f"{key} '{template}' cannot be filled in")
            continue
        for file in expected:
            if not (meta.path / file).is_file():
                message = f"{key} leads to {file}, which does not exist; files are found by looking"
                yield Finding("warning", _INFO, message)


def _places(meta: LerobotMeta) -> Iterator[Finding]:
    """Checks the spans that v3.0 gives in seconds against whole frames and the episode's length."""
    for index, episode in sorted(meta.episodes.items()):
        for camera, place in episode.videos.items():
            first = place.start_s * meta.fps
            if abs(first - round(first)) > 0.25:
                message = (
                    f"{camera} starts between two frames, at {place.start_s} s; the nearer is used"
                )
                yield Finding("warning", f"episode {index}", message)
            frames = (place.stop_s - place.start_s) * meta.fps
            if episode.length is not None and abs(frames - episode.length) > 0.5:
                message = f"{camera} spans {frames:.1f} frames, the episode {episode.length} steps"
                yield Finding("warning", f"episode {index}", message)


def _cameras(meta: LerobotMeta, cameras: Sequence[CameraFacts]) -> Iterator[Finding]:
    for camera in cameras:
        feature = meta.features.get(camera.name)
        if feature is None or camera.codecs in {(), (IN_TABLES,)}:
            continue
        codec = _note(feature, "video.codec")
        if isinstance(codec, str) and codec not in _CODEC_NAMES and camera.codecs != (codec,):
            message = f"{_INFO} says codec {codec}, the files are {', '.join(camera.codecs)}"
            yield Finding("warning", camera.name, message)
        shape = _shape(feature)
        if shape is not None and camera.sizes and camera.sizes != (shape,):
            sizes = ", ".join(f"{width}x{height}" for width, height in camera.sizes)
            message = f"{_INFO} says {shape[0]}x{shape[1]} pixels, the files have {sizes}"
            yield Finding("warning", camera.name, message)
        off = [rate for rate in camera.rates_hz if rate and abs(rate - meta.fps) > 0.01 * meta.fps]
        if off:
            message = f"runs at {off[0]:g} frames per second, the steps at {meta.fps:g}"
            yield Finding("warning", camera.name, message)


_CODEC_NAMES = frozenset({"", "unknown", "mp4v"})
"""What is declared where nobody looked: says nothing that a file could contradict."""


def _note(feature: Mapping[str, Any], key: str) -> Any:
    return next((notes[key] for notes in video_notes(feature) if key in notes), None)


def _shape(feature: Mapping[str, Any]) -> tuple[int, int] | None:
    """Width and height from a shape that may be height-width-channel or channel-height-width."""
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or len(shape) != 3:
        return None
    if isinstance(names, list) and {"height", "width"} <= {str(name) for name in names}:
        height, width = shape[names.index("height")], shape[names.index("width")]
    elif shape[0] in {1, 3}:
        _, height, width = shape
    else:
        height, width, _ = shape
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
