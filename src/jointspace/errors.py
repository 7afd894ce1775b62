"""Every exception that jointspace raises on purpose.

The command line turns each of them into one line on standard error and exit code 2. A message says
what was wrong, where, what was expected and what to do about it.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path


class JointspaceError(Exception):
    """A mistake or a circumstance that the user can cure; never a defect of jointspace."""


class InputError(JointspaceError, ValueError):
    """A value passed to a public function has the wrong shape, type or range."""


class ConfigError(JointspaceError, ValueError):
    """A configuration file or an override holds an unknown key or an impossible value."""


class DataError(JointspaceError, ValueError):
    """A data set cannot be used: the message names the file and the cause."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = path
        self.cause = cause


class RunFolderError(JointspaceError):
    """A run folder is missing, incomplete, or was written by another version."""


class BundleError(JointspaceError):
    """A bundle is missing, incomplete, altered, of another version, or does not compute right."""


class StorageError(JointspaceError):
    """A file could not be written whole; what was there before is untouched."""


class WorkerError(JointspaceError):
    """A process that did part of the work died; what is finished is kept."""


class WireError(JointspaceError):
    """The network cannot be used as it was set up, or brought a message that cannot be read."""


class ExportError(JointspaceError):
    """A model cannot be exported, or what was exported does not compute what the model does."""


class MissingExtraError(JointspaceError, ImportError):
    """A feature needs a package of an extra that is not installed."""

    def __init__(self, package: str, extra: str, *, hint: str = "") -> None:
        super().__init__(
            f"this feature needs the package '{package}': pip install 'jointspace[{extra}]'{hint}"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest known name, else the list of known names."""
    candidates = sorted(known)
    close = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(candidates)}." if candidates else ""
