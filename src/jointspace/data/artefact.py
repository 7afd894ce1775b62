"""Writes and reads the small JSON files that a run folder keeps; what is there is always whole."""

import json
from pathlib import Path
from typing import Any

from jointspace.errors import RunFolderError
from jointspace.storage import write_whole


def write_json(path: Path, payload: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all.

    Args:
        path: the file; its folder is made if it is missing.
        payload: the object to write.

    Raises:
        StorageError: the file could not be written.
    """
    text = json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_whole(path, text)


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
