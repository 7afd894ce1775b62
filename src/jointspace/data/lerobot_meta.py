"""The `meta` folder of a LeRobot data set: what it says about itself, right or wrong."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jointspace.errors import DataError

VERSIONS = ("v2.0", "v2.1", "v3.0")
INFO_FILE = Path("meta") / "info.json"


@dataclass(frozen=True)
class VideoPlace:
    """Where v3.0 says that an episode lies in a shared video file.

    Attributes:
        chunk: number of the file's folder.
        file: number of the file.
        start_s: start of the episode within the file.
        stop_s: end of the episode within the file.
    """

    chunk: int
    file: int
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class EpisodeMeta:
    """What the metadata says about one episode.

    Attributes:
        length: number of steps; None if it does not say.
        tasks: the episode's texts; some data sets add a quality flag to them.
        videos: camera -> place in a shared video file; empty where each episode has its own file.
        goal: name of its goal; empty if it does not say. This and what follows are not part of the
            official format, and few data sets have them.
        success: whether it reached its goal; None if it does not say.
        split: name of its split; empty if it does not say.
        factors: what its goal is made of -> its value; those that do not apply are not there.
        other_instructions: texts of other goals in the same scene.
    """

    length: int | None
    tasks: tuple[str, ...]
    videos: Mapping[str, VideoPlace] = field(default_factory=dict)
    goal: str = ""
    success: bool | None = None
    split: str = ""
    factors: Mapping[str, str] = field(default_factory=dict)
    other_instructions: tuple[str, ...] = ()


@dataclass(frozen=True)
class LerobotMeta:
    """The parsed metadata.

    Attributes:
        path: folder of the data set.
        version: one of `VERSIONS`.
        fps: steps per second.
        info: `meta/info.json` as it is.
        features: its `features`: feature name -> dtype, shape, names; empty if it has none.
        tasks: task index -> text.
        episodes: episode index -> what the metadata says.
    """

    path: Path
    version: str
    fps: float
    info: Mapping[str, Any]
    features: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[int, str]
    episodes: Mapping[int, EpisodeMeta]


def read_lerobot_meta(path: Path) -> LerobotMeta:
    """Reads the metadata of a LeRobot data set.

    Args:
        path: folder that holds `meta/info.json`.

    Returns:
        The metadata, unchecked against the files.

    Raises:
        DataError: the folder or `meta/info.json` is missing, a metadata file cannot be parsed, the
            version is not readable, or there is no usable rate.
    """
    if not path.is_dir():
        raise DataError(path, "not a folder" if path.exists() else "no such folder")
    file = path / INFO_FILE
    info = _read_object(file)
    version = str(info.get("codebase_version", "")).strip()
    if version and not version.startswith("v"):
        version = f"v{version}"
    if version not in VERSIONS:
        raise DataError(
            file,
            f"codebase_version is {info.get('codebase_version')!r}; readable are "
            f"{', '.join(VERSIONS)} (convert others with the lerobot package)",
        )
    features = info.get("features")
    features = features if isinstance(features, dict) else {}
    return LerobotMeta(
        path=path,
        version=version,
        fps=_rate(info, file),
        info=info,
        features={k: v for k, v in features.items() if isinstance(v, dict)},
        tasks=_read_tasks(path / "meta"),
        episodes=_read_episodes(path / "meta"),
    )


def _read_object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(file, "not found; a LeRobot data set has meta/, data/ and videos/")
    text = _read_text(file)
    if not text.strip():
        raise DataError(file, "the file is empty")
    parsed = _parse(text, file)
    if not isinstance(parsed, dict):
        raise DataError(file, f"expected a JSON object, got {type(parsed).__name__}")
    return parsed


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(file, f"not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise DataError(file, f"cannot be read: {error.strerror}") from None


def _parse(text: str, file: Path, *, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"line {line or error.lineno} column {error.colno}"
        raise DataError(file, f"not valid JSON at {place}: {error.msg}") from None


def _rate(info: Mapping[str, Any], file: Path) -> float:
    fps = info.get("fps")
    if isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < math.inf:
        return float(fps)
    raise DataError(file, f"fps is {fps!r}; expected frames per second, a number above 0")


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Reads JSON lines; rows that are no objects are refused like broken ones."""
    rows = []
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        if line.strip():
            row = _parse(line, file, line=number)
            if not isinstance(row, dict):
                raise DataError(file, f"line {number} is no JSON object")
            rows.append(row)
    return rows


def _read_rows(file: Path, *, skip_prefix: str = "stats/") -> list[dict[str, Any]]:
    try:
        names = pq.read_schema(file).names
        wanted = [name for name in names if not name.startswith(skip_prefix)]
        rows: list[dict[str, Any]] = pq.ParquetFile(file).read(columns=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(file, f"not a readable Parquet file: {_first_line(error)}") from None
    return rows


def _read_tasks(meta: Path) -> dict[int, str]:
    """Texts by task index: `tasks.jsonl` (v2.x) or `tasks.parquet` (v3.0), whichever is there."""
    if (meta / "tasks.parquet").is_file():
        rows = _read_rows(meta / "tasks.parquet")
        # The text is the index of a pandas frame: its column is `__index_level_0__`, `task`, or
        # whatever the index was called.
        return {
            _integer(row.get("task_index"), default=i): next(
                (v for k, v in row.items() if k != "task_index" and isinstance(v, str)), ""
            )
            for i, row in enumerate(rows)
        }
    if (meta / "tasks.jsonl").is_file():
        rows = _read_lines(meta / "tasks.jsonl")
        return {
            _integer(row.get("task_index"), default=i): str(row.get("task") or "")
            for i, row in enumerate(rows)
        }
    return {}


def _read_episodes(meta: Path) -> dict[int, EpisodeMeta]:
    files = sorted((meta / "episodes").rglob("*.parquet"))
    rows = [row for file in files for row in _read_rows(file)]
    if not files and (meta / "episodes.jsonl").is_file():
        rows = _read_lines(meta / "episodes.jsonl")
    return {
        _integer(row.get("episode_index"), default=i): _episode(row) for i, row in enumerate(rows)
    }


def _episode(row: Mapping[str, Any]) -> EpisodeMeta:
    videos = {}
    for key, chunk in row.items():
        camera = key.removeprefix("videos/").removesuffix("/chunk_index")
        if key != f"videos/{camera}/chunk_index":
            continue
        place = [chunk, *(row.get(f"videos/{camera}/{part}") for part in _PLACE_PARTS)]
        # pandas writes NaN where an episode lacks a camera, and makes floats of the other numbers.
        if all(_is_finite(part) for part in place):
            number, start_s, stop_s = place[1:]
            videos[camera] = VideoPlace(int(chunk), int(number), float(start_s), float(stop_s))
    length = _integer(row.get("length"), default=-1)
    success = row.get("success")
    factors = {key.removeprefix(_FACTOR): _text(row[key]) for key in row if key.startswith(_FACTOR)}
    return EpisodeMeta(
        length=None if length < 0 else length,
        tasks=_texts(row.get("tasks")),
        videos=videos,
        goal=_text(row.get("goal")),
        success=success if isinstance(success, bool) else None,
        split=_text(row.get("split")),
        factors={name: value for name, value in factors.items() if name and value},
        other_instructions=_texts(row.get("other_instructions")),
    )


_FACTOR = "factor/"
"""Begins the name of a column that holds a factor of the goal."""


_PLACE_PARTS = ("file_index", "from_timestamp", "to_timestamp")


def _integer(value: Any, *, default: int) -> int:
    """The whole number, also where pandas made a float of it because another row has none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _text(value: Any) -> str:
    """The text, or an empty one for anything else, such as the NaN of a missing value."""
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    """The texts of a list, or a single one; nothing for anything else."""
    items = value if isinstance(value, list) else [value]
    return tuple(item for item in items if isinstance(item, str) and item)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
