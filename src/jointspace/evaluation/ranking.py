"""Ranks by counting how many candidates score above the right one, and how many the same.

The similarity matrix is made in tiles that stay in the processor's cache, and each tile is compared
with the scores of the right candidates. One pass over the tiles gives both directions, since the
rows of a tile are queries of one and its columns are queries of the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int, Int64

from jointspace.evaluation.duplicates import DistinctRows, distinct_rows
from jointspace.evaluation.products import BlockProduct, Float32Product

_TILE_ROWS = 960
_TILE_COLUMNS = 1024
"""Of a product. Large enough to keep the product's cost of packing its operands low."""

_COUNT_ROWS = 240
"""Of a tile, counted at a time; a tile holds a whole number of them. At most 255, so that a column
counts in a byte, four times as fast as in 32 bits."""

_RIGHT_ROWS = 96
"""Of the small products that score the right answers ahead of the tiles."""


@dataclass(frozen=True)
class RankCounts:
    """Where the one right candidate of each query stands.

    Attributes:
        greater: candidates that score strictly higher.
        equal: candidates that score the same, the right one included.
    """

    greater: Int64[np.ndarray, " query"]
    equal: Int64[np.ndarray, " query"]

    @property
    def expected_rank(self) -> Float64[np.ndarray, " query"]:
        """The mean place over the order of ties, counted from 1."""
        return 1 + self.greater + (self.equal - 1) / 2


def count_ranks(
    query: Float[np.ndarray, "query dim"],
    target: Float[np.ndarray, "target dim"],
    *,
    positive: Int[np.ndarray, " query"],
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    product: BlockProduct | None = None,
) -> RankCounts:
    """Counts, for queries with one right target each, the targets that score higher and equal.

    Memory beyond the inputs is a tile and a few numbers per row. Copies of one target row tie
    exactly.

    Args:
        query: one row per query.
        target: one row per candidate.
        positive: the right candidate of each query.
        ignore: pairs (query, target) that count neither for nor against; a right pair is never
            ignored.
        product: arithmetic of the tiles; float32 by default.
    """
    distinct = distinct_rows(target)
    if ignore is not None:
        ignore = ignore[ignore[:, 1] != positive[ignore[:, 0]]]
    return _Pass(query, distinct, positive, ignore, product).forward()


def count_ranks_both(
    first: Float[np.ndarray, "row dim"],
    second: Float[np.ndarray, "row dim"],
    *,
    ignore: Int[np.ndarray, "pair 2"] | None = None,
    product: BlockProduct | None = None,
) -> tuple[RankCounts, RankCounts]:
    """Counts both directions of two aligned sides: each row's only right answer is its own row.

    One pass over the tiles serves both, unless rows repeat: then each direction takes its own pass.

    Args:
        first: queries of the first result, candidates of the second.
        second: candidates of the first result, queries of the second.
        ignore: pairs (row, row) that do not count, in either direction; a row's own pair is never
            ignored.
        product: arithmetic of the tiles; float32 by default.

    Returns:
        The counts of first -> second and of second -> first.
    """
    rows = np.arange(len(first), dtype=np.int64)
    distinct = distinct_rows(second)
    if distinct.repeats or distinct_rows(first).repeats:
        back = None if ignore is None else ignore[:, ::-1]
        return (
            count_ranks(first, second, positive=rows, ignore=ignore, product=product),
            count_ranks(second, first, positive=rows, ignore=back, product=product),
        )
    if ignore is not None:
        ignore = ignore[ignore[:, 0] != ignore[:, 1]]
    return _Pass(first, distinct, rows, ignore, product).both()


class _Pass:
    """One pass over the tiles, queries in the order of their right answers' places.

    In that order the right pairs lie along a staircase, so that the few tiles that hold them can be
    made first.
    """

    def __init__(
        self,
        query: Float[np.ndarray, "query dim"],
        distinct: DistinctRows,
        positive: Int[np.ndarray, " query"],
        ignore: Int[np.ndarray, "pair 2"] | None,
        product: BlockProduct | None,
    ) -> None:
        column = distinct.inverse[positive]
        self.order = np.argsort(column, kind="stable")
        self.column = column[self.order]
        self.product = Float32Product() if product is None else product
        self.query = self.product.prepare(query)
        self.target = self.product.prepare(distinct.vectors)
        self.copies = distinct.copies.astype(np.float64) if distinct.repeats else None
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        self.ignored = None if ignore is None else _TiledPairs(ignore, place, distinct.inverse)
        self.limits = self._right_scores()

    def forward(self) -> RankCounts:
        """Counts along the rows of the tiles."""
        greater, equal = np.zeros((2, len(self.order)), dtype=np.int64)
        for scores, rows, columns in self._tiles():
            self._count_rows(scores, rows, columns, greater[rows], equal[rows])
        return RankCounts(self._in_callers_order(greater), self._in_callers_order(equal))

    def both(self) -> tuple[RankCounts, RankCounts]:
        """Counts along rows and columns; only where the sides are aligned and no row repeats."""
        greater, equal = np.zeros((2, len(self.order)), dtype=np.int64)
        back_greater, back_equal = np.zeros((2, len(self.order)), dtype=np.int64)
        for scores, rows, columns in self._tiles():
            self._count_rows(scores, rows, columns, greater[rows], equal[rows])
            self._count_columns(scores, rows, columns, back_greater[columns], back_equal[columns])
        return RankCounts(greater, equal), RankCounts(back_greater, back_equal)

    def _tiles(self) -> Iterator[tuple[np.ndarray, slice, slice]]:
        """Yields the scores of a few rows at a time, with the places of the rows and columns."""
        for tile_rows in _slices(0, len(self.order), _TILE_ROWS):
            queries = self.query[self.order[tile_rows]]
            for columns in _slices(0, len(self.target), _TILE_COLUMNS):
                tile = self.product.scores(queries, self.target[columns])
                for rows in _slices(tile_rows.start, tile_rows.stop, _COUNT_ROWS):
                    scores = tile[rows.start - tile_rows.start : rows.stop - tile_rows.start]
                    self._set_own_scores(scores, rows, columns)
                    yield scores, rows, columns

    def _set_own_scores(self, scores: np.ndarray, rows: slice, columns: slice) -> None:
        """Makes right pairs score their limit; in another product they may be rounded otherwise."""
        first, last = np.searchsorted(self.column[rows], (columns.start, columns.stop))
        own = np.arange(first, last)
        scores[own, self.column[rows][own] - columns.start] = self.limits[rows][own]

    def _right_scores(self) -> np.ndarray:
        """The score of each query's right answer."""
        parts: list[np.ndarray] = []
        for rows in _slices(0, len(self.order), _RIGHT_ROWS):
            queries, column = self.query[self.order[rows]], self.column[rows]
            for tile in np.unique(column // _RIGHT_ROWS):
                start = int(tile) * _RIGHT_ROWS
                scores = self.product.scores(queries, self.target[start : start + _RIGHT_ROWS])
                own = np.flatnonzero(column // _RIGHT_ROWS == tile)
                parts.append(scores[own, column[own] - start])
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)

    def _count_rows(
        self,
        scores: np.ndarray,
        rows: slice,
        columns: slice,
        greater: Int64[np.ndarray, " query"],
        equal: Int64[np.ndarray, " query"],
    ) -> None:
        limit = self.limits[rows, None]
        if self.copies is None:
            above = (scores > limit).view(np.uint8).sum(axis=1, dtype=np.uint16)
            greater += above
            _add_equal(scores >= limit, above, 1, equal)
        else:
            copies = self.copies[columns]
            greater += ((scores > limit) @ copies).astype(np.int64)
            equal += ((scores == limit) @ copies).astype(np.int64)
        if self.ignored is not None:
            row, column = self.ignored.within(rows, columns)
            np.subtract.at(greater, row, scores[row, column] > limit[row, 0])
            np.subtract.at(equal, row, scores[row, column] == limit[row, 0])

    def _count_columns(
        self,
        scores: np.ndarray,
        rows: slice,
        columns: slice,
        greater: Int64[np.ndarray, " query"],
        equal: Int64[np.ndarray, " query"],
    ) -> None:
        limit = self.limits[columns]
        above = (scores > limit).view(np.uint8).sum(axis=0, dtype=np.uint8)
        greater += above
        _add_equal(scores >= limit, above, 0, equal)
        if self.ignored is not None:
            row, column = self.ignored.within(rows, columns)
            np.subtract.at(greater, column, scores[row, column] > limit[column])
            np.subtract.at(equal, column, scores[row, column] == limit[column])

    def _in_callers_order(self, counts: Int64[np.ndarray, " query"]) -> np.ndarray:
        result = np.empty_like(counts)
        result[self.order] = counts
        return result


class _TiledPairs:
    """Ignored pairs, sorted so that those of a tile are found at once."""

    def __init__(
        self,
        pairs: Int[np.ndarray, "pair 2"],
        place: Int64[np.ndarray, " query"],
        inverse: Int64[np.ndarray, " target"],
    ) -> None:
        row, column = place[pairs[:, 0]], inverse[pairs[:, 1]]
        self._tiles_across = int(column.max(initial=0)) // _TILE_COLUMNS + 1
        key = self._key(row, column)
        order = np.argsort(key, kind="stable")
        self._row, self._column, self._sorted_key = row[order], column[order], key[order]

    def within(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pairs of a tile as places within it."""
        if columns.start // _TILE_COLUMNS >= self._tiles_across:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        key = self._key(rows.start, columns.start)
        first, last = np.searchsorted(self._sorted_key, (key, key + 1))
        return self._row[first:last] - rows.start, self._column[first:last] - columns.start

    def _key(self, row: Any, column: Any) -> Any:
        """Numbers the tile of a row and a column, for integers and arrays of them."""
        return (row // _COUNT_ROWS) * self._tiles_across + column // _TILE_COLUMNS


def _add_equal(
    reached: np.ndarray, above: np.ndarray, axis: int, equal: Int64[np.ndarray, " query"]
) -> None:
    """Adds what reaches the limit without being above it; mostly one count shows there is none."""
    if np.count_nonzero(reached) != int(above.sum(dtype=np.int64)):
        equal += np.count_nonzero(reached, axis=axis) - above.astype(np.int64)


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))
