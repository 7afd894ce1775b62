"""What is in a data set, and what is wrong with it: the report of `jointspace inspect`."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jointspace.data.frames import prepare_frames
from jointspace.data.inspect_cameras import CameraFacts, camera_facts
from jointspace.data.inspect_content import DimensionRange, check_content, dimension_ranges
from jointspace.data.lerobot_check import check_lerobot_metadata
from jointspace.data.open import is_lerobot, open_dataset
from jointspace.data.schema import Finding, RobotDataset
from jointspace.errors import DataError, MissingExtraError

_CHECK_PX = 64
"""Side of the pictures that the check decodes: the default of training, which then finds them."""


@dataclass(frozen=True)
class Inspection:
    """What a data set holds, counted over its usable episodes.

    Attributes:
        path: folder of the data set.
        format: format and version.
        robot_type: as the data set names it.
        fps: steps per second.
        num_episodes: usable episodes.
        num_frames: their steps.
        duration_s: their duration.
        shortest: steps of the shortest episode.
        longest: steps of the longest episode.
        cameras: the cameras that have pictures.
        action: range of every action dimension.
        state: range of every state dimension; empty if there is no state.
        sensors: further observations: feature name -> channels.
        instructions: text -> number of episodes, most frequent first; empty text for none.
        findings: everything that is wrong or odd.
    """

    path: Path
    format: str
    robot_type: str
    fps: float
    num_episodes: int
    num_frames: int
    duration_s: float
    shortest: int
    longest: int
    cameras: tuple[CameraFacts, ...]
    action: tuple[DimensionRange, ...]
    state: tuple[DimensionRange, ...]
    sensors: Mapping[str, int]
    instructions: Mapping[str, int]
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that `json.dumps` takes, under the attributes' names."""
        return {**asdict(self), "path": str(self.path)}

    def render(self) -> str:
        """Returns the report as text for a terminal."""
        return "\n".join(_lines(self))


def inspect_dataset(
    path: Path,
    *,
    check_videos: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Reads a data set and reports what it holds and every disagreement found.

    Args:
        path: folder of the data set.
        check_videos: also decode every picture. The result lands in the frame cache, where training
            finds it.
        progress: called with frames done and frames in all while pictures are decoded.

    Returns:
        The report.

    Raises:
        DataError: the data set cannot be used at all.
        StorageError: the frame cache cannot be written.
    """
    dataset = open_dataset(path)
    findings = list(dataset.findings)
    cameras: tuple[CameraFacts, ...] = ()
    try:
        cameras, found = camera_facts(dataset)
        findings += found
    except MissingExtraError as error:
        findings.append(Finding("note", "videos", f"not checked: {error}"))
        check_videos = False
    if is_lerobot(path):
        findings += check_lerobot_metadata(path, dataset, cameras=cameras)
    if check_videos and dataset.info.cameras:
        dataset, found = _decoded(dataset, progress)
        findings += found
    findings += check_content(dataset)
    lengths = [episode.num_frames for episode in dataset.episodes]
    texts = Counter(episode.instruction for episode in dataset.episodes)
    states = [e.state for e in dataset.episodes if e.state is not None]
    info = dataset.info
    return Inspection(
        path=path,
        format=info.format,
        robot_type=info.robot_type,
        fps=info.fps,
        num_episodes=len(lengths),
        num_frames=sum(lengths),
        duration_s=sum(lengths) / info.fps,
        shortest=min(lengths),
        longest=max(lengths),
        cameras=cameras,
        action=dimension_ranges([e.action for e in dataset.episodes], info.action_names),
        state=dimension_ranges(states, info.state_names),
        sensors=dict(info.sensors),
        instructions=dict(texts.most_common()),
        findings=tuple(dict.fromkeys(findings)),
    )


def _decoded(
    dataset: RobotDataset, progress: Callable[[int, int], None] | None
) -> tuple[RobotDataset, tuple[Finding, ...]]:
    try:
        decoded, _ = prepare_frames(dataset, image_px=_CHECK_PX, progress=progress)
    except DataError as error:
        # Training would stop here; a report of what is wrong should not.
        return dataset, (Finding("skipped", "pictures", error.cause),)
    return decoded, decoded.findings[len(dataset.findings) :]


def _lines(found: Inspection) -> Iterator[str]:
    robot = f", robot {found.robot_type}" if found.robot_type else ""
    yield f"{found.path}"
    yield f"{found.format}{robot}, {found.fps:g} steps per second"
    yield (
        f"{found.num_episodes:,} usable episodes, {found.num_frames:,} steps, "
        f"{_minutes(found.duration_s)}; {found.shortest} to {found.longest} steps per episode"
    )
    yield "\nCameras" + ("" if found.cameras else ": none")
    for camera in found.cameras:
        sizes = ", ".join(f"{width}x{height}" for width, height in camera.sizes)
        codecs = ", ".join(camera.codecs) or "no file that can be opened"
        yield (
            f"  {camera.name}: {' '.join(part for part in (codecs, sizes) if part)}, "
            f"{camera.num_frames:,} frames in {camera.num_files:,} files"
        )
    for role, ranges in (("Action", found.action), ("State", found.state)):
        yield f"\n{role}" + (f", {len(ranges)} dimensions" if ranges else ": none")
        width = max((len(each.name) for each in ranges), default=0)
        for each in ranges:
            note = "  constant" if each.constant else ""
            yield f"  {each.name:<{width}}  {each.low:>10.4g} to {each.high:>10.4g}{note}"
    for name, channels in found.sensors.items():
        yield f"\nSensor {name}, {channels} channels"
    texts = {text: count for text, count in found.instructions.items() if text}
    yield f"\nInstructions, {len(texts)} distinct"
    for text, count in list(texts.items())[:_MAX_TEXTS]:
        start = text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]}..."
        yield f"  {count:>5} x {start}"
    if len(texts) > _MAX_TEXTS:
        yield f"  and {len(texts) - _MAX_TEXTS:,} more"
    yield f"\nFindings, {len(found.findings)}" if found.findings else "\nNothing wrong was found"
    for finding in found.findings:
        yield f"  {finding}"


_MAX_TEXTS = 20
_MAX_TEXT_LENGTH = 80


def _minutes(duration_s: float) -> str:
    return f"{duration_s / 60:.1f} min" if duration_s >= 60 else f"{duration_s:.1f} s"
