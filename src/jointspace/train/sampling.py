"""Which rows a step trains on, as a pure function of seed and step: to resume needs no state."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int

from jointspace.train.balance import GoalRows
from jointspace.train.row_generator import RowGenerator

RowKind = Literal["windows", "episodes"]
_KINDS: tuple[RowKind, ...] = ("windows", "episodes")

# Independent streams of random numbers drawn from one seed.
_WINDOW_ORDER, _EPISODE_ORDER, _AUGMENT, _TORCH, _WEIGHTS, _FUSION, _BALANCE = range(7)


@dataclass(frozen=True)
class StepRows:
    """The rows of one step.

    Attributes:
        kind: windows, or whole episodes.
        indices: which of them; distinct as long as there are enough, of each goal where goals are
            balanced.
    """

    kind: RowKind
    indices: Int[np.ndarray, " row"]


@dataclass(frozen=True)
class Share:
    """The part of a step's rows that one of several processes reads.

    The rows of a step are taken in the order of their episodes and cut into equal parts. So every
    process reads nearly always from the same part of the data set, whatever the step draws, and
    which rows a step has does not depend on how many processes there are.

    Attributes:
        rank: number of the process.
        size: how many there are; a single one reads all rows, in the order drawn.
    """

    rank: int = 0
    size: int = 1

    def positions(self, episodes: Int[np.ndarray, " row"]) -> Int[np.ndarray, " part"]:
        """Chooses the rows of this process.

        Args:
            episodes: episode of each row of the step.

        Returns:
            Positions among the rows of the step: as many for each process, one more for the first
            ones where the number does not divide, none where there are fewer rows than processes.
        """
        if self.size == 1:
            return np.arange(len(episodes))
        return np.array_split(np.argsort(episodes, kind="stable"), self.size)[self.rank]


WHOLE = Share()
"""All rows of a step."""


def step_rows(
    step: int,
    *,
    seed: int,
    num_windows: int,
    num_episodes: int,
    batch_size: int,
    episode_fraction: float,
    num_first: int = 0,
    goal_rows: Mapping[RowKind, GoalRows] | None = None,
) -> StepRows:
    """Chooses the rows of a step.

    After the first steps the two kinds alternate evenly. Each kind runs through a new random order
    of all of its rows before any row returns, so that the last rows of an order and the first of
    the next may share a batch.

    Args:
        step: the step, from 0.
        seed: of the run.
        num_windows: windows to choose from; 0 if there are none.
        num_episodes: whole episodes to choose from.
        batch_size: rows of a step; fewer where fewer exist.
        episode_fraction: share of the steps that train on whole episodes; none do where there is
            only one episode.
        num_first: so many steps at the start train on whole episodes, whatever the share; not where
            there is only one episode.
        goal_rows: the goals of each kind's rows, to draw from every goal equally often; None draws
            every row equally often.

    Returns:
        The same rows for the same arguments, whatever was asked for before.
    """
    fraction = episode_fraction
    if num_windows == 0:
        fraction = 1.0
    elif num_episodes < 2 <= num_windows:
        fraction, num_first = 0.0, 0  # a single row has nothing to be compared with
    first = min(step, num_first)
    later = math.floor((step - first) * fraction)
    before = first + later
    is_episode_step = step < num_first or math.floor((step - first + 1) * fraction) > later
    count, total = (before, num_episodes) if is_episode_step else (step - before, num_windows)
    kind: RowKind = "episodes" if is_episode_step else "windows"
    size = min(batch_size, total)
    first = count * size
    if goal_rows is not None:
        positions = range(first, first + size)
        words = (seed, _BALANCE, _KINDS.index(kind))
        return StepRows(kind, goal_rows[kind].at(positions, words=words))
    indices = [
        _order(seed, kind, position // total, total)[position % total]
        for position in range(first, first + size)
    ]
    return StepRows(kind, np.asarray(indices, dtype=np.int64))


def augment_generator(
    step: int, *, seed: int, rows: Int[np.ndarray, " row"]
) -> np.random.Generator:
    """Returns the random numbers for the augmentation of some of a step's rows.

    Args:
        step: the step, from 0.
        seed: of the run.
        rows: positions among the rows of the step; a row's numbers depend on no other row.

    Returns:
        A new generator.
    """
    return RowGenerator((seed, _AUGMENT, step), rows=rows)


def torch_seed(step: int, *, seed: int, rank: int = 0) -> int:
    """Returns the seed of torch's own random numbers (dropout) at a step.

    Args:
        step: the step, from 0.
        seed: of the run.
        rank: of the process: each drops other parts of its rows.

    Returns:
        The seed.
    """
    return _torch_seed(seed, _TORCH, step, rank)


def fusion_generator(step: int, *, seed: int) -> torch.Generator:
    """Returns the random numbers that choose a step's fused queries: the same on every process."""
    return torch.Generator().manual_seed(_torch_seed(seed, _FUSION, step))


def weights_seed(*, seed: int) -> int:
    """Returns the seed of the initial weights."""
    return _torch_seed(seed, _WEIGHTS)


def _torch_seed(*words: int) -> int:
    # Zeros at the end make no difference: rank 0 draws what a process draws that is alone.
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=4)
def _order(seed: int, kind: RowKind, repetition: int, total: int) -> Int[np.ndarray, " row"]:
    stream = _EPISODE_ORDER if kind == "episodes" else _WINDOW_ORDER
    rng = np.random.default_rng((seed, stream, repetition))
    return rng.permutation(total)
