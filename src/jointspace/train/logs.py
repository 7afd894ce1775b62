"""What a training run tells: JSON lines, TensorBoard, and a progress bar on standard error."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from jointspace.errors import MissingExtraError, StorageError
from jointspace.storage import write_whole

Record = Mapping[str, Any]
"""One line of the log: numbers and text, and mappings of them; `step` counts the steps done."""


@runtime_checkable
class Log(Protocol):
    """What a training run tells to."""

    def write(self, record: Record) -> None:
        """Adds a record."""
        ...

    def advance(self, step: int, *, loss: float) -> None:
        """Tells that `step` steps are done."""
        ...

    def say(self, message: str) -> None:
        """Tells a line to who watches."""
        ...

    def close(self) -> None:
        """Ends the log."""
        ...


class SilentLog:
    """The log of a process that lets another one speak: of several, rank 0 alone does."""

    def write(self, record: Record) -> None:
        """Does nothing."""

    def advance(self, step: int, *, loss: float) -> None:
        """Does nothing."""

    def say(self, message: str) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class TrainLog:
    """Writes records to `log.jsonl` and TensorBoard, and shows how far training is.

    Args:
        log_file: JSON lines; a line is written whole and flushed at once.
        tensorboard_folder: for TensorBoard's event files.
        num_steps: of the whole run.
        first_step: steps done before; what the log says beyond them, a run that was killed wrote,
            and is dropped.
        show_progress: a bar on standard error.

    Raises:
        StorageError: the log cannot be written.
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(
        self,
        log_file: Path,
        *,
        tensorboard_folder: Path,
        num_steps: int,
        first_step: int = 0,
        show_progress: bool = True,
    ) -> None:
        # Imported here: it takes a second, and only training needs it.
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("tensorboard", "train") from error
        self._path = log_file
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not show_progress,
        )
        self._show = show_progress
        self._task = self._progress.add_task(
            "training", total=num_steps, completed=first_step, loss="-"
        )
        with self._storage():
            _truncate(log_file, first_step)
            self._file = log_file.open("a", encoding="utf-8")
            self._tensorboard = SummaryWriter(
                str(tensorboard_folder), purge_step=first_step + 1 if first_step else None
            )
        self._progress.start()

    def write(self, record: Record) -> None:
        """Adds a record; its numbers go to TensorBoard as well.

        Args:
            record: has `step` and `kind`, which prefixes the names in TensorBoard.

        Raises:
            StorageError: the log cannot be written.
        """
        with self._storage():
            self._file.write(json.dumps(record, allow_nan=False) + "\n")
            self._file.flush()
            for name, value in _numbers(record):
                if name != "step":
                    self._tensorboard.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def advance(self, step: int, *, loss: float) -> None:
        """Moves the bar to `step` steps done."""
        self._progress.update(self._task, completed=step, loss=f"{loss:.3f}")

    def say(self, message: str) -> None:
        """Prints a line above the bar."""
        if self._show:
            self._console.print(message)

    def close(self) -> None:
        """Ends the bar and writes what TensorBoard still holds.

        Raises:
            StorageError: it cannot be written.
        """
        self._progress.stop()
        with self._storage():
            self._file.close()
            self._tensorboard.close()

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._path}: log not written: {error.strerror or error}"
            ) from error


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads the records of a `log.jsonl`; a last line that was cut by a kill is left out.

    Args:
        path: the file; one that does not exist has no records.

    Returns:
        The records, in the order written.
    """
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


def _truncate(path: Path, last_step: int) -> None:
    kept = [record for record in read_log(path) if record["step"] <= last_step]
    write_whole(path, "".join(json.dumps(record) + "\n" for record in kept))


def _numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value
