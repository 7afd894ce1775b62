"""Small LeRobot data sets with real videos, written on the spot.

The pictures show where the arm is (a bright square at the first two state dimensions) and what it
goes to (a coloured square), and the action is the next change of state: so that training on them
can learn something.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

INSTRUCTIONS = ("put the cube on the plate", "push the ball to the left")
COLOURS = ((200, 40, 40), (40, 80, 220), (40, 200, 60), (210, 200, 40), (180, 60, 200))

Version = Literal["v2.0", "v2.1", "v3.0"]
NameStyle = Literal["list", "nested", "null", "dict"]


@dataclass(frozen=True)
class WrittenDataset:
    """What was written, one entry per episode: the reference to compare a reader with.

    Attributes:
        pictures: per episode and camera, the frames before they were encoded.
    """

    path: Path
    instructions: tuple[str, ...]
    actions: tuple[np.ndarray, ...]
    states: tuple[np.ndarray | None, ...]
    sensors: tuple[dict[str, np.ndarray], ...]
    pictures: tuple[dict[str, np.ndarray], ...]

    def video(self, episode: int = 0) -> Path:
        """The first camera's video of one episode (v2.x), or its file of that number (v3.0)."""
        names = (f"episode_{episode:06d}.mp4", f"file-{episode:03d}.mp4")
        return next(p for p in sorted(self.path.rglob("*.mp4")) if p.name in names)

    def table(self, episode: int = 0) -> Path:
        """The Parquet file that holds one episode (v2.x), or the only one (v3.0)."""
        found = sorted((self.path / "data").rglob("*.parquet"))
        return found[episode] if len(found) > 1 else found[0]

    def info(self) -> dict[str, Any]:
        """The parsed `meta/info.json`."""
        parsed: dict[str, Any] = json.loads((self.path / "meta" / "info.json").read_text())
        return parsed

    def change_info(self, **changes: object) -> None:
        """Writes `meta/info.json` again with top-level keys changed; None removes a key."""
        info = {k: v for k, v in (self.info() | changes).items() if v is not None}
        (self.path / "meta" / "info.json").write_text(json.dumps(info))

    def change_column(self, name: str, values: Sequence[Any] | None, *, episode: int = 0) -> None:
        """Replaces (or with None removes) a column of one episode's table."""
        file = self.table(episode)
        table = pq.read_table(file)
        if name in table.column_names:
            table = table.drop_columns([name])
        if values is not None:
            table = table.append_column(name, pa.array(values))
        pq.write_table(table, file)


def write_lerobot(
    path: Path,
    *,
    version: Version = "v2.1",
    num_episodes: int = 4,
    num_frames: int | Sequence[int] = 24,
    instructions: Sequence[str] = INSTRUCTIONS,
    action_dim: int = 3,
    state_dim: int = 2,
    cameras: Sequence[str] = ("observation.images.top",),
    image_px: tuple[int, int] = (48, 64),
    fps: float = 10,
    names: NameStyle = "list",
    action_key: str = "action",
    state_key: str = "observation.state",
    sensors: Mapping[str, int] | None = None,
    table_dtype: Literal["float32", "float64"] = "float32",
    images_in_table: bool = False,
    episodes_per_file: int = 2,
    timestamp_drift_s: float = 0.0,
    seed: int = 0,
) -> WrittenDataset:
    """Writes a LeRobot data set that a reader finds nothing wrong with, unless asked to.

    Args:
        path: the folder to make.
        version: layout and `codebase_version`.
        num_episodes: number of episodes.
        num_frames: steps of every episode, or of each.
        instructions: episode i is told `instructions[i % len]`; an empty sequence writes no tasks.
        action_dim: at least 1; of three or more dimensions the last is a gripper of 0 and 1.
        state_dim: 0 writes no state.
        cameras: feature names; none writes no pictures.
        image_px: height and width of the pictures, both even.
        fps: steps and pictures per second.
        names: how the features' `names` are written.
        action_key: column of the action.
        state_key: column of the state.
        sensors: further float columns and their widths.
        table_dtype: number type of the columns; float64 also writes variable-size lists.
        images_in_table: pictures as PNG in the table rather than videos.
        episodes_per_file: episodes per video file (v3.0 only).
        timestamp_drift_s: how far recorded timestamps run from frame_index / fps over an episode.
        seed: of the motion.

    Returns:
        What was written.
    """
    layout = _Layout(
        version, fps, names, action_key, state_key, table_dtype, image_px, images_in_table
    )
    rng = np.random.default_rng(seed)
    lengths = [num_frames] * num_episodes if isinstance(num_frames, int) else list(num_frames)
    texts = [
        instructions[i % len(instructions)] if instructions else "" for i in range(len(lengths))
    ]
    distinct = sorted(set(texts) - {""})
    states, actions, readings, pictures = [], [], [], []
    for text, length in zip(texts, lengths, strict=True):
        kind = distinct.index(text) if text else 0
        motion = _motion(rng, length, kind, dim=max(state_dim, 2))
        states.append(motion[:length, :state_dim].astype(np.float32) if state_dim else None)
        actions.append(_commands(motion, action_dim))
        widths = (sensors or {}).items()
        readings.append({k: rng.normal(size=(length, n)).astype(np.float32) for k, n in widths})
        frames = _draw(motion[:length], kind, image_px)
        # Each camera sees the scene from another side, so that mixing them up shows.
        pictures.append({name: np.roll(frames, 9 * i, axis=2) for i, name in enumerate(cameras)})
    written = WrittenDataset(
        path, tuple(texts), tuple(actions), tuple(states), tuple(readings), tuple(pictures)
    )
    tables = [_table(written, i, layout, drift_s=timestamp_drift_s) for i in range(len(lengths))]
    if version == "v3.0":
        _write_v3(written, tables, layout, episodes_per_file=episodes_per_file)
    else:
        _write_v2(written, tables, layout)
    _write_json(path / "meta" / "info.json", _info(written, layout))
    return written


def write_robots(folder: Path, *, num_episodes: int = 6) -> tuple[WrittenDataset, WrittenDataset]:
    """Writes data sets of two robots that have nothing in common but one instruction.

    Args:
        folder: gets the folders `arm` and `rover`.
        num_episodes: of each.

    Returns:
        An arm of 3 actions and 2 states at 10 steps a second under one camera, and a rover of 5
        actions at 20 steps a second with two cameras, a force sensor and no state.
    """
    arm = write_lerobot(
        folder / "arm", num_episodes=num_episodes, num_frames=14, image_px=(16, 16), seed=1
    )
    arm.change_info(robot_type="arm")
    rover = write_lerobot(
        folder / "rover",
        version="v3.0",
        num_episodes=num_episodes,
        num_frames=28,
        instructions=(INSTRUCTIONS[0], "turn around"),
        action_dim=5,
        state_dim=0,
        cameras=("observation.images.left", "observation.images.right"),
        image_px=(16, 16),
        fps=20,
        sensors={"observation.force": 6},
        seed=2,
    )
    rover.change_info(robot_type="rover")
    return arm, rover


def write_video(file: Path, frames: np.ndarray | Sequence[np.ndarray], *, fps: float = 10) -> None:
    """Encodes RGB frames as H.264, each on its own: equal pictures decode equal in any file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "12", "g": "1", "bf": "0"}
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@dataclass(frozen=True)
class _Layout:
    """How the data set is written, other than what is in it."""

    version: Version
    fps: float
    names: NameStyle
    action_key: str
    state_key: str
    dtype: str
    image_px: tuple[int, int]
    images_in_table: bool


def _distinct(written: WrittenDataset) -> list[str]:
    return sorted(set(written.instructions) - {""})


def _motion(rng: np.random.Generator, length: int, kind: int, *, dim: int) -> np.ndarray:
    """Positions in 0..1 from a random start to the instruction's goal, one more than the steps."""
    goal = np.full(dim, 0.2 + 0.6 * (kind % 2))
    start = rng.uniform(0.0, 1.0, size=dim)
    progress = np.linspace(0.0, 1.0, length + 1)[:, None] ** rng.uniform(0.7, 1.5)
    sway = rng.uniform(-0.2, 0.2, size=dim) * np.sin(np.pi * progress)
    return np.clip(start + (goal - start) * progress + sway, 0.0, 1.0)


def _commands(motion: np.ndarray, action_dim: int) -> np.ndarray:
    change = np.diff(motion, axis=0)
    repeats = -(-action_dim // change.shape[1])
    action = np.tile(change, (1, repeats))[:, :action_dim]
    if action_dim >= 3:
        action[:, -1] = np.linspace(0, 1, len(action)) > 0.5
    return action.astype(np.float32)


def _draw(motion: np.ndarray, kind: int, image_px: tuple[int, int]) -> np.ndarray:
    height, width = image_px
    frames = np.full((len(motion), height, width, 3), 70, dtype=np.uint8)
    goal_y, goal_x = (int((0.2 + 0.6 * (kind % 2)) * (side - 8)) for side in image_px)
    frames[:, goal_y : goal_y + 8, goal_x : goal_x + 8] = COLOURS[kind % len(COLOURS)]
    for frame, position in zip(frames, motion, strict=True):
        y, x = int(position[0] * (height - 8)), int(position[1] * (width - 8))
        frame[y : y + 8, x : x + 8] = 250
    return frames


def _table(written: WrittenDataset, i: int, layout: _Layout, *, drift_s: float) -> pa.Table:
    length = len(written.actions[i])
    columns: dict[str, pa.Array] = {}
    state = written.states[i]
    if state is not None:
        columns[layout.state_key] = _rows(state, layout.dtype)
    columns[layout.action_key] = _rows(written.actions[i], layout.dtype)
    for key, values in written.sensors[i].items():
        columns[key] = _rows(values, layout.dtype)
    if layout.images_in_table:
        for camera, frames in written.pictures[i].items():
            columns[camera] = pa.array(
                [{"bytes": _png(f), "path": f"frame_{k:06d}.png"} for k, f in enumerate(frames)]
            )
    times = np.arange(length) / layout.fps + np.linspace(0, drift_s, length)
    columns["timestamp"] = pa.array(times.astype(np.float32))
    columns["frame_index"] = pa.array(np.arange(length))
    columns["episode_index"] = pa.array(np.full(length, i))
    first = sum(len(a) for a in written.actions[:i])
    columns["index"] = pa.array(np.arange(first, first + length))
    if written.instructions[i]:
        task = _distinct(written).index(written.instructions[i])
        columns["task_index"] = pa.array(np.full(length, task))
    return pa.table(columns)


def _rows(values: np.ndarray, dtype: str) -> pa.Array:
    flat = pa.array(values.astype(dtype).reshape(-1))
    if dtype == "float32":
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _png(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, format="PNG")
    return file.getvalue()


def _write_v2(written: WrittenDataset, tables: list[pa.Table], layout: _Layout) -> None:
    path = written.path
    for i, table in enumerate(tables):
        file = path / "data" / "chunk-000" / f"episode_{i:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        if not layout.images_in_table:
            for camera, frames in written.pictures[i].items():
                video = path / "videos" / "chunk-000" / camera / f"episode_{i:06d}.mp4"
                write_video(video, frames, fps=layout.fps)
    episodes = [
        {"episode_index": i, "tasks": [text] if text else [], "length": len(written.actions[i])}
        for i, text in enumerate(written.instructions)
    ]
    _write_lines(path / "meta" / "episodes.jsonl", episodes)
    tasks = [{"task_index": i, "task": text} for i, text in enumerate(_distinct(written))]
    _write_lines(path / "meta" / "tasks.jsonl", tasks)


def _write_v3(
    written: WrittenDataset, tables: list[pa.Table], layout: _Layout, *, episodes_per_file: int
) -> None:
    path = written.path
    data_file = path / "data" / "chunk-000" / "file-000.parquet"
    data_file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables, promote_options="default"), data_file)
    episodes = []
    first = 0
    for i, text in enumerate(written.instructions):
        length = len(written.actions[i])
        row: dict[str, Any] = {"episode_index": i, "length": length}
        row |= {"tasks": [text] if text else [], "data/chunk_index": 0, "data/file_index": 0}
        row |= {"dataset_from_index": first, "dataset_to_index": first + length}
        first_of_file = i // episodes_per_file * episodes_per_file
        before = sum(len(a) for a in written.actions[first_of_file:i])
        for camera in [] if layout.images_in_table else written.pictures[i]:
            row |= {
                f"videos/{camera}/chunk_index": 0,
                f"videos/{camera}/file_index": i // episodes_per_file,
                f"videos/{camera}/from_timestamp": before / layout.fps,
                f"videos/{camera}/to_timestamp": (before + length) / layout.fps,
            }
        episodes.append(row)
        first += length
    if not layout.images_in_table:
        for file, camera, frames in _video_files(written, episodes_per_file):
            write_video(
                path / "videos" / camera / "chunk-000" / f"file-{file:03d}.mp4",
                frames,
                fps=layout.fps,
            )
    episode_file = path / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    episode_file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(episodes), episode_file)
    distinct = _distinct(written)
    tasks = pa.table(
        {
            "task_index": pa.array(range(len(distinct)), pa.int64()),
            "__index_level_0__": pa.array(distinct, pa.string()),
        }
    )
    pq.write_table(tasks, path / "meta" / "tasks.parquet")


def _video_files(
    written: WrittenDataset, episodes_per_file: int
) -> Iterator[tuple[int, str, np.ndarray]]:
    for file, first in enumerate(range(0, len(written.actions), episodes_per_file)):
        group = written.pictures[first : first + episodes_per_file]
        for camera in group[0]:
            yield file, camera, np.concatenate([frames[camera] for frames in group])


def _features(written: WrittenDataset, layout: _Layout) -> dict[str, Any]:
    widths = {key: values.shape[1] for key, values in written.sensors[0].items()}
    if written.states[0] is not None:
        widths[layout.state_key] = written.states[0].shape[1]
    widths[layout.action_key] = written.actions[0].shape[1]
    features: dict[str, Any] = {
        key: {"dtype": layout.dtype, "shape": [width], "names": _names(key, width, layout.names)}
        for key, width in widths.items()
    }
    for camera in written.pictures[0]:
        features[camera] = {
            "dtype": "image" if layout.images_in_table else "video",
            "shape": [*layout.image_px, 3],
            "names": ["height", "width", "channel"],
        }
        if not layout.images_in_table:
            features[camera]["info"] = {
                "video.height": layout.image_px[0],
                "video.width": layout.image_px[1],
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.fps": layout.fps,
            }
    tasks = ["task_index"] if _distinct(written) else []
    for key in ("timestamp", "frame_index", "episode_index", "index", *tasks):
        number = "float32" if key == "timestamp" else "int64"
        features[key] = {"dtype": number, "shape": [1], "names": None}
    return features


def _names(key: str, width: int, style: NameStyle) -> Any:
    plain = [f"{key.rsplit('.', 1)[-1]}_{i}" for i in range(width)]
    return {"list": plain, "nested": [plain], "null": None, "dict": {"motors": plain}}[style]


def _info(written: WrittenDataset, layout: _Layout) -> dict[str, Any]:
    lengths = [len(action) for action in written.actions]
    if layout.version == "v3.0":
        data_path = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
        video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    else:
        data_path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
        video_path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    has_video = bool(written.pictures[0]) and not layout.images_in_table
    info: dict[str, Any] = {
        "codebase_version": layout.version,
        "robot_type": "factory",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": len(_distinct(written)),
        "chunks_size": 1000,
        "fps": layout.fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": data_path,
        "video_path": video_path if has_video else None,
        "features": _features(written, layout),
    }
    if layout.version != "v3.0":
        cameras = len(written.pictures[0]) if has_video else 0
        info |= {"total_videos": cameras * len(lengths), "total_chunks": 1}
    return info


def _write_json(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2))


def _write_lines(file: Path, rows: Sequence[object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
