"""Demonstrations by moment: exact search among tens of thousands of rows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from jointspace.errors import InputError


@dataclass(frozen=True)
class Neighbours:
    """What was found, nearest first.

    Attributes:
        places: in the index.
        distances: squared.
    """

    places: Int[np.ndarray, " neighbour"]
    distances: Float32[np.ndarray, " neighbour"]


class DemonstrationIndex:
    """Rows of demonstrated moments with the actions that followed.

    Args:
        rows: one a moment.
        chunks: what was done from that moment on, scaled.
        episodes: of which demonstration each is.

    Raises:
        InputError: there are no rows, or not as many of each.
    """

    def __init__(
        self,
        rows: Float32[np.ndarray, "moment row"],
        chunks: Float32[np.ndarray, "moment target"],
        episodes: Int[np.ndarray, " moment"],
    ) -> None:
        if not len(rows) or not len(rows) == len(chunks) == len(episodes):
            raise InputError(
                f"demonstrations: got {len(rows)} rows, {len(chunks)} action chunks and "
                f"{len(episodes)} episodes, expected as many of each and at least one"
            )
        self.rows, self.chunks, self.episodes = rows, chunks, episodes
        self._squares = (rows**2).sum(1)

    def __len__(self) -> int:
        return len(self.rows)

    def nearest(self, query: Float32[np.ndarray, " row"], *, count: int) -> Neighbours:
        """Finds the nearest moments; all where there are fewer than asked for.

        Raises:
            InputError: fewer than one is asked for, or the query is not finite.
        """
        if count < 1 or not np.isfinite(query).all():
            raise InputError(
                f"demonstrations: count is {count}, and the query's largest entry "
                f"{np.abs(query).max()}; expected at least 1, and finite numbers"
            )
        distances = self._squares - 2 * (self.rows @ query) + query @ query
        count = min(count, len(self))
        found = np.argpartition(distances, count - 1)[:count]
        found = found[np.argsort(distances[found], kind="stable")]
        return Neighbours(found, np.maximum(distances[found], 0.0))
