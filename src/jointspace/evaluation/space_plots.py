"""Pictures of a joint space, as PNG bytes: who is near whom. Matplotlib is loaded only then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from jointspace.batch import TEXT, Direction, Embeddings, Modality
from jointspace.evaluation.canvas import (
    COLOURS,
    GRID,
    INK,
    MARKERS,
    MUTED,
    OTHER,
    draw_png,
    evenly,
)
from jointspace.evaluation.projection import principal_components
from jointspace.evaluation.wording import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_INSTRUCTIONS = 8
_MAX_MATRIX_ROWS = 400
_MAX_LINES = 40
_MAX_MAP_POINTS = 1500
_MANY_TEXTS = 12


def similarity_matrices(
    embeddings: Embeddings,
    pairs: Sequence[Direction],
    *,
    labels: Mapping[int, str] | None = None,
) -> bytes:
    """Draws the cosine of every row with every row, as PNG.

    Rows are ordered by label, goal, instruction and episode. At most 400 are shown, taken evenly.
    White lines part the labels, or the instructions where there are no labels. A bright diagonal
    means that a row finds itself; bright blocks mean that rows of one label are alike.

    Args:
        embeddings: unit rows.
        pairs: one matrix each; rows that lack a side are left out.
        labels: goal id -> the group that it belongs to, such as its skill.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, len(pairs), squeeze=False)[0]
        for panel, pair in zip(axes, pairs, strict=True):
            rows = _ordered_rows(embeddings, pair, labels)
            first, second = embeddings.pair_rows(pair.query, pair.target, rows)
            cosine = first.astype(np.float64) @ second.T.astype(np.float64)
            low, high = np.quantile(cosine, [0.01, 0.995])
            image = panel.imshow(
                cosine,
                cmap="magma",
                vmin=low,
                vmax=max(high, low + 1e-6),
                interpolation="nearest" if len(rows) > 150 else "auto",
            )
            panel.set_title(f"{pair.query} and {pair.target}")
            panel.set_ylabel(f"{pair.query}, {len(rows)} rows")
            panel.set_xlabel(str(pair.target))
            panel.set_xticks([])
            panel.set_yticks([])
            _part(panel, embeddings, rows, labels, named=panel is axes[0])
            bar = figure.colorbar(image, ax=panel, fraction=0.046, pad=0.03)
            bar.outline.set_visible(False)
            bar.ax.tick_params(labelsize=7, length=2)

    return draw_png(draw, width=9.0, height=9.0 / max(len(pairs), 2) + 0.2)


def space_map(
    embeddings: Embeddings, *, labels: Mapping[int, str] | None = None, what: str = "instruction"
) -> bytes:
    """Draws the space along its two principal components, by group and by modality, as PNG.

    Modalities that lie apart show a modality gap; groups that lie apart are told apart.

    Args:
        embeddings: unit rows.
        labels: goal id -> the group that it belongs to, such as its skill; without, each of the
            most frequent instructions is a group.
        what: the groups are called.

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
    groups = _label_groups(embeddings, labels) if labels else _instruction_groups(embeddings)
    half = 1.06 * max(float(np.abs(projection.points).max()), 1e-3)
    columns = 1 if not labels else 3
    legend_rows = max(-(-len(groups) // columns), len(plain))

    def draw(figure: "Figure") -> None:
        by_group, by_modality = figure.subplots(1, 2, sharex=True, sharey=True)
        _scatter_groups(by_group, groups, {m: (points[m], rows[m]) for m in plain})
        by_group.set_title(f"coloured by {what}")
        for modality, marker, colour in zip(plain, MARKERS, COLOURS, strict=False):
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
        for panel, ncols in ((by_group, columns), (by_modality, 1)):
            panel.set_xlabel(shares[0])
            panel.set_aspect("equal", adjustable="box")
            panel.set_xlim(-half, half)
            panel.set_ylim(-half, half)
            panel.grid(color=GRID)
            panel.set_axisbelow(True)
            panel.legend(
                loc="upper left",
                bbox_to_anchor=(0, -0.13),
                ncols=ncols,
                markerscale=1.4,
                handletextpad=0.3,
            )
        by_group.set_ylabel(shares[1])

    return draw_png(draw, width=9.0, height=4.5 + 0.2 * legend_rows + 0.6)


@dataclass(frozen=True)
class _Group:
    label: str
    colour: str
    rows: Int64[np.ndarray, " row"]


def _scatter_groups(
    panel: "Axes",
    groups: Sequence[_Group],
    points: Mapping[Modality, tuple[Float[np.ndarray, "row 2"], Int64[np.ndarray, " row"]]],
) -> None:
    many_texts = TEXT in points and len(points[TEXT][0]) > _MANY_TEXTS
    for group in groups:
        labelled = False
        for (modality, (at, rows)), marker in zip(points.items(), MARKERS, strict=False):
            own = np.isin(rows, group.rows)
            if own.any():
                is_text = modality == TEXT
                panel.scatter(
                    at[own, 0],
                    at[own, 1],
                    s=(26 if many_texts else 70) if is_text else 14,
                    marker=marker,
                    color=group.colour,
                    alpha=1.0 if is_text else 0.55,
                    lw=(0.4 if many_texts else 0.8) if is_text else 0,
                    edgecolors="white",
                    zorder=3 if is_text else 2,
                    label=None if labelled else group.label,
                )
                labelled = True


def _label_groups(embeddings: Embeddings, labels: Mapping[int, str]) -> list[_Group]:
    """The most frequent labels each by itself in alphabetical order, and the others together."""
    of_row = np.asarray([labels.get(int(g), "") for g in embeddings.rows.goal])
    names, counts = np.unique(of_row[of_row != ""], return_counts=True)
    most = len(COLOURS) if len(names) <= len(COLOURS) else len(COLOURS) - 1
    own = sorted(names[np.argsort(-counts, kind="stable")][:most].tolist())
    groups = [
        _Group(shortened(name), colour, np.flatnonzero(of_row == name))
        for name, colour in zip(own, COLOURS, strict=False)
    ]
    rest = np.flatnonzero(~np.isin(of_row, own))
    return [*groups, _Group("other", OTHER, rest)] if len(rest) else groups


def _instruction_groups(embeddings: Embeddings) -> list[_Group]:
    """The most frequent instructions each by itself, and the others together."""
    instruction = embeddings.rows.instruction
    ids, counts = np.unique(instruction, return_counts=True)
    ids = ids[np.argsort(-counts, kind="stable")]
    ids = ids[ids >= 0]
    own = ids[: _MAX_INSTRUCTIONS if len(ids) <= _MAX_INSTRUCTIONS else _MAX_INSTRUCTIONS - 1]
    groups = [
        _Group(
            shortened(embeddings.texts.get(int(i), f"instruction {i}")),
            colour,
            np.flatnonzero(instruction == i),
        )
        for i, colour in zip(own, COLOURS, strict=False)
    ]
    if len(ids) > len(own):
        rest = np.flatnonzero(np.isin(instruction, ids[len(own) :]))
        groups.append(_Group(f"{len(ids) - len(own)} other instructions", OTHER, rest))
    if (instruction < 0).any():
        groups.append(_Group("no instruction", OTHER, np.flatnonzero(instruction < 0)))
    return groups


def _part(
    panel: "Axes",
    embeddings: Embeddings,
    rows: Int64[np.ndarray, " row"],
    labels: Mapping[int, str] | None,
    *,
    named: bool,
) -> None:
    """Draws lines between groups of rows, and writes the names of labels beside the first panel."""
    if labels:
        kinds = [labels.get(int(goal), "") for goal in embeddings.rows.goal[rows]]
    else:
        kinds = embeddings.rows.instruction[rows].tolist()
    starts = [0, *(i for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1])]
    if len(starts) <= _MAX_LINES:
        for start in starts[1:]:
            panel.axhline(start - 0.5, color="white", lw=0.6)
            panel.axvline(start - 0.5, color="white", lw=0.6)
    if labels and named and len(starts) <= len(COLOURS):
        middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(kinds)], strict=True)]
        panel.set_yticks(middles, [kinds[start] for start in starts], fontsize=6.5, color=INK)
        panel.tick_params(axis="y", length=0, color=MUTED)


def _ordered_rows(
    embeddings: Embeddings, pair: Direction, labels: Mapping[int, str] | None
) -> Int64[np.ndarray, " row"]:
    both = embeddings.present(pair.query) & embeddings.present(pair.target)
    rows = np.flatnonzero(both)
    ids = embeddings.rows.take(rows)
    kinds = np.asarray([(labels or {}).get(int(goal), "") for goal in ids.goal])
    keys = (ids.start_s, ids.episode, ids.instruction, ids.goal, kinds)
    rows = rows[np.lexsort(keys if labels else keys[:3])]
    return rows[evenly(len(rows), _MAX_MATRIX_ROWS)]


def _map_rows(embeddings: Embeddings, modality: Modality) -> Int64[np.ndarray, " row"]:
    rows = np.flatnonzero(embeddings.present(modality))
    if modality == TEXT:  # the same point for every row of an instruction
        return rows[np.unique(embeddings.rows.instruction[rows], return_index=True)[1]]
    return rows[evenly(len(rows), _MAX_MAP_POINTS)]
