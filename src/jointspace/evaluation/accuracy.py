"""Which of the instructions applies: retrieval of texts, read as classification."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int

from jointspace.evaluation.bootstrap import Resampling, draw_copies, query_intervals
from jointspace.evaluation.retrieval import Estimate
from jointspace.evaluation.scoring import ScoredQueries


@dataclass(frozen=True)
class InstructionAccuracy:
    """How often the best-scoring of the distinct instructions is one that applies to the row.

    Attributes:
        accuracy: over the rows, ties shared out evenly; chance is a guess among the instructions.
        balanced: the mean of the accuracies of the single instructions; its chance is the same
            guess, averaged the same way.
        majority: what naming the most frequent answer for every row would reach.
        per_instruction: accuracy on the rows of each instruction id.
        num_rows: rows classified.
        num_texts: instructions to choose from.
        num_episodes: episodes that the intervals resample.
    """

    accuracy: Estimate
    balanced: Estimate
    majority: float
    per_instruction: Mapping[int, float]
    num_rows: int
    num_texts: int
    num_episodes: int


def instruction_accuracy(
    scored: ScoredQueries,
    *,
    instruction: Int[np.ndarray, " row"],
    answers: Int[np.ndarray, " row"],
    episodes: Int[np.ndarray, " row"],
    resampling: Resampling,
) -> InstructionAccuracy:
    """Reads rows that searched the distinct instructions as classified by the first place.

    Args:
        scored: the rows as queries, the distinct instructions as candidates.
        instruction: the instruction id of each row.
        answers: what is right for each row: its goal, or its instruction.
        episodes: the episode of each row.
        resampling: of the intervals.
    """
    hits, chance = scored.scores.recall[:, 0], scored.chance.recall[:, 0]
    known, of_row = np.unique(instruction, return_inverse=True)
    per_instruction = _group_means(hits, of_row)
    low, high = query_intervals(scored.scores, episodes, resampling=resampling)[:, 0]
    balanced_low, balanced_high = _balanced_interval(hits, of_row, episodes, resampling)
    return InstructionAccuracy(
        accuracy=Estimate(float(hits.mean()), float(chance.mean()), float(low), float(high)),
        balanced=Estimate(
            float(per_instruction.mean()),
            float(_group_means(chance, of_row).mean()),
            balanced_low,
            balanced_high,
        ),
        majority=float(np.unique(answers, return_counts=True)[1].max() / len(answers)),
        per_instruction={int(i): float(a) for i, a in zip(known, per_instruction, strict=True)},
        num_rows=len(hits),
        num_texts=scored.num_targets,
        num_episodes=len(np.unique(episodes)),
    )


def _group_means(
    values: Float64[np.ndarray, " row"], group: Int[np.ndarray, " row"]
) -> Float64[np.ndarray, " group"]:
    return np.bincount(group, weights=values) / np.bincount(group)


def _balanced_interval(
    hits: Float64[np.ndarray, " row"],
    group: Int[np.ndarray, " row"],
    episodes: Int[np.ndarray, " row"],
    resampling: Resampling,
) -> tuple[float, float]:
    """Cluster bootstrap of the mean over those instructions that some drawn episode has."""
    cluster = np.unique(episodes, return_inverse=True)[1]
    num_clusters = int(cluster.max()) + 1
    if num_clusters < 2 or resampling.num_resamples == 0:
        return float("nan"), float("nan")
    values = []
    for copies in draw_copies(num_clusters, width=1, resampling=resampling):
        for weights in copies[:, cluster]:
            total = np.bincount(group, weights=weights)
            right = np.bincount(group, weights=weights * hits)
            values.append(float((right[total > 0] / total[total > 0]).mean()))
    tail = (1 - resampling.confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
