"""Inputs to measure with: what a robot would send, made up to fit a model's preprocessing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from jointspace.batch import ACTION, Modality
from jointspace.data.preprocess import Preprocessor
from jointspace.data.tokenizer import Tokenizer
from jointspace.data.windows import clip_positions, window_steps
from jointspace.errors import InputError

CAMERA_HEIGHT_PX, CAMERA_WIDTH_PX = 480, 640

_WORDS_PER_TEXT = 8


@dataclass(frozen=True)
class Workload:
    """Rows of one window each, in raw units.

    Attributes:
        messages: the newest frame of each camera of each row, as the bytes of an rgb8 picture, 640
            x 480; camera by camera within a row.
        clips: pictures of the whole window, of the model's size; None if it sees none.
        clip_time_s: seconds of each picture of a window.
        steps: modality -> readings in raw units "batch step channel", or ids "batch step".
        texts: one instruction for each row, all different.
    """

    messages: tuple[bytes, ...] = field(repr=False)
    clips: UInt8[np.ndarray, "batch time camera px px 3"] | None
    clip_time_s: Float32[np.ndarray, "batch time"]
    steps: Mapping[Modality, Shaped[np.ndarray, "batch step ..."]]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


def make_workload(preprocessor: Preprocessor, *, batch: int, seed: int = 0) -> Workload:
    """Makes up rows that a model can read; what they hold means nothing.

    Args:
        preprocessor: of the model.
        batch: rows.
        seed: the same seed gives the same rows.

    Returns:
        The rows.

    Raises:
        InputError: `batch` is below 1.
    """
    if batch < 1:
        raise InputError(f"workload: batch is {batch}; wanted at least 1")
    rng = np.random.default_rng(seed)
    num_steps = window_steps(preprocessor.window_s, fps=preprocessor.fps)
    chosen = clip_positions(num_steps, preprocessor.window_frames)
    cameras, px = preprocessor.num_cameras, preprocessor.image_px
    clips = None
    if cameras:
        shape = (batch, len(chosen), cameras, px, px, 3)
        clips = rng.integers(0, 256, shape, dtype=np.uint8)
    steps: dict[Modality, np.ndarray] = {}
    for modality, normaliser in preprocessor.normalisers.items():
        usual = rng.normal(size=(batch, num_steps, normaliser.dim)).astype(np.float32)
        steps[modality] = normaliser.inverse(usual)
    for modality, size in preprocessor.discrete.items():
        steps[modality] = rng.integers(0, size, (batch, num_steps))
    return Workload(
        messages=tuple(
            rng.bytes(CAMERA_HEIGHT_PX * CAMERA_WIDTH_PX * 3) for _ in range(batch * cameras)
        ),
        clips=clips,
        clip_time_s=np.tile((chosen / preprocessor.fps).astype(np.float32), (batch, 1)),
        steps=steps,
        texts=_texts(preprocessor, batch, rng),
    )


def message_rgb(message: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the picture of a workload's message, as a view of its bytes."""
    shape = (CAMERA_HEIGHT_PX, CAMERA_WIDTH_PX, 3)
    return np.frombuffer(message, np.uint8).reshape(shape)


def steps_stage(modality: Modality) -> str:
    """Names the stage that embeds a modality of steps."""
    return "trajectory" if modality == ACTION else str(modality)


def _texts(preprocessor: Preprocessor, count: int, rng: np.random.Generator) -> tuple[str, ...]:
    tokenizer = preprocessor.tokenizer
    words: tuple[str, ...] = ("pick", "up", "the", "red", "cube", "and", "put", "it", "there")
    if isinstance(tokenizer, Tokenizer) and tokenizer.words:
        words = tokenizer.words
    # The number tells texts apart however few words there are.
    return tuple(
        f"{' '.join(rng.choice(words, _WORDS_PER_TEXT))} {number}" for number in range(count)
    )
