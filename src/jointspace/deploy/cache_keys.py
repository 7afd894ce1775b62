"""Keys of a cache: what a row, an array or a text is, in 16 bytes.

The hash is fast and not cryptographic: different content shares a key by chance once in 1e21 at a
billion rows, but whoever may choose the content can make two that do. Do not share a cache between
those who trust each other with their robots and those who do not.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jointspace.batch import TEXT, Modality, ModalityInput
from jointspace.errors import InputError, MissingExtraError

try:
    from xxhash import xxh3_64_digest, xxh3_128, xxh3_128_digest
except ImportError as error:
    raise MissingExtraError("xxhash", "deploy") from error

KEY_BYTES = 16
"""Length of every key."""


def text_key(text: str, *, version: str) -> bytes:
    """Names a text by its characters.

    Args:
        text: as the tokenizer's `normalise` returns it, so that spellings that mean the same to the
            model share a key.
        version: what else its embedding depends on: the model and the preprocessing.

    Returns:
        16 bytes.
    """
    # The length of the version says where it ends; a lone surrogate, which JSON can carry, is a
    # character as any other here.
    return xxh3_128_digest(f"{len(version)} {version}{text}".encode("utf-8", "surrogatepass"))


def array_key(array: Shaped[np.ndarray, "..."], *, modality: Modality, version: str) -> bytes:
    """Names an array by its bytes, shape and type.

    NaN is content like any other: equal bytes, equal key.

    Args:
        array: a picture, or steps, as they come from the robot.
        modality: what it is of.
        version: what else its embedding depends on: the model and the preprocessing.

    Returns:
        16 bytes.

    Raises:
        InputError: the array holds objects.
    """
    if array.dtype.hasobject:
        raise InputError(f"cache: '{modality}' holds Python objects; wanted numbers")
    digest = _array_head(modality, version, array.dtype, array.shape).copy()
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


@functools.lru_cache(maxsize=256)
def _array_head(
    modality: Modality, version: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> xxh3_128:
    """Returns a digest of all but the bytes, to be copied: pictures mostly have one shape."""
    return xxh3_128(repr((version, str(modality), dtype.str, shape)).encode())


def checksum(content: bytes) -> bytes:
    """Returns 8 bytes that tell whether stored content is as it was."""
    return xxh3_64_digest(content)


def content_keys(inputs: Mapping[Modality, ModalityInput], *, version: str) -> list[bytes]:
    """Names every row by what it holds: equal keys mean equal rows.

    The key covers each modality's name, values, validity and times, with their shapes and types,
    and which robot they are from, since each has input layers of its own; all share those of text.
    What a tower may not depend on is left out: steps after the last valid one are cut, and masked
    values and the times of masked steps count as zero. So a row keeps its key however far its batch
    is padded. Gaps before the last valid step stay, since a tower may tell steps by their position.

    Args:
        inputs: the modalities that the embedding depends on, all of the same rows.
        version: what else it depends on: the model, the preprocessing, the query.

    Returns:
        One key of 16 bytes per row.

    Raises:
        InputError: validity or times do not fit the values, or an array holds objects.

    Source:
        XXH3 (Collet 2019), with 128 bits of digest.
    """
    digests: list[xxh3_128] = []
    for modality, each in inputs.items():
        values, valid, time_s = each.values, each.valid, each.time_s
        _check(modality, each)
        robot = 0 if modality == TEXT else each.embodiment
        steps = valid.any(axis=tuple(range(2, valid.ndim)))
        stops = (steps * np.arange(1, steps.shape[1] + 1)).max(axis=1, initial=0)
        entries = tuple(range(1, valid.ndim))
        gaps = valid.sum(axis=entries) < stops * np.prod(valid.shape[2:], dtype=np.int64)
        if not digests:
            start = xxh3_128(repr(version).encode())
            digests = [start.copy() for _ in stops]
        for row, (digest, stop) in enumerate(zip(digests, stops, strict=True)):
            parts = [valid[row, :stop], values[row, :stop]]
            if time_s is not None:
                parts.append(time_s[row, :stop])
            if gaps[row]:
                masks = (parts[0], parts[0], steps[row, :stop])
                parts = [_visible(part, mask) for part, mask in zip(parts, masks, strict=False)]
            # Shapes and types say where each part ends, so that no two rows spell one sequence.
            header = [(part.dtype.str, part.shape) for part in parts]
            digest.update(repr((str(modality), robot, header)).encode())
            for part in parts:
                digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return [digest.digest() for digest in digests]


def _check(modality: Modality, each: ModalityInput) -> None:
    shape, valid = each.values.shape, each.valid
    if valid.dtype != np.bool_ or valid.ndim < 2 or shape[: valid.ndim] != valid.shape:
        raise InputError(
            f"cached embedder: validity of '{modality}' has shape {valid.shape} and type "
            f"{valid.dtype}; wanted the first axes of the values {shape}, as booleans"
        )
    if each.time_s is not None and each.time_s.shape != shape[:2]:
        raise InputError(
            f"cached embedder: times of '{modality}' have shape {each.time_s.shape}; "
            f"wanted {shape[:2]}, the first axes of the values"
        )
    if each.values.dtype.hasobject:
        raise InputError(f"cached embedder: '{modality}' holds Python objects; wanted numbers")


def _visible(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns the array with zeros where it is masked."""
    shown = array.copy()
    shown[~valid] = 0
    return shown
