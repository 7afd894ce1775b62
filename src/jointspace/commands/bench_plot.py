"""The plot of `jointspace bench`: where the time of each pipeline goes, and its whole way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jointspace.commands.bench_result import Entry
from jointspace.deploy.stages import END_TO_END
from jointspace.evaluation.canvas import COLOURS, GRID, INK, draw_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BAR = 0.8


def bench_plot(entries: Sequence[Entry], *, title: str) -> bytes:
    """Draws a panel for each batch size, on the smallest number of threads, as PNG.

    Args:
        entries: all measurements.
        title: what was measured.

    Returns:
        The picture: bars are medians, ticks p99; times on a logarithmic scale.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    num_threads = min(entry.num_threads for entry in entries)
    here = [entry for entry in entries if entry.num_threads == num_threads]
    batches = sorted({entry.batch for entry in here})
    names = list(dict.fromkeys(entry.pipeline for entry in here))
    stages = list(dict.fromkeys(entry.stage for entry in here if entry.stage != END_TO_END))
    stages.append(END_TO_END)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
        for panel, batch in zip(axes, batches, strict=True):
            for place, stage in enumerate(reversed(stages)):
                found = [e for e in here if (e.batch, e.stage) == (batch, stage)]
                height = _BAR / max(len(found), 1)
                for number, entry in enumerate(found):
                    y = place + _BAR / 2 - height * (number + 0.5)
                    colour = COLOURS[names.index(entry.pipeline) % len(COLOURS)]
                    panel.barh(y, entry.latency.p50_ms, height=0.9 * height, color=colour)
                    panel.plot(entry.latency.p99_ms, y, "|", color=INK, ms=5)
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter("{x:g}")  # powers would need mathematical text
            panel.set_title(f"batch {batch}")
            panel.set_xlabel("ms (bar: p50, tick: p99)")
            panel.grid(axis="x", color=GRID)
            panel.set_axisbelow(True)
        axes[0].set_yticks(range(len(stages)), list(reversed(stages)))
        for number, name in enumerate(names):
            axes[0].barh(0, 0, color=COLOURS[number % len(COLOURS)], label=name)
        figure.legend(loc="outside lower center", ncols=min(len(names), 4))
        words = "one thread" if num_threads == 1 else f"{num_threads} threads"
        figure.suptitle(f"{title}, {words}")

    return draw_png(draw, width=4.8 * len(batches) + 1.2, height=1.6 + 0.42 * len(stages))
