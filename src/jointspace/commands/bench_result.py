"""What `jointspace bench` has to say: tables for a reader, one object for a program."""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from jointspace.deploy.footprint import Footprint
from jointspace.deploy.latency import Latency
from jointspace.deploy.stages import END_TO_END

SHARED_PIPELINE = "without a graph"
"""Column of the stages that cost the same with every engine."""

BASELINE = "torch eager"

_PACKAGES = ("jointspace", "numpy", "onnxruntime", "openvino", "torch", "pillow")


@dataclass(frozen=True)
class Entry:
    """What one stage took in one pipeline.

    Attributes:
        pipeline: name of the way.
        num_threads: that a call may use.
        batch: rows.
        stage: name of the stage.
        latency: of a call.
    """

    pipeline: str
    num_threads: int
    batch: int
    stage: str
    latency: Latency


@dataclass(frozen=True)
class BenchResult:
    """What was measured.

    Attributes:
        subject: what, in words.
        entries: all measurements.
        footprints: name of a pipeline -> what a process of its own needs.
        notes: what was left out, and why.
        plot: file of the plot, if one was drawn.
    """

    subject: str
    entries: tuple[Entry, ...]
    footprints: Mapping[str, Footprint]
    notes: tuple[str, ...]
    plot: Path | None = None

    def ratio(self, entry: Entry) -> float | None:
        """Returns how many times as long eager torch took at the median; None if it did not run."""
        for other in self.entries:
            key = (other.pipeline, other.num_threads, other.batch, other.stage)
            if key == (BASELINE, entry.num_threads, entry.batch, entry.stage):
                return other.latency.p50_ms / entry.latency.p50_ms
        return None

    def render(self) -> Group:
        """Returns a table for every batch size and number of threads, and one of memory."""
        parts: list[Any] = [
            self._stage_table(batch, num_threads)
            for num_threads in _distinct(entry.num_threads for entry in self.entries)
            for batch in _distinct(entry.batch for entry in self.entries)
        ]
        parts.append(self._end_to_end_table())
        if self.footprints:
            parts.append(self._footprint_table())
        parts += [f"note: {note}" for note in self.notes]
        if self.plot is not None:
            parts.append(f"plot: {self.plot}")
        return Group(*parts)

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "version": 1,
            "subject": self.subject,
            "machine": this_machine(),
            "entries": [
                {
                    "pipeline": each.pipeline,
                    "num_threads": each.num_threads,
                    "batch": each.batch,
                    "stage": each.stage,
                    **asdict(each.latency),
                    "times_faster_than_eager": self.ratio(each),
                }
                for each in self.entries
            ],
            "footprints": {name: asdict(each) for name, each in self.footprints.items()},
            "notes": list(self.notes),
            "plot": None if self.plot is None else str(self.plot),
        }

    def _stage_table(self, batch: int, num_threads: int) -> Table:
        here = [e for e in self.entries if (e.batch, e.num_threads) == (batch, num_threads)]
        names = _distinct(entry.pipeline for entry in here)
        table = Table(
            title=f"{self.subject}: batch {batch}, {_threads(num_threads)}; ms, p50 and p99",
            title_justify="left",
        )
        table.add_column("stage")
        for name in names:
            table.add_column(name, justify="right")
        for stage in _distinct(entry.stage for entry in here):
            of_stage = {e.pipeline: e.latency for e in here if e.stage == stage}
            table.add_row(stage, *(_pair(of_stage.get(name)) for name in names))
        return table

    def _end_to_end_table(self) -> Table:
        table = Table(
            title="end to end: frame, trajectory and cached instruction to match decisions",
            title_justify="left",
        )
        for heading in (
            "pipeline",
            "threads",
            "batch",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "cpu ms",
            "calls",
        ):
            table.add_column(heading, justify="left" if heading == "pipeline" else "right")
        table.add_column(f"x faster than {BASELINE}", justify="right")
        for each in self.entries:
            if each.stage == END_TO_END:
                ratio, latency = self.ratio(each), each.latency
                table.add_row(
                    each.pipeline,
                    str(each.num_threads),
                    str(each.batch),
                    *(_ms(ms) for ms in (latency.p50_ms, latency.p95_ms, latency.p99_ms)),
                    "" if latency.cpu_ms is None else _ms(latency.cpu_ms),
                    str(latency.num_calls),
                    "" if ratio is None else f"{ratio:.1f}",
                )
        return table

    def _footprint_table(self) -> Table:
        table = Table(
            title="a process that does nothing else, one thread, batch 1", title_justify="left"
        )
        table.add_column("")
        for name in self.footprints:
            table.add_column(name, justify="right")
        found = list(self.footprints.values())
        table.add_row("import, s", *(f"{each.import_s:.2f}" for each in found))
        table.add_row("load and self-test, s", *(f"{each.load_s:.2f}" for each in found))
        table.add_row("resident when loaded, MiB", *(_mib(each.loaded_mib) for each in found))
        for stage in _distinct(stage for each in found for stage in each.stages_mib):
            sizes = (_mib(each.stages_mib.get(stage)) for each in found)
            table.add_row(f"resident after {stage}, MiB", *sizes)
        table.add_row("peak, MiB", *(_mib(each.peak_mib) for each in found))
        return table


def this_machine() -> dict[str, Any]:
    """Returns the processor, its cores, and the versions that were measured."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", maxsplit=1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _pair(latency: Latency | None) -> str:
    return "" if latency is None else f"{_ms(latency.p50_ms)}  {_ms(latency.p99_ms)}"


def _ms(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
