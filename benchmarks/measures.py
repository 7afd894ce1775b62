"""What the benchmarks read off a joint space, by the library's own evaluation.

A name says it all: `text->vision mAP` is measured on whole episodes, `vision->action R@1` on
windows, the mean of several draws of the candidates; `of episodes` follows where it is otherwise.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from jointspace.batch import ACTION, STATE, TEXT, VISION, Embeddings, Modality, fused_name
from jointspace.commands.opened_run import OpenedRun
from jointspace.data.samples import SampleSet
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.retrieval import Estimate
from jointspace.evaluation.scene import SceneAlternatives, embed_alternatives, scene_matching

NUM_DRAWS = 10
DRAW_SEED = 0
"""The first draw is that of `jointspace evaluate --candidates`."""

FALSE_POSITIVE_RATE = 0.01
FUSED = fused_name((VISION, TEXT))
SPLITS = ("test", "unseen_paraphrases", "unseen_combinations")
_NO_INTERVALS = Resampling(num_resamples=0)


@dataclass(frozen=True)
class Measure:
    """A number beside what chance would give; chance is NaN where it is not known."""

    value: float
    chance: float

    def to_json(self) -> dict[str, float | None]:
        """Returns the same, with null for what is not known."""
        pairs = (("value", self.value), ("chance", self.chance))
        return {name: number if math.isfinite(number) else None for name, number in pairs}


Measures = Mapping[str, Measure]


@dataclass(frozen=True)
class SplitEmbeddings:
    """The rows of one split, embedded by any model.

    Attributes:
        windows: None where every episode is shorter than a window. A fused query among their
            modalities is one that was trained.
        episodes: one row per whole episode.
        alternatives: the other instructions of each scene; None where the data names none.
    """

    windows: Embeddings | None
    episodes: Embeddings
    alternatives: SceneAlternatives | None


def windows_of(opened: OpenedRun, positions: Iterable[int]) -> SampleSet | None:
    """Returns the windows of some episodes, without overlap; None where none is long enough."""
    try:
        return SampleSet.of_windows(
            opened.dataset, opened.seen, opened.preprocessor, episodes=positions
        )
    except InputError:
        return None


def episodes_of(opened: OpenedRun, positions: Iterable[int]) -> SampleSet:
    """Returns one row per episode."""
    return SampleSet.of_episodes(
        opened.dataset, opened.seen, opened.preprocessor, episodes=positions
    )


def embed_split(opened: OpenedRun, positions: Iterable[int]) -> SplitEmbeddings:
    """Embeds the windows and episodes of a split; fused queries only where they were trained."""
    chosen = list(positions)
    trained = opened.run.config.loss.fused_weight > 0
    modalities = [m for m in opened.embedder.modalities if "+" not in m or (m == FUSED and trained)]
    windows = windows_of(opened, chosen)
    return SplitEmbeddings(
        None if windows is None else embed_samples(opened.embedder, windows, modalities=modalities),
        embed_samples(opened.embedder, episodes_of(opened, chosen), modalities=modalities),
        embed_alternatives(opened.embedder, opened.preprocessor, opened.dataset, episodes=chosen),
    )


def measure_splits(opened: OpenedRun, *, candidates: int) -> dict[str, Measure]:
    """Measures a run on every split that it holds out; other splits than test name themselves."""
    found: dict[str, Measure] = {}
    for split in SPLITS:
        positions = opened.splits.positions(split) if split in opened.splits.names else ()
        if not positions:
            continue
        measures = measure_rows(embed_split(opened, positions), candidates=candidates)
        prefix = "" if split == "test" else f"{split}: "
        found |= {f"{prefix}{name}": measure for name, measure in measures.items()}
    return found


def measure_rows(rows: SplitEmbeddings, *, candidates: int) -> dict[str, Measure]:
    """Measures the rows of one split.

    Args:
        rows: embedded by any model.
        candidates: so many windows are drawn at a time.

    Returns:
        Name -> measure; what the data does not allow is not there.
    """
    found: dict[str, Measure] = {}
    evaluation = evaluate_embeddings(rows.episodes, resampling=_NO_INTERVALS)
    for direction, metrics in evaluation.retrieval.items():
        if TEXT in {direction.query, direction.target} and "+" not in direction.query:
            found[f"{direction} mAP"] = _plain(metrics.mean_average_precision)
    for name, query in _instructed(rows.episodes).items():
        found[f"{name} R@1 of episodes"] = _fused_recall(query, candidates=candidates)
    if rows.windows is not None:
        found |= _window_measures(rows.windows, candidates=candidates)
    if rows.alternatives is not None and VISION in rows.episodes.vectors:
        found |= scene_measures(rows.episodes, rows.alternatives)
    return found


def scene_measures(episodes: Embeddings, alternatives: SceneAlternatives) -> dict[str, Measure]:
    """Measures how well pictures tell their instruction from the others of their scene."""
    matching = scene_matching(episodes, VISION, alternatives, resampling=_NO_INTERVALS)
    if matching is None:
        return {}
    rate = getattr(matching, "true_positive_rate", None)  # a version that measures it itself
    if rate is None:
        right, wrong = scene_pairs(episodes, alternatives)
        found = true_positive_rate(right, wrong, false_positive_rate=FALSE_POSITIVE_RATE)
    else:
        found = rate.value
    return {
        "same-scene AUROC": _plain(matching.auroc),
        "same-scene TPR at 1 % FP": Measure(found, FALSE_POSITIVE_RATE),
    }


def scene_pairs(
    episodes: Embeddings, alternatives: SceneAlternatives
) -> tuple[Float[np.ndarray, " right"], Float[np.ndarray, " wrong"]]:
    """Returns the cosines of the pictures with their own instructions, and with the others."""
    right, wrong = [], []
    for row, episode in enumerate(episodes.rows.episode.tolist()):
        if episode in alternatives.texts:
            vision = episodes.vectors[VISION][row]
            right.append(float(vision @ episodes.vectors[TEXT][row]))
            wrong += [float(vision @ alternatives.vectors[t]) for t in alternatives.texts[episode]]
    return np.asarray(right), np.asarray(wrong)


def true_positive_rate(
    right: Float[np.ndarray, " right"],
    wrong: Float[np.ndarray, " wrong"],
    *,
    false_positive_rate: float,
) -> float:
    """Returns the largest share of right pairs accepted where at most so many wrong ones are.

    A pair is accepted strictly above the threshold, so that ties with a wrong pair never help.
    """
    allowed = math.floor(false_positive_rate * len(wrong))
    threshold = np.sort(wrong)[::-1][allowed]
    return float(np.mean(right > threshold))


def candidate_draws(
    num_rows: int, *, candidates: int, num_draws: int = NUM_DRAWS
) -> list[Int[np.ndarray, " candidate"]]:
    """Returns rows drawn without replacement; all rows, once, where there are no more."""
    if num_rows <= candidates:
        return [np.arange(num_rows)]
    rng = np.random.default_rng(DRAW_SEED)
    return [np.sort(rng.choice(num_rows, candidates, replace=False)) for _ in range(num_draws)]


def only(rows: Embeddings, modalities: tuple[Modality, ...]) -> Embeddings:
    """Returns the rows with some of their modalities."""
    return replace(rows, vectors={m: rows.vectors[m] for m in modalities})


def sum_query(rows: Embeddings) -> Embeddings:
    """Returns rows whose vision+text searches the action by the sum of both similarities.

    Both modalities lie side by side, so that each pair is compared as the model compares it. Where
    that is by the cosine, the order is that of the sum of the unit rows of vision and text.
    """
    both = rows.take(rows.present(VISION) & rows.present(TEXT) & rows.present(ACTION))
    parts = [_compared_rows(both, modality, ACTION) for modality in (VISION, TEXT)]
    queries, actions = (
        np.concatenate(side, axis=1) / math.sqrt(2) for side in zip(*parts, strict=True)
    )
    return Embeddings({FUSED: queries, ACTION: actions}, both.rows, both.texts)


def _compared_rows(
    rows: Embeddings, first: Modality, second: Modality
) -> tuple[Float[np.ndarray, "row dim"], Float[np.ndarray, "row dim"]]:
    """Rows whose dot product is the similarity of a pair, in a version with gates as well."""
    if hasattr(rows, "pair_rows"):
        return rows.pair_rows(first, second)
    return rows.vectors[first], rows.vectors[second]


def _instructed(rows: Embeddings) -> dict[str, Embeddings]:
    """Instruction and picture search the action: as a sum, and fused where that was trained."""
    if not {VISION, TEXT, ACTION} <= set(rows.vectors):
        return {}
    queries = {f"{VISION}+{TEXT}->{ACTION}": sum_query(rows)}
    if FUSED in rows.vectors:
        queries[f"fused {VISION}+{TEXT}->{ACTION}"] = only(rows, (FUSED, ACTION))
    return {name: each for name, each in queries.items() if len(each)}


def _window_measures(windows: Embeddings, *, candidates: int) -> dict[str, Measure]:
    steps = [m for m in (ACTION, STATE) if m in windows.vectors]
    found: dict[str, Measure] = {}
    for other in steps:
        if VISION in windows.vectors:
            found |= _recall(only(windows, (VISION, other)), candidates=candidates)
    for name, query in _instructed(windows).items():
        found[f"{name} R@1"] = _fused_recall(query, candidates=candidates)
    return found


def _fused_recall(rows: Embeddings, *, candidates: int) -> Measure:
    unknown = Measure(float("nan"), float("nan"))
    return _recall(rows, candidates=candidates).get(f"{FUSED} R@1", unknown)


def _recall(rows: Embeddings, *, candidates: int) -> dict[str, Measure]:
    """R@1 and R@5 of every direction, means over the draws; a fused query is named alone."""
    draws: dict[str, list[Estimate]] = {}
    for draw in candidate_draws(len(rows), candidates=candidates):
        evaluation = evaluate_embeddings(rows.take(draw), resampling=_NO_INTERVALS)
        for direction, metrics in evaluation.retrieval.items():
            name = direction.query if "+" in direction.query else str(direction)
            draws.setdefault(f"{name} R@1", []).append(metrics.recall_at_1)
            draws.setdefault(f"{name} R@5", []).append(metrics.recall_at_5)
    return {
        name: Measure(
            float(np.mean([each.value for each in estimates])),
            float(np.mean([each.chance for each in estimates])),
        )
        for name, estimates in draws.items()
    }


def _plain(estimate: Estimate) -> Measure:
    return Measure(estimate.value, estimate.chance)
