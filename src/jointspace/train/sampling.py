"""Which rows a step trains on, as a pure function of seed and step: to resume needs no state."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int

RowKind = Literal["windows", "episodes"]

# Independent streams of random numbers drawn from one seed.
_WINDOW_ORDER, _EPISODE_ORDER, _AUGMENT, _TORCH, _WEIGHTS = range(5)


@dataclass(frozen=True)
class StepRows:
    """The rows of one step.

    Attributes:
        kind: windows, or whole episodes.
        indices: which of them; distinct as long as there are enough.
    """

    kind: RowKind
    indices: Int[np.ndarray, " row"]


def step_rows(
    step: int,
    *,
    seed: int,
    num_windows: int,
    num_episodes: int,
    batch_size: int,
    episode_fraction: float,
) -> StepRows:
    """Chooses the rows of a step.

    The two kinds alternate evenly. Each kind runs through a new random order of all of its rows
    before any row returns, so that the last rows of an order and the first of the next may share a
    batch.

    Args:
        step: the step, from 0.
        seed: of the run.
        num_windows: windows to choose from; 0 if there are none.
        num_episodes: whole episodes to choose from.
        batch_size: rows of a step; fewer where fewer exist.
        episode_fraction: share of the steps that train on whole episodes; none do where there is
            only one episode.

    Returns:
        The same rows for the same arguments, whatever was asked for before.
    """
    fraction = episode_fraction
    if num_windows == 0:
        fraction = 1.0
    elif num_episodes < 2 <= num_windows:
        fraction = 0.0  # a single row has nothing to be compared with
    before = math.floor(step * fraction)
    is_episode_step = math.floor((step + 1) * fraction) > before
    count, total = (before, num_episodes) if is_episode_step else (step - before, num_windows)
    kind: RowKind = "episodes" if is_episode_step else "windows"
    size = min(batch_size, total)
    first = count * size
    indices = [
        _order(seed, kind, position // total, total)[position % total]
        for position in range(first, first + size)
    ]
    return StepRows(kind, np.asarray(indices, dtype=np.int64))


def augment_generator(step: int, *, seed: int) -> np.random.Generator:
    """Returns the random numbers for the augmentation of a step's rows."""
    return np.random.default_rng((seed, _AUGMENT, step))


def torch_seed(step: int, *, seed: int) -> int:
    """Returns the seed of torch's own random numbers (dropout) at a step."""
    return int(np.random.SeedSequence((seed, _TORCH, step)).generate_state(1, np.uint64)[0])


def weights_seed(*, seed: int) -> int:
    """Returns the seed of the initial weights."""
    return int(np.random.SeedSequence((seed, _WEIGHTS)).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=4)
def _order(seed: int, kind: RowKind, repetition: int, total: int) -> Int[np.ndarray, " row"]:
    stream = _EPISODE_ORDER if kind == "episodes" else _WINDOW_ORDER
    rng = np.random.default_rng((seed, stream, repetition))
    return rng.permutation(total)
