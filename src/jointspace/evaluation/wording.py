"""How the report names things."""

import math

from jointspace.batch import Direction

_LONGEST_TEXT = 60


def direction_name(direction: Direction) -> str:
    """Names a direction for people, as in `vision → action`."""
    return f"{direction.query.replace('+', ' + ')} → {direction.target}"


def shortened(text: str, *, longest: int = _LONGEST_TEXT) -> str:
    """Cuts a long instruction for a legend; its beginning says enough."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= longest else one_line[: longest - 1].rstrip() + "…"


def number(value: float) -> str:
    """Writes a share with the digits that matter: three below 0.1, else two."""
    if math.isnan(value):
        return "none"
    return f"{value:.3f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


def place(rank: float) -> str:
    """Writes an average place in a list."""
    return "none" if math.isnan(rank) else f"{rank:,.1f}"
