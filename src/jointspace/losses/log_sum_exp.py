"""Log-sum-exp along both axes of a matrix that is seen tile by tile."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

Both = tuple[Tensor, Tensor]
"""Something of every query, and the same of every target."""


class SharedShift:
    """Exponentials relative to one shift for all rows: one exponential serves both axes.

    Args:
        largest: no entry is larger, but for rounding.
        counts: what each query's and each target's sum counts in the mean of its axis; 0 leaves it
            out.
    """

    def __init__(self, largest: float, counts: Both) -> None:
        limits = torch.finfo(counts[0].dtype)
        longest = max(len(each) for each in counts)
        # As high as leaves the reciprocals of the sums, divided by the number of rows, well within
        # the range of the exponent: numbers below it are both slow and imprecise.
        self._shift = largest + log(limits.tiny) + 2 * log(longest) + 12
        # Terms below the least number are lost; beside a sum of this size, all of them together
        # round to nothing.
        self._least = limits.tiny / limits.eps * longest

    def start(self, count: Tensor) -> Tensor:
        """Returns the sums before the first tile."""
        return (count == 0).to(count.dtype)  # a sum that does not count is then never too small

    def prepare(self, tile: Tensor) -> Tensor:
        """Returns what is added up, in the memory of the tile."""
        return tile.sub_(self._shift).exp_()

    def hide(self, prepared: Tensor, shown: Tensor) -> Tensor:
        """Returns a prepared tile of which only a part counts."""
        return torch.where(shown, prepared, 0.0)

    def add(self, sums: Tensor, part: slice, prepared: Tensor, axis: int) -> None:
        """Adds a prepared tile to some of the sums, in place."""
        sums[part] += prepared.sum(axis)

    def finish(self, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Returns the weighted mean, what `softmax` needs, and whether both are exact."""
        exact = float(sums.min()) >= self._least
        return sums.log() @ count + self._shift * float(count.sum()), count / sums, exact

    def softmax(
        self,
        prepared: Tensor,
        rows: tuple[slice, slice],
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Returns the gradient of the means, of which each axis has a weight, at a prepared tile.

        That is each target's share in its query's sum, plus each query's in its target's.
        """
        query, target = (w * s[part] for w, s, part in zip(weights, states, rows, strict=True))
        return (query[:, None] + target).mul_(prepared)


class RunningMaximum:
    """Exponentials relative to the maximum of each row and each column: exact, but slower.

    Args:
        counts: what each query's and each target's sum counts in the mean of its axis; 0 leaves it
            out.
    """

    def __init__(self, counts: Both) -> None:
        self._counts = counts

    def start(self, count: Tensor) -> Tensor:
        """Returns the sums before the first tile."""
        return torch.full_like(count, -torch.inf)

    def prepare(self, tile: Tensor) -> Tensor:
        """Returns the tile itself."""
        return tile

    def hide(self, prepared: Tensor, shown: Tensor) -> Tensor:
        """Returns a prepared tile of which only a part counts."""
        return torch.where(shown, prepared, -torch.inf)

    def add(self, sums: Tensor, part: slice, prepared: Tensor, axis: int) -> None:
        """Adds a prepared tile to some of the sums, in place."""
        sums[part] = torch.logaddexp(sums[part], prepared.logsumexp(axis))

    def finish(self, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Returns the weighted mean, what `softmax` needs, and that both are exact."""
        mean = torch.where(count > 0, sums, 0.0) @ count
        return mean, sums.masked_fill(count == 0, torch.inf), True

    def softmax(
        self,
        prepared: Tensor,
        rows: tuple[slice, slice],
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Tensor:
        """Returns the gradient of the means; see `SharedShift.softmax`."""
        (queries, targets), (query, target) = rows, states
        of_query = weights[0] * self._counts[0][queries]
        of_target = weights[1] * self._counts[1][targets]
        share = (prepared - query[queries, None]).exp_().mul_(of_query[:, None])
        return share.add_((prepared - target[targets]).exp_().mul_(of_target))
