"""Writes files whole or not at all: a crash, a kill or a full disk leaves what was there before."""

import contextlib
import os
from pathlib import Path

from jointspace.errors import StorageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes to a file beside `path`, forces it to the disk, and gives it the name in one step.

    Missing folders are made.

    Args:
        path: the file; replaced if it is there.
        content: a text is written as UTF-8.

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
        force_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def force_folder(folder: Path) -> None:
    """Forces a folder's entries to the disk, without which a rename may not survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
