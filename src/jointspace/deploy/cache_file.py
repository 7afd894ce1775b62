"""Embeddings on disk: one file that only grows, whole after a kill at any moment."""

import contextlib
import fcntl
import json
import os
import tempfile
import threading
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float, Float32

from jointspace.deploy.cache_keys import KEY_BYTES, checksum, text_key
from jointspace.errors import InputError, StorageError
from jointspace.storage import force_folder

FILE_VERSION = 1
"""Format of the file, stated in its first line."""

_MAGIC = f"jointspace embeddings {FILE_VERSION}\n".encode()
_CHECK_BYTES = 8


class EmbeddingFile:
    """Vectors by their keys in a file of a folder, for what is computed once and read often.

    The file belongs to one version: another version of the model has another file in the same
    folder, so that none is ever mistaken for the other; one that is no longer used may be deleted.
    After its head the file holds records of one size: a key, a float32 vector and a checksum of
    both. Records are only ever added at the end. What a kill leaves there half-written is written
    over by the next put, and a record that does not fit its checksum counts as missing, so that it
    is computed again.

    One process writes at a time; any number read, each seeing what was there when it opened the
    file. Threads may share an object. Keys are held in memory, with about 150 bytes for each.

    Args:
        folder: of the file; made if it is missing and the file may be written.
        version: names the model's weights and the preprocessing, as in `CachedEmbedder`.
        dim: length of the vectors.
        writable: add to the file, which is made if it is missing; else it must be there.

    Raises:
        InputError: the version is empty, or `dim` is below 1.
        StorageError: the file is missing, cannot be opened, is no file of embeddings, or another
            process writes it.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with EmbeddingFile(folder, version="a", dim=2) as file:
        ...     file.put(bytes(16), np.float32([0, 1]))
        True
        >>> EmbeddingFile(folder, version="a", dim=2, writable=False).get(bytes(16))
        array([0., 1.], dtype=float32)
    """

    def __init__(self, folder: Path, *, version: str, dim: int, writable: bool = True) -> None:
        if not version:
            raise InputError("cache file: version is empty; wanted the name of model and data")
        if dim < 1:
            raise InputError(f"cache file: dim is {dim}; wanted at least 1")
        self.path = folder / f"{text_key(version, version=str(dim)).hex()}.rows"
        self.dim = dim
        self.writable = writable
        self._lock = threading.Lock()
        self._head = _MAGIC + json.dumps({"version": version, "dim": dim}).encode() + b"\n"
        self._record_bytes = KEY_BYTES + 4 * dim + _CHECK_BYTES
        try:
            self._descriptor = self._open()
            try:
                self._check_head()
                self._num_records = self._whole_records()
                self._record_of = self._read_keys()
            except BaseException:
                os.close(self._descriptor)
                raise
        except BlockingIOError:
            raise StorageError(
                f"{self.path}: another process writes it; wait for it, or open the file to read"
            ) from None
        except OSError as error:
            raise self._failed("opened", error) from error

    def __len__(self) -> int:
        return len(self._record_of)

    def __contains__(self, key: bytes) -> bool:
        return key in self._record_of

    def __enter__(self) -> "EmbeddingFile":  # noqa: PYI034 - beartype does not take Self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, key: bytes) -> Float32[np.ndarray, " dim"] | None:
        """Returns the vector of a key; None if it is not there, or was damaged.

        Raises:
            InputError: the file was closed.
            StorageError: it cannot be read.
        """
        record = self._record_of.get(key)
        if record is None:
            return None
        start = len(self._head) + record * self._record_bytes
        try:
            stored = os.pread(self._open_descriptor(), self._record_bytes, start)
        except OSError as error:
            raise self._failed("read", error) from error
        content = stored[:-_CHECK_BYTES]
        if stored[:KEY_BYTES] != key or stored[-_CHECK_BYTES:] != checksum(content):
            with self._lock:
                self._record_of.pop(key, None)
            return None
        return np.frombuffer(content, "<f4", offset=KEY_BYTES).astype(np.float32)

    def put(self, key: bytes, vector: Float[np.ndarray, " dim"]) -> bool:
        """Adds a vector; it survives the process at once, and a power cut after `flush`.

        Returns:
            False if nothing was written: the key is there already, or the vector is not finite.

        Raises:
            InputError: the key has not 16 bytes, the vector is not float32 of length `dim`, or the
                file was closed or opened to read.
            StorageError: it cannot be written.
        """
        if not self.writable:
            raise InputError(f"cache file: {self.path} was opened to read; wanted writable=True")
        if len(key) != KEY_BYTES:
            raise InputError(f"cache file: a key has {len(key)} bytes; wanted {KEY_BYTES}")
        if vector.shape != (self.dim,) or vector.dtype != np.float32:
            raise InputError(
                f"cache file: a vector is {vector.dtype} of shape {vector.shape}; "
                f"wanted float32 of shape ({self.dim},)"
            )
        if not np.isfinite(vector).all():
            return False
        content = key + vector.astype("<f4").tobytes()
        with self._lock:
            if key in self._record_of:
                return False
            self._append(content + checksum(content))
            self._record_of[key] = self._num_records
            self._num_records += 1
        return True

    def flush(self) -> None:
        """Forces what was put to the disk.

        Raises:
            InputError: the file was closed.
            StorageError: it could not be written.
        """
        try:
            os.fsync(self._open_descriptor())
        except OSError as error:
            raise self._failed("written", error) from error

    def close(self) -> None:
        """Forces what was put to the disk, and lets another process write. May be called again.

        Raises:
            StorageError: the file could not be written.
        """
        if self._descriptor < 0:
            return
        try:
            if self.writable:
                self.flush()
        finally:
            with self._lock:
                descriptor, self._descriptor = self._descriptor, -1
                os.close(descriptor)

    def _open(self) -> int:
        if not self.writable:
            return os.open(self.path, os.O_RDONLY)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            self._make()
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _make(self) -> None:
        """Makes a file without records, which appears with its whole head or not at all."""
        handle, aside = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._head)
                file.flush()
                os.fsync(file.fileno())
            # A link fails where another process was faster; its file may already hold records.
            with contextlib.suppress(FileExistsError):
                Path(self.path).hardlink_to(aside)
            force_folder(self.path.parent)
        finally:
            Path(aside).unlink(missing_ok=True)

    def _check_head(self) -> None:
        if os.pread(self._descriptor, len(self._head), 0) != self._head:
            raise StorageError(
                f"{self.path}: is no file of embeddings of this version; delete it to begin anew"
            )

    def _whole_records(self) -> int:
        """Counts the whole records; a part of one behind them is written over by the next put."""
        return (os.fstat(self._descriptor).st_size - len(self._head)) // self._record_bytes

    def _read_keys(self) -> dict[bytes, int]:
        """Returns key -> number of its record, the last one of a key."""
        if not self._num_records:
            return {}
        layout = np.dtype(
            [("key", f"V{KEY_BYTES}"), ("rest", f"V{self._record_bytes - KEY_BYTES}")]
        )
        records = np.memmap(
            self.path, layout, mode="r", offset=len(self._head), shape=(self._num_records,)
        )
        return {key: number for number, key in enumerate(records["key"].tolist())}

    def _append(self, record: bytes) -> None:
        descriptor = self._open_descriptor()
        end = len(self._head) + self._num_records * self._record_bytes
        try:
            written = 0
            while written < len(record):
                written += os.pwrite(descriptor, record[written:], end + written)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            raise self._failed("written", error) from error

    def _open_descriptor(self) -> int:
        if self._descriptor < 0:
            raise InputError(f"cache file: {self.path} was closed")
        return self._descriptor

    def _failed(self, what: str, error: OSError) -> StorageError:
        return StorageError(f"{self.path}: could not be {what}: {error.strerror or error}")
