"""Whether a folder may become that of a run, and holds the run that is to be continued."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from jointspace.config import RunConfig, read_config
from jointspace.data.preprocess import PREPROCESSING_FILE
from jointspace.errors import ConfigError, RunFolderError
from jointspace.models.run_data import DATA_FOLDER, SPLITS_FILE
from jointspace.models.run_folder import CONFIG_FILE, RUN_FILE, read_run


def check_folder(out: Path, config: RunConfig, *, resume: bool) -> bool:
    """Returns whether the folder holds the run that is to be continued.

    Args:
        out: the run folder.
        config: of the run.
        resume: continue a run that is there.

    Raises:
        ConfigError: the run in the folder has another configuration.
        RunFolderError: the folder holds something that must not be overwritten.
    """
    if out.exists() and not out.is_dir():
        raise RunFolderError(f"{out}: is a file; choose a folder for the run")
    if not out.exists() or not any(out.iterdir()):
        return False
    holds_run = (out / RUN_FILE).is_file()
    if holds_run and not resume:
        raise RunFolderError(
            f"{out}: already holds a run; add --resume to continue it, or choose another folder"
        )
    if not holds_run:
        # A run that was killed before its first step has left nothing else; it begins again.
        begun = {CONFIG_FILE, SPLITS_FILE, PREPROCESSING_FILE, DATA_FOLDER}
        foreign = [p.name for p in out.iterdir() if p.name not in begun and p.suffix != ".tmp"]
        if foreign or not resume:
            raise RunFolderError(f"{out}: is not empty, and holds no run; choose another folder")
        return False
    read_run(out)
    difference = first_difference(read_config(out / CONFIG_FILE), config)
    if difference:
        key, stored, wanted = difference
        raise ConfigError(
            f"{key}: is {wanted!r}, but the run in {out} has {stored!r}; to continue a run its "
            f"configuration must not change: use {out / CONFIG_FILE}"
        )
    return True


def first_difference(stored: Any, wanted: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """Returns the first key in which two configurations differ, with its values; None if none."""
    if is_dataclass(stored):
        for field in fields(stored):
            name = f"{key}.{field.name}" if key else field.name
            found = first_difference(getattr(stored, field.name), getattr(wanted, field.name), name)
            if found:
                return found
        return None
    return None if stored == wanted else (key, stored, wanted)
