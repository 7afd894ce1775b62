"""The gate: what a variant of the model loses in retrieval, and whether that is too much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from jointspace.batch import Direction, Embeddings
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.scales import WINDOWS, is_read_on
from jointspace.evaluation.wording import direction_name, number

TOLERANCE = 0.01
"""The most that nDCG@10 or R@1 of any direction may lose against float32."""

_ROUNDING = 1e-9
"""Differences of averages over queries; so much is forgiven."""


@dataclass(frozen=True)
class DirectionScores:
    """How well one direction retrieves.

    Attributes:
        ndcg_at_10: how well the first ten places are used, ties in expectation.
        recall_at_1: share of queries with a right answer in first place, ties in expectation.
        scale: on which rows, as `windows` or `episodes`.
        num_queries: how many there are.
    """

    ndcg_at_10: float
    recall_at_1: float
    scale: str
    num_queries: int


Scores = Mapping[Direction, DirectionScores]
"""Every direction of a space, each on its own rows."""

_METRICS = {"nDCG@10": "ndcg_at_10", "R@1": "recall_at_1"}


@dataclass(frozen=True)
class Gate:
    """A variant of the model beside the float32 one.

    Attributes:
        variant: what it is, as `int8 vision`.
        reference: what float32 scores.
        measured: what the variant scores, on the same rows; a direction that could not be measured
            is not there.
        failure: why the variant could not be measured at all; empty otherwise.
        tolerance: the most that a number may lose.
    """

    variant: str
    reference: Scores
    measured: Scores
    failure: str = ""
    tolerance: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether no direction loses more than the tolerance."""
        return not self.refusals

    @property
    def largest_loss(self) -> float:
        """The largest loss of any number of any direction; negative where all gained."""
        return max((loss for _, _, loss in self._losses()), default=0.0)

    @property
    def refusals(self) -> tuple[str, ...]:
        """What is too bad, one line each: `int8 vision: text->vision R@1 .71 -> .64`."""
        if self.failure:
            return (f"{self.variant}: {self.failure}",)
        lines = [
            f"{self.variant}: {direction} cannot be measured any more"
            for direction in self.reference
            if direction not in self.measured
        ]
        for direction, metric, loss in self._losses():
            if loss > self.tolerance + _ROUNDING:
                before = getattr(self.reference[direction], _METRICS[metric])
                after = getattr(self.measured[direction], _METRICS[metric])
                lines.append(
                    f"{self.variant}: {direction} {metric} {short(before)} -> {short(after)}"
                )
        return tuple(lines)

    def _losses(self) -> list[tuple[Direction, str, float]]:
        return [
            (direction, metric, getattr(scores, name) - getattr(self.measured[direction], name))
            for direction, scores in self.reference.items()
            if direction in self.measured
            for metric, name in _METRICS.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {
            "variant": self.variant,
            "passed": self.passed,
            "refusals": list(self.refusals),
            "tolerance": self.tolerance,
            "largest_loss": None if self.failure else self.largest_loss,
        }


def direction_scores(embeddings: Mapping[str, Embeddings]) -> dict[Direction, DirectionScores]:
    """Measures every direction of a space, sensors and fused queries included.

    Directions with text are read on whole episodes, the others on windows, as in `evaluate`.

    Args:
        embeddings: name of the scale of rows -> unit rows.

    Returns:
        The directions that can be measured, the six between vision, text and action among them.

    Raises:
        InputError: there is no row, or the goals contradict the instructions.
    """
    found = {}
    for scale, rows in embeddings.items():
        evaluation = evaluate_embeddings(rows, resampling=Resampling(num_resamples=0))
        for direction, metrics in evaluation.retrieval.items():
            if is_read_on(direction, scale, has_windows=WINDOWS in embeddings):
                found[direction] = DirectionScores(
                    ndcg_at_10=metrics.ndcg_at_10.value,
                    recall_at_1=metrics.recall_at_1.value,
                    scale=scale,
                    num_queries=metrics.num_queries,
                )
    return found


def gate(
    variant: str,
    reference: Mapping[str, Embeddings],
    measured: Mapping[str, Embeddings],
    *,
    tolerance: float = TOLERANCE,
) -> Gate:
    """Compares a variant's rows with those of float32, direction by direction.

    Args:
        variant: what it is called in a refusal, as `int8 vision`.
        reference: name of the scale of rows -> unit rows of the float32 model.
        measured: the same rows of the variant.
        tolerance: the most that nDCG@10 or R@1 of a direction may lose.

    Returns:
        The comparison.

    Raises:
        InputError: they are not of the same rows, no direction can be measured on the reference, or
            the goals contradict the instructions.
    """
    for scale, rows in reference.items():
        other = measured.get(scale)
        if other is None or len(other) != len(rows) or other.modalities != rows.modalities:
            raise InputError(
                f"{variant}: its {scale} are not those of the reference; embed the same rows and "
                "modalities with both"
            )
    wanted = direction_scores(reference)
    if not wanted:
        raise InputError("no direction can be measured on these rows; the gate needs at least one")
    return Gate(variant, wanted, direction_scores(measured), tolerance=tolerance)


def short(value: float) -> str:
    """Writes a share without its leading zero, with the digits that tell it from its neighbours."""
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else number(value)


def scores_json(reference: Scores, shipped: Scores) -> dict[str, Any]:
    """Returns both scores of every direction, as the manifest of a bundle keeps them."""
    return {
        str(direction): {
            "scale": before.scale,
            "num_queries": before.num_queries,
            "fp32": _plain(before),
            "shipped": _plain(shipped[direction]),
        }
        for direction, before in reference.items()
    }


def scores_table(reference: Scores, shipped: Scores) -> Table:
    """Returns a table of every direction: float32, shipped, and the difference."""
    table = Table(title="retrieval on test episodes", title_justify="left")
    table.add_column("direction")
    for metric in _METRICS:
        for column in ("float32", "shipped", "change"):
            table.add_column(f"{metric}\n{column}", justify="right")
    table.add_column("queries", justify="right")
    table.add_column("rows")
    for direction, before in reference.items():
        cells = []
        for name in _METRICS.values():
            a, b = getattr(before, name), getattr(shipped[direction], name)
            cells += [short(a), short(b), f"{b - a:+.3f}"]
        table.add_row(direction_name(direction), *cells, str(before.num_queries), before.scale)
    return table


def _plain(scores: DirectionScores) -> dict[str, float]:
    return {name: getattr(scores, name) for name in _METRICS.values()}
