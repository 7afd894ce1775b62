"""Whether a folder holds what is to be made, an unfinished part of it, or something else."""

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jointspace import __version__
from jointspace.errors import InputError
from jointspace.sim.plan import SimulationPlan
from jointspace.storage import write_whole

PLAN_FILE = "plan.json"
"""Holds the manifest of what is not finished yet."""


def simulation_manifest(plan: SimulationPlan, *, packages: Iterable[str]) -> dict[str, Any]:
    """Returns what decides the bytes: the plan and the versions of whatever computes them.

    Args:
        plan: what is simulated.
        packages: names of the packages that compute or write it.
    """
    return {
        "format": 1,
        "plan": plan.to_json(),
        "versions": {"jointspace": __version__}
        | {name: importlib.metadata.version(name) for name in packages},
        "splits": {
            name: f"{numbers.start}:{numbers.stop}" for name, numbers in plan.split_ranges.items()
        },
    }


def is_whole(out: Path, manifest: Mapping[str, Any], *, name: Path) -> bool:
    """Tells whether a folder holds this very simulation; anything else in its place is refused.

    Args:
        out: the folder.
        manifest: of the simulation.
        name: of the file in the folder that holds its manifest.

    Returns:
        False where there is no such folder, or an empty one.

    Raises:
        InputError: it is a file, or holds something else or another simulation.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; choose a folder for the data set")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    if not (out / name).is_file():
        raise InputError(f"{out}: is not empty, and holds no simulated data set; choose another")
    _refuse_difference(out, out / name, manifest)
    return True


def begin(partial: Path, manifest: Mapping[str, Any], *, name: Path) -> None:
    """Makes the folder of an unfinished simulation, or finds that it is of the same plan.

    Args:
        partial: the folder.
        manifest: of the simulation.
        name: of the file that holds the manifest of a finished one.

    Raises:
        InputError: it holds something else, or an unfinished simulation of another plan.
        StorageError: the plan could not be written.
    """
    if partial.is_dir() and any(partial.iterdir()):
        file = partial / PLAN_FILE
        if not file.is_file():
            file = partial / name  # killed just before it got its name
        if not file.is_file():
            raise InputError(
                f"{partial}: holds something else than an unfinished data set; remove it"
            )
        _refuse_difference(partial, file, manifest)
        return
    write_whole(partial / PLAN_FILE, json.dumps(manifest, indent=1) + "\n")


def _refuse_difference(folder: Path, file: Path, manifest: Mapping[str, Any]) -> None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); remove its data set") from error
    for part in ("plan", "versions"):
        found = stored.get(part) if isinstance(stored, dict) else None
        found = found if isinstance(found, dict) else {}
        for key, wanted in manifest[part].items():
            if found.get(key) != wanted:
                raise InputError(
                    f"{folder}: holds a data set with {part} {key} = {found.get(key)!r}, asked for "
                    f"is {wanted!r}; remove it, or choose another folder"
                )
