"""Writes a file whole or not at all."""

import contextlib
import os
from pathlib import Path

from jointspace.errors import StorageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes to a file beside `path`, flushes it to the disk, and gives it the name in one step.

    A crash or a full disk leaves what was there before. Missing folders are made.

    Raises:
        StorageError: the file could not be written.
    """
    payload = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
