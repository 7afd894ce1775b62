"""The video files of a LeRobot data set, found by looking: its metadata may be wrong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointspace.data.lerobot_meta import LerobotMeta
from jointspace.data.lerobot_tables import Columns, EpisodeRows
from jointspace.data.schema import Episode, Finding, FrameSpan, ImageSpan, VideoSpan

VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"})
_CHUNK = re.compile(r"chunk[-_]?(\d+)")
_NUMBER = re.compile(r"(\d+)$")
_SHARED = re.compile(r"file[-_]?(\d+)")


@dataclass(frozen=True)
class VideoFiles:
    """The video files that are there.

    Attributes:
        by_episode: (camera, episode) -> file, where each episode has its own.
        by_place: (camera, chunk, file) -> file, where episodes share one.
    """

    by_episode: Mapping[tuple[str, int], Path]
    by_place: Mapping[tuple[str, int, int], Path]

    @property
    def cameras(self) -> frozenset[str]:
        """The cameras that have at least one file."""
        return frozenset(c for c, _ in self.by_episode) | {c for c, _, _ in self.by_place}


def find_videos(meta: LerobotMeta) -> VideoFiles:
    """Finds the video files below a data set's folder, whatever the metadata says of their place.

    A folder between the chunk's and the file is the camera; where it is only the last part of a
    declared camera (`top` of `observation.images.top`) it stands for that.

    Args:
        meta: the data set's metadata.

    Returns:
        The files by camera and number, empty ones too: they exist, and cannot be decoded.
    """
    declared = declared_cameras(meta)
    by_episode: dict[tuple[str, int], Path] = {}
    by_place: dict[tuple[str, int, int], Path] = {}
    for file in sorted(meta.path.rglob("*")):
        if file.suffix.lower() not in VIDEO_SUFFIXES or file.name.startswith("."):
            continue
        folders = file.relative_to(meta.path).parts[:-1]
        camera = _camera(folders, declared)
        chunk = next((int(m[1]) for m in map(_CHUNK.fullmatch, folders) if m), 0)
        shared = _SHARED.fullmatch(file.stem)
        number = _NUMBER.search(file.stem)
        if shared:
            by_place.setdefault((camera, chunk, int(shared[1])), file)
        elif number:
            by_episode.setdefault((camera, int(number[1])), file)
    return VideoFiles(by_episode, by_place)


def find_span(
    rows: EpisodeRows, camera: str, *, columns: Columns, meta: LerobotMeta, files: VideoFiles
) -> FrameSpan | None:
    """Finds the pictures of one camera in one episode.

    Args:
        rows: the episode.
        camera: a camera that has files, or a column of pictures.
        columns: which columns hold pictures.
        meta: where v3.0 says that the episode starts in a shared file.
        files: the files that are there.

    Returns:
        The span, or None if there is no file, or pictures in a table are out of order.
    """
    length = len(rows.frame_index)
    if camera in columns.images:
        if not rows.in_order:
            return None
        return ImageSpan(rows.file, camera, rows.first_row, length, meta.path)
    first = int(rows.frame_index[0])
    episode = meta.episodes.get(rows.index)
    place = episode.videos.get(camera) if episode else None
    if place is None:
        own = files.by_episode.get((camera, rows.index))
        return VideoSpan(own, first, length) if own else None
    shared = files.by_place.get((camera, place.chunk, place.file))
    start = round(place.start_s * meta.fps)
    return VideoSpan(shared, start + first, length) if shared else None


def find_cameras(
    meta: LerobotMeta, episodes: Sequence[Episode]
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Names the cameras that have pictures in at least one episode.

    Args:
        meta: the metadata, which may declare cameras that do not exist and hide ones that do.
        episodes: with their spans.

    Returns:
        The cameras, declared ones first, and where files and declaration differ. Depth cameras are
        left out.
    """
    found = {camera for episode in episodes for camera in episode.videos}
    declared = declared_cameras(meta)
    depth = {camera for camera in declared if is_depth(meta.features[camera])}
    findings = []
    for camera in declared:
        if camera in depth:
            findings.append(Finding("note", camera, "depth maps are not read as pictures"))
        elif camera not in found:
            message = "declared in meta/info.json, but no episode has pictures of it"
            findings.append(Finding("warning", camera, message))
    undeclared = sorted(found - set(declared))
    for camera in undeclared:
        message = "not declared in meta/info.json, but there are pictures of it; they are used"
        findings.append(Finding("warning", camera, message))
    cameras = [camera for camera in declared if camera in found and camera not in depth]
    return (*cameras, *undeclared), tuple(findings)


def declared_cameras(meta: LerobotMeta) -> tuple[str, ...]:
    """Returns the features that the metadata calls pictures, in order."""
    return tuple(k for k, v in meta.features.items() if v.get("dtype") in {"video", "image"})


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Tells whether a feature's pictures are depth maps rather than colours."""
    return any(part.get("video.is_depth_map") is True for part in video_notes(feature))


def video_notes(feature: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Returns what a feature says about its video, under either of the names it is kept under."""
    found = (feature.get("info"), feature.get("video_info"))
    return tuple(part for part in found if isinstance(part, dict))


def _camera(folders: Sequence[str], declared: Sequence[str]) -> str:
    named = [f for f in folders[1:] if not _CHUNK.fullmatch(f)]
    for folder in reversed(named):
        for camera in declared:
            if camera == folder or camera.endswith((f".{folder}", f"/{folder}")):
                return camera
    if named:
        return named[-1]
    return declared[0] if len(declared) == 1 else folders[0] if folders else "video"
