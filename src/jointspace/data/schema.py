"""What every reader of robot data returns, whatever the format on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

Severity = Literal["note", "warning", "skipped"]
"""How bad: worth knowing, probably wrong, or left out of the data set."""


@dataclass(frozen=True)
class Finding:
    """Something about a data set that a person should know.

    Attributes:
        severity: see `Severity`.
        where: the file, episode or feature it is about.
        message: what was found, and what was done about it.
    """

    severity: Severity
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


@dataclass(frozen=True)
class DatasetInfo:
    """What holds for all episodes of a data set.

    Attributes:
        path: folder of the data set.
        format: format and version, such as `LeRobot v2.1`.
        robot_type: as the data set names it; empty if it does not.
        fps: steps per second, of the tables and of the videos alike.
        cameras: feature names of the cameras that have pictures.
        action_names: one name per action dimension.
        state_names: one name per state dimension; empty if there is no state.
        sensors: further numeric observations: feature name -> number of channels.
    """

    path: Path
    format: str
    robot_type: str
    fps: float
    cameras: tuple[str, ...]
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    sensors: Mapping[str, int]


@dataclass(frozen=True)
class VideoSpan:
    """Consecutive frames of a video file.

    Attributes:
        path: the video file.
        first_frame: index of the first frame within the file, counted in order of presentation.
        num_frames: number of frames.
    """

    path: Path
    first_frame: int
    num_frames: int


@dataclass(frozen=True)
class ImageSpan:
    """Consecutive encoded pictures (PNG, JPEG) in a column of a table.

    Attributes:
        path: the Parquet file.
        column: the column, a struct of `bytes` and `path`, or bare bytes.
        first_frame: index of the first row within the file.
        num_frames: number of rows.
        root: folder that a row's `path` is relative to, where the row holds no bytes.
    """

    path: Path
    column: str
    first_frame: int
    num_frames: int
    root: Path


@dataclass(frozen=True)
class MessageSpan:
    """Pictures in the messages of a bag.

    Attributes:
        path: the bag: a folder, or a single file.
        topic: where they were published.
        messages: number of the message that each step shows, counted in the order of the bag; never
            descending, with gaps and repetitions where the camera had another rate than the steps.
    """

    path: Path
    topic: str
    messages: tuple[int, ...]

    @property
    def first_frame(self) -> int:
        """Always 0: the steps' pictures are the span, whatever else the topic carries."""
        return 0

    @property
    def num_frames(self) -> int:
        """Number of steps."""
        return len(self.messages)


FrameSpan = VideoSpan | ImageSpan | MessageSpan
"""Where the pictures of one camera in one episode lie: picture i belongs to step i."""


@dataclass(frozen=True)
class Episode:
    """One recorded episode; all arrays have one row per step.

    Attributes:
        index: the data set's own number of the episode.
        instruction: what the robot was told; empty if it was told nothing.
        goal: name of what it was to reach, which paraphrases share; empty where the data names no
            goals, so that the instruction is the goal.
        success: whether it reached the goal; None where the data does not say.
        split: name of the split that the data puts it in; empty where it ships no splits.
        factors: what the goal is made of, such as `skill` or `colour` -> its value.
        other_instructions: what it could have been told in the same scene, each of another goal:
            the hardest wrong answers.
        action: commands, in the data set's units.
        state: measured state, in the data set's units; None if the data set has none.
        sensors: further observations by feature name; all of `DatasetInfo.sensors` are there.
        time_s: seconds since the first step, from the step's index and the rate; recorded
            timestamps are not to be trusted.
        videos: camera -> where its pictures lie; a camera whose file is missing is not there.
    """

    index: int
    instruction: str
    action: Float32[np.ndarray, "time action_dim"]
    state: Float32[np.ndarray, "time state_dim"] | None
    sensors: Mapping[str, Float32[np.ndarray, "time _"]]
    time_s: Float64[np.ndarray, " time"]
    videos: Mapping[str, FrameSpan]
    goal: str = ""
    success: bool | None = None
    split: str = ""
    factors: Mapping[str, str] = field(default_factory=dict)
    other_instructions: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of steps, which is also the number of pictures of each camera."""
        return len(self.action)


@dataclass(frozen=True)
class SharedTexts:
    """Instructions and goals that several data sets number alike: the same text is the same id.

    Attributes:
        instructions: of all of the data sets; an instruction's id is its place here.
        goals: names of goals of all of them; a goal's id is its place here.
    """

    instructions: tuple[str, ...]
    goals: tuple[str, ...]


@dataclass(frozen=True)
class RobotDataset:
    """The usable episodes of a data set, and what was found wrong with it.

    Attributes:
        info: what holds for all episodes.
        episodes: in order of their index; those that cannot be used are only named in `findings`.
        findings: what a person should know, in the order it was found.
        shared: the texts of all data sets of a run of several; None for a data set alone.
    """

    info: DatasetInfo
    episodes: tuple[Episode, ...]
    findings: tuple[Finding, ...] = field(default=())
    shared: SharedTexts | None = None

    @property
    def instructions(self) -> tuple[str, ...]:
        """The distinct instruction texts, sorted; an instruction's id is its place here.

        Those that are shared with other data sets come first, whether they occur here or not.
        """
        own = {e.instruction for e in self.episodes if e.instruction}
        first = () if self.shared is None else self.shared.instructions
        return (*first, *sorted(own - {*first}))

    @property
    def goals(self) -> tuple[str, ...]:
        """The distinct goals, sorted; a goal's id is its place here.

        An episode without a named goal has its instruction as its goal. Goals that are shared with
        other data sets come first.
        """
        own = {e.goal or e.instruction for e in self.episodes if e.instruction}
        first = () if self.shared is None else self.shared.goals
        return (*first, *sorted(own - {*first}))
