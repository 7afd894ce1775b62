"""What every picture of a report shares: colours, style and how it becomes a PNG."""

import io
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Int64

from jointspace.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#8c564b",
    "#000000",
    "#6a3d9a",
    "#9aa521",
    "#b2182b",
    "#7fcdbb",
)
"""The first eight are told apart by colour-blind readers too (Okabe and Ito, with brown for their
yellow); the others are for what needs more."""

OTHER = "#c3cbd4"
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_DPI = 144
_STYLE: Mapping[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.size": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
    "text.parse_math": False,  # an instruction may hold a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw_png(draw: Callable[["Figure"], None], *, width: float, height: float) -> bytes:
    """Draws a figure as PNG. Matplotlib is loaded only now.

    Args:
        draw: is given the empty figure.
        width: in inches.
        height: in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
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


def evenly(count: int, most: int) -> Int64[np.ndarray, " place"]:
    """Returns at most `most` places of `count`, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
