"""Decoded, resized frames on disk: one `.npy` per source file, written whole or not at all."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jointspace.errors import StorageError

CACHE_VARIABLE = "JOINTSPACE_CACHE"
RESIZE_VERSION = 1
"""Part of every key: raise it when `resize_frame` makes other pixels."""

_HASHED_WHOLE_BYTES = 8 << 20
_HASHED_PART_BYTES = 1 << 20
_STALE_S = 24 * 3600
_HEADER_BYTES = 128
_TEMPORARY = ".part"


def default_cache_dir() -> Path:
    """Returns `$JOINTSPACE_CACHE`, or the folder for frames in the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "jointspace" / "frames"


def cache_key(path: Path, *, column: str, image_px: int) -> str:
    """Names the frames of a file by its content, so that copies share them and changes do not.

    Large files are known by size, time of change, and both ends (where a video keeps its index).

    Args:
        path: the video or table.
        column: the column of pictures in a table; empty for a video.
        image_px: side of the resized frames.

    Returns:
        A hexadecimal name.
    """
    status = path.stat()
    digest = hashlib.sha256(f"{RESIZE_VERSION} {image_px} {column} {status.st_size}\n".encode())
    with path.open("rb") as file:
        if status.st_size <= _HASHED_WHOLE_BYTES:
            digest.update(file.read())
        else:
            digest.update(str(status.st_mtime_ns).encode())
            digest.update(file.read(_HASHED_PART_BYTES))
            file.seek(-_HASHED_PART_BYTES, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()[:32]


def write_frames(
    file: Path, frames: Iterable[UInt8[np.ndarray, "px px 3"]], *, image_px: int
) -> int:
    """Writes frames as they come to a `.npy` file that appears only when it is complete.

    Processes that write the same file at the same time do not disturb each other. Whatever `frames`
    raises passes through, and leaves nothing behind.

    Args:
        file: the file.
        frames: any number of frames, none of them kept in memory.
        image_px: their side.

    Returns:
        How many there were.

    Raises:
        StorageError: the file could not be written, as when the disk is full.
    """
    count = 0
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{file.stem}.", suffix=_TEMPORARY, dir=file.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as out:
                # The header holds the number of frames, known only when the last one is written.
                out.write(bytes(_HEADER_BYTES))
                for frame in frames:
                    out.write(frame.tobytes())
                    count += 1
                out.seek(0)
                out.write(_header((count, image_px, image_px, 3)))
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{file}: cannot be written: {error.strerror or error}") from None
    return count


def remove_stale(folder: Path) -> None:
    """Removes what killed processes left half-written in a cache folder more than a day ago."""
    for file in folder.glob(f"*{_TEMPORARY}"):
        with contextlib.suppress(OSError):  # another process may remove it first
            if time.time() - file.stat().st_mtime > _STALE_S:
                file.unlink()


def _header(shape: tuple[int, ...]) -> bytes:
    """The `.npy` header (version 1.0) of a uint8 array, padded to a size known beforehand."""
    fields = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text = fields.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.encode("latin1")
