"""What a row is before a model sees it, and how rows of different lengths become arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from jointspace.batch import Modality, ModalityInput, RowIds
from jointspace.errors import InputError


@dataclass(frozen=True)
class Steps:
    """A run of readings of one sensor, or of commands, in raw units.

    Attributes:
        values: one reading per step. A step with a value that is not finite counts as missing.
        time_s: seconds of each step since the start of the row's time span.
    """

    values: Float32[np.ndarray, "time channel"]
    time_s: Float[np.ndarray, " moment"]


@dataclass(frozen=True)
class Sample:
    """One row in raw units: what a robot saw, was told, felt and did in a span of time.

    Any part may be missing.

    Attributes:
        frames: RGB pictures, already resized, or a frozen network's features of them; None if there
            are none.
        frames_valid: False for the pictures that a camera did not deliver; None means all are real.
        frames_time_s: seconds of each picture since the start of the span.
        text: the instruction; None if there is none. The empty text is a text.
        steps: `action`, `state` and other sensors by name.
        episode: episode id, -1 if the row belongs to none.
        instruction: id of the distinct instruction text, -1 if there is none.
        goal: id of the goal, -1 if there is none.
        start_s: start of the span in its episode.
        stop_s: end of the span (exclusive).
    """

    frames: (
        UInt8[np.ndarray, "picture camera px px 3"]
        | Float[np.ndarray, "picture camera token channel"]
        | None
    ) = None
    frames_valid: Bool[np.ndarray, "picture camera"] | None = None
    frames_time_s: Float[np.ndarray, " moment"] | None = None
    text: str | None = None
    steps: Mapping[Modality, Steps] = field(default_factory=dict)
    episode: int = -1
    instruction: int = -1
    goal: int = -1
    start_s: float = 0.0
    stop_s: float = 0.0


def collate_frames(samples: Sequence[Sample], *, image_px: int, num_cameras: int) -> ModalityInput:
    """Pads the pictures of rows to the longest clip.

    Args:
        samples: the rows; one without pictures gets none that are valid.
        image_px: side of the pictures.
        num_cameras: cameras of each row, in the order of the preprocessor.

    Returns:
        Pictures "batch time camera height width 3"; masked ones are black. Where rows hold
        features, "batch time camera token channel".

    Raises:
        InputError: a row's pictures have another size, number of cameras, or number of times.
    """
    longest = max((len(s.frames) for s in samples if s.frames is not None), default=0)
    shape = (len(samples), max(longest, 1), num_cameras)
    first = next((s.frames for s in samples if s.frames is not None), None)
    if first is None or first.dtype == np.uint8:
        values = np.zeros((*shape, image_px, image_px, 3), dtype=np.uint8)
    else:
        values = np.zeros((*shape, *first.shape[2:]), dtype=first.dtype)
    valid = np.zeros(shape, dtype=np.bool_)
    time_s = np.zeros(shape[:2], dtype=np.float32)
    for row, sample in enumerate(samples):
        frames = sample.frames
        if frames is None:
            continue
        if frames.shape[1:] != values.shape[2:]:
            raise InputError(
                f"row {row}: pictures of shape {frames.shape[1:]} (camera height width 3), "
                f"expected {values.shape[2:]}; resize them with data.resize.resize_frame"
            )
        length = len(frames)
        values[row, :length] = frames
        valid[row, :length] = True
        if sample.frames_valid is not None:
            valid[row, :length] = sample.frames_valid
            if not sample.frames_valid.all():
                values[row, ~valid[row]] = 0
        if sample.frames_time_s is not None:
            if len(sample.frames_time_s) != length:
                raise InputError(
                    f"row {row}: {length} pictures but {len(sample.frames_time_s)} times"
                )
            time_s[row, :length] = sample.frames_time_s
    return ModalityInput(values, valid, time_s)


def collate_steps(samples: Sequence[Sample], *, modality: Modality, channels: int) -> ModalityInput:
    """Pads the readings of one sensor to the longest row, still in raw units.

    Args:
        samples: the rows; one without the sensor gets no valid step.
        modality: which sensor.
        channels: values per step.

    Returns:
        Readings "batch time channel"; masked ones are zero, and so are those that are not finite.

    Raises:
        InputError: a row has another number of channels, or another number of times than of
            readings.
    """
    rows = [sample.steps.get(modality) for sample in samples]
    longest = max((len(steps.values) for steps in rows if steps is not None), default=0)
    values = np.zeros((len(rows), max(longest, 1), channels), dtype=np.float32)
    valid = np.zeros(values.shape[:2], dtype=np.bool_)
    time_s = np.zeros(values.shape[:2], dtype=np.float32)
    for row, steps in enumerate(rows):
        if steps is None:
            continue
        length = len(steps.values)
        if steps.values.shape[1] != channels:
            raise InputError(
                f"row {row}: '{modality}' has {steps.values.shape[1]} channels, expected "
                f"{channels} as in training"
            )
        if len(steps.time_s) != length:
            raise InputError(
                f"row {row}: '{modality}' has {length} steps but {len(steps.time_s)} times"
            )
        values[row, :length] = steps.values
        valid[row, :length] = True
        time_s[row, :length] = steps.time_s
    finite = np.isfinite(values).all(axis=2)
    if not finite.all():
        valid &= finite
        values[~finite] = 0
    return ModalityInput(values, valid, time_s)


def collate_rows(samples: Sequence[Sample]) -> RowIds:
    """Gathers the ids of rows.

    Args:
        samples: the rows.

    Returns:
        Their ids, in order.
    """

    def numbers(name: str) -> np.ndarray:
        return np.asarray([getattr(s, name) for s in samples], dtype=np.int64)

    def seconds(name: str) -> np.ndarray:
        return np.asarray([getattr(s, name) for s in samples], dtype=np.float64)

    return RowIds(
        episode=numbers("episode"),
        instruction=numbers("instruction"),
        goal=numbers("goal"),
        start_s=seconds("start_s"),
        stop_s=seconds("stop_s"),
    )
