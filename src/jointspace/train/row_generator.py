"""Random numbers that belong to a row: the same in whatever batch, and process, the row is read."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from jointspace.errors import InputError

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_DRAWS_PER_CALL = 1 << 32


class RowGenerator(np.random.Generator):
    """Draws arrays whose first axis is the rows of a batch, each row from a stream of its own.

    A row's numbers depend on the seed, its name and the number of the call alone: not on the rows
    beside it, and not on how far the batch was padded, since a longer row begins with the numbers
    of a shorter one. Only the methods here do so.

    Args:
        seed: words of the seed.
        rows: name of each row.

    Source:
        Steele, Lea & Flood 2014 (SplitMix64), whose n-th number is a hash of n; that lets one
        expression of NumPy draw for all rows at once.
    """

    def __init__(self, seed: Sequence[int], *, rows: Int[np.ndarray, " row"]) -> None:
        super().__init__(np.random.PCG64(list(seed)))
        key = np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)
        self._keys = _mixed(key + _mixed(rows.astype(np.uint64) * _GAMMA))
        self._calls = 0

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Returns numbers in [0, 1), as NumPy's generator does."""
        del dtype, out
        return (self._bits(size) >> np.uint64(11)) * 2.0**-53

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Returns numbers between `low` and `high`."""
        return low + (high - low) * self.random(size)

    def integers(
        self,
        low: Any,
        high: Any = None,
        size: Any = None,
        dtype: Any = np.int64,
        endpoint: bool = False,  # noqa: FBT001, FBT002 -- of NumPy
    ) -> Any:
        """Returns whole numbers from `low` up to `high`, which is one of them with `endpoint`."""
        first, last = (0, low) if high is None else (low, high)
        count = last - first + endpoint
        return (first + np.floor(count * self.random(size))).astype(dtype)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Returns normal numbers, of 24 bits: none lies beyond 5.8."""
        del out
        bits = self._bits(size)
        # Box & Muller 1958, of two halves of one number.
        radius = ((bits >> np.uint64(40)).astype(np.float32) + 1) * np.float32(2.0**-24)
        angle = (bits & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0**-24)
        return (np.sqrt(-2 * np.log(radius)) * np.cos(angle)).astype(dtype, copy=False)

    def _bits(self, size: Any) -> UInt64[np.ndarray, "row ..."]:
        shape = (size,) if isinstance(size, int) else tuple(size)
        if shape[:1] != self._keys.shape:
            raise InputError(f"size is {shape}; wanted {len(self._keys)} rows first")
        first = 1 + self._calls * _DRAWS_PER_CALL
        self._calls += 1
        place = np.arange(first, first + prod(shape[1:]), dtype=np.uint64) * _GAMMA
        return _mixed(self._keys[:, None] + place).reshape(shape)


def _mixed(words: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    mixed: np.ndarray = words ^ (words >> np.uint64(31))
    return mixed
