"""Weighted sums of the products of positives, whose number may be rows squared, in O(rows)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from jointspace.losses.pairing import Grouping, Pairing, Side
from jointspace.losses.tile_walk import Rows, add_rows, as_rows, take_rows

_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a side: where they stand among its embeddings, and among those taking part."""

    vectors: Rows
    members: Rows
    labels: Int[Tensor, " member"]


class PositiveSums:
    """Sums over all positives of a pair, without going through them one by one.

    The sum over a group of all products of its queries with its targets is the product of two
    sums. Groups of one query and one target each, as the rows of a batch are, are taken directly.

    Args:
        pairing: whose positives.
        device: where the embeddings are.
    """

    def __init__(self, pairing: Pairing, device: torch.device) -> None:
        self._matched: list[tuple[_Chunk, _Chunk]] = []
        self._grouped: list[tuple[int, list[_Chunk], list[_Chunk]]] = []
        for grouping in pairing.groupings:
            if all(counts.max() <= 1 for counts in grouping.counts):
                self._matched += _matches(grouping, pairing, device)
            else:
                query = _chunks(grouping.query, pairing.query, device)
                target = _chunks(grouping.target, pairing.target, device)
                self._grouped.append((grouping.num_groups, query, target))

    def products(
        self,
        query: Float[Tensor, "row dim"],
        target: Float[Tensor, "row2 dim"],
        query_weight: Float[Tensor, " query"],
        target_weight: Float[Tensor, " target"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Returns the sum of products weighted by the query's weight, and that by the target's."""
        dtype = query_weight.dtype
        of_query, of_target = (query_weight.new_zeros(()) for _ in range(2))
        for first, second in self._matched:
            product = (_vectors(query, first, dtype) * _vectors(target, second, dtype)).sum(1)
            of_query += product @ take_rows(query_weight, first.members)
            of_target += product @ take_rows(target_weight, second.members)
        for num_groups, queries, targets in self._grouped:
            plain, weighted = _group_sums(query, queries, query_weight, num_groups)
            plain_target, weighted_target = _group_sums(target, targets, target_weight, num_groups)
            of_query += (weighted * plain_target).sum()
            of_target += (plain * weighted_target).sum()
        return of_query, of_target

    def pull_back(
        self,
        query: Float[Tensor, "row dim"],
        target: Float[Tensor, "row2 dim"],
        query_weight: Float[Tensor, " query"],
        target_weight: Float[Tensor, " target"],
        *,
        of_query: Float[Tensor, "row dim"],
        of_target: Float[Tensor, "row2 dim"],
    ) -> None:
        """Adds the gradient of the sum of both `products` to that of the embeddings, in place."""
        dtype = query_weight.dtype
        for first, second in self._matched:
            weight = take_rows(query_weight, first.members) + take_rows(
                target_weight, second.members
            )
            add_rows(of_query, first.vectors, _vectors(target, second, dtype) * weight[:, None])
            add_rows(of_target, second.vectors, _vectors(query, first, dtype) * weight[:, None])
        for num_groups, queries, targets in self._grouped:
            sums = _group_sums(target, targets, target_weight, num_groups)
            _spread(*sums, of_query, queries, query_weight)
            sums = _group_sums(query, queries, query_weight, num_groups)
            _spread(*sums, of_target, targets, target_weight)


def _vectors(
    matrix: Float[Tensor, "row dim"], chunk: _Chunk, dtype: torch.dtype
) -> Float[Tensor, "member dim"]:
    return take_rows(matrix, chunk.vectors).to(dtype)


def _group_sums(
    matrix: Float[Tensor, "row dim"],
    chunks: list[_Chunk],
    weight: Float[Tensor, " member"],
    num_groups: int,
) -> tuple[Float[Tensor, "group dim"], Float[Tensor, "group dim"]]:
    """Returns the sum of the vectors of each group, plain and weighted."""
    plain, weighted = (weight.new_zeros(num_groups, matrix.shape[1]) for _ in range(2))
    for chunk in chunks:
        vectors = _vectors(matrix, chunk, weight.dtype)
        plain.index_add_(0, chunk.labels, vectors)
        weighted.index_add_(0, chunk.labels, vectors * take_rows(weight, chunk.members)[:, None])
    return plain, weighted


def _spread(
    plain: Float[Tensor, "group dim"],
    weighted: Float[Tensor, "group dim"],
    gradient: Float[Tensor, "row dim"],
    chunks: list[_Chunk],
    weight: Float[Tensor, " member"],
) -> None:
    """Gives every member of a group the sums of the other side."""
    for chunk in chunks:
        own = take_rows(weight, chunk.members)[:, None]
        values = plain.index_select(0, chunk.labels).mul_(own)
        values += weighted.index_select(0, chunk.labels)
        add_rows(gradient, chunk.vectors, values)


def _chunks(labels: Int[np.ndarray, " member"], side: Side, device: torch.device) -> list[_Chunk]:
    members = np.flatnonzero(labels >= 0)
    return [_chunk(members[i : i + _CHUNK_ROWS], labels, side, device) for i in _starts(members)]


def _matches(
    grouping: Grouping, pairing: Pairing, device: torch.device
) -> list[tuple[_Chunk, _Chunk]]:
    """Returns the one query and the one target of every group that has both."""
    partner = np.full(grouping.num_groups, -1, dtype=np.int64)
    targets = np.flatnonzero(grouping.target >= 0)
    partner[grouping.target[targets]] = targets
    queries = np.flatnonzero(grouping.query >= 0)
    found = partner[grouping.query[queries]]
    queries, targets = queries[found >= 0], found[found >= 0]
    return [
        (
            _chunk(queries[i : i + _CHUNK_ROWS], grouping.query, pairing.query, device),
            _chunk(targets[i : i + _CHUNK_ROWS], grouping.target, pairing.target, device),
        )
        for i in _starts(queries)
    ]


def _chunk(
    members: Int[np.ndarray, " member"],
    labels: Int[np.ndarray, " row"],
    side: Side,
    device: torch.device,
) -> _Chunk:
    return _Chunk(
        as_rows(side.index[members], device),
        as_rows(members, device),
        torch.from_numpy(labels[members]).to(device),
    )


def _starts(members: Int[np.ndarray, " member"]) -> range:
    return range(0, len(members), _CHUNK_ROWS)
