"""What is right for whom, from row ids, and what is too close to count as wrong."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Int64

from jointspace.batch import RowIds
from jointspace.errors import InputError

Positives = Literal["goal", "instruction"]
"""Which rows a text is right for: those of its goal, which paraphrases share, or its words."""

_TOUCH_S = 1e-6
"""Spans that meet within rounding do not overlap."""


@dataclass(frozen=True)
class DistinctTexts:
    """Each instruction once.

    Attributes:
        row: the first row that carries it; its text vector stands for the instruction.
        answers: the id of what it asks for (goal or instruction, as chosen).
        instruction: its instruction id.
    """

    row: Int64[np.ndarray, " text"]
    answers: Int64[np.ndarray, " text"]
    instruction: Int64[np.ndarray, " text"]


def answer_ids(rows: RowIds, *, positives: Positives) -> Int64[np.ndarray, " row"]:
    """Returns the id by which rows and texts match."""
    return np.asarray(rows.goal if positives == "goal" else rows.instruction, dtype=np.int64)


def distinct_texts(rows: RowIds, *, positives: Positives) -> DistinctTexts:
    """Lists each instruction of `rows` once, in the order of the ids.

    Raises:
        InputError: rows of one instruction have different goals, so that the text has no single
            right answer.
    """
    instruction, first, inverse = np.unique(
        rows.instruction, return_index=True, return_inverse=True
    )
    answers = answer_ids(rows, positives=positives)
    differs = answers != answers[first][inverse.reshape(-1)]
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise InputError(
            f"row ids: instruction {rows.instruction[row]} has more than one goal "
            f"({answers[first][inverse[row]]} and {answers[row]}); "
            "give each instruction one goal, or evaluate with positives='instruction'"
        )
    return DistinctTexts(first, answers[first], np.asarray(instruction, dtype=np.int64))


def overlapping_pairs(rows: RowIds) -> Int64[np.ndarray, "pair 2"]:
    """Lists the ordered pairs of distinct rows of one episode whose time spans overlap.

    Such rows show nearly the same moment: neither is a fair wrong answer for the other. The list
    has as many pairs as there are overlaps; windows that do not overlap give none.
    """
    order = np.lexsort((rows.start_s, rows.episode))
    episode, start_s, stop_s = rows.episode[order], rows.start_s[order], rows.stop_s[order]
    bounds = np.flatnonzero(np.concatenate([[True], episode[1:] != episode[:-1], [True]]))
    if not len(order):
        return np.empty((0, 2), dtype=np.int64)
    # Within an episode, sorted by start, the rows that begin before row i ends follow it directly.
    reach = np.concatenate(
        [
            low + np.searchsorted(start_s[low:high], stop_s[low:high] - _TOUCH_S)
            for low, high in pairwise(bounds)
        ]
    )
    place = np.arange(len(order))
    following = np.maximum(reach - place - 1, 0)
    earlier = np.repeat(place, following)
    step = np.arange(len(earlier)) - np.repeat(np.cumsum(following) - following, following)
    pairs = np.stack([order[earlier], order[earlier + 1 + step]], axis=1)
    return np.concatenate([pairs, pairs[:, ::-1]])
