"""Reads LeRobot data sets, v2.0, v2.1 and v3.0, as they are found rather than as they should be.

What makes an episode unusable leaves it out with a finding; what makes the data set unusable is an
error. Steps and pictures are paired by frame index: recorded timestamps drift, and videos run at a
constant rate.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.data.lerobot_meta import INFO_FILE, EpisodeMeta, LerobotMeta, read_lerobot_meta
from jointspace.data.lerobot_tables import (
    NESTED,
    Columns,
    EpisodeRows,
    find_columns,
    read_schema,
    read_table,
    split_episodes,
)
from jointspace.data.lerobot_text import find_instructions
from jointspace.data.lerobot_videos import VideoFiles, find_cameras, find_span, find_videos
from jointspace.data.schema import DatasetInfo, Episode, Finding, RobotDataset, VideoSpan
from jointspace.errors import DataError

MIN_FRAMES = 2
"""An episode of a single step has no motion to learn from, and no duration."""

_EPISODE_FILE = re.compile(r"episode[-_]?(\d+)")


def read_lerobot(path: Path) -> RobotDataset:
    """Reads a LeRobot data set; pictures are located, not decoded.

    Left out with a finding: episodes with NaN or infinite steps, with fewer than two steps, with
    gaps in their frame index, whose table cannot be read, or whose frames overlap another episode's
    in a shared video file.

    Args:
        path: folder that holds `meta/info.json`.

    Returns:
        The usable episodes in order of their index, and what was found.

    Raises:
        DataError: folder or metadata missing or broken, unknown version, no table, no action
            column, an action or state of another dimension in one episode, action chunks, or no
            usable episode.
    """
    meta = read_lerobot_meta(path)
    tables = sorted(f for f in (path / "data").rglob("*.parquet") if not f.name.startswith("."))
    if not tables:
        raise DataError(path / "data", "no .parquet file, so no episode")
    findings: list[Finding] = []
    columns = _columns(tables)
    _refuse_chunks(meta, columns)
    rows = _usable(_read_all(tables, columns, findings), findings)
    if not rows:
        raise DataError(path, _nothing_usable(findings))
    _refuse_other_dimensions(rows)
    findings.extend(_drift(rows, meta.fps))
    sensors = _sensors(rows, columns, findings)
    texts, text_findings = find_instructions(rows, meta)
    findings.extend(text_findings)
    files = find_videos(meta)
    episodes = [
        _episode(each, text, sensors, columns=columns, meta=meta, files=files)
        for each, text in zip(rows, texts, strict=True)
    ]
    kept = _without_overlap(episodes, findings)
    if not kept:
        raise DataError(path, _nothing_usable(findings))
    cameras, camera_findings = find_cameras(meta, kept)
    info = DatasetInfo(
        path=path,
        format=f"LeRobot {meta.version}",
        robot_type=str(meta.info.get("robot_type") or ""),
        fps=meta.fps,
        cameras=cameras,
        action_names=_names(meta, columns.action, rows[0].action, "action"),
        state_names=_names(meta, columns.state, rows[0].state, "state"),
        sensors=sensors,
    )
    return RobotDataset(info, kept, (*findings, *camera_findings))


def _columns(tables: Sequence[Path]) -> Columns:
    """Takes the columns of the first readable table; the unreadable are reported when read."""
    for file in tables[:-1]:
        try:
            schema = read_schema(file)
        except DataError:
            continue
        return find_columns(schema, file)
    return find_columns(read_schema(tables[-1]), tables[-1])


def _refuse_chunks(meta: LerobotMeta, columns: Columns) -> None:
    for name in (*columns.action, *columns.state):
        shape = meta.features.get(name, {}).get("shape")
        if isinstance(shape, list) and sum(isinstance(n, int) and n > 1 for n in shape) > 1:
            raise DataError(meta.path / INFO_FILE, f"feature '{name}' has shape {shape}: {NESTED}")


def _read_all(
    tables: Sequence[Path], columns: Columns, findings: list[Finding]
) -> dict[int, EpisodeRows]:
    found: dict[int, EpisodeRows] = {}
    for file in tables:
        try:
            table = read_table(file, columns)
        except DataError as error:
            findings.append(Finding("skipped", _relative(file), error.cause))
            continue
        named = _EPISODE_FILE.fullmatch(file.stem)
        number = int(named[1]) if named else None
        for each in split_episodes(table, columns, file=file, named_episode=number):
            if each.index in found:
                message = (
                    f"episode {each.index} again, first in {_relative(found[each.index].file)}"
                )
                findings.append(Finding("skipped", _relative(file), message))
            else:
                found[each.index] = each
    return found


def _usable(found: Mapping[int, EpisodeRows], findings: list[Finding]) -> list[EpisodeRows]:
    rows = []
    for index in sorted(found):
        reason = _unusable(found[index])
        if reason:
            findings.append(Finding("skipped", f"episode {index}", reason))
        else:
            rows.append(found[index])
    return rows


def _unusable(rows: EpisodeRows) -> str:
    length = len(rows.frame_index)
    if length < MIN_FRAMES:
        return f"{length} step{'' if length == 1 else 's'}, at least {MIN_FRAMES} are needed"
    for name, values in (("action", rows.action), ("state", rows.state)):
        if values is not None and not np.isfinite(values).all():
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            return f"{name} is NaN or infinite in {len(bad)} of {length} steps, as in step {bad[0]}"
    if (np.diff(rows.frame_index) != 1).any():
        place = int(np.flatnonzero(np.diff(rows.frame_index) != 1)[0])
        before, after = rows.frame_index[place : place + 2]
        return f"frame_index goes from {before} to {after}; steps cannot be paired with pictures"
    return ""


def _nothing_usable(findings: Sequence[Finding]) -> str:
    skipped = [f for f in findings if f.severity == "skipped"]
    reasons = f": {skipped[0].where}: {skipped[0].message}" if skipped else ""
    more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
    return f"no usable episode{reasons}{more}"


def _refuse_other_dimensions(rows: Sequence[EpisodeRows]) -> None:
    for name in ("action", "state"):
        arrays = [getattr(each, name) for each in rows]
        dims = [None if array is None else array.shape[1] for array in arrays]
        usual = Counter(dims).most_common(1)[0][0]
        for each, dim in zip(rows, dims, strict=True):
            if dim != usual:
                raise DataError(
                    each.file,
                    f"{name} of episode {each.index} has {dim} numbers per step; the other "
                    f"episodes have {usual}",
                )


def _drift(rows: Sequence[EpisodeRows], fps: float) -> list[Finding]:
    """Reports recorded timestamps that run away from the frame index by more than half a frame."""
    drift_s = {}
    for each in rows:
        recorded_s = each.recorded_s
        if recorded_s is not None and (recorded_s >= 0).all():
            elapsed_s = (each.frame_index - each.frame_index[0]) / fps
            drift_s[each.index] = float(np.abs(recorded_s - recorded_s[0] - elapsed_s).max())
    drifting = {index: s for index, s in drift_s.items() if s > 0.5 / fps}
    if not drifting:
        return []
    worst = max(drifting, key=lambda index: drifting[index])
    message = (
        f"in {len(drifting)} of {len(rows)} episodes recorded timestamps drift from "
        f"frame_index / fps, by up to {drifting[worst]:.2f} s in episode {worst}; pictures are "
        "paired by frame index"
    )
    return [Finding("warning", "timestamp", message)]


def _sensors(
    rows: Sequence[EpisodeRows], columns: Columns, findings: list[Finding]
) -> dict[str, int]:
    """The sensors that every episode has in one width and without gaps; others are left out."""
    sensors = {}
    for name in columns.sensors:
        arrays = [each.sensors.get(name) for each in rows]
        widths = {array.shape[1] for array in arrays if array is not None}
        if any(array is None for array in arrays) or len(widths) != 1:
            reason = "not of one width in every episode"
        elif not all(np.isfinite(array).all() for array in arrays if array is not None):
            reason = "NaN or infinite in places"
        else:
            sensors[name] = widths.pop()
            continue
        findings.append(Finding("warning", name, f"{reason}; this sensor is not used"))
    return sensors


def _episode(
    rows: EpisodeRows,
    text: str,
    sensors: Mapping[str, int],
    *,
    columns: Columns,
    meta: LerobotMeta,
    files: VideoFiles,
) -> Episode:
    spans = {
        camera: find_span(rows, camera, columns=columns, meta=meta, files=files)
        for camera in (*columns.images, *sorted(files.cameras))
    }
    said = meta.episodes.get(rows.index, EpisodeMeta(length=None, tasks=()))
    return Episode(
        index=rows.index,
        instruction=text,
        action=rows.action,
        state=rows.state,
        sensors={name: rows.sensors[name] for name in sensors},
        time_s=np.arange(len(rows.action)) / meta.fps,
        videos={camera: span for camera, span in spans.items() if span is not None},
        goal=said.goal,
        success=said.success,
        split=said.split,
        factors=said.factors,
        other_instructions=said.other_instructions,
    )


def _without_overlap(episodes: Sequence[Episode], findings: list[Finding]) -> tuple[Episode, ...]:
    """Leaves out episodes whose frames in a shared file run into the next episode's."""
    spans = sorted(
        (str(span.path), span.first_frame, episode.index, span)
        for episode in episodes
        for span in episode.videos.values()
        if isinstance(span, VideoSpan)
    )
    overlapping: dict[int, str] = {}
    for (file, first, index, span), (next_file, next_first, next_index, _) in pairwise(spans):
        stop = first + span.num_frames
        if file == next_file and stop > next_first:
            overlapping[index] = (
                f"its frames {first} to {stop} of {_relative(span.path)} run into those of episode "
                f"{next_index}, from {next_first}"
            )
    findings.extend(Finding("skipped", f"episode {i}", why) for i, why in overlapping.items())
    return tuple(episode for episode in episodes if episode.index not in overlapping)


def _names(meta: LerobotMeta, columns: Sequence[str], values: Any, role: str) -> tuple[str, ...]:
    if values is None:
        return ()
    dim = values.shape[1]
    if len(columns) == 1:
        found = _flat(meta.features.get(columns[0], {}).get("names"))
    else:
        found = list(columns)
    return tuple(found) if len(found) == dim else tuple(f"{role}_{i}" for i in range(dim))


def _flat(names: Any) -> list[str]:
    """Flattens the shapes that `names` comes in: list, list in a list, dict of lists, null."""
    if isinstance(names, dict):
        lists = all(isinstance(part, list) for part in names.values())
        names = list(names.values()) if lists else list(names)
    if isinstance(names, list):
        return [name for part in names for name in _flat(part)]
    return [str(names)] if isinstance(names, str) else []


def _relative(file: Path) -> str:
    """The end of a path, for a finding: folder and name say enough within one data set."""
    return "/".join(file.parts[-2:])
