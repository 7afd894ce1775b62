"""Charts of a report, as PNG bytes. Matplotlib is loaded only when one is drawn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jointspace.evaluation.canvas import COLOURS, GRID, INK, draw_png
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.training_log import Curve
from jointspace.evaluation.wording import direction_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CURVE_COLUMNS = 2
_CURVE_COLOURS = COLOURS[:8]


def recall_chart(evaluation: Evaluation) -> bytes:
    """Draws R@1, R@5 and R@10 of every direction with interval and chance, as PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    names = list(evaluation.retrieval)
    height = 1.1 + 0.34 * max(len(names), 2)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, 3, sharey=True, squeeze=False)[0]
        places = np.arange(len(names))[::-1]
        for panel, depth, colour in zip(axes, (1, 5, 10), COLOURS, strict=False):
            for place, name in zip(places, names, strict=True):
                estimate = getattr(evaluation.retrieval[name], f"recall_at_{depth}")
                panel.plot([estimate.low, estimate.high], [place, place], color=colour, lw=2.2)
                panel.plot(estimate.value, place, "o", color=colour, ms=6)
                panel.plot(estimate.chance, place, "|", color=INK, ms=12, mew=1.6)
            panel.set_xlim(-0.03, 1.03)
            panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            panel.set_ylim(-0.6, len(names) - 0.4)
            panel.set_title(f"R@{depth}")
            panel.grid(axis="x", color=GRID)
            panel.set_axisbelow(True)
            panel.spines["left"].set_visible(False)
            panel.tick_params(axis="y", length=0)
        axes[0].set_yticks(places, [direction_name(name) for name in names])
        axes[1].set_xlabel("share of queries (dot), interval (line), chance (black tick)")

    return draw_png(draw, width=9.0, height=height)


def training_curves(panels: Mapping[str, Sequence[Curve]]) -> bytes:
    """Draws curves over the training steps, one panel per title, as PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(figure: "Figure") -> None:
        columns = min(len(panels), _CURVE_COLUMNS)
        grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
        for panel in grid.flat[len(panels) :]:
            panel.set_visible(False)
        for panel, (title, curves) in zip(grid.flat, panels.items(), strict=False):
            for number, curve in enumerate(curves):
                panel.plot(
                    curve.steps,
                    curve.values,
                    color=_CURVE_COLOURS[number % len(_CURVE_COLOURS)],
                    ls="-" if number < len(_CURVE_COLOURS) else "--",
                    lw=1.5,
                    marker="o" if len(curve.steps) < 20 else None,
                    ms=3,
                    label=curve.name,
                )
            panel.set_title(title)
            panel.set_xlabel("step")
            panel.grid(color=GRID)
            panel.set_axisbelow(True)
            if len(curves) > 1:
                panel.legend(handlelength=1.2, fontsize=6.5, ncols=1 + (len(curves) > 6))

    return draw_png(draw, width=9.0, height=3.0 * (-(-len(panels) // _CURVE_COLUMNS)))
