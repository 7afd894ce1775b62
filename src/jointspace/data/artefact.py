"""Writes and reads the small JSON files that a run folder keeps; what is there is always whole."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from jointspace.errors import RunFolderError, StorageError


def write_json(path: Path, payload: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all.

    The text goes to a file beside it, is flushed to the disk, and takes the name in one step, so
    that a crash or a full disk leaves what was there before.

    Args:
        path: the file; its folder is made if it is missing.
        payload: the object to write.

    Raises:
        StorageError: the file could not be written.
    """
    text = json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_json(path: Path, *, version: int) -> dict[str, Any]:
    """Reads a JSON file of a run folder and checks its format version.

    Args:
        path: the file.
        version: the version that this program understands, stored under `version`.

    Returns:
        The object in the file.

    Raises:
        RunFolderError: the file is missing, is no JSON object, or has another version.
    """
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunFolderError(f"{path}: is no valid JSON: {error}") from error
    if not isinstance(payload, dict):
        raise RunFolderError(f"{path}: expected a JSON object, got {type(payload).__name__}")
    if payload.get("version") != version:
        raise RunFolderError(
            f"{path}: has format version {payload.get('version')!r}, this jointspace "
            f"reads {version}; train again, or use the jointspace that wrote it"
        )
    return payload
