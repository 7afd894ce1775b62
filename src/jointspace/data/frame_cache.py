"""Decoded, resized frames on disk: one `.npy` per source file, written whole or not at all."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import UInt8

from jointspace.errors import StorageError

CACHE_VARIABLE = "JOINTSPACE_CACHE"
RESIZE_VERSION = 1
"""Part of every key: raise it when `resize_frame` makes other pixels."""

_HASHED_WHOLE_BYTES = 8 << 20
_HASHED_PART_BYTES = 1 << 20
_ROWS_AT_ONCE = 64
_STALE_S = 24 * 3600
_HEADER_BYTES = 128
_TEMPORARY = ".part"


def default_cache_dir() -> Path:
    """Returns `$JOINTSPACE_CACHE`, or the folder for frames in the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "jointspace" / "frames"


def cache_key(path: Path, *, column: str, image_px: int, root: Path | None = None) -> str:
    """Names the frames of a file by its content, so that copies share them and changes do not.

    Large files are known by size, time of change, and both ends (where a video keeps its index).
    Pictures that a table only names are known by place, size and time of change.

    Args:
        path: the video or table.
        column: the column of pictures in a table; empty for a video.
        image_px: side of the resized frames.
        root: folder that the pictures named in a table are relative to; None for a video.

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
    if column and root is not None:
        for picture in _loose_pictures(path, column, root):
            digest.update(_identity(picture))
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


def _loose_pictures(path: Path, column: str, root: Path) -> Iterator[Path]:
    """The files of the rows that hold no picture themselves; none where the table is unreadable."""
    # Where the table cannot be read, decoding reports what is wrong.
    with contextlib.suppress(OSError, pa.ArrowException), pq.ParquetFile(path) as parquet:
        # Names are cheap to read. Writers keep them beside embedded pictures too, which need not be
        # read when nothing of that name is there to be decoded instead.
        names: set[str] = set()
        for batch in parquet.iter_batches(columns=[f"{column}.path"]):
            if batch.num_columns:
                names.update(n for n in _field(batch.column(0), "path").to_pylist() if n)
        if not any((root / name).exists() for name in names):
            return
        for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=[column]):
            cells = batch.column(0)
            # A writer that saw no bytes at all leaves their type open: null.
            content = _field(cells, "bytes").cast(pa.large_binary())
            loose = pc.equal(pc.fill_null(pc.binary_length(content), 0), 0)
            yield from (root / n for n in _field(cells, "path").filter(loose).to_pylist() if n)


def _field(cells: pa.Array, name: str) -> pa.Array:
    return pc.struct_field(cells, name)


def _identity(file: Path) -> bytes:
    try:
        status = file.stat()
        return f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode()
    except (OSError, ValueError):  # missing, or no possible name
        return f"{file} missing\n".encode()


def _header(shape: tuple[int, ...]) -> bytes:
    """The `.npy` header (version 1.0) of a uint8 array, padded to a size known beforehand."""
    fields = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text = fields.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + text.encode("latin1")
