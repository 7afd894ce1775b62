"""What of an instruction is understood: skill, colour, direction and other factors, one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from jointspace.batch import TEXT, Embeddings, Modality
from jointspace.data.schema import RobotDataset
from jointspace.errors import InputError, did_you_mean
from jointspace.evaluation.bootstrap import Resampling, mean_interval
from jointspace.evaluation.relevance import distinct_texts
from jointspace.evaluation.retrieval import Estimate
from jointspace.evaluation.scoring import score_queries

_BLOCK_ROWS = 1024
_GROUPING = "skill"


@dataclass(frozen=True)
class GoalFactors:
    """What each goal is made of.

    Attributes:
        names: of the factors, in the order of the data set.
        values: goal id -> factor -> its value; a factor that does not apply to a goal is missing.
    """

    names: tuple[str, ...]
    values: Mapping[int, Mapping[str, str]]

    def of(self, goals: Sequence[int] | Int[np.ndarray, " row"], factor: str) -> list[str]:
        """Returns one factor of each of some goals; empty where it does not apply.

        Raises:
            InputError: there is no such factor.
        """
        if factor not in self.names:
            raise InputError(f"goals have no factor '{factor}'.{did_you_mean(factor, self.names)}")
        return [self.values.get(int(goal), {}).get(factor, "") for goal in goals]

    @property
    def grouping(self) -> str:
        """The factor that sorts goals into few, large groups: `skill`, or else the coarsest.

        Empty where no factor tells all goals that have factors apart into at least two groups.
        """
        if _GROUPING in self.names:
            return _GROUPING
        kinds = {name: {v.get(name, "") for v in self.values.values()} for name in self.names}
        whole = {name: len(k) for name, k in kinds.items() if "" not in k and len(k) > 1}
        return min(whole, key=lambda name: whole[name]) if whole else ""


@dataclass(frozen=True)
class FactorAccuracy:
    """How often the best-scoring text has the right value of a factor.

    Attributes:
        accuracy: over the rows to whose goal the factor applies, ties shared out evenly; chance is
            a text drawn evenly from the distinct ones.
        majority: what always naming the most frequent value would reach.
        num_rows: such rows.
        num_values: distinct values among them.
        num_episodes: episodes that the interval resamples.
    """

    accuracy: Estimate
    majority: float
    num_rows: int
    num_values: int
    num_episodes: int


@dataclass(frozen=True)
class GroupRetrieval:
    """Text queries of one group, searching the rows of all.

    Attributes:
        recall_at_1: share of the texts that find a right row first.
        mean_average_precision: how purely right rows fill the top of the list.
        chance_recall_at_1: what ranking at random would reach.
        chance_average_precision: the same.
        num_texts: distinct texts of the group.
        num_rows: right rows per text, on average.
    """

    recall_at_1: float
    mean_average_precision: float
    chance_recall_at_1: float
    chance_average_precision: float
    num_texts: int
    num_rows: float


def goal_factors(dataset: RobotDataset) -> GoalFactors | None:
    """Gathers the factors of every goal of a data set.

    Where episodes of one goal differ in a factor, it says nothing of the goal and is left out for
    it.

    Args:
        dataset: the usable episodes.

    Returns:
        The factors by goal id, which is the goal's place in `dataset.goals`; None without factors.
    """
    ids = {goal: number for number, goal in enumerate(dataset.goals)}
    found: dict[int, dict[str, set[str]]] = {}
    names: dict[str, None] = {}
    for episode in dataset.episodes:
        goal = ids.get(episode.goal or episode.instruction) if episode.instruction else None
        if goal is None:
            continue
        for name, value in episode.factors.items():
            found.setdefault(goal, {}).setdefault(name, set()).add(value)
            if value:
                names.setdefault(name)
    if not names:
        return None
    values = {
        goal: {
            name: next(iter(seen))
            for name, seen in factors.items()
            if len(seen) == 1 and seen != {""}
        }
        for goal, factors in found.items()
    }
    return GoalFactors(tuple(names), values)


def factor_accuracy(
    embeddings: Embeddings,
    query: Modality,
    factors: GoalFactors,
    *,
    resampling: Resampling | None = None,
) -> dict[str, FactorAccuracy]:
    """Measures which factors of its instruction a row gives away.

    Each row chooses the best-scoring of the distinct texts. For every factor that applies to the
    row's goal, the choice is right if the chosen text's goal has the same value.

    Args:
        embeddings: unit rows; those that have both `query` and a text are compared.
        query: modality of the rows, or a fused query without text.
        factors: of the goals.
        resampling: of the intervals; 1,000 draws of whole episodes at 95 % by default.

    Returns:
        Factor -> accuracy, for the factors that have at least two values among the rows' goals.

    Raises:
        InputError: there is no such modality, it holds the text itself, or the goals contradict the
            instructions.

    Example:
        Two rows; both choose the text of the first, so that the skill is right for both and the
        colour for one:

        >>> from jointspace.batch import VISION, RowIds
        >>> ids, zero = np.arange(2), np.zeros(2)
        >>> rows = RowIds(ids, ids, ids, zero, zero + 1)
        >>> vectors = {VISION: np.eye(2)[[0, 0]], TEXT: np.eye(2)}
        >>> goals = {0: {"skill": "lift", "colour": "red"}, 1: {"skill": "lift", "colour": "blue"}}
        >>> found = factor_accuracy(
        ...     Embeddings(vectors, rows), VISION, GoalFactors(("skill", "colour"), goals)
        ... )
        >>> {name: (each.accuracy.value, each.accuracy.chance) for name, each in found.items()}
        {'colour': (0.5, 0.5)}
    """
    resampling = Resampling() if resampling is None else resampling
    rows = rows_with_text(embeddings, query)
    if not len(rows):
        return {}
    ids = embeddings.rows.take(rows)
    texts = distinct_texts(ids, positives="goal")
    choice = _choices(*embeddings.pair_rows(query, TEXT, rows, rows[texts.row]))
    measured = {}
    for name in factors.names:
        of_row = np.asarray(factors.of(ids.goal, name))
        of_text = np.asarray(factors.of(texts.answers, name))
        applies = of_row != ""
        kinds, counts = np.unique(of_row[applies], return_counts=True)
        if len(kinds) < 2:
            continue
        same = of_row[applies, None] == of_text
        hits = (choice[applies] * same).sum(axis=1)
        low, high = mean_interval(hits, ids.episode[applies], resampling=resampling)
        measured[name] = FactorAccuracy(
            accuracy=Estimate(float(hits.mean()), float(same.mean()), low, high),
            majority=float(counts.max() / counts.sum()),
            num_rows=int(applies.sum()),
            num_values=len(kinds),
            num_episodes=len(np.unique(ids.episode[applies])),
        )
    return measured


def retrieval_by_group(
    embeddings: Embeddings, target: Modality, factors: GoalFactors
) -> dict[str, GroupRetrieval]:
    """Splits text retrieval by the grouping factor of the query, as by skill.

    Args:
        embeddings: unit rows; those that have both a text and `target` take part.
        target: modality that is searched.
        factors: of the goals.

    Returns:
        Value of the factor -> how its texts fare, in alphabetical order; empty without a grouping
        factor.

    Raises:
        InputError: there is no such modality, or the goals contradict the instructions.
    """
    rows = rows_with_text(embeddings, target)
    if not factors.grouping or not len(rows):
        return {}
    ids = embeddings.rows.take(rows)
    texts = distinct_texts(ids, positives="goal")
    scored = score_queries(
        *embeddings.pair_rows(TEXT, target, rows[texts.row], rows),
        query_ids=texts.answers,
        target_ids=ids.goal,
    )
    group = np.asarray(factors.of(texts.answers, factors.grouping))
    found = {}
    for name in np.unique(group[group != ""]).tolist():
        own = group == name
        found[name] = GroupRetrieval(
            recall_at_1=float(scored.scores.recall[own, 0].mean()),
            mean_average_precision=float(scored.scores.average_precision[own].mean()),
            chance_recall_at_1=float(scored.chance.recall[own, 0].mean()),
            chance_average_precision=float(scored.chance.average_precision[own].mean()),
            num_texts=int(own.sum()),
            num_rows=float(scored.num_positives[own].mean()),
        )
    return found


def rows_with_text(embeddings: Embeddings, modality: Modality) -> Int64[np.ndarray, " row"]:
    """Returns the rows that have both a text and a modality.

    Raises:
        InputError: there is no such modality, or it holds the text itself.
    """
    for name in (modality, TEXT):
        if name not in embeddings.vectors:
            known = did_you_mean(name, embeddings.modalities)
            raise InputError(f"embeddings: no modality '{name}'.{known}")
    if TEXT in modality.split("+"):
        raise InputError(f"'{modality}' holds the text itself: compare a modality without text")
    has_both = embeddings.present(modality) & embeddings.present(TEXT)
    return np.flatnonzero(has_both & (embeddings.rows.instruction >= 0))


def _choices(
    rows: Float[np.ndarray, "row dim"], texts: Float[np.ndarray, "text dim"]
) -> Float64[np.ndarray, "row text"]:
    """The probability that each row chooses each text: equal among the best-scoring ones."""
    parts = []
    for start in range(0, len(rows), _BLOCK_ROWS):
        cosines = rows[start : start + _BLOCK_ROWS].astype(np.float64) @ texts.T.astype(np.float64)
        scores = cosines.astype(np.float32)  # rounded, so that equal texts score equal
        best = scores == scores.max(axis=1, keepdims=True)
        parts.append(best / best.sum(axis=1, keepdims=True))
    return np.concatenate(parts)
