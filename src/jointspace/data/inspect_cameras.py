"""What the cameras' files are, read from the files themselves."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jointspace.data.decode import VideoFacts, describe_video
from jointspace.data.schema import Finding, FrameSpan, RobotDataset, VideoSpan
from jointspace.errors import DataError

IN_TABLES = "pictures"
"""Stands for the codec of pictures that lie in tables."""


@dataclass(frozen=True)
class CameraFacts:
    """One camera, as its files are rather than as the metadata says.

    Attributes:
        name: the feature's name.
        codecs: of its videos, distinct; `IN_TABLES` for pictures in tables.
        sizes: distinct sizes of its videos, width and height in pixels.
        rates_hz: distinct frame rates of its videos.
        num_files: number of files.
        num_frames: frames in its videos, used or not; of pictures in tables, those of the episodes.
    """

    name: str
    codecs: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    rates_hz: tuple[float, ...]
    num_files: int
    num_frames: int


def camera_facts(
    dataset: RobotDataset,
) -> tuple[tuple[CameraFacts, ...], tuple[Finding, ...]]:
    """Reads the headers of all video files; nothing is decoded.

    Args:
        dataset: as opened.

    Returns:
        One entry per camera; and findings about files that are missing, cannot be opened, or do not
        have as many frames as their episodes have steps.

    Raises:
        MissingExtraError: PyAV is not installed, and there are videos.
    """
    facts, findings = [], []
    for camera in dataset.info.cameras:
        spans = {e.index: e.videos[camera] for e in dataset.episodes if camera in e.videos}
        absent = [e.index for e in dataset.episodes if camera not in e.videos]
        if absent:
            message = f"no pictures in {len(absent)} episodes, as in episode {absent[0]}"
            findings.append(Finding("warning", camera, message))
        videos: dict[Path, VideoFacts] = {}
        broken: dict[Path, str] = {}
        for path in sorted({s.path for s in spans.values() if isinstance(s, VideoSpan)}):
            try:
                videos[path] = describe_video(path)
            except DataError as error:
                broken[path] = error.cause
        for path, cause in broken.items():
            findings.append(Finding("warning", "/".join(path.parts[-2:]), cause))
        findings.extend(_lengths(camera, spans, videos))
        facts.append(_summary(camera, list(spans.values()), list(videos.values())))
    return tuple(facts), tuple(findings)


def _lengths(
    camera: str, spans: Mapping[int, FrameSpan], videos: Mapping[Path, VideoFacts]
) -> list[Finding]:
    """Compares the frames of a file that holds one episode with the episode's steps."""
    users = Counter(span.path for span in spans.values())
    shorter, longer = [], []
    for index, span in spans.items():
        stop = span.first_frame + span.num_frames
        frames = videos[span.path].num_frames if span.path in videos else 0
        if 0 < frames < stop:
            shorter.append((index, frames, stop))
        elif frames > stop and users[span.path] == 1:
            longer.append((index, frames, stop))
    findings = []
    for found, what in ((shorter, "fewer"), (longer, "more")):
        if found:
            index, frames, stop = found[0]
            message = (
                f"{what} frames than steps in {len(found)} episodes, as in episode {index}: "
                f"{frames} frames, {stop} steps"
            )
            findings.append(Finding("warning", camera, message))
    return findings


def _summary(camera: str, spans: Sequence[FrameSpan], videos: Sequence[VideoFacts]) -> CameraFacts:
    tables = [span for span in spans if not isinstance(span, VideoSpan)]
    codecs = {facts.codec for facts in videos} | ({IN_TABLES} if tables else set())
    return CameraFacts(
        name=camera,
        codecs=tuple(sorted(codecs)),
        sizes=tuple(sorted({(facts.width, facts.height) for facts in videos})),
        rates_hz=tuple(sorted({facts.rate_hz for facts in videos})),
        num_files=len({span.path for span in spans}),
        num_frames=sum(f.num_frames for f in videos) + sum(s.num_frames for s in tables),
    )
