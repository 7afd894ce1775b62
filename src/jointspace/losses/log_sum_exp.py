"""Log-sum-exp along both axes of a matrix that is seen tile by tile.

What belongs to the rows of either axis lies in one vector, that of the queries before that of the
targets: half as many operations on short vectors, which small batches mostly consist of.
"""

from math import log

import torch
from torch import Tensor

Part = tuple[slice, slice]
"""Where the queries and the targets of a tile stand in a vector of both."""


class SharedShift:
    """Exponentials relative to one shift for all rows: one exponential serves both axes.

    Args:
        largest: no entry is larger, but for rounding.
        longest: rows of the longer axis.
        counts: what the sum of each query and of each target counts in the mean of its axis; 0
            leaves it out.
    """

    def __init__(self, largest: float, *, longest: int, counts: Tensor) -> None:
        limits = torch.finfo(counts.dtype)
        self._counts = counts
        # As high as leaves the reciprocals of the sums, divided by the number of rows, well within
        # the range of the exponent: numbers below it are both slow and imprecise.
        self._shift = largest + log(limits.tiny) + 2 * log(longest) + 12
        # Terms below the least number are lost; beside a sum of this size, all of them together
        # round to nothing.
        self._least = limits.tiny / limits.eps * longest

    def start(self) -> Tensor:
        """Returns the sums before the first tile."""
        # A sum that does not count is then never too small.
        return (self._counts == 0).to(self._counts.dtype)

    def prepare(self, tile: Tensor) -> Tensor:
        """Returns what is added up, in the memory of the tile."""
        return tile.sub_(self._shift).exp_()

    def hide(self, prepared: Tensor, shown: Tensor) -> Tensor:
        """Returns a prepared tile of which only a part counts."""
        return torch.where(shown, prepared, 0.0)

    def add(self, sums: Tensor, part: Part, prepared: Tensor) -> None:
        """Adds a prepared tile to the sums of its queries and of its targets, in place."""
        for rows, axis in zip(part, (1, 0), strict=True):
            sums[rows] += prepared.sum(axis)

    def finish(self, sums: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Returns the logarithms, what `softmax` needs, and whether both are exact."""
        exact = float(sums.min()) >= self._least
        return sums.log().add_(self._shift), self._counts / sums, exact

    def softmax(self, prepared: Tensor, part: Part, state: Tensor, weights: Tensor) -> Tensor:
        """Returns the gradient of the means, of which each axis has a weight, at a prepared tile.

        That is each target's share in its query's sum, plus each query's in its target's.
        """
        query, target = weights[0] * state[part[0]], weights[1] * state[part[1]]
        return (query[:, None] + target).mul_(prepared)


class RunningMaximum:
    """Exponentials relative to the maximum of each row and each column: exact, but slower.

    Args:
        counts: see `SharedShift`.
    """

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts

    def start(self) -> Tensor:
        """Returns the sums before the first tile."""
        return torch.full_like(self._counts, -torch.inf)

    def prepare(self, tile: Tensor) -> Tensor:
        """Returns the tile itself."""
        return tile

    def hide(self, prepared: Tensor, shown: Tensor) -> Tensor:
        """Returns a prepared tile of which only a part counts."""
        return torch.where(shown, prepared, -torch.inf)

    def add(self, sums: Tensor, part: Part, prepared: Tensor) -> None:
        """Adds a prepared tile to the sums of its queries and of its targets, in place."""
        for rows, axis in zip(part, (1, 0), strict=True):
            sums[rows] = torch.logaddexp(sums[rows], prepared.logsumexp(axis))

    def finish(self, sums: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Returns the logarithms, what `softmax` needs, and that both are exact."""
        counted = self._counts > 0
        return torch.where(counted, sums, 0.0), torch.where(counted, sums, torch.inf), True

    def softmax(self, prepared: Tensor, part: Part, state: Tensor, weights: Tensor) -> Tensor:
        """Returns the gradient of the means; see `SharedShift.softmax`."""
        queries, targets = part
        of_query, of_target = (
            w * self._counts[rows] for w, rows in zip(weights, part, strict=True)
        )
        share = (prepared - state[queries, None]).exp_().mul_(of_query[:, None])
        return share.add_((prepared - state[targets]).exp_().mul_(of_target))
