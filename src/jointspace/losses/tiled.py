"""The contrastive loss of a pair in tiles: exact, in memory that grows with the rows alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from jointspace.losses.pairing import Pairing
from jointspace.losses.positive_sums import PositiveSums
from jointspace.losses.tile_walk import TileWalk, product_dtype

Normalisation = Literal["out", "in"]


def tiled_info_nce(
    query: Float[Tensor, "row dim"],
    target: Float[Tensor, "row2 dim"],
    *,
    scale: Float[Tensor, ""],
    pairing: Pairing,
    normalisation: Normalisation = "out",
    tile_rows: int = 0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Returns `info_nce` of both directions of a pair, without the matrix of its logits.

    Each tile is one product that serves both directions: its exponentials are added up along rows
    and along columns. Backward makes the tiles again. A pair that is a single tile is kept
    instead, which costs three products where tiles cost four.

    Args:
        query: embeddings of one side, in float64, float32 or half precision, which is multiplied
            and accumulated in float32. Rows need not be of unit length.
        target: embeddings of the other side; need not be as many.
        scale: inverse temperature; has a gradient.
        pairing: which rows take part, are positives, or are ignored.
        normalisation: see `info_nce`.
        tile_rows: side of a tile; 0 chooses by the number of rows. Larger is not quicker where a
            tile no longer fits the cache.

    Returns:
        The mean over the queries that have a positive, and that over the targets that have one; 0
        where none has. The second can be left unused, as where rows of one process stand against
        those of all: then it is the loss of the targets against these queries alone.

    Memory: O(rows x dim) for the gradients, and one tile. Exponentials are taken relative to one
    bound for all logits, the scale times the largest norms. Where that would cost precision, since
    a row lies too far below the bound for the range of the exponent, a running maximum of each row
    takes its place: with float32 and unit rows this is out of reach below a scale of 66. Second
    derivatives are refused.

    Source:
        Cheng et al. 2024, "Breaking the Memory Barrier" (Inf-CL), section 3.2, for tiles with a
        streaming log-sum-exp and their recomputation; the shared bound, both directions from one
        product, many positives as sums over groups, and ignored targets are ours.
    """
    how = query.device, product_dtype(query, target), normalisation, tile_rows
    plan = pairing.once(("info_nce", *how), lambda: _Plan(pairing, *how))
    result: _Both = _TiledInfoNCE.apply(  # type: ignore[no-untyped-call]
        query, target, scale, plan
    )
    return result


_Both = tuple[Tensor, Tensor]
"""Something of every query, and the same of every target."""

_PICKED_SHARE = 1 / 8
"""Positives of a single tile are picked out one by one up to this share of it."""


class _TiledInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, target: Tensor, scale: Tensor, plan: "_Plan") -> _Both:
        with torch.autocast(query.device.type, enabled=False):
            factor = float(scale)
            sums = _log_sums(plan, query, target, factor)
            losses, products = list(sums.means[:2]), None
            if plan.within:
                losses = [a - b for a, b in zip(losses, sums.means[2:], strict=True)]
            elif plan.picked is not None:
                losses = [
                    a - weight @ sums.picked
                    for a, weight in zip(losses, plan.picked.weights, strict=True)
                ]
            elif plan.groups is not None:
                products = plan.groups.products(query, target, *plan.shares)
                losses = [a - each * factor for a, each in zip(losses, products, strict=True)]
        ctx.save_for_backward(query, target, scale, sums.kept, *sums.states)
        ctx.plan, ctx.rule, ctx.products, ctx.factor = plan, sums.rule, products, factor
        return losses[0], losses[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, target, scale, kept, *states = ctx.saved_tensors
        plan: _Plan = ctx.plan
        with torch.autocast(query.device.type, enabled=False):
            tiles = _logit_gradients(
                plan, query, target, ctx.factor, kept, states, ctx.rule, gradients
            )
            of_query, of_target, of_scale = plan.walk.pull_back(query, target, ctx.factor, tiles)
            if plan.groups is not None:
                weights = [-g * ctx.factor * s for g, s in zip(gradients, plan.shares, strict=True)]
                plan.groups.pull_back(
                    query, target, *weights, of_query=of_query, of_target=of_target
                )
                for gradient, product in zip(gradients, ctx.products, strict=True):
                    of_scale = of_scale - gradient * product
        return (
            of_query.to(query.dtype),
            of_target.to(target.dtype),
            of_scale.to(scale.dtype),
            None,
        )


@dataclass(frozen=True)
class _Picked:
    """The positives of a single tile.

    Attributes:
        index: where each of them stands in the tile.
        weights: what it counts in each direction.
    """

    index: Tensor
    weights: _Both


class _Plan:
    """How a pair is computed, which its ids alone decide.

    Args:
        pairing: the pair.
        device: where the embeddings are.
        dtype: of the products.
        normalisation: see `info_nce`.
        tile_rows: see `tiled_info_nce`.

    Attributes:
        within: positives are added up within the logarithm, tile by tile.
        walk: over the tiles.
        counts: what the log-sum-exp of each row counts in the mean of its direction; 0 where the
            row has no positive.
        shares: what each positive of a row counts.
        total: 1, or 0 where no row has a positive.
        picked: positives of a single tile; None where they are not taken one by one.
        groups: sums over positives outside of the tiles; None where they are seen in the tiles.
    """

    def __init__(
        self,
        pairing: Pairing,
        device: torch.device,
        dtype: torch.dtype,
        normalisation: Normalisation,
        tile_rows: int,
    ) -> None:
        # With at most one positive each, both normalisations are the same, and `out` is cheaper.
        self.within = normalisation == "in" and any(
            number.max(initial=0) > 1 for number in pairing.num_positives
        )
        self.walk = TileWalk(
            pairing, device=device, dtype=dtype, tile_rows=tile_rows, with_positives=self.within
        )
        of_query, of_target, index = self._positives()
        counts, shares = [], []
        for number in (of_query, of_target):
            answered = number > 0
            count = answered / max(np.count_nonzero(answered), 1)
            for made, values in ((counts, count), (shares, count / np.maximum(number, 1))):
                made.append(torch.from_numpy(values).to(device, dtype))
        self.counts: _Both = (counts[0], counts[1])
        self.shares: _Both = (shares[0], shares[1])
        self.total = float(of_query.any())
        self.picked = None
        if index is not None:
            query, target = (
                torch.from_numpy(each).to(device) for each in np.divmod(index, len(of_target))
            )
            weights = self.shares[0][query], self.shares[1][target]
            self.picked = _Picked(torch.from_numpy(index).to(device), weights)
        outside = index is None and not self.within
        self.groups = PositiveSums(self.walk.pairing, device) if outside else None

    def _positives(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns how many each row has, and where they are in a single tile if they are few."""
        pairing = self.walk.pairing
        if not self.walk.is_single or self.within:
            return *pairing.num_positives, None
        positive = pairing.positive(self.walk.queries[0], self.walk.targets[0])
        index = np.flatnonzero(positive)
        few = len(index) <= positive.size * _PICKED_SHARE
        return positive.sum(1), positive.sum(0), index if few else None


class _SharedShift:
    """Log-sum-exp with exponentials relative to one shift: one exponential serves both directions.

    Args:
        largest: no logit is larger.
        plan: of the pair.
    """

    def __init__(self, largest: float, plan: _Plan) -> None:
        limits = torch.finfo(plan.walk.dtype)
        longest = max(len(each) for each in plan.counts)
        # As high as leaves the reciprocals of the sums, divided by the number of rows, well within
        # the range of the exponent: numbers below it are both slow and imprecise.
        self.shift = largest + log(limits.tiny) + 2 * log(longest) + 12
        # Terms below the least number are lost; beside a sum of this size, all of them together
        # round to nothing.
        self._least = limits.tiny / limits.eps * longest
        self._total = plan.total

    def start(self, count: Tensor) -> Tensor:
        return (count == 0).to(count.dtype)  # no row that does not count is then too small

    def hide(self, tile: Tensor, positive: Tensor) -> Tensor:
        return torch.where(positive, tile, 0.0)

    def prepare(self, tile: Tensor) -> Tensor:
        return tile.sub_(self.shift).exp_()

    def add(self, sums: Tensor, part: slice, tile: Tensor, axis: int) -> None:
        sums[part] += tile.sum(axis)

    def finish(self, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Returns the weighted mean, what backward needs, and whether both are exact."""
        exact = float(sums.min()) >= self._least
        return sums.log() @ count + self.shift * self._total, count / sums, exact

    def softmax(
        self,
        tile: Tensor,
        rows: tuple[slice, slice],
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
        counts: _Both,
    ) -> Tensor:
        """Returns each target's share in its query's sum plus the reverse, weighted."""
        of_query, of_target = (w * s[part] for w, s, part in zip(weights, states, rows, strict=True))
        return (of_query[:, None] + of_target).mul_(tile)


class _RunningMaximum:
    """Log-sum-exp with exponentials relative to the maximum of each row and each column."""

    def start(self, count: Tensor) -> Tensor:
        return torch.full_like(count, -torch.inf)

    def hide(self, tile: Tensor, positive: Tensor) -> Tensor:
        return torch.where(positive, tile, -torch.inf)

    def prepare(self, tile: Tensor) -> Tensor:
        return tile

    def add(self, sums: Tensor, part: slice, tile: Tensor, axis: int) -> None:
        sums[part] = torch.logaddexp(sums[part], tile.logsumexp(axis))

    def finish(self, sums: Tensor, count: Tensor) -> tuple[Tensor, Tensor, bool]:
        mean = torch.where(count > 0, sums, 0.0) @ count
        return mean, sums.masked_fill(count == 0, torch.inf), True

    def softmax(
        self,
        tile: Tensor,
        rows: tuple[slice, slice],
        states: Sequence[Tensor],
        weights: Sequence[Tensor],
        counts: _Both,
    ) -> Tensor:
        (query, target), (queries, targets) = states, rows
        share = (tile - query[queries, None]).exp_().mul_((weights[0] * counts[0][queries])[:, None])
        others = (tile - target[targets]).exp_().mul_(weights[1] * counts[1][targets])
        return share.add_(others)


_Rule = _SharedShift | _RunningMaximum


@dataclass(frozen=True)
class _LogSums:
    """What one pass over the tiles gives.

    Attributes:
        rule: how the sums were made.
        means: of the log-sum-exp over all that is not ignored, of each direction; then, where they
            are added up within the logarithm, those over the positives.
        states: of each mean, what backward needs.
        picked: logits of the picked positives.
        kept: the exponentials, where they are a single tile.
        exact: whether nothing that matters was lost.
    """

    rule: _Rule
    means: list[Tensor]
    states: list[Tensor]
    picked: Tensor | None
    kept: Tensor | None
    exact: bool


def _log_sums(plan: _Plan, query: Tensor, target: Tensor, scale: float) -> _LogSums:
    """Returns the sums relative to a common shift if that is exact, else to running maxima."""
    if plan.walk.is_single:
        sums = _stream(plan, query, target, scale, None)
    else:
        bound = float(plan.walk.largest_norms(query, target)) * abs(scale)
        sums = _stream(plan, query, target, scale, _SharedShift(bound, plan))
    return sums if sums.exact else _stream(plan, query, target, scale, _RunningMaximum())


def _stream(
    plan: _Plan, query: Tensor, target: Tensor, scale: float, rule: _Rule | None
) -> _LogSums:
    """Makes one pass; without a rule, a single tile is shifted by the largest of its logits."""
    walk = plan.walk
    sums: list[Tensor] = []
    picked = kept = None
    for i, j, tile in walk.logits(query, target, scale):
        if plan.picked is not None:
            picked = tile.view(-1)[plan.picked.index]
        if rule is None:
            rule = _SharedShift(float(tile.amax()), plan)
        if not sums:
            counts = plan.counts * (2 if plan.within else 1)
            sums = [rule.start(each) for each in counts]
        rows = walk.queries[i], walk.targets[j]
        tile = rule.prepare(tile)
        parts = [tile, tile]
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            parts += [rule.hide(tile, positive)] * 2
        for each, part, values, axis in zip(sums, rows * 2, parts, (1, 0, 1, 0), strict=False):
            rule.add(each, part, values, axis)
        kept = tile if walk.is_single else None
    means, states, exact = zip(
        *(rule.finish(each, count) for each, count in zip(sums, plan.counts * 2, strict=False)),
        strict=True,
    )
    return _LogSums(rule, list(means), list(states), picked, kept, all(exact))


def _logit_gradients(
    plan: _Plan,
    query: Tensor,
    target: Tensor,
    scale: float,
    kept: Tensor | None,
    states: Sequence[Tensor],
    rule: _Rule,
    gradients: Sequence[Tensor],
) -> Iterator[tuple[int, int, Tensor]]:
    """Yields the gradient of the logits, without the part of positives that are summed by group."""
    walk = plan.walk
    tiles = walk.logits(query, target, scale) if kept is None else [(0, 0, kept)]
    for i, j, tile in tiles:
        rows = walk.queries[i], walk.targets[j]
        values = tile if kept is not None else rule.prepare(tile)
        gradient = rule.softmax(values, rows, states[:2], gradients, plan.counts)
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            right = rule.softmax(values, rows, states[2:], gradients, plan.counts)
            gradient -= right.masked_fill_(~positive, 0.0)
        elif plan.picked is not None:
            first, second = (g * w for g, w in zip(gradients, plan.picked.weights, strict=True))
            gradient.view(-1)[plan.picked.index] -= first + second
        yield i, j, gradient
