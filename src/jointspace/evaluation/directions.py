"""Every direction of a joint space: what is measured from one set of embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from jointspace.batch import TEXT, Direction, Embeddings, Modality, directions
from jointspace.errors import InputError
from jointspace.evaluation.accuracy import InstructionAccuracy, instruction_accuracy
from jointspace.evaluation.alignment import Geometry, measure_geometry
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.matching import MatchQuality, match_quality
from jointspace.evaluation.products import BlockProduct
from jointspace.evaluation.relevance import (
    DistinctTexts,
    Positives,
    answer_ids,
    distinct_texts,
    overlapping_pairs,
)
from jointspace.evaluation.retrieval import (
    RetrievalMetrics,
    evaluate_both_ways,
    evaluate_retrieval,
    query_metrics,
)
from jointspace.evaluation.scoring import score_queries


@dataclass(frozen=True)
class Evaluation:
    """All that is measured on one set of embeddings.

    Attributes:
        retrieval: metrics of each direction, fused queries included.
        accuracy: of every modality and fused query without text: which instruction applies.
        matching: of the same: how well its cosine with a text tells whether that text applies.
        geometry: alignment, uniformity and gap of the modalities.
        num_rows: rows embedded.
        num_episodes: distinct episodes among them.
        num_texts: distinct instructions among them.
        present: rows that have each modality.
        positives: what made a text right for a row.
        product: the arithmetic of the scores.
        confidence: of every interval.
        notes: what was left out, and why.
    """

    retrieval: Mapping[Direction, RetrievalMetrics]
    accuracy: Mapping[Modality, InstructionAccuracy]
    matching: Mapping[Modality, MatchQuality]
    geometry: Geometry
    num_rows: int
    num_episodes: int
    num_texts: int
    present: Mapping[Modality, int]
    positives: Positives
    product: str
    confidence: float
    notes: tuple[str, ...]


def evaluate_embeddings(
    embeddings: Embeddings,
    *,
    positives: Positives = "goal",
    ignore_overlap: bool = True,
    resampling: Resampling | None = None,
    product: BlockProduct | None = None,
) -> Evaluation:
    """Measures every direction between the modalities of a joint space.

    A row's vision, action and state answer only each other. A text answers every row of its goal,
    and each distinct instruction counts once, as a query and as a candidate. A direction is
    measured on the rows that have both of its sides. A fused query, named `vision+text`, searches
    each modality that is not part of it; it is never a candidate. Rows are compared as the model
    compares the pair, through its gate where there is one; only the uniformity of a modality is
    that of its rows as they are.

    Args:
        embeddings: unit rows of each modality, and of fused queries.
        positives: `goal` lets paraphrases of one goal answer for each other; `instruction` does
            not.
        ignore_overlap: between rows of one episode whose time spans overlap, neither counts as
            a wrong answer of the other, except where a text is searched or searches.
        resampling: of the intervals; 1,000 draws of whole episodes at 95 % by default.
        product: arithmetic of the scores; float32 by default.

    Returns:
        The measurements. Directions that cannot be measured are named in `notes`.

    Raises:
        InputError: there is no row, or the goals contradict the instructions.

    Source:
        The textbook's `evaluate_vla_system`, which measures the diagonal in six directions.
    """
    if not len(embeddings):
        raise InputError("embeddings hold no row: nothing to evaluate")
    resampling = Resampling() if resampling is None else resampling
    measure = _Measurement(embeddings, positives, resampling, product, ignore_overlap)
    measure.run()
    with_text = embeddings.rows.instruction >= 0
    return Evaluation(
        retrieval=measure.retrieval,
        accuracy=measure.accuracy,
        matching=measure.matching,
        geometry=measure_geometry(embeddings),
        num_rows=len(embeddings),
        num_episodes=len(np.unique(embeddings.rows.episode)),
        num_texts=len(np.unique(embeddings.rows.instruction[with_text])),
        present={m: int(embeddings.present(m).sum()) for m in embeddings.modalities},
        positives=positives,
        product="float32" if product is None else product.name,
        confidence=resampling.confidence,
        notes=tuple(measure.notes),
    )


def parts_of(modality: Modality) -> tuple[Modality, ...]:
    """Returns the modalities that a fused query is made of; a plain one is its own only part."""
    return tuple(Modality(part) for part in modality.split("+"))


class _Measurement:
    """Runs over the directions and collects the results."""

    def __init__(
        self,
        embeddings: Embeddings,
        positives: Positives,
        resampling: Resampling,
        product: BlockProduct | None,
        ignore_overlap: bool,  # noqa: FBT001 - private
    ) -> None:
        self.embeddings = embeddings
        self.positives = positives
        self.resampling = resampling
        self.product = product
        self.ignore_overlap = ignore_overlap
        self.retrieval: dict[Direction, RetrievalMetrics] = {}
        self.accuracy: dict[Modality, InstructionAccuracy] = {}
        self.matching: dict[Modality, MatchQuality] = {}
        self.notes: list[str] = []

    def run(self) -> None:
        """Measures the plain directions, then those of fused queries."""
        plain = [m for m in self.embeddings.modalities if len(parts_of(m)) == 1]
        fused = [m for m in self.embeddings.modalities if len(parts_of(m)) > 1]
        wanted = [*directions(plain)]
        wanted += [Direction(f, t) for f in fused for t in plain if t not in parts_of(f)]
        measured: dict[Direction, RetrievalMetrics] = {}
        for direction in wanted:
            if direction in measured:
                continue
            rows = self._rows(direction)
            if self._refuses(direction, rows):
                continue
            if direction.target == TEXT:
                measured[direction] = self._to_text(direction, rows)
            elif direction.query == TEXT:
                measured[direction] = self._from_text(direction, rows)
            else:
                there, back = self._both_ways(direction, rows)
                measured[direction] = there
                if direction.query in plain:
                    measured[Direction(direction.target, direction.query)] = back
        self.retrieval = {d: measured[d] for d in wanted if d in measured}

    def _rows(self, direction: Direction) -> Int64[np.ndarray, " row"]:
        """The rows that have every modality involved."""
        embeddings = self.embeddings
        involved = {direction.query, direction.target, *parts_of(direction.query)}
        has_all = np.ones(len(embeddings), dtype=bool)
        for modality in involved & set(embeddings.modalities):
            has_all &= embeddings.present(modality)
        if TEXT in involved:
            has_all &= embeddings.rows.instruction >= 0
        return np.flatnonzero(has_all)

    def _refuses(self, direction: Direction, rows: Int64[np.ndarray, " row"]) -> bool:
        if len(rows) < 2:
            self.notes.append(f"{direction}: {len(rows)} rows have both; at least 2 are needed")
            return True
        if TEXT in {direction.query, direction.target}:
            answers = answer_ids(self.embeddings.rows.take(rows), positives=self.positives)
            if len(np.unique(answers)) < 2:
                self.notes.append(
                    f"{direction}: every row has the same {self.positives}, so that any answer is "
                    "right; nothing to measure"
                )
                return True
        return False

    def _both_ways(
        self, direction: Direction, rows: Int64[np.ndarray, " row"]
    ) -> tuple[RetrievalMetrics, RetrievalMetrics]:
        ids = self.embeddings.rows.take(rows)
        return evaluate_both_ways(
            *self.embeddings.pair_rows(direction.query, direction.target, rows),
            episodes=ids.episode,
            ignore=overlapping_pairs(ids) if self.ignore_overlap else None,
            resampling=self.resampling,
            product=self.product,
        )

    def _texts(self, rows: Int64[np.ndarray, " row"]) -> DistinctTexts:
        return distinct_texts(self.embeddings.rows.take(rows), positives=self.positives)

    def _from_text(self, direction: Direction, rows: Int64[np.ndarray, " row"]) -> RetrievalMetrics:
        texts, ids = self._texts(rows), self.embeddings.rows.take(rows)
        metrics = evaluate_retrieval(
            *self.embeddings.pair_rows(TEXT, direction.target, rows[texts.row], rows),
            query_ids=texts.answers,
            target_ids=answer_ids(ids, positives=self.positives),
            target_episodes=ids.episode,
            resampling=self.resampling,
            product=self.product,
        )
        return replace(metrics, num_texts=len(texts.row))

    def _to_text(self, direction: Direction, rows: Int64[np.ndarray, " row"]) -> RetrievalMetrics:
        texts, ids = self._texts(rows), self.embeddings.rows.take(rows)
        answers = answer_ids(ids, positives=self.positives)
        scored = score_queries(
            *self.embeddings.pair_rows(direction.query, TEXT, rows, rows[texts.row]),
            query_ids=answers,
            target_ids=texts.answers,
            product=self.product,
        )
        self.accuracy[direction.query] = instruction_accuracy(
            scored,
            instruction=ids.instruction,
            answers=answers,
            episodes=ids.episode,
            resampling=self.resampling,
        )
        self.matching[direction.query] = match_quality(
            self.embeddings.take(rows),
            direction.query,
            positives=self.positives,
            resampling=self.resampling,
        )
        metrics = query_metrics(scored, answers, episodes=ids.episode, resampling=self.resampling)
        return replace(metrics, num_texts=len(texts.row))
