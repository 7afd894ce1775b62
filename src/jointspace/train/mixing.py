"""Which data set a step trains on, as a pure function of the weights: to resume needs no state."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64


def mixture_steps(
    weights: Sequence[float], *, num_steps: int
) -> tuple[Int64[np.ndarray, " step"], Int64[np.ndarray, " step"]]:
    """Spreads the steps over data sets as evenly as their weights allow.

    Each step goes to the data set that is furthest behind its share, the first of them where
    several are: after any number of steps a data set has its share of them to within less than
    one step for each other data set.

    Args:
        weights: one for each data set, up to a common factor.
        num_steps: of the training.

    Returns:
        For every step the place of its data set, and how many steps that one has had before.
    """
    shares = np.asarray(weights, dtype=np.float64)
    shares /= shares.sum()
    done = np.zeros(len(shares), dtype=np.int64)
    places = np.empty(num_steps, dtype=np.int64)
    before = np.empty(num_steps, dtype=np.int64)
    for step in range(num_steps):
        place = int(np.argmax(shares * (step + 1) - done))
        places[step], before[step] = place, done[place]
        done[place] += 1
    return places, before
