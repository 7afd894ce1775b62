"""Rankings by sorting, for queries with several right answers, as a text and all its rows.

Counting needs a pass per right answer; sorting places all of them at once. Memory is bounded by a
block of rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from jointspace.evaluation.duplicates import distinct_rows
from jointspace.evaluation.expectation import TieGroups
from jointspace.evaluation.products import BlockProduct, Float32Product

_BLOCK_SCORES = 1 << 23
"""Scores held at once: 32 MiB of float32."""

_MAX_BLOCK_ROWS = 240
_TILE_COLUMNS = 4096


@dataclass(frozen=True)
class Ranking:
    """The candidates of one query, best first.

    Attributes:
        order: candidates in the order of their scores; ignored ones are left out.
        starts: where each group of equal scores begins in `order`.
        positive: True where `order` holds a right answer.
    """

    order: Int64[np.ndarray, " candidate"]
    starts: Int64[np.ndarray, " group"]
    positive: Bool[np.ndarray, " candidate"]

    def groups(self) -> TieGroups:
        """Returns the tie groups that hold a right answer, as those of query 0."""
        return self.resampled_groups(np.ones((1, len(self.order)), dtype=np.int64))

    def resampled_groups(self, copies: Int[np.ndarray, "sample candidate"]) -> TieGroups:
        """Returns the tie groups when each candidate of `order` occurs `copies` times.

        Copies of a candidate tie with each other. The samples are numbered as queries.
        """
        stops = np.append(self.starts[1:], len(self.order))
        seen = np.concatenate([[0], np.cumsum(self.positive)])
        held = seen[stops] > seen[self.starts]
        starts, stops = self.starts[held], stops[held]
        above = _running_sum(copies)
        right_above = _running_sum(copies[:, self.positive])
        before, through = right_above[:, seen[starts]], right_above[:, seen[stops]]
        return TieGroups(
            query=np.repeat(np.arange(len(copies), dtype=np.int64), len(starts)),
            above=above[:, starts].reshape(-1),
            size=(above[:, stops] - above[:, starts]).reshape(-1),
            positives_above=before.reshape(-1),
            positives=(through - before).reshape(-1),
        )


def rankings(
    query: Float[np.ndarray, "query dim"],
    target: Float[np.ndarray, "target dim"],
    *,
    query_ids: Int[np.ndarray, " query"],
    target_ids: Int[np.ndarray, " target"],
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    product: BlockProduct | None = None,
) -> Iterator[Ranking]:
    """Ranks all targets for each query in turn. Copies of one target row tie exactly.

    Args:
        query: one row per query.
        target: one row per candidate.
        query_ids: what each query asks for.
        target_ids: what each target answers; equal ids make a right answer.
        ignore: pairs (query, target) left out of the ranking, unless their ids are equal.
        product: arithmetic of the scores; float32 by default.

    Yields:
        One ranking per query, in order.
    """
    distinct = distinct_rows(target)
    product = Float32Product() if product is None else product
    prepared_query, prepared_target = product.prepare(query), product.prepare(distinct.vectors)
    ignored_of = _by_query(ignore, len(query))
    block_rows = int(np.clip(_BLOCK_SCORES // max(len(target), 1), 1, _MAX_BLOCK_ROWS))
    for block in range(0, len(query), block_rows):
        scores = _block_scores(product, prepared_query[block : block + block_rows], prepared_target)
        for i, distinct_scores in enumerate(scores, start=block):
            row = distinct_scores[distinct.inverse]
            order = np.argsort(row)[::-1]
            positive = target_ids == query_ids[i]
            left_out = ignored_of[i]
            if len(left_out):
                keep = np.ones(len(row), dtype=bool)
                keep[left_out] = positive[left_out]
                order = order[keep[order]]
            ranked = row[order]
            starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
            yield Ranking(order, starts, positive[order])


def _block_scores(product: BlockProduct, query: np.ndarray, target: np.ndarray) -> np.ndarray:
    parts = [
        product.scores(query, target[i : i + _TILE_COLUMNS]).copy()
        for i in range(0, len(target), _TILE_COLUMNS)
    ]
    return np.concatenate(parts, axis=1)


def _running_sum(copies: Int[np.ndarray, "sample place"]) -> Int64[np.ndarray, "sample place+1"]:
    total = np.zeros((len(copies), copies.shape[1] + 1), dtype=np.int64)
    np.cumsum(copies, axis=1, out=total[:, 1:])
    return total


def _by_query(pairs: Int[np.ndarray, "pair 2"] | None, num_queries: int) -> list[np.ndarray]:
    """The ignored targets of each query."""
    if pairs is None:
        return [np.empty(0, dtype=np.int64)] * num_queries
    in_order = pairs[np.argsort(pairs[:, 0], kind="stable")]
    return np.split(in_order[:, 1], np.searchsorted(in_order[:, 0], np.arange(1, num_queries)))
