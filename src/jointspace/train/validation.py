"""How good a model is while it trains: the worst of the core directions, above chance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jointspace.batch import CORE_MODALITIES, Direction
from jointspace.data.samples import SampleSet
from jointspace.embedder import Embedder
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import Evaluation, evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.retrieval import RetrievalMetrics
from jointspace.evaluation.scales import is_read_on

MAX_ROWS = 2048
"""Rows of a kind that a validation looks at, evenly chosen where there are more."""


@dataclass(frozen=True)
class DirectionScore:
    """One direction of retrieval on the validation split.

    Attributes:
        above_chance: how far the mean average precision has come from chance (0) to perfect (1).
        mean_average_precision: the measured value; where each query has one right answer, the mean
            reciprocal rank.
        recall_at_1: share of queries with a right answer in first place.
        rows: what was compared: `windows`, or whole `episodes`.
    """

    above_chance: float
    mean_average_precision: float
    recall_at_1: float
    rows: str


@dataclass(frozen=True)
class Validation:
    """How good a model is on the validation split.

    Long training goes on improving the directions with text while vision and action overfit: so
    the worst direction decides which weights are kept, and the mean only breaks ties. Directions
    with text are measured on whole episodes, since a second of motion does not say what it is for;
    the others on windows. The mean average precision counts every place of the ranking and so
    moves where recall among few rows stands still; as a part of the way from chance to perfect,
    it makes a choice between two texts comparable with one among hundreds of windows.

    Attributes:
        worst: least `above_chance` of the core directions (of all directions where the model has
            no two core modalities that can be compared).
        mean: mean of the same directions.
        worst_direction: which one is worst.
        directions: every measured direction.
    """

    worst: float
    mean: float
    worst_direction: str
    directions: Mapping[str, DirectionScore]


def validate(embedder: Embedder, *, windows: SampleSet | None, episodes: SampleSet) -> Validation:
    """Measures a model on the validation split.

    Args:
        embedder: the model; fused queries are not measured here.
        windows: rows of one window each; None where every episode is shorter than a window.
        episodes: rows of one episode each.

    Returns:
        The scores.

    Raises:
        InputError: no direction can be measured.
    """
    modalities = [m for m in embedder.modalities if "+" not in m]
    scores: dict[Direction, DirectionScore] = {}
    notes: list[str] = []
    has_windows = windows is not None and len(windows) > 1
    for kind, samples in (("windows", windows), ("episodes", episodes)):
        if samples is None or len(samples) < 2:
            notes.append(f"fewer than two {kind}")
            continue
        embeddings = embed_samples(embedder, samples, modalities=modalities)
        measured = evaluate_embeddings(embeddings, resampling=Resampling(num_resamples=0))
        notes += measured.notes
        scores |= {
            direction: _score(metrics, kind)
            for direction, metrics in _chosen(measured, kind, has_windows=has_windows)
        }
    if not scores:
        raise InputError(
            f"validation: no direction can be measured ({'; '.join(dict.fromkeys(notes))}); "
            "raise data.validation_fraction, or set it to 0 to train without"
        )
    return summarise(scores)


def summarise(scores: Mapping[Direction, DirectionScore]) -> Validation:
    """Reduces the scores of the directions to what decides which weights are kept.

    Args:
        scores: at least one.

    Returns:
        The worst and the mean of the core directions, or of all where there is none.
    """
    core = {
        direction: score.above_chance
        for direction, score in scores.items()
        if {direction.query, direction.target} <= set(CORE_MODALITIES)
    }
    deciding = core or {direction: score.above_chance for direction, score in scores.items()}
    worst = min(deciding, key=lambda direction: deciding[direction])
    return Validation(
        worst=deciding[worst],
        mean=sum(deciding.values()) / len(deciding),
        worst_direction=str(worst),
        directions={str(direction): score for direction, score in scores.items()},
    )


def combine(validations: Mapping[str, Validation]) -> Validation:
    """Reduces the validations of several data sets to what decides which weights are kept.

    Args:
        validations: name of the data set -> its validation; at least one.

    Returns:
        The worst direction of all, the mean of the means, and every direction with its data set
        before its name.
    """
    name = min(validations, key=lambda each: validations[each].worst)
    return Validation(
        worst=validations[name].worst,
        mean=sum(each.mean for each in validations.values()) / len(validations),
        worst_direction=f"{name}: {validations[name].worst_direction}",
        directions={
            f"{name}: {direction}": score
            for name, each in validations.items()
            for direction, score in each.directions.items()
        },
    )


def _chosen(
    measured: Evaluation, kind: str, *, has_windows: bool
) -> Iterable[tuple[Direction, RetrievalMetrics]]:
    for direction, metrics in measured.retrieval.items():
        if is_read_on(direction, kind, has_windows=has_windows):
            yield direction, metrics


def _score(metrics: RetrievalMetrics, kind: str) -> DirectionScore:
    precision = metrics.mean_average_precision
    return DirectionScore(
        above_chance=(precision.value - precision.chance) / max(1 - precision.chance, 1e-9),
        mean_average_precision=precision.value,
        recall_at_1=metrics.recall_at_1.value,
        rows=kind,
    )
