"""Does this instruction belong to what the robot sees or does? Right and wrong pairs, and AUROC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from jointspace.batch import TEXT, Embeddings, Modality
from jointspace.errors import InputError, did_you_mean
from jointspace.evaluation.auroc import auroc
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.relevance import (
    DistinctTexts,
    Positives,
    answer_ids,
    distinct_texts,
)
from jointspace.evaluation.retrieval import Estimate

Wrong = Literal["every", "closest"]
"""Which wrong instructions a row is compared with: every one, or those worded most alike."""

_BLOCK_NUMBERS = 1 << 20
_MOST_CLOSEST = 16
"""Texts that one text is compared with as closest; of more that are equally close, so many."""


@dataclass(frozen=True)
class MatchScores:
    """Rows compared with instructions, one entry per pair.

    Attributes:
        query: the modality of the rows.
        similarity: cosine of the row and the text, through the gate of their pair if it has one.
        right: True where the text applies to the row.
        row: place of the row in the embeddings.
        instruction: id of the text.
        episode: episode of the row. Pairs of one episode resemble each other; those of different
            episodes are taken as exchangeable.
    """

    query: Modality
    similarity: Float32[np.ndarray, " pair"]
    right: Bool[np.ndarray, " pair"]
    row: Int64[np.ndarray, " pair"]
    instruction: Int64[np.ndarray, " pair"]
    episode: Int64[np.ndarray, " pair"]

    def __post_init__(self) -> None:
        names = ("similarity", "right", "row", "instruction", "episode")
        lengths = {name: len(getattr(self, name)) for name in names}
        if len(set(lengths.values())) > 1:
            raise InputError(f"match scores must have one length, got {lengths}")
        broken = np.flatnonzero(~np.isfinite(self.similarity))
        if len(broken):
            raise InputError(
                f"the similarity of row {self.row[broken[0]]} of '{self.query}' and instruction "
                f"{self.instruction[broken[0]]} is not finite; look for NaN in the model's inputs"
            )

    def __len__(self) -> int:
        return len(self.similarity)


@dataclass(frozen=True)
class MatchQuality:
    """How well similarity alone tells whether an instruction applies.

    Attributes:
        auroc: probability that a right pair scores higher than a wrong one; ties count half.
        auroc_closest: the same where the wrong instructions are those worded most like the right
            one; None without texts.
        median_right: median cosine of right pairs.
        median_wrong: median cosine of wrong pairs.
        num_right: right pairs.
        num_wrong: wrong pairs.
        num_episodes: episodes that the intervals resample.
    """

    auroc: Estimate
    auroc_closest: Estimate | None
    median_right: float
    median_wrong: float
    num_right: int
    num_wrong: int
    num_episodes: int


def match_scores(
    embeddings: Embeddings,
    query: Modality,
    *,
    positives: Positives = "goal",
    wrong: Wrong = "every",
    max_pairs: int = 2_000_000,
    seed: int = 0,
) -> MatchScores:
    """Compares rows with the distinct instructions: which apply, which do not.

    Args:
        embeddings: unit rows; those that have both `query` and a text are compared.
        query: what is compared with the texts; may be a fused query without text.
        positives: `goal` takes paraphrases of the row's instruction as right; `instruction` as
            wrong.
        wrong: `every` instruction that does not apply, or the `closest`: of those, the ones that
            share most words with the row's own, up to 16 where several share equally many.
        max_pairs: where there may be more wrong pairs, about so many are drawn.
        seed: of that draw.

    Returns:
        All right pairs, then the wrong ones.

    Raises:
        InputError: there is no such modality or it holds the text itself, no row has both sides,
            no instruction is wrong for any row, the goals contradict the instructions, or
            `closest` is asked for and the embeddings lack texts.
    """
    for modality in (query, TEXT):
        if modality not in embeddings.vectors:
            known = did_you_mean(modality, embeddings.modalities)
            raise InputError(f"embeddings: no modality '{modality}' to match.{known}")
    if TEXT in query.split("+"):
        raise InputError(f"'{query}' holds the text itself: match a modality without text")
    has_both = embeddings.present(query) & embeddings.present(TEXT)
    rows = np.flatnonzero(has_both & (embeddings.rows.instruction >= 0))
    ids = embeddings.rows.take(rows)
    answers, texts = answer_ids(ids, positives=positives), distinct_texts(ids, positives=positives)
    if len(np.unique(answers)) < 2:
        what = f"every row has the same {positives}" if len(rows) else "no row has both"
        raise InputError(f"{query} and text: {what}, so that there is no wrong pair")
    generator = np.random.default_rng(seed)
    if wrong == "closest":
        own = np.searchsorted(texts.instruction, ids.instruction)
        row, text = _listed(_closest(texts, embeddings.texts, generator), own)
        if len(row) > max_pairs:
            some = np.sort(generator.choice(len(row), max_pairs, replace=False))
            row, text = row[some], text[some]
    else:
        row, text = _wrong_pairs(answers, texts.answers, max_pairs, generator)
    known_answers, answer = np.unique(answers, return_inverse=True)
    right = _listed(
        [np.flatnonzero(texts.answers == each) for each in known_answers], answer.reshape(-1)
    )
    is_right = np.arange(len(right[0]) + len(row)) < len(right[0])
    row, text = np.concatenate([right[0], row]), np.concatenate([right[1], text])
    rows_of_texts = rows[texts.row]
    vectors, text_vectors = embeddings.pair_rows(query, TEXT)
    return MatchScores(
        query=query,
        similarity=_cosines(vectors, rows[row], text_vectors, rows_of_texts[text]),
        right=is_right,
        row=rows[row].astype(np.int64),
        instruction=texts.instruction[text],
        episode=ids.episode[row].astype(np.int64),
    )


def match_quality(
    embeddings: Embeddings,
    query: Modality,
    *,
    positives: Positives = "goal",
    resampling: Resampling | None = None,
) -> MatchQuality:
    """Measures how well one cosine tells right from wrong instructions, over all rows and texts.

    Unlike the accuracy of the best instruction it asks for one scale on all rows and all texts,
    which is what a threshold needs.

    Args:
        embeddings: unit rows.
        query: what is compared with the texts.
        positives: what makes a text right, see `match_scores`.
        resampling: of the intervals; 1,000 draws of whole episodes at 95 % by default.

    Raises:
        InputError: as `match_scores`.
    """
    pairs = match_scores(embeddings, query, positives=positives)
    closest = None
    if set(np.unique(pairs.instruction).tolist()) <= set(embeddings.texts):
        closest = match_scores(embeddings, query, positives=positives, wrong="closest")
    return MatchQuality(
        auroc=_area(pairs, resampling),
        auroc_closest=None if closest is None else _area(closest, resampling),
        median_right=float(np.median(pairs.similarity[pairs.right])),
        median_wrong=float(np.median(pairs.similarity[~pairs.right])),
        num_right=int(pairs.right.sum()),
        num_wrong=int((~pairs.right).sum()),
        num_episodes=len(np.unique(pairs.episode)),
    )


def _area(pairs: MatchScores, resampling: Resampling | None) -> Estimate:
    return auroc(pairs.similarity, pairs.right, episodes=pairs.episode, resampling=resampling)


def _listed(
    lists: Sequence[Int64[np.ndarray, " _"]], choice: Int64[np.ndarray, " row"]
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Pairs each row with every member of its list: rows, and members."""
    lengths = np.array([len(each) for each in lists])[choice]
    row = np.repeat(np.arange(len(choice), dtype=np.int64), lengths)
    return row, np.concatenate([lists[i] for i in choice])


def _wrong_pairs(
    answers: Int64[np.ndarray, " row"],
    text_answers: Int64[np.ndarray, " text"],
    max_pairs: int,
    generator: np.random.Generator,
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Every pair of a row and a text that does not apply, or equally many draws for each row."""
    num_rows, num_texts = len(answers), len(text_answers)
    if num_rows * num_texts <= max_pairs:
        pair = np.arange(num_rows * num_texts)
    else:
        draws = generator.integers(num_texts, size=(num_rows, max(1, max_pairs // num_rows)))
        pair = np.unique(draws + np.arange(num_rows)[:, None] * num_texts)
    row, text = pair // num_texts, pair % num_texts
    differs = answers[row] != text_answers[text]
    return row[differs], text[differs]


def _closest(
    texts: DistinctTexts, words_of: Mapping[int, str], generator: np.random.Generator
) -> list[Int64[np.ndarray, " closest"]]:
    """For each text the wrong ones that share most of their words with it (Jaccard)."""
    missing = [int(i) for i in texts.instruction if int(i) not in words_of]
    if missing:
        raise InputError(
            f"embeddings have no text for instruction {missing[0]}; wrong='closest' compares words"
        )
    words = [sorted(set(words_of[int(i)].casefold().split())) for i in texts.instruction]
    holders: dict[str, list[int]] = {}
    for i, each in enumerate(words):
        for word in each:
            holders.setdefault(word, []).append(i)
    sizes = np.array([len(each) for each in words])
    closest = []
    for i, each in enumerate(words):
        sharing = [other for word in each for other in holders[word]]
        shared = np.bincount(np.array(sharing, dtype=np.int64), minlength=len(words))
        likeness = shared / np.maximum(sizes[i] + sizes - shared, 1)
        likeness[texts.answers == texts.answers[i]] = -1
        best = np.flatnonzero(likeness == likeness.max())
        if len(best) > _MOST_CLOSEST:
            best = np.sort(generator.choice(best, _MOST_CLOSEST, replace=False))
        closest.append(best)
    return closest


def _cosines(
    first: Float[np.ndarray, "row dim"],
    first_rows: Int64[np.ndarray, " pair"],
    second: Float[np.ndarray, "row dim"],
    second_rows: Int64[np.ndarray, " pair"],
) -> Float32[np.ndarray, " pair"]:
    """Cosines of pairs of unit rows, a block at a time."""
    out = np.empty(len(first_rows), dtype=np.float32)
    block = max(1, _BLOCK_NUMBERS // first.shape[1])
    for start in range(0, len(out), block):
        some = slice(start, start + block)
        out[some] = np.einsum("pd,pd->p", first[first_rows[some]], second[second_rows[some]])
    return out
