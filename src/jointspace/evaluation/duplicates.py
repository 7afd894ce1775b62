"""Rows that are equal bit for bit: the ties that a matrix product cannot be trusted to keep.

A fast matrix product rounds the same dot product differently at different places of a tile (half of
the processors we tried do), so that copies of one row would no longer tie, and a collapsed model
would be ranked by rounding. Scoring each distinct row once and counting it as often as it occurs
keeps those ties exact on every machine.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

_HASH_SEED = 20_240_229
_CHUNK_ROWS = 4096
_FIRST_COLUMNS = 16


@dataclass(frozen=True)
class DistinctRows:
    """The distinct rows of a matrix.

    Attributes:
        vectors: each distinct row once, float32; the input itself where no row repeats.
        inverse: where each input row stands in `vectors`.
        copies: how often each distinct row occurs.
    """

    vectors: Float32[np.ndarray, "distinct dim"]
    inverse: Int64[np.ndarray, " row"]
    copies: Int64[np.ndarray, " distinct"]

    @property
    def repeats(self) -> bool:
        """True where some row occurs more than once."""
        return len(self.vectors) < len(self.inverse)


def distinct_rows(vectors: Float[np.ndarray, "row dim"]) -> DistinctRows:
    """Finds the distinct rows, in the order of their first occurrence.

    Rows are compared after rounding to float32, and 0 equals -0.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if _differ_at_once(rows):
        return _all_distinct(rows)
    _, first, inverse = np.unique(_row_hashes(rows), return_index=True, return_inverse=True)
    if not _same_rows(rows, first[inverse]):  # two different rows of one hash: rare beyond measure
        _, first, inverse = np.unique(rows + 0.0, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return _all_distinct(rows)
    order = np.argsort(first)
    place = np.empty(len(first), dtype=np.int64)
    place[order] = np.arange(len(first))
    inverse = place[inverse.reshape(-1)]
    return DistinctRows(
        rows[first[order]], inverse, np.bincount(inverse, minlength=len(first)).astype(np.int64)
    )


def _all_distinct(rows: Float32[np.ndarray, "row dim"]) -> DistinctRows:
    place = np.arange(len(rows), dtype=np.int64)
    return DistinctRows(rows, place, np.ones(len(rows), dtype=np.int64))


def _differ_at_once(rows: Float32[np.ndarray, "row dim"]) -> bool:
    """True where the first columns alone tell all rows apart, as they mostly do."""
    hashes = _row_hashes(np.ascontiguousarray(rows[:, :_FIRST_COLUMNS]))
    return len(np.unique(hashes)) == len(rows)


def _row_hashes(rows: Float32[np.ndarray, "row dim"]) -> np.ndarray:
    """One 64-bit sum per row: its bit patterns times random odd numbers, exact in any order."""
    factors = np.random.default_rng(_HASH_SEED).integers(
        0, 2**63, size=rows.shape[1], dtype=np.uint64
    )
    factors = factors * np.uint64(2) + np.uint64(1)
    hashes = np.empty(len(rows), dtype=np.uint64)
    for i in range(0, len(rows), _CHUNK_ROWS):
        bits = (rows[i : i + _CHUNK_ROWS] + np.float32(0)).view(np.uint32)
        hashes[i : i + _CHUNK_ROWS] = (bits * factors).sum(axis=1, dtype=np.uint64)
    return hashes


def _same_rows(rows: Float32[np.ndarray, "row dim"], other: Int64[np.ndarray, " row"]) -> bool:
    moved = np.flatnonzero(other != np.arange(len(rows)))
    return all(
        np.array_equal(rows[part], rows[other[part]])
        for part in np.array_split(moved, len(moved) // _CHUNK_ROWS + 1)
    )
