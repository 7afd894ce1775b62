"""Pictures of a joint space, as PNG bytes. Matplotlib is loaded only when one is drawn."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Int64

from jointspace.batch import TEXT, Direction, Embeddings, Modality
from jointspace.errors import MissingExtraError
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.projection import principal_components
from jointspace.evaluation.training_log import Curve
from jointspace.evaluation.wording import direction_name, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#1f2933"
_MUTED = "#7b8794"
_GRID = "#e4e7eb"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#000000")
"""Told apart by colour-blind readers too (Okabe and Ito, with brown for their yellow)."""

_OTHER = "#c3cbd4"
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_DPI = 144
_MAX_MATRIX_ROWS = 400
_CURVE_COLUMNS = 2
_MAX_MAP_POINTS = 1500
_STYLE: Mapping[str, Any] = {
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": _INK,
    "text.parse_math": False,  # an instruction may hold a dollar sign
    "xtick.color": _INK,
    "ytick.color": _INK,
}


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
        for panel, depth, colour in zip(axes, (1, 5, 10), _COLOURS, strict=False):
            for place, name in zip(places, names, strict=True):
                estimate = getattr(evaluation.retrieval[name], f"recall_at_{depth}")
                panel.plot([estimate.low, estimate.high], [place, place], color=colour, lw=2.2)
                panel.plot(estimate.value, place, "o", color=colour, ms=6)
                panel.plot(estimate.chance, place, "|", color=_INK, ms=12, mew=1.6)
            panel.set_xlim(-0.03, 1.03)
            panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            panel.set_ylim(-0.6, len(names) - 0.4)
            panel.set_title(f"R@{depth}")
            panel.grid(axis="x", color=_GRID)
            panel.set_axisbelow(True)
            panel.spines["left"].set_visible(False)
            panel.tick_params(axis="y", length=0)
        axes[0].set_yticks(places, [direction_name(name) for name in names])
        axes[1].set_xlabel("share of queries (dot), interval (line), chance (black tick)")

    return _png(draw, width=9.0, height=height)


def similarity_matrices(embeddings: Embeddings, pairs: Sequence[Direction]) -> bytes:
    """Draws the cosine of every row with every row, ordered by instruction, then episode, as PNG.

    At most 400 rows are shown, taken evenly. White lines part the instructions. A bright diagonal
    means that a row finds itself; bright blocks mean that rows of one instruction are alike.

    Args:
        embeddings: unit rows.
        pairs: one matrix each; rows that lack a side are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, len(pairs), squeeze=False)[0]
        for panel, pair in zip(axes, pairs, strict=True):
            rows = _ordered_rows(embeddings, pair)
            first, second = (embeddings.vectors[m][rows] for m in (pair.query, pair.target))
            cosine = first.astype(np.float64) @ second.T.astype(np.float64)
            low, high = np.quantile(cosine, [0.01, 0.995])
            image = panel.imshow(
                cosine,
                cmap="magma",
                vmin=low,
                vmax=max(high, low + 1e-6),
                interpolation="nearest" if len(rows) > 150 else "auto",
            )
            change = np.flatnonzero(np.diff(embeddings.rows.instruction[rows])) + 0.5
            if len(change) < 40:
                for place in change:
                    panel.axhline(place, color="white", lw=0.6)
                    panel.axvline(place, color="white", lw=0.6)
            panel.set_title(f"{pair.query} and {pair.target}")
            panel.set_ylabel(f"{pair.query}, {len(rows)} rows")
            panel.set_xlabel(str(pair.target))
            panel.set_xticks([])
            panel.set_yticks([])
            bar = figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=7, length=2)

    return _png(draw, width=9.0, height=9.0 / max(len(pairs), 2) + 0.2)


def space_map(embeddings: Embeddings) -> bytes:
    """Draws the space along its two principal components, by instruction and by modality, as PNG.

    Modalities that lie apart show a modality gap; instructions that lie apart are told apart.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    plain = [m for m in embeddings.modalities if "+" not in m]
    rows = {m: _map_rows(embeddings, m) for m in plain}
    plain = [m for m in plain if len(rows[m])]
    stacked = np.concatenate([embeddings.vectors[m][rows[m]] for m in plain])
    projection = principal_components(stacked)
    bounds = np.cumsum([len(rows[m]) for m in plain])[:-1]
    points = dict(zip(plain, np.split(projection.points, bounds), strict=True))
    shares = [
        f"{axis} component, {share:.0%} of the variance"
        for axis, share in zip(("first", "second"), projection.explained, strict=True)
    ]

    groups = _instruction_groups(embeddings)
    half = 1.06 * max(float(np.abs(projection.points).max()), 1e-3)
    legend_height = 0.2 * max(len(groups), len(plain)) + 0.6

    def draw(figure: "Figure") -> None:
        by_instruction, by_modality = figure.subplots(1, 2, sharex=True, sharey=True)
        _scatter_instructions(by_instruction, embeddings, groups, points, rows)
        for modality, marker, colour in zip(plain, _MARKERS, _COLOURS, strict=False):
            at = points[modality]
            by_modality.scatter(
                at[:, 0],
                at[:, 1],
                s=14,
                marker=marker,
                color=colour,
                alpha=0.55,
                lw=0,
                label=str(modality),
            )
        by_modality.set_title("the same, coloured by modality")
        for panel in (by_instruction, by_modality):
            panel.set_xlabel(shares[0])
            panel.set_aspect("equal", adjustable="box")
            panel.set_xlim(-half, half)
            panel.set_ylim(-half, half)
            panel.grid(color=_GRID)
            panel.set_axisbelow(True)
            panel.legend(
                loc="upper left",
                bbox_to_anchor=(0, -0.13),
                ncols=1,
                markerscale=1.4,
                handletextpad=0.3,
            )
        by_instruction.set_ylabel(shares[1])

    return _png(draw, width=9.0, height=4.5 + legend_height)


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
                    color=_COLOURS[number % len(_COLOURS)],
                    ls="-" if number < len(_COLOURS) else "--",
                    lw=1.5,
                    marker="o" if len(curve.steps) < 20 else None,
                    ms=3,
                    label=curve.name,
                )
            panel.set_title(title)
            panel.set_xlabel("step")
            panel.grid(color=_GRID)
            panel.set_axisbelow(True)
            if len(curves) > 1:
                panel.legend(handlelength=1.2, fontsize=6.5, ncols=1 + (len(curves) > 6))

    return _png(draw, width=9.0, height=3.0 * (-(-len(panels) // _CURVE_COLUMNS)))


@dataclass(frozen=True)
class _Group:
    label: str
    colour: str
    instructions: Int64[np.ndarray, " instruction"]


def _scatter_instructions(
    panel: "Axes",
    embeddings: Embeddings,
    groups: Sequence[_Group],
    points: Mapping[Modality, Float[np.ndarray, "row 2"]],
    rows: Mapping[Modality, Int64[np.ndarray, " row"]],
) -> None:
    for group in groups:
        labelled = False
        for (modality, at), marker in zip(points.items(), _MARKERS, strict=False):
            own = np.isin(embeddings.rows.instruction[rows[modality]], group.instructions)
            if own.any():
                is_text = modality == TEXT
                panel.scatter(
                    at[own, 0],
                    at[own, 1],
                    s=70 if is_text else 14,
                    marker=marker,
                    color=group.colour,
                    alpha=1.0 if is_text else 0.55,
                    lw=0.8 if is_text else 0,
                    edgecolors="white",
                    zorder=3 if is_text else 2,
                    label=None if labelled else group.label,
                )
                labelled = True
    panel.set_title("coloured by instruction")


def _instruction_groups(embeddings: Embeddings) -> list[_Group]:
    """The most frequent instructions each by itself, and the others together."""
    ids, counts = np.unique(embeddings.rows.instruction, return_counts=True)
    ids = ids[np.argsort(-counts, kind="stable")]
    none, ids = ids[ids < 0], ids[ids >= 0]
    own = ids[: len(_COLOURS)] if len(ids) <= len(_COLOURS) else ids[: len(_COLOURS) - 1]
    groups = [
        _Group(shortened(embeddings.texts.get(int(i), f"instruction {i}")), colour, np.array([i]))
        for i, colour in zip(own, _COLOURS, strict=False)
    ]
    if len(ids) > len(own):
        groups.append(_Group(f"{len(ids) - len(own)} other instructions", _OTHER, ids[len(own) :]))
    if len(none):
        groups.append(_Group("no instruction", _OTHER, none))
    return groups


def _ordered_rows(embeddings: Embeddings, pair: Direction) -> Int64[np.ndarray, " row"]:
    both = embeddings.present(pair.query) & embeddings.present(pair.target)
    rows = np.flatnonzero(both)
    ids = embeddings.rows.take(rows)
    rows = rows[np.lexsort((ids.start_s, ids.episode, ids.instruction))]
    return rows[_evenly(len(rows), _MAX_MATRIX_ROWS)]


def _map_rows(embeddings: Embeddings, modality: Modality) -> Int64[np.ndarray, " row"]:
    rows = np.flatnonzero(embeddings.present(modality))
    if modality == TEXT:  # the same point for every row of an instruction
        return rows[np.unique(embeddings.rows.instruction[rows], return_index=True)[1]]
    return rows[_evenly(len(rows), _MAX_MAP_POINTS)]


def _evenly(count: int, most: int) -> Int64[np.ndarray, " place"]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def _png(draw: Callable[["Figure"], None], *, width: float, height: float) -> bytes:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - only who wants pictures pays for it
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    with mpl.rc_context(cast("Any", _STYLE)), warnings.catch_warnings():
        # A script that the font lacks shows as boxes; that is no reason to lose the report.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
