"""The arguments of every command: what `--help` shows, and all that it has to import."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

Flag = FlagCreatePairsOff[bool]


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Tell what is in a robot data set, and what is wrong with it."""

    dataset: Annotated[Positional[Path], arg(metavar="DATASET")]
    """Folder of the data set (LeRobot v2.0, v2.1 or v3.0)."""
    videos: bool = True
    """Decode every video, to find the broken and the black ones."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a joint space on a robot data set; writes a run folder."""

    config: Annotated[Positional[Path], arg(metavar="CONFIG")]
    """TOML file, as in configs/."""
    data: Annotated[Path, arg(metavar="DATASET")]
    """Folder of the data set."""
    out: Annotated[Path, arg(metavar="RUN")]
    """Run folder to write."""
    resume: Flag = False
    """Continue from the run folder's last checkpoint."""
    set: Annotated[UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="KEY=VALUE ...")] = ()
    """Change keys of the configuration: --set train.num_steps=200 seed=1."""
    json: Flag = False
    """Print one JSON object on standard output."""

    @property
    def overrides(self) -> tuple[str, ...]:
        """Every KEY=VALUE, in the order given."""
        return tuple(each for group in self.set for each in group)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure retrieval in every direction on held-out episodes; writes a report."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training."""
    data: Annotated[Path, arg(metavar="DATASET")]
    """Folder of the data set."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of the run's splits to measure."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Where to write metrics, report and plots; the run folder by default."""
    json: Flag = False
    """Print one JSON object on standard output."""


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Embed every window of a data set; writes a Parquet file of unit rows with their ids."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder of a training."""
    data: Annotated[Path, arg(metavar="DATASET")]
    """Folder of the data set."""
    out: Annotated[Path, arg(metavar="FILE")]
    """Parquet file to write."""
    json: Flag = False
    """Print one JSON object on standard output."""


Arguments = Inspect | Train | Evaluate | Embed
