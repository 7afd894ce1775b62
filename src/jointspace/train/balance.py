"""Which rows are drawn where every goal counts alike, as a pure function of seed and position."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int64

_GOALS = -1


class GoalRows:
    """The rows of one kind, in an endless order in which every goal comes equally often.

    The goals take turns, in a new random order each round. A goal gives its rows in a random order,
    and all of them before any returns, in a new order then. Rows without a goal (-1) are together
    one more goal.

    Args:
        goals: goal of each row.
    """

    def __init__(self, goals: Int[np.ndarray, " row"]) -> None:
        by_goal = np.argsort(goals, kind="stable")
        first = np.unique(goals[by_goal], return_index=True)[1]
        self._rows = np.split(by_goal, first[1:])
        # The latest order of each goal and of the goals: kept, since the next step goes on in it.
        self._orders: dict[int, tuple[tuple[int, ...], np.ndarray]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def at(self, positions: range, *, words: Sequence[int]) -> Int64[np.ndarray, " position"]:
        """Returns the rows at some positions of the order.

        Args:
            positions: from 0; a row returns within them where its goal has fewer rows than turns.
            words: of the seed.

        Returns:
            Row numbers; the same for the same arguments, whatever was asked for before.
        """
        num_goals = len(self._rows)
        chosen = []
        for position in positions:
            turn, place = divmod(position, num_goals)
            goal = int(self._order(_GOALS, num_goals, (*words, 0, turn))[place])
            rows = self._rows[goal]
            repetition, place = divmod(turn, len(rows))
            order = self._order(goal, len(rows), (*words, 1 + goal, repetition))
            chosen.append(rows[order[place]])
        return np.asarray(chosen, dtype=np.int64)

    def _order(self, name: int, length: int, words: tuple[int, ...]) -> Int64[np.ndarray, " place"]:
        if length == 1:
            return np.zeros(1, dtype=np.int64)
        kept = self._orders.get(name)
        if kept is None or kept[0] != words:
            kept = words, np.random.default_rng(words).permutation(length)
            self._orders[name] = kept
        return kept[1]
