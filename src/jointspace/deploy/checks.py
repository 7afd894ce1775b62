"""Refuses by name what a graph would turn into a wrong vector: shapes, types, NaN, blank texts."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8

from jointspace.batch import TEXT, VISION, Modality
from jointspace.data.tokenizer import TextEncoding
from jointspace.errors import InputError


def checked_pictures(
    pictures: Shaped[np.ndarray, "..."], *, image_px: int
) -> UInt8[np.ndarray, "picture px px 3"]:
    """Returns pictures that are what the model takes.

    Args:
        pictures: uint8 RGB, "picture px px 3".
        image_px: side of the model's pictures.

    Raises:
        InputError: another type or shape.
    """
    wanted = ("picture", image_px, image_px, 3)
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != wanted[1:]:
        raise InputError(
            f"'{VISION}': got pictures of type {pictures.dtype} and shape {pictures.shape}; wanted "
            f"uint8 RGB of shape {_shape(wanted)}: resize each with "
            "jointspace.data.resize.resize_frame, or let a VisionStream do it"
        )
    return pictures


def checked_vectors(
    vectors: Shaped[np.ndarray, "..."],
    valid: Shaped[np.ndarray, "..."] | None,
    *,
    num_cameras: int,
    width: int,
) -> tuple[Float32[np.ndarray, "batch time camera width"], Bool[np.ndarray, "batch time camera"]]:
    """Returns vectors of pictures that are what the model takes, zero where they are masked.

    Args:
        vectors: from `BundleEmbedder.encode_frames`, "batch time camera width".
        valid: True where a picture is real; None means everywhere.
        num_cameras: of the model.
        width: of a vector.

    Raises:
        InputError: another type or shape, or a valid vector that is not finite.
    """
    wanted = ("batch", "time", num_cameras, width)
    if (
        not _is_float(vectors)
        or vectors.ndim != 4
        or vectors.shape[2:] != wanted[2:]
        or vectors.shape[1] < 1
    ):
        raise InputError(
            f"'{VISION}': got vectors of type {vectors.dtype} and shape {vectors.shape}; wanted "
            f"floating point of shape {_shape(wanted)} with at least one time, as encode_frames "
            "makes them"
        )
    mask = _checked_valid(VISION, valid, vectors.shape[:3])
    return _finite_values(VISION, vectors, mask), mask


def checked_steps(
    modality: Modality,
    values: Shaped[np.ndarray, "..."],
    valid: Shaped[np.ndarray, "..."] | None,
    *,
    channels: int,
) -> tuple[Float32[np.ndarray, "batch time channel"], Bool[np.ndarray, "batch time"]]:
    """Returns readings that are what the model takes, zero where they are masked.

    Args:
        modality: whose.
        values: floating point, "batch time channel".
        valid: True where a step is real; None means everywhere.
        channels: of the model.

    Raises:
        InputError: another type or shape, or a valid step that is not finite.
    """
    wanted = ("batch", "time", channels)
    if (
        not _is_float(values)
        or values.ndim != 3
        or 0 in values.shape[1:]
        or (values.shape[2] != channels)
    ):
        raise InputError(
            f"'{modality}': got steps of type {values.dtype} and shape {values.shape}; wanted "
            f"floating point of shape {_shape(wanted)} with at least one step"
        )
    mask = _checked_valid(modality, valid, values.shape[:2])
    return _finite_values(modality, values, mask), mask


def checked_ids(
    modality: Modality,
    values: Shaped[np.ndarray, "..."],
    valid: Shaped[np.ndarray, "..."] | None,
    *,
    size: int,
) -> tuple[Shaped[np.ndarray, "batch time"], Bool[np.ndarray, "batch time"]]:
    """Returns ids (of words, or of discrete actions) that the model knows, 0 where masked.

    Args:
        modality: whose.
        values: whole numbers "batch time".
        valid: True where an id is real; None means everywhere.
        size: how many ids there are.

    Raises:
        InputError: another type or shape, or a valid id that does not exist.
    """
    if not np.issubdtype(values.dtype, np.integer) or values.ndim != 2 or values.shape[1] < 1:
        raise InputError(
            f"'{modality}': got ids of type {values.dtype} and shape {values.shape}; wanted whole "
            "numbers of shape (batch, time) with at least one id"
        )
    mask = _checked_valid(modality, valid, values.shape)
    ids = np.where(mask, values, 0).astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        raise InputError(
            f"'{modality}': got ids in [{ids.min()}, {ids.max()}]; wanted [0, {size}), "
            "those of the bundle's own preprocessing"
        )
    return ids, mask


def checked_times(
    modality: Modality, time_s: Shaped[np.ndarray, "..."] | None, valid: Bool[np.ndarray, "..."]
) -> Float32[np.ndarray, "batch time"]:
    """Returns the times of steps, zero where they are masked.

    Args:
        modality: whose.
        time_s: seconds since the start of each row's span, "batch time".
        valid: True where something is real, "batch time ...".

    Raises:
        InputError: no times, another type or shape, or valid times that are not finite or go
            backwards.
    """
    if time_s is None or not _is_float(time_s) or time_s.shape != valid.shape[:2]:
        got = "none" if time_s is None else f"type {time_s.dtype} and shape {time_s.shape}"
        raise InputError(
            f"'{modality}': got times of {got}; wanted floating point seconds of shape "
            f"{valid.shape[:2]}"
        )
    seen = valid.any(axis=tuple(range(2, valid.ndim)))
    times = np.where(seen, time_s, 0).astype(np.float32)
    if not np.isfinite(times).all():
        raise InputError(f"'{modality}': got a time that is not finite; wanted seconds")
    latest = np.maximum.accumulate(np.where(seen, times, -np.inf), axis=1)
    if (seen & (times < latest)).any():
        raise InputError(
            f"'{modality}': got times that go backwards; wanted the steps in order of time"
        )
    return times


def check_texts(texts: Sequence[object]) -> None:
    """Refuses texts that say nothing.

    Args:
        texts: the texts.

    Raises:
        InputError: one is no `str`, or blank.
    """
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"'{TEXT}': text {row} is {text!r}; wanted an instruction in words")


def check_words(
    texts: Sequence[str], ids: np.ndarray, valid: np.ndarray, *, tokenizer: TextEncoding
) -> None:
    """Refuses texts of which the model knows nothing at all.

    Args:
        texts: the texts, for the message.
        ids: what the tokenizer made of them.
        valid: True where an id is real.
        tokenizer: says which ids stand for no word.

    Raises:
        InputError: a text has only ids that stand for no word.
    """
    means = valid & ~np.isin(ids, list(tokenizer.special_ids))
    silent = np.flatnonzero(~means.any(axis=1))
    if len(silent):
        raise InputError(
            f"'{TEXT}': text {silent[0]}, {texts[silent[0]]!r}, holds nothing that the model can "
            "read; wanted words of the language that it was trained on"
        )


def _checked_valid(
    modality: Modality, valid: np.ndarray | None, shape: tuple[int, ...]
) -> Bool[np.ndarray, "..."]:
    if valid is None:
        return np.ones(shape, dtype=np.bool_)
    if valid.dtype != np.bool_ or valid.shape != shape:
        raise InputError(
            f"'{modality}': got validity of type {valid.dtype} and shape {valid.shape}; wanted "
            f"booleans of shape {shape}"
        )
    return valid


def _finite_values(
    modality: Modality, values: np.ndarray, valid: np.ndarray
) -> Float32[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        kept = np.where(valid[..., None], values, 0).astype(np.float32)
    if not np.isfinite(kept).all():
        row, step = (int(each) for each in np.argwhere(~np.isfinite(kept))[0][:2])
        raise InputError(
            f"'{modality}': row {row}, step {step} holds NaN, infinity, or a number beyond "
            "float32; wanted finite readings: leave the step out, or mark it as not valid"
        )
    return kept


def _is_float(values: np.ndarray) -> bool:
    return bool(np.issubdtype(values.dtype, np.floating))


def _shape(wanted: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, wanted))})"
