"""Walking over the logits of a pair tile by tile, so that they are never all in memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jointspace.losses.pairing import Grouping, Pairing, Side

Rows = slice | Tensor
"""Which rows of a matrix: a slice where they follow each other, else their indices."""

KEPT_ROWS = 1024
"""Up to this many rows a pair is one tile, which is kept from forward to backward: as large as the
gradients of 1,024 rows of 512, and quicker than making it again."""

TILE_ROWS = {"cpu": 512, "cuda": 4096}
"""Side of a tile that is made again in backward. On a processor it fits the second-level cache
(1,024 is 4 % slower); a graphics processor wants fewer, larger products, which was not measured."""


def take_rows(matrix: Float[Tensor, "row *dim"], rows: Rows) -> Float[Tensor, "taken *dim"]:
    """Returns some rows; a view where they follow each other."""
    return matrix[rows] if isinstance(rows, slice) else matrix.index_select(0, rows)


def add_rows(
    matrix: Float[Tensor, "row dim"], rows: Rows, values: Float[Tensor, "taken dim"]
) -> None:
    """Adds to some rows in place."""
    if isinstance(rows, slice):
        matrix[rows] += values
    else:
        matrix.index_add_(0, rows, values)


def as_rows(index: Int[np.ndarray, " row"], device: torch.device) -> Rows:
    """Returns indices as a slice where they follow each other."""
    if len(index) == 0 or bool((index[1:] - index[:-1] == 1).all()):
        first = int(index[0]) if len(index) else 0
        return slice(first, first + len(index))
    return torch.from_numpy(index).to(device)


def product_dtype(first: Tensor, second: Tensor) -> torch.dtype:
    """Returns what the products of two kinds of vectors are computed in: float32 or better.

    Half precision has eight bits: two logits of 14 that differ by less than .06 would be equal.
    """
    return torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Returns a context in which autocast changes no product; where it is off, that is free."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class TileWalk:
    """The tiles of a pair.

    Args:
        pairing: who takes part, and who is ignored.
        device: where the embeddings are.
        dtype: of the products; see `product_dtype`.
        tile_rows: side of a tile; 0 chooses: one tile up to `KEPT_ROWS`, else `TILE_ROWS`.
        with_positives: whether `positive` will be asked for.

    Attributes:
        pairing: with its rows in the order in which they are walked.
        queries: participating queries of each row of tiles.
        targets: participating targets of each column of tiles.
        dtype: of the products.
    """

    def __init__(
        self,
        pairing: Pairing,
        *,
        device: torch.device,
        dtype: torch.dtype,
        tile_rows: int = 0,
        with_positives: bool = False,
    ) -> None:
        longest = max(len(pairing.query), len(pairing.target))
        if tile_rows == 0:
            chosen = TILE_ROWS.get(device.type, TILE_ROWS["cuda"])
            tile_rows = longest if longest <= max(KEPT_ROWS, chosen) else chosen
        self._ignores = pairing.ignores_any
        if longest > tile_rows and (self._ignores or with_positives):
            # Rows that are related then meet in few tiles, and only those need a mask.
            pairing = pairing.sorted()
        self.pairing = pairing
        self.dtype = dtype
        self._device = device
        self.queries = _cut(len(pairing.query), tile_rows)
        self.targets = _cut(len(pairing.target), tile_rows)
        self._query_rows = [as_rows(pairing.query.index[s], device) for s in self.queries]
        self._target_rows = [as_rows(pairing.target.index[s], device) for s in self.targets]
        self._may_ignore = self._ignore_map() if self._ignores else None
        self._may_be_positive = self._meet(pairing.groupings) if with_positives else None

    @property
    def is_single(self) -> bool:
        """True where all is one tile."""
        return len(self.queries) == len(self.targets) == 1

    def largest_norms(
        self, query: Float[Tensor, "row dim"], target: Float[Tensor, "row2 dim"]
    ) -> Float[Tensor, ""]:
        """Returns the product of the largest norms, which no inner product exceeds."""
        largest = [
            torch.stack(
                [
                    torch.linalg.vector_norm(take_rows(side, rows), dim=1, dtype=self.dtype).amax()
                    for rows in each
                ]
            ).amax()
            for side, each in ((query, self._query_rows), (target, self._target_rows))
        ]
        return largest[0] * largest[1]

    def logits(
        self,
        query: Float[Tensor, "row dim"],
        target: Float[Tensor, "row2 dim"],
        scale: float,
    ) -> Iterator[tuple[int, int, Float[Tensor, "query target"]]]:
        """Yields row and column of each tile, row by row, and its scaled products.

        Ignored targets have -inf. What is yielded may be changed: its memory is used again for the
        next tile.
        """
        size = _longest(self.queries) * _longest(self.targets)
        memory = torch.empty(size, dtype=self.dtype, device=self._device)
        for i in range(len(self.queries)):
            queries = self.query_vectors(query, i)
            for j in range(len(self.targets)):
                targets = self.target_vectors(target, j)
                shape = len(queries), len(targets)
                tile = memory[: shape[0] * shape[1]].view(shape)
                torch.addmm(tile, queries, targets.T, beta=0, alpha=scale, out=tile)
                if self._may_ignore is not None and self._may_ignore[i, j]:
                    ignored = self.pairing.ignored(self.queries[i], self.targets[j])
                    tile.masked_fill_(torch.from_numpy(ignored).to(self._device), -torch.inf)
                yield i, j, tile

    def query_vectors(self, query: Float[Tensor, "row dim"], i: int) -> Float[Tensor, "query dim"]:
        """Returns the queries of a row of tiles, in the precision of the products."""
        return take_rows(query, self._query_rows[i]).to(self.dtype)

    def target_vectors(
        self, target: Float[Tensor, "row dim"], j: int
    ) -> Float[Tensor, "target dim"]:
        """Returns the targets of a column of tiles, in the precision of the products."""
        return take_rows(target, self._target_rows[j]).to(self.dtype)

    def positive(self, i: int, j: int) -> Bool[Tensor, "query target"] | None:
        """Returns which targets of a tile are right answers; None where surely none is."""
        if self._may_be_positive is not None and not self._may_be_positive[i, j]:
            return None
        mask = self.pairing.positive(self.queries[i], self.targets[j])
        return torch.from_numpy(mask).to(self._device)

    def pull_back(
        self,
        query: Float[Tensor, "row dim"],
        target: Float[Tensor, "row2 dim"],
        scale: float,
        tiles: Iterator[tuple[int, int, Float[Tensor, "query target"]]],
    ) -> tuple[Float[Tensor, "row dim"], Float[Tensor, "row2 dim"], Float[Tensor, ""]]:
        """Turns the gradient of the logits into that of the embeddings and of the scale.

        Args:
            query: embeddings of one side.
            target: of the other.
            scale: that the products were scaled with.
            tiles: row and column of each tile, row by row, and the gradient of its logits.

        Returns:
            Gradients of `query`, `target` and `scale`, in the precision of the products.
        """
        # Rows that take no part have no gradient; those that do are written before they are added
        # to.
        of_query, of_target = (
            torch.empty_like(each, dtype=self.dtype)
            if sum(s.stop - s.start for s in cuts) == len(each)
            else torch.zeros_like(each, dtype=self.dtype)
            for each, cuts in ((query, self.queries), (target, self.targets))
        )
        of_scale = torch.zeros((), dtype=self.dtype, device=self._device)
        products = queries = query
        for i, j, gradient in tiles:
            targets, query_rows = self.target_vectors(target, j), self._query_rows[i]
            if j == 0:
                queries = self.query_vectors(query, i)
                in_place = isinstance(query_rows, slice)
                products = of_query[query_rows] if in_place else torch.empty_like(queries)
                torch.mm(gradient, targets, out=products)
            else:
                products.addmm_(gradient, targets)
            rows = self._target_rows[j]
            if isinstance(rows, slice):
                part, before = of_target[rows], float(i > 0)
                torch.addmm(part, gradient.T, queries, beta=before, alpha=scale, out=part)
            else:
                part = torch.mm(gradient.T, queries).mul_(scale)
                of_target[rows] = part if i == 0 else of_target[rows].add_(part)
            if j == len(self.targets) - 1:
                of_scale += torch.dot(products.reshape(-1), queries.reshape(-1))
                products.mul_(scale)
                if not isinstance(query_rows, slice):
                    of_query[query_rows] = products
        return of_query, of_target, of_scale

    def _ignore_map(self) -> Bool[np.ndarray, "row column"]:
        """Returns the tiles in which a target may be ignored."""
        episodes, *others = self.pairing.ignore_labels
        query, target = (
            _Ranges.of(labels, cuts)
            for labels, cuts in ((episodes.query, self.queries), (episodes.target, self.targets))
        )
        meet = query.meet(target)
        # Within one episode, tiles that lie apart in time have nothing in common.
        single = (query.low == query.high)[:, None] & (target.low == target.high)
        spans = (
            _Ranges.of_spans(side, cuts)
            for side, cuts in (
                (self.pairing.query, self.queries),
                (self.pairing.target, self.targets),
            )
        )
        first, second = spans
        meet &= ~single | first.meet(second)
        return meet | self._meet(tuple(others)) if others else meet

    def _meet(self, groupings: tuple[Grouping, ...]) -> Bool[np.ndarray, "row column"]:
        """Returns the tiles in which rows may share a group."""
        found = np.zeros((len(self.queries), len(self.targets)), dtype=bool)
        for each in groupings:
            query = _Ranges.of(each.query, self.queries)
            found |= query.meet(_Ranges.of(each.target, self.targets))
        return found


@dataclass(frozen=True)
class _Ranges:
    """The least and the greatest of what each tile holds; reversed where it holds nothing."""

    low: Float[np.ndarray, " tile"]
    high: Float[np.ndarray, " tile"]

    @staticmethod
    def of(labels: Int[np.ndarray, " row"], cuts: list[slice]) -> "_Ranges":
        parts = [labels[s][labels[s] >= 0] for s in cuts]
        return _Ranges(
            np.array([part.min() if len(part) else np.inf for part in parts], dtype=float),
            np.array([part.max() if len(part) else -np.inf for part in parts], dtype=float),
        )

    @staticmethod
    def of_spans(side: Side, cuts: list[slice]) -> "_Ranges":
        return _Ranges(
            np.array([side.rows.start_s[s].min() for s in cuts], dtype=float),
            np.array([side.rows.stop_s[s].max() for s in cuts], dtype=float),
        )

    def meet(self, other: "_Ranges") -> Bool[np.ndarray, "tile tile2"]:
        return (self.low[:, None] <= other.high) & (other.low <= self.high[:, None])


def _cut(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, max(size, 1))]


def _longest(cuts: list[slice]) -> int:
    return max((s.stop - s.start for s in cuts), default=0)
