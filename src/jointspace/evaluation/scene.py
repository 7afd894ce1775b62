"""The right instruction against the others that its scene allows: the hardest wrong answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from jointspace.batch import TEXT, Embeddings, Modality, gated_rows
from jointspace.data.collate import Sample
from jointspace.data.preprocess import Preprocessor
from jointspace.data.schema import RobotDataset
from jointspace.embedder import Embedder
from jointspace.errors import InputError
from jointspace.evaluation.auroc import auroc
from jointspace.evaluation.bootstrap import Resampling, mean_interval
from jointspace.evaluation.detection import true_positive_rate
from jointspace.evaluation.factors import rows_with_text
from jointspace.evaluation.retrieval import Estimate

_BATCH_SIZE = 64


@dataclass(frozen=True)
class SceneAlternatives:
    """What a robot could have been told instead, in the same scene.

    Attributes:
        texts: episode id -> the other instructions of its scene; episodes without any are missing.
        vectors: one unit row for each of those texts.
    """

    texts: Mapping[int, tuple[str, ...]]
    vectors: Mapping[str, Float32[np.ndarray, " dim"]]


@dataclass(frozen=True)
class SceneMatching:
    """How well rows tell their instruction from the others of their scene.

    Attributes:
        auroc: probability that a right pair of row and text scores higher than a wrong one, over
            the pairs of all scenes; ties count half.
        true_positive_rate: share of the right pairs above a threshold that at most 1 % of the wrong
            pairs of all scenes exceed; what equals the threshold does not count.
        accuracy: share of rows whose own instruction scores highest of its scene, ties shared out
            evenly; chance is a guess among them.
        num_rows: rows with at least one other instruction.
        num_wrong: wrong pairs.
        num_episodes: episodes that the intervals resample.
    """

    auroc: Estimate
    true_positive_rate: Estimate
    accuracy: Estimate
    num_rows: int
    num_wrong: int
    num_episodes: int


def embed_alternatives(
    embedder: Embedder,
    preprocessor: Preprocessor,
    dataset: RobotDataset,
    *,
    episodes: Sequence[int],
) -> SceneAlternatives | None:
    """Embeds the other instructions of each episode's scene.

    Args:
        embedder: the model; must embed text.
        preprocessor: makes tokens.
        dataset: the usable episodes.
        episodes: positions of the episodes to look at.

    Returns:
        The texts and their vectors; None where no episode names any, or the model reads no text.
    """
    chosen = [dataset.episodes[position] for position in episodes]
    texts = {
        e.index: tuple(dict.fromkeys(t for t in e.other_instructions if t != e.instruction))
        for e in chosen
        if e.instruction
    }
    texts = {index: others for index, others in texts.items() if others}
    if not texts or TEXT not in embedder.modalities:
        return None
    distinct = sorted({text for others in texts.values() for text in others})
    vectors: dict[str, np.ndarray] = {}
    for start in range(0, len(distinct), _BATCH_SIZE):
        some = distinct[start : start + _BATCH_SIZE]
        batch = preprocessor.batch([Sample(text=text) for text in some])
        vectors |= dict(zip(some, embedder.embed(TEXT, batch), strict=True))
    return SceneAlternatives(texts, vectors)


def scene_matching(
    embeddings: Embeddings,
    query: Modality,
    alternatives: SceneAlternatives,
    *,
    resampling: Resampling | None = None,
) -> SceneMatching | None:
    """Compares each row with its instruction and with the others of its scene.

    Colour, place and shape of what is there say nothing here, since all of the instructions fit
    them: only what is done, and to what, does.

    Args:
        embeddings: unit rows; those that have both `query` and a text are compared.
        query: modality of the rows, or a fused query without text.
        alternatives: the other instructions by episode.
        resampling: of the intervals; 1,000 draws of whole episodes at 95 % by default.

    Returns:
        The measurements; None where no row has another instruction.

    Raises:
        InputError: there is no such modality, it holds the text itself, or a vector is not finite.

    Example:
        Told "lift" where "push" was possible as well:

        >>> from jointspace.batch import VISION, RowIds
        >>> zero = np.zeros(1, dtype=np.int64)
        >>> rows = RowIds(zero, zero, zero, zero / 1, zero + 1.0)
        >>> lift, push = np.eye(2, dtype=np.float32)
        >>> found = scene_matching(
        ...     Embeddings({VISION: lift[None], TEXT: lift[None]}, rows),
        ...     VISION,
        ...     SceneAlternatives({0: ("push",)}, {"push": push}),
        ... )
        >>> found.auroc.value, found.accuracy.value, found.accuracy.chance
        (1.0, 1.0, 0.5)
    """
    resampling = Resampling() if resampling is None else resampling
    rows = rows_with_text(embeddings, query)
    episodes = embeddings.rows.episode[rows]
    known = np.asarray([int(e) in alternatives.texts for e in episodes], dtype=np.bool_)
    rows, episodes = rows[known], episodes[known]
    if not len(rows):
        return None
    vectors, own = embeddings.pair_rows(query, TEXT, rows)
    gate = embeddings.gate(query, TEXT)
    hits, guesses, by_row = np.empty(len(rows)), np.empty(len(rows)), []
    for row, episode in enumerate(episodes.tolist()):
        others = np.stack([alternatives.vectors[text] for text in alternatives.texts[episode]])
        texts = np.concatenate([own[row : row + 1], gated_rows(others, gate)])
        by_row.append(_scores(vectors[row], texts))
        hits[row] = _hit(by_row[row])
        guesses[row] = 1 / (1 + len(others))
    counts = np.asarray([len(scores) - 1 for scores in by_row])
    scores = np.concatenate([[each[0] for each in by_row], *(each[1:] for each in by_row)])
    if not np.isfinite(scores).all():
        raise InputError(f"'{query}': a score is not finite; look for NaN in the model's inputs")
    low, high = mean_interval(hits, episodes, resampling=resampling)
    right = np.arange(len(scores)) < len(rows)
    of_pair = np.concatenate([episodes, np.repeat(episodes, counts)])
    return SceneMatching(
        auroc=auroc(scores, right, episodes=of_pair, resampling=resampling),
        true_positive_rate=true_positive_rate(
            scores, right, episodes=of_pair, resampling=resampling
        ),
        accuracy=Estimate(float(hits.mean()), float(guesses.mean()), low, high),
        num_rows=len(rows),
        num_wrong=int(counts.sum()),
        num_episodes=len(np.unique(episodes)),
    )


def _scores(
    row: Float[np.ndarray, " dim"], texts: Float[np.ndarray, "text dim"]
) -> Float64[np.ndarray, " text"]:
    """Cosines of one row with texts, rounded so that equal texts score equal in every scene."""
    cosines = texts.astype(np.float64) @ row.astype(np.float64)
    return cosines.astype(np.float32).astype(np.float64)


def _hit(scores: Float64[np.ndarray, " text"]) -> float:
    """Probability that the first text is chosen, ties broken at random."""
    best = scores == scores.max()
    return float(best[0] / best.sum())
