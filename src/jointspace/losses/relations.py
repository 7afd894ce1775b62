"""Who is a positive, a negative or neither of whom: relations between rows, from ids."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import TEXT, Direction, Modality, RowIds

Positives = Literal["ids", "diagonal"]

Ignore = Literal["none", "overlap", "instruction", "goal"]
"""Which wrong answers to a query that is no text are left out, each on top of the one before it:
none; rows of the same episode that overlap in time; rows of the same instruction; rows of the same
goal."""

OVERLAP_THRESHOLD = 0.5
"""Share of the shorter span above which two rows of an episode are no negatives of each other."""


@dataclass(frozen=True)
class Relations:
    """The relation of every query row to every target row.

    What is neither positive nor ignored is negative.

    Attributes:
        positive: the target is a right answer to the query.
        ignore: the target is too similar to count as a wrong answer; never true where `positive`
            is.
    """

    positive: Bool[np.ndarray, "query target"]
    ignore: Bool[np.ndarray, "query target"]

    @property
    def negative(self) -> Bool[np.ndarray, "query target"]:
        """The target is a wrong answer."""
        return ~(self.positive | self.ignore)


def relate(
    rows: RowIds,
    *,
    by_goal: bool | Bool[np.ndarray, " row"],
    target_by_goal: bool | Bool[np.ndarray, " row"] = False,
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
) -> Relations:
    """Relates every row of a batch to every row.

    This is the plain statement of the rules; `pairing` states them without a matrix.

    A text does not say which of its many episodes is meant, so that a query which is only a text
    has every row of its goal as a positive. Any other query means its own row; rows of the same
    episode that overlap in time show nearly the same and are ignored; the same instruction in
    another episode is a useful hard negative, unless `ignore` says otherwise.

    Args:
        rows: ids of the rows; where `by_goal` holds, a row with goal -1 is a positive only of
            itself.
        by_goal: whether the query (or the pair) is only a text: for all rows, or row by row.
        target_by_goal: the same of the target.
        positives: `diagonal` makes each row the only positive of itself and ignores nothing, as the
            textbook does.
        ignore: which wrong answers are left out; see `Ignore`.
        overlap: part of the shorter span that two rows of an episode may share before they are
            ignored, 0..1; 0 ignores any overlap.

    Returns:
        Square relations; row i of the batch is query i and target i.
    """
    same_row = np.eye(len(rows), dtype=bool)
    if positives == "diagonal":
        return Relations(same_row, np.zeros_like(same_row))
    of_query, of_target = (
        np.broadcast_to(np.asarray(each), (len(rows),)) for each in (by_goal, target_by_goal)
    )
    text_only = of_query[:, None] | of_target
    same_goal = (rows.goal[:, None] == rows.goal[None]) & (rows.goal >= 0)
    positive = same_row | (same_goal & text_only)
    alike = np.zeros_like(same_row)
    if ignore != "none":
        alike |= _overlapping(rows, overlap)
    if ignore in {"instruction", "goal"}:
        alike |= (rows.instruction[:, None] == rows.instruction) & (rows.instruction >= 0)
    if ignore == "goal":
        alike |= same_goal
    return Relations(positive, alike & ~text_only & ~positive)


def _overlapping(rows: RowIds, threshold: float) -> Bool[np.ndarray, "row row"]:
    start, stop = rows.start_s, rows.stop_s
    shared = np.minimum(stop[:, None], stop) - np.maximum(start[:, None], start)
    length = stop - start
    shorter = np.minimum(length[:, None], length)
    same_episode = rows.episode[:, None] == rows.episode
    # A span without length has no part to share: it overlaps where it lies inside the other.
    instant = (shorter <= 0) & (shared >= 0)
    return same_episode & (instant | (shared > threshold * shorter) & (shared > 0))


@dataclass(frozen=True)
class PairSimilarity:
    """What the loss of one direction needs.

    Attributes:
        direction: the query and the target modality.
        cosine: similarity of every query with every target, among the rows that have both
            modalities.
        positive: right answers.
        ignore: answers that count neither as right nor as wrong.
    """

    direction: Direction
    cosine: Float[Tensor, "query target"]
    positive: Bool[Tensor, "query target"]
    ignore: Bool[Tensor, "query target"]

    @property
    def transposed(self) -> "PairSimilarity":
        """The opposite direction."""
        opposite = Direction(self.direction.target, self.direction.query)
        return PairSimilarity(opposite, self.cosine.T, self.positive.T, self.ignore.T)


def compare_all(
    embeddings: Mapping[Modality, Float[Tensor, "row dim"]],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
) -> Iterator[PairSimilarity]:
    """Yields both directions of every pair of modalities.

    Args:
        embeddings: unit rows by modality or fused query, in the order of `rows`.
        rows: ids of the rows.
        present: rows that have each modality; the others take no part in its pairs, not even as
            negatives.
        positives: see `relate`.
        ignore: see `relate`.
        overlap: see `relate`.
        text_only: rows of a fused query that are made of the text alone, and so mean a goal; the
            rows of text itself always do.

    Yields:
        A direction and then its opposite, so that the product of the pair is computed once. Pairs
        that fewer than two rows have are left out: nothing can be compared.
    """
    for first, second in combinations(embeddings, 2):
        both = present[first] & present[second]
        keep = both.detach().cpu().numpy()
        if keep.sum() < 2:
            continue
        by_goal, target_by_goal = (
            np.full(int(keep.sum()), TEXT in {first, second})
            if text_only is None or name not in text_only
            else text_only[name].cpu().numpy()[keep] | (TEXT in {first, second})
            for name in (first, second)
        )
        relations = relate(
            rows.take(keep),
            by_goal=by_goal,
            target_by_goal=target_by_goal,
            positives=positives,
            ignore=ignore,
            overlap=overlap,
        )
        # Half precision has eight bits: two logits of 14 that differ by less than .06 are equal.
        with torch.autocast(both.device.type, enabled=False):
            query, target = (_full_precision(embeddings[m][both]) for m in (first, second))
            cosine = query @ target.T
        positive, ignored = (
            torch.from_numpy(each).to(cosine.device)
            for each in (relations.positive, relations.ignore)
        )
        pair = PairSimilarity(Direction(first, second), cosine, positive, ignored)
        yield pair
        yield pair.transposed


def _full_precision(vectors: Float[Tensor, "row dim"]) -> Float[Tensor, "row dim"]:
    return vectors if vectors.dtype == torch.float64 else vectors.float()
