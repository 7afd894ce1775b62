"""Results as JSON lines, one per finished run, so that an interrupted benchmark continues."""

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jointspace.config import RunConfig

NOT_COMPARED = ("train.num_threads",)
"""Keys that change how long a run takes, and not what comes out of it."""

Record = Mapping[str, Any]


class ResultsFile:
    """Appends records whole, and reads those that are whole; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def append(self, record: Record) -> None:
        """Adds a record with one write, forced to the disk; a line cut by a kill stays alone."""
        line = json.dumps(record, allow_nan=False) + "\n"
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                if file.tell() and not self._ends_whole():
                    line = "\n" + line
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """Returns the records in the order written."""
        if not self._path.exists():
            return []
        records = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def flat_config(config: RunConfig) -> dict[str, Any]:
    """Returns every key of a configuration by its dotted name, as JSON keeps it."""

    def walk(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in table.items():
            if isinstance(value, Mapping):
                found |= walk(value, f"{prefix}{name}.")
            else:
                found[f"{prefix}{name}"] = value
        return found

    return json.loads(json.dumps(walk(dataclasses.asdict(config), "")))


def is_same_run(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tells whether a stored run is what a configuration would train.

    A key that the stored run does not know had no effect then: it must have its default now.

    Args:
        stored: from `flat_config`, perhaps of an earlier version.
        wanted: from `flat_config`.
    """
    defaults = flat_config(RunConfig())
    keys = (set(stored) | set(wanted)) - set(NOT_COMPARED)
    return all(key in wanted and stored.get(key, defaults.get(key)) == wanted[key] for key in keys)


def data_identity(data: Path) -> str:
    """Returns a name of a data set that does not depend on where it lies."""
    digest = hashlib.sha256()
    for file in sorted((data / "meta").glob("*.json*")):
        digest.update(file.name.encode() + file.read_bytes())
    return f"{data.resolve().name}-{digest.hexdigest()[:12]}"
