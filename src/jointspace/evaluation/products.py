"""How a tile of similarities is computed: float32, or int8 through a caller's product.

Evaluation compares scores with each other and never reads their absolute value, so that a product
may return any monotonic, real-valued stand-in. Nothing here imports torch: who wants its integer
product passes it in.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int8, Int32, Shaped

_INT8_LIMIT = 127


@runtime_checkable
class BlockProduct(Protocol):
    """Computes tiles of the similarity matrix."""

    @property
    def name(self) -> str:
        """How a report calls the arithmetic, as in `float32`."""
        ...

    def prepare(self, vectors: Float[np.ndarray, "row dim"]) -> Shaped[np.ndarray, "row dim"]:
        """Converts a whole side once; slices of the result go to `scores`."""
        ...

    def scores(
        self, query: Shaped[np.ndarray, "query dim"], target: Shaped[np.ndarray, "target dim"]
    ) -> Shaped[np.ndarray, "query target"]:
        """Returns scores that the caller may write into, and that the next call may overwrite."""
        ...


class Float32Product:
    """Exact float32: the default."""

    name = "float32"

    def __init__(self) -> None:
        self._buffer = np.empty(0, dtype=np.float32)

    def prepare(self, vectors: Float[np.ndarray, "row dim"]) -> Float32[np.ndarray, "row dim"]:
        """Returns the rows as contiguous float32; no copy where they are already."""
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def scores(
        self, query: Float32[np.ndarray, "query dim"], target: Float32[np.ndarray, "target dim"]
    ) -> Float32[np.ndarray, "query target"]:
        """Multiplies into a buffer that is kept: fresh pages cost more than comparing them."""
        size = len(query) * len(target)
        if self._buffer.size < size:
            self._buffer = np.empty(size, dtype=np.float32)
        out = self._buffer[:size].reshape(len(query), len(target))
        return np.matmul(query, target.T, out=out)


class Int8Product:
    """Symmetric int8, one scale per side: a quarter of the cost where the processor has VNNI.

    The rounding moves a similarity of random unit rows of width 512 by about 6e-4, where their
    spread is 4e-2; the effect on R@k is measured by `benchmarks/retrieval.py`. Order is kept within
    a side because its scale is shared.
    """

    name = "int8"

    def __init__(self, int8_matmul: Callable[[Any, Any], Any]) -> None:
        """Takes the integer product, since NumPy has none that is fast.

        Args:
            int8_matmul: maps int8 "query dim" and int8 "target dim" to int32 "query target". With
                torch: `lambda a, b: torch._int_mm(torch.from_numpy(a),
                    torch.from_numpy(b).T).numpy()`.
        """
        self._int8_matmul = int8_matmul

    def prepare(self, vectors: Float[np.ndarray, "row dim"]) -> Int8[np.ndarray, "row dim"]:
        """Rounds the rows to int8 on a scale that the largest component fills."""
        largest = max((float(np.abs(v).max(initial=0)) for v in _chunks(vectors)), default=0.0)
        scale = _INT8_LIMIT / largest if largest > 0 else 1.0
        out = np.empty(vectors.shape, dtype=np.int8)
        for part, result in zip(_chunks(vectors), _chunks(out), strict=True):
            np.rint(part * np.float32(scale), out=result, casting="unsafe")
        return out

    def scores(
        self, query: Int8[np.ndarray, "query dim"], target: Int8[np.ndarray, "target dim"]
    ) -> Int32[np.ndarray, "query target"]:
        """Returns the integer dot products."""
        scores: np.ndarray = self._int8_matmul(query, target)
        return scores


def _chunks(array: np.ndarray, *, rows: int = 4096) -> list[np.ndarray]:
    return [array[i : i + rows] for i in range(0, len(array), rows)]
