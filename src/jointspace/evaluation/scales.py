"""Which rows a direction of retrieval is read on: windows of a second or so, or whole episodes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from jointspace.batch import SIX_DIRECTIONS, TEXT, Direction
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.retrieval import RetrievalMetrics

WINDOWS = "windows"
"""Name of the scale of rows that are one window each."""

EPISODES = "episodes"
"""Name of the scale of rows that are one whole episode each."""


@dataclass(frozen=True)
class CoreResult:
    """One of the six core directions, on the rows that it is read on.

    Attributes:
        metrics: what was measured.
        scale: on which rows, as `windows` or `episodes`.
    """

    metrics: RetrievalMetrics
    scale: str


def is_read_on(direction: Direction, scale: str, *, has_windows: bool) -> bool:
    """Tells whether a direction is read on the rows of a scale.

    A moment of motion does not say what it is for, so that directions with text are read on whole
    episodes. Pictures and readings of a whole episode share its duration, which would match them by
    itself, so that the others are read on windows.

    Args:
        direction: the direction.
        scale: `windows` or `episodes`.
        has_windows: False where every episode is shorter than a window; all directions are then
            read on episodes.
    """
    with_text = TEXT in {direction.query, direction.target}
    return not has_windows or with_text == (scale == EPISODES)


def core_results(results: Mapping[str, Evaluation]) -> dict[Direction, CoreResult]:
    """Returns the six directions between vision, text and action, each on its own rows.

    Args:
        results: name of the scale of rows -> what was measured on it.

    Returns:
        In the order of `SIX_DIRECTIONS`; a direction that could not be measured is not there.
    """
    has_windows = WINDOWS in results
    found: dict[Direction, CoreResult] = {}
    for direction in SIX_DIRECTIONS:
        for scale, evaluation in results.items():
            chosen = is_read_on(direction, scale, has_windows=has_windows)
            if chosen and direction in evaluation.retrieval:
                found[direction] = CoreResult(evaluation.retrieval[direction], scale)
    return found


def without_duration(episodes: Evaluation) -> Evaluation:
    """Keeps of whole episodes the directions that search text or are searched by text alone.

    Pictures and readings of a whole episode share its duration, which would match them by itself.

    Args:
        episodes: what was measured on whole episodes.
    """
    return replace(
        episodes,
        retrieval={d: m for d, m in episodes.retrieval.items() if TEXT in {d.query, d.target}},
        notes=(*episodes.notes, "directions without text: left out, duration would match episodes"),
    )
