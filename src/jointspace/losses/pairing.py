"""Who belongs to whom between two sides of a pair, from ids, without a matrix of all rows."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from jointspace.batch import RowIds
from jointspace.losses.relations import OVERLAP_THRESHOLD, Ignore, Positives

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Side:
    """The rows of one side of a pair that take part in it.

    Attributes:
        rows: their ids.
        number: the number of each row in the whole batch; a row of the other side with the same
            number is the same row.
        by_goal: rows that are only a text, and so mean every row of their goal.
        index: where each row stands among the embeddings of its side.
    """

    rows: RowIds
    number: Int[np.ndarray, " row"]
    by_goal: Bool[np.ndarray, " row"]
    index: Int[np.ndarray, " row"]

    @staticmethod
    def of(
        rows: RowIds,
        *,
        by_goal: bool | Bool[np.ndarray, " row"],
        keep: Bool[np.ndarray, " row"] | None = None,
        number: Int[np.ndarray, " row"] | None = None,
    ) -> "Side":
        """Returns the side of some rows.

        Args:
            rows: ids of all rows of the embeddings.
            by_goal: whether a row is only a text: for all rows, or row by row.
            keep: rows that take part; None means all.
            number: of each row in the whole batch; None counts from 0. Processes that hold parts of
                a batch name the rows of the whole.
        """
        mask = by_goal if isinstance(by_goal, np.ndarray) else np.full(len(rows), by_goal)
        index = np.arange(len(rows)) if keep is None else np.flatnonzero(keep)
        return Side(
            rows if keep is None else rows.take(index),
            index if number is None else number[index],
            mask[index],
            index,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, order: Int[np.ndarray, " row"]) -> "Side":
        """Returns the rows in another order."""
        return Side(
            self.rows.take(order), self.number[order], self.by_goal[order], self.index[order]
        )

    @cached_property
    def goal(self) -> Int[np.ndarray, " row"]:
        """The goal of each row; one that names no goal has a goal of its own, below 0."""
        return np.where(self.rows.goal >= 0, self.rows.goal, -2 - self.number)


@dataclass(frozen=True)
class Grouping:
    """Rows that belong together because they carry the same label.

    Attributes:
        query: label of each query, 0 or more; -1 where it has none.
        target: label of each target; -1 where it has none.
        num_groups: labels are below this.
    """

    query: Int[np.ndarray, " query"]
    target: Int[np.ndarray, " target"]
    num_groups: int

    @cached_property
    def counts(self) -> tuple[Int[np.ndarray, " group"], Int[np.ndarray, " group"]]:
        """Queries and targets of each group."""
        query, target = (
            np.bincount(labels[labels >= 0], minlength=self.num_groups)
            for labels in (self.query, self.target)
        )
        return query, target


@dataclass(frozen=True)
class Pairing:
    """The rules of `relations.relate` between two sides, which need not hold the same rows.

    Memory: O(rows). A part of the matrix of relations is made where it is asked for.

    Attributes:
        query: one side.
        target: the other.
        positives: see `relate`.
        ignore: see `relate`.
        overlap: see `relate`.
    """

    query: Side
    target: Side
    positives: Positives = "ids"
    ignore: Ignore = "overlap"
    overlap: float = OVERLAP_THRESHOLD
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[["Pairing"], _Made]) -> _Made:
        """Returns what `make` gives, made once for each key: pairs of one batch share a pairing.

        It is made of a copy of the pairing, which it may keep. Of the pairing itself it would be a
        cycle: every step's tensors would wait for Python's garbage collector, and pay for it.
        """
        if key not in self._made:
            self._made[key] = make(replace(self, _made={}))
        made: _Made = self._made[key]
        return made

    @cached_property
    def groupings(self) -> tuple[Grouping, ...]:
        """Groups whose queries and targets are positives of each other.

        No query and target share a group in two of them: positives are counted by adding up.
        """
        query, target = self.query, self.target
        if self.positives == "diagonal":
            return (self._grouping(query.number, target.number),)
        found = []
        for of_query, of_target, by_goal in (
            (query.by_goal, np.ones(len(target), dtype=bool), True),
            (~query.by_goal, target.by_goal, True),
            (~query.by_goal, ~target.by_goal, False),
        ):
            if of_query.any() and of_target.any():
                keys = (query.goal, target.goal) if by_goal else (query.number, target.number)
                found.append(self._grouping(*keys, of_query, of_target))
        return tuple(found)

    def _grouping(
        self,
        query: Int[np.ndarray, " query"],
        target: Int[np.ndarray, " target"],
        of_query: Bool[np.ndarray, " query"] | None = None,
        of_target: Bool[np.ndarray, " target"] | None = None,
    ) -> Grouping:
        labels, num_groups = self._labels(query, target)
        first, second = labels[: len(query)], labels[len(query) :]
        if of_query is not None:
            first = np.where(of_query, first, -1)
        if of_target is not None:
            second = np.where(of_target, second, -1)
        return Grouping(first, second, num_groups)

    def _labels(
        self, query: Int[np.ndarray, " query"], target: Int[np.ndarray, " target"]
    ) -> tuple[Int[np.ndarray, " row"], int]:
        """Numbers the values of both sides by where they first appear in `_order`.

        In the sorted pairing, neighbours then have near labels.
        """
        keys = np.concatenate([query, target])
        _, first, inverse = np.unique(keys[self._order], return_index=True, return_inverse=True)
        rank = np.empty(len(first), dtype=np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        labels = np.empty(len(keys), dtype=np.int64)
        labels[self._order] = rank[inverse]
        return labels, len(first)

    @cached_property
    def _order(self) -> Int[np.ndarray, " row"]:
        """Both sides, one after the other, by goal, then episode, then time."""
        goal, episode, start = (
            np.concatenate(each)
            for each in (
                (self.query.goal, self.target.goal),
                (self.query.rows.episode, self.target.rows.episode),
                (self.query.rows.start_s, self.target.rows.start_s),
            )
        )
        return np.lexsort((start, episode, goal))

    def sorted(self) -> "Pairing":
        """Returns the pairing with the rows of each side by goal, then episode, then time."""
        order, num_queries = self._order, len(self.query)
        query = self.query.take(order[order < num_queries])
        target = self.target.take(order[order >= num_queries] - num_queries)
        return replace(self, query=query, target=target, _made={})

    @property
    def transposed(self) -> "Pairing":
        """The pairing with its sides exchanged."""
        return replace(self, query=self.target, target=self.query, _made={})

    @cached_property
    def num_positives(self) -> tuple[Int[np.ndarray, " query"], Int[np.ndarray, " target"]]:
        """How many positives each query and each target has."""
        of_query, of_target = (np.zeros(len(s), dtype=np.int64) for s in (self.query, self.target))
        for each in self.groupings:
            queries, targets = each.counts
            of_query += np.where(each.query >= 0, targets[each.query], 0)
            of_target += np.where(each.target >= 0, queries[each.target], 0)
        return of_query, of_target

    @property
    def is_diagonal(self) -> bool:
        """True where each row is the only positive of itself, on two equal sides."""
        if self.query is not self.target:
            return False
        by_goal = self.positives == "ids" and self.query.by_goal.any()
        return not by_goal or len(np.unique(self.query.goal)) == len(self.query)

    def positive(self, query: slice, target: slice) -> Bool[np.ndarray, "query target"]:
        """Returns which of some targets are right answers to some queries."""
        q, t = self.query, self.target
        by_goal = q.by_goal[query], t.by_goal[target]
        if self.positives == "ids" and any(mask.all() for mask in by_goal):
            return q.goal[query, None] == t.goal[target]
        same_row = q.number[query, None] == t.number[target]
        if self.positives == "diagonal" or not any(mask.any() for mask in by_goal):
            return same_row
        same_goal = q.goal[query, None] == t.goal[target]
        return same_row | (same_goal & (by_goal[0][:, None] | by_goal[1]))

    def ignored(self, query: slice, target: slice) -> Bool[np.ndarray, "query target"]:
        """Returns which of some targets count neither as right nor as wrong."""
        q, t = _cut(self.query, query), _cut(self.target, target)
        alike = np.zeros((len(q), len(t)), dtype=bool)
        if self.positives == "diagonal" or self.ignore == "none":
            return alike
        alike |= (q.rows.episode[:, None] == t.rows.episode) & _overlapping(q, t, self.overlap)
        if self.ignore in {"instruction", "goal"}:
            instruction = q.rows.instruction[:, None]
            alike |= (instruction == t.rows.instruction) & (instruction >= 0)
        if self.ignore == "goal":
            alike |= q.goal[:, None] == t.goal
        by_goal = q.by_goal[:, None] | t.by_goal
        return alike & ~by_goal & (q.number[:, None] != t.number)

    @cached_property
    def ignores_any(self) -> bool:
        """False where no target is ignored; may be True for nothing, where spans only touch."""
        if self.positives == "diagonal" or self.ignore == "none":
            return False
        if self.query.by_goal.all() or self.target.by_goal.all():
            return False
        rows = self.query.rows
        if self.target is not self.query:
            rows = RowIds.concatenate((rows, self.target.rows))
            number = np.concatenate([self.query.number, self.target.number])
            rows = rows.take(np.unique(number, return_index=True)[1])
        # Of spans in the order of their starts, two that meet lie beside each other, or between
        # them is one that meets the first.
        rows = rows.take(np.lexsort((rows.start_s, rows.episode)))
        same_episode = rows.episode[1:] == rows.episode[:-1]
        if bool((same_episode & (rows.start_s[1:] <= rows.stop_s[:-1])).any()):
            return True
        return bool(
            (self.ignore in {"instruction", "goal"} and _repeats(rows.instruction))
            or (self.ignore == "goal" and _repeats(rows.goal))
        )

    @cached_property
    def ignore_labels(self) -> tuple[Grouping, ...]:
        """Groupings outside of which no target is ignored."""
        names = {"overlap": ("episode",), "instruction": ("episode", "instruction")}.get(
            self.ignore, ("episode", "instruction", "goal")
        )
        return tuple(
            self._grouping(getattr(self.query.rows, name), getattr(self.target.rows, name))
            for name in names
        )


def _cut(side: Side, rows: slice) -> Side:
    return Side(side.rows.take(rows), side.number[rows], side.by_goal[rows], side.index[rows])


def _overlapping(query: Side, target: Side, threshold: float) -> Bool[np.ndarray, "query target"]:
    start, stop = query.rows.start_s[:, None], query.rows.stop_s[:, None]
    shared: Float[np.ndarray, "query target"] = np.minimum(stop, target.rows.stop_s) - np.maximum(
        start, target.rows.start_s
    )
    shorter = np.minimum(stop - start, target.rows.stop_s - target.rows.start_s)
    instant = (shorter <= 0) & (shared >= 0)
    return instant | ((shared > threshold * shorter) & (shared > 0))


def _repeats(ids: Int[np.ndarray, " row"]) -> bool:
    known = ids[ids >= 0]
    return len(np.unique(known)) < len(known)
