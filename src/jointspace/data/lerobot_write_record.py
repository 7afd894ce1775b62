"""What the LeRobot writer takes: the layout of a data set and its episodes, checked before use."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Shaped

from jointspace.data.lerobot import MIN_FRAMES
from jointspace.data.lerobot_text import is_flag
from jointspace.errors import InputError

_CAMERA = re.compile(r"[A-Za-z0-9_-]+")
_MIN_PX = 16
"""The side of h264's smallest unit."""


@dataclass(frozen=True, kw_only=True)
class WriteLayout:
    """What holds for all episodes of a data set that is written.

    Attributes:
        fps: steps per second; the format wants a whole number.
        robot_type: name of the robot.
        action_names: one name per action dimension.
        state_names: one name per state dimension.
        cameras: short names; `front` becomes the feature `observation.images.front`. May be none.
        height_px: height of every picture; even, as h264 stores colour at half the resolution.
        width_px: width of every picture; even too.
    """

    fps: int
    robot_type: str
    action_names: tuple[str, ...]
    state_names: tuple[str, ...]
    cameras: tuple[str, ...]
    height_px: int
    width_px: int

    def __post_init__(self) -> None:
        """Refuses what the format cannot hold.

        Raises:
            InputError: a rate below 1, odd or tiny pictures, no names, or a name twice, or a
                camera's name that is no plain word.
        """
        if self.fps < 1:
            raise InputError(f"fps: got {self.fps}, expected a whole number of at least 1")
        for name, side_px in (("height_px", self.height_px), ("width_px", self.width_px)):
            if side_px % 2 or side_px < _MIN_PX:
                raise InputError(
                    f"{name}: got {side_px}, expected an even number of at least {_MIN_PX}; h264 "
                    "stores colour at half the resolution"
                )
        for role, names in (("action_names", self.action_names), ("state_names", self.state_names)):
            if not names or len(set(names)) < len(names):
                raise InputError(f"{role}: got {list(names)}, expected distinct names, at least 1")
        odd = [name for name in self.cameras if not _CAMERA.fullmatch(name)]
        if odd or len(set(self.cameras)) < len(self.cameras):
            raise InputError(
                f"cameras: got {list(self.cameras)}, expected distinct names of letters, digits, "
                "'_' and '-'"
            )


@dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """One episode to be written; the arrays have one row per step.

    Attributes:
        instruction: what the robot was told.
        action: commands, float32, time x action dimensions.
        state: measured state, float32, time x state dimensions.
        pictures: camera -> RGB pictures, uint8, time x height x width x 3.
        goal: name of the goal, which paraphrases share; empty if it has none.
        success: whether it reached the goal; None if unknown.
        split: the split that it belongs to; empty if there are no splits.
        factors: what the goal is made of; an empty value says that the factor does not apply.
        other_instructions: instructions for other goals in the same scene.
    """

    instruction: str
    action: Shaped[np.ndarray, "..."]
    state: Shaped[np.ndarray, "..."]
    pictures: Mapping[str, Shaped[np.ndarray, "..."]]
    goal: str = ""
    success: bool | None = None
    split: str = ""
    factors: Mapping[str, str] = field(default_factory=dict)
    other_instructions: tuple[str, ...] = ()


def check_record(record: EpisodeRecord, *, layout: WriteLayout, episode: int) -> None:
    """Refuses an episode that could not be read back as it is.

    Args:
        record: the episode.
        layout: what it has to agree with.
        episode: its number, for the message.

    Raises:
        InputError: an array of another type or shape than the layout says, NaN or infinity, fewer
            than two steps, action, state and pictures of different lengths, a camera too few or
            too many, or an instruction that is empty, no sentence, or begins or ends with a space.
    """
    _check_texts(record, episode)
    length = len(record.action) if record.action.ndim else 0
    for role, values, names in (
        ("action", record.action, layout.action_names),
        ("state", record.state, layout.state_names),
    ):
        _check_array(
            values,
            role,
            dtype=np.dtype(np.float32),
            shape=(length, len(names)),
            first_axis="the steps of the action",
            episode=episode,
        )
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise InputError(
                f"episode {episode}: {role} is NaN or infinite in step {np.argmin(finite)}; "
                "expected finite numbers"
            )
    if length < MIN_FRAMES:
        raise InputError(
            f"episode {episode}: {length} steps, expected at least {MIN_FRAMES}; readers leave "
            "shorter ones out"
        )
    if set(record.pictures) != set(layout.cameras):
        raise InputError(
            f"episode {episode}: pictures of {sorted(record.pictures)}, expected those of the "
            f"layout's cameras {sorted(layout.cameras)}"
        )
    for camera, pictures in record.pictures.items():
        _check_array(
            pictures,
            f"pictures of '{camera}'",
            dtype=np.dtype(np.uint8),
            shape=(length, layout.height_px, layout.width_px, 3),
            first_axis="the steps of the action",
            episode=episode,
        )


def _check_array(
    values: Shaped[np.ndarray, "..."],
    role: str,
    *,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    first_axis: str,
    episode: int,
) -> None:
    if values.dtype != dtype or values.shape != shape:
        raise InputError(
            f"episode {episode}: {role} is {values.dtype} of shape {values.shape}, expected "
            f"{dtype} of shape {shape}: {first_axis}, and what the layout says"
        )


def _check_texts(record: EpisodeRecord, episode: int) -> None:
    text = record.instruction
    if not text or text != text.strip() or is_flag(text):
        raise InputError(
            f"episode {episode}: the instruction is {text!r}, expected a sentence without spaces "
            "around it; readers take a bare mark such as 'test' or '3' for no instruction"
        )
    if any(not other for other in record.other_instructions):
        raise InputError(f"episode {episode}: one of other_instructions is empty")
    if any(not name for name in record.factors):
        raise InputError(f"episode {episode}: a factor has no name, only {record.factors['']!r}")
