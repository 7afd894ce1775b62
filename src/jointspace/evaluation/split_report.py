"""What is measured on one split: retrieval at every scale, factors, scenes and ceilings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jointspace.batch import TEXT, VISION, Embeddings, Modality
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.ceiling import Ceiling, Revealed, measure_ceilings
from jointspace.evaluation.directions import Evaluation, evaluate_embeddings, parts_of
from jointspace.evaluation.factors import (
    FactorAccuracy,
    GoalFactors,
    GroupRetrieval,
    factor_accuracy,
    retrieval_by_group,
)
from jointspace.evaluation.scales import EPISODES, WINDOWS, without_duration
from jointspace.evaluation.scene import SceneAlternatives, SceneMatching, scene_matching


@dataclass(frozen=True)
class SplitReport:
    """All that is measured on one split.

    Attributes:
        name: of the split.
        results: name of the scale of rows (`windows`, `episodes`) -> what was measured on it.
        holds_out: what is new in it, as a sentence without its full stop; may be empty.
        embeddings: the rows behind each scale, by the same names, for pictures; may be empty.
        factors: query modality -> factor of the goal -> how often it is understood.
        grouping: the factor that `groups` and `labels` go by, as `skill`; empty without one.
        groups: value of that factor -> how its texts fare at finding rows of vision (of the first
            other modality where there is no vision).
        labels: goal id -> value of that factor, for pictures.
        scenes: query modality -> how well it tells the instruction from others of its scene.
        ceilings: modality -> the highest scores that it allows, where it does not show everything.
    """

    name: str
    results: Mapping[str, Evaluation]
    holds_out: str = ""
    embeddings: Mapping[str, Embeddings] = field(default_factory=dict)
    factors: Mapping[Modality, Mapping[str, FactorAccuracy]] = field(default_factory=dict)
    grouping: str = ""
    groups: Mapping[str, GroupRetrieval] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    scenes: Mapping[Modality, SceneMatching] = field(default_factory=dict)
    ceilings: Mapping[Modality, Ceiling] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.results:
            raise InputError(
                f"split '{self.name}': nothing was measured: a report needs the results of at "
                "least one scale"
            )
        if unknown := sorted(set(self.embeddings) - set(self.results)):
            raise InputError(
                f"split '{self.name}': embeddings of {unknown} have no results; results are of "
                f"{list(self.results)}"
            )


def measure_split(
    name: str,
    embeddings: Mapping[str, Embeddings],
    *,
    holds_out: str = "",
    factors: GoalFactors | None = None,
    alternatives: SceneAlternatives | None = None,
    revealed: Revealed | None = None,
    resampling: Resampling | None = None,
) -> SplitReport:
    """Measures everything that a report shows of one split.

    Directions without text are left out of whole episodes where there are windows. Factors, scenes
    and ceilings are about instructions, and so about whole episodes; about windows where there are
    no others.

    Args:
        name: of the split.
        embeddings: name of the scale of rows -> unit rows.
        holds_out: what is new in the split, as a sentence without its full stop.
        factors: of the goals; None where the data names none.
        alternatives: the other instructions of each scene; None where the data names none.
        revealed: the factors that each modality shows; one that is not there shows all.
        resampling: of the intervals; 1,000 draws of whole episodes at 95 % by default.

    Returns:
        The measurements.

    Raises:
        InputError: there is no row, goals contradict instructions, or a revealed factor is unknown.
    """
    results = {
        s: evaluate_embeddings(each, resampling=resampling) for s, each in embeddings.items()
    }
    kept = dict(embeddings)
    if WINDOWS in results and EPISODES in results:
        results[EPISODES] = without_duration(results[EPISODES])
        if not results[EPISODES].retrieval:
            del results[EPISODES], kept[EPISODES]
    if not results:
        raise InputError(f"split '{name}': no rows were embedded: nothing to measure")
    whole = kept[EPISODES] if EPISODES in kept else next(iter(kept.values()))
    measured = results[EPISODES] if EPISODES in results else next(iter(results.values()))
    queries = [m for m in whole.modalities if TEXT in whole.modalities and TEXT not in parts_of(m)]
    by_query: dict[Modality, Mapping[str, FactorAccuracy]] = {}
    groups: Mapping[str, GroupRetrieval] = {}
    ceilings: Mapping[Modality, Ceiling] = {}
    if factors is not None and queries:
        # Where all rows have one goal, any text is right: nothing to tell apart.
        for query in (query for query in queries if query in measured.accuracy):
            found = factor_accuracy(whole, query, factors, resampling=resampling)
            by_query |= {query: found} if found else {}
        groups = retrieval_by_group(whole, VISION if VISION in queries else queries[0], factors)
        ceilings = measure_ceilings(whole, factors, revealed or {})
    scenes: dict[Modality, SceneMatching] = {}
    if alternatives is not None:
        for query in queries:
            matching = scene_matching(whole, query, alternatives, resampling=resampling)
            scenes |= {} if matching is None else {query: matching}
    grouping = "" if factors is None else factors.grouping
    return SplitReport(
        name=name,
        results=results,
        holds_out=holds_out,
        embeddings=kept,
        factors=by_query,
        grouping=grouping,
        groups=groups,
        labels=_labels(factors, grouping),
        scenes=scenes,
        ceilings=ceilings,
    )


def _labels(factors: GoalFactors | None, grouping: str) -> dict[int, str]:
    if factors is None or not grouping:
        return {}
    return {goal: each[grouping] for goal, each in factors.values.items() if grouping in each}
