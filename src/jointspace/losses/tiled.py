"""The contrastive loss of a pair in tiles: exact, in memory that grows with the rows alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from jointspace.losses.log_sum_exp import Both, RunningMaximum, SharedShift
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
    takes its place, which is slower: with float32 and unit rows this cannot happen
    below a scale of 56 with 65,536 rows (63 with 1,024), and up to 100 only where all cosines of a
    row are far below 0. Second derivatives are refused.

    Source:
        Cheng et al. 2024, "Breaking the Memory Barrier" (Inf-CL), section 3.2, for tiles with a
        streaming log-sum-exp and their recomputation; the shared bound, both directions from one
        product, many positives as sums over groups, and ignored targets are ours.
    """
    if not len(pairing.query) or not len(pairing.target):
        nothing = query[:0].sum() + target[:0].sum() + scale * 0.0
        return nothing, nothing.clone()
    how = query.device, product_dtype(query, target), normalisation, tile_rows
    plan = pairing.once(("info_nce", *how), lambda: _Plan(pairing, *how))
    result: Both = _TiledInfoNCE.apply(  # type: ignore[no-untyped-call]
        query, target, scale, plan
    )
    return result


_PICKED_SHARE = 1 / 8
"""Positives of a single tile are picked out one by one up to this share of it."""

_Rule = SharedShift | RunningMaximum


class _TiledInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, target: Tensor, scale: Tensor, plan: "_Plan") -> Both:
        with torch.autocast(query.device.type, enabled=False):
            factor = float(scale)
            sums = _log_sums(plan, query, target, factor)
            losses, products = list(sums.means[:2]), None
            if plan.within:
                losses = [a - b for a, b in zip(losses, sums.means[2:], strict=True)]
            elif plan.picked is not None:
                weights = plan.picked.weights
                losses = [a - w @ sums.picked for a, w in zip(losses, weights, strict=True)]
            elif plan.groups is not None:
                products = plan.groups.products(query, target, *plan.shares)
                losses = [a - factor * each for a, each in zip(losses, products, strict=True)]
        ctx.save_for_backward(query, target, scale, sums.kept, *sums.states)
        ctx.plan, ctx.rule, ctx.products, ctx.factor = plan, sums.rule, products, factor
        return losses[0], losses[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, target, scale, kept, *states = ctx.saved_tensors
        plan: _Plan = ctx.plan
        rule: _Rule = ctx.rule
        with torch.autocast(query.device.type, enabled=False):
            tiles: Iterable[tuple[int, int, Tensor]] = [(0, 0, kept)]
            if kept is None:
                logits = plan.walk.logits(query, target, ctx.factor)
                tiles = ((i, j, rule.prepare(tile)) for i, j, tile in logits)
            of_query, of_target, of_scale = plan.walk.pull_back(
                query, target, ctx.factor, _logit_gradients(plan, rule, tiles, states, gradients)
            )
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
    weights: Both


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
            number.max() > 1 for number in pairing.num_positives
        )
        self.walk = TileWalk(
            pairing, device=device, dtype=dtype, tile_rows=tile_rows, with_positives=self.within
        )
        *numbers, index = self._positives()
        (of_query, share_query), (of_target, share_target) = (
            [torch.from_numpy(each).to(device, dtype) for each in _weights(n)] for n in numbers
        )
        self.counts: Both = (of_query, of_target)
        self.shares: Both = (share_query, share_target)
        self.picked: _Picked | None = None
        if index is not None:
            query, target = (
                torch.from_numpy(each).to(device) for each in np.divmod(index, len(of_target))
            )
            weights = share_query[query], share_target[target]
            self.picked = _Picked(torch.from_numpy(index).to(device), weights)
        outside = index is None and not self.within
        self.groups = PositiveSums(self.walk.pairing, device) if outside else None

    def _positives(
        self,
    ) -> tuple[
        Int[np.ndarray, " query"], Int[np.ndarray, " target"], Int[np.ndarray, " positive"] | None
    ]:
        """Returns how many each row has, and where they are in a single tile if they are few."""
        pairing = self.walk.pairing
        if not self.walk.is_single or self.within:
            return *pairing.num_positives, None
        positive = pairing.positive(self.walk.queries[0], self.walk.targets[0])
        index = np.flatnonzero(positive)
        if len(index) > positive.size * _PICKED_SHARE:
            return *pairing.num_positives, None
        query, target = np.divmod(index, positive.shape[1])
        of_query = np.bincount(query, minlength=positive.shape[0])
        return of_query, np.bincount(target, minlength=positive.shape[1]), index


def _weights(
    num_positives: Int[np.ndarray, " row"],
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """Returns what each row counts in the mean, and what each of its positives does."""
    answered = num_positives > 0
    count = answered / max(int(np.count_nonzero(answered)), 1)
    return count, count / np.maximum(num_positives, 1)


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
    picked: Tensor
    kept: Tensor | None
    exact: bool


def _log_sums(plan: _Plan, query: Tensor, target: Tensor, scale: float) -> _LogSums:
    """Returns the sums relative to a common shift if that is exact, else to running maxima."""
    tiles: Iterable[tuple[int, int, Tensor]] = plan.walk.logits(query, target, scale)
    if plan.walk.is_single:
        tiles = list(tiles)
        largest = float(tiles[0][2].amax())
    else:
        largest = float(plan.walk.largest_norms(query, target)) * abs(scale)
    sums = _stream(plan, tiles, SharedShift(largest, plan.counts))
    if sums.exact:
        return sums
    return _stream(plan, plan.walk.logits(query, target, scale), RunningMaximum(plan.counts))


def _stream(plan: _Plan, tiles: Iterable[tuple[int, int, Tensor]], rule: _Rule) -> _LogSums:
    """Makes one pass over the logits."""
    walk = plan.walk
    counts = plan.counts * (2 if plan.within else 1)
    sums = [rule.start(each) for each in counts]
    kept, picked = None, plan.counts[0][:0]
    for i, j, tile in tiles:
        if plan.picked is not None:
            picked = tile.view(-1)[plan.picked.index]
        rows = walk.queries[i], walk.targets[j]
        prepared = rule.prepare(tile)
        for each, part, axis in zip(sums[:2], rows, (1, 0), strict=True):
            rule.add(each, part, prepared, axis)
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            right = rule.hide(prepared, positive)
            for each, part, axis in zip(sums[2:], rows, (1, 0), strict=True):
                rule.add(each, part, right, axis)
        kept = prepared if walk.is_single else None
    finished = [rule.finish(each, count) for each, count in zip(sums, counts, strict=True)]
    means, states, exact = zip(*finished, strict=True)
    return _LogSums(rule, list(means), list(states), picked, kept, all(exact))


def _logit_gradients(
    plan: _Plan,
    rule: _Rule,
    tiles: Iterable[tuple[int, int, Tensor]],
    states: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> Iterator[tuple[int, int, Tensor]]:
    """Yields the gradient of the logits, without the part of positives that are summed by group."""
    walk = plan.walk
    for i, j, prepared in tiles:
        rows = walk.queries[i], walk.targets[j]
        gradient = rule.softmax(prepared, rows, states[:2], gradients)
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            gradient -= torch.where(
                positive, rule.softmax(prepared, rows, states[2:], gradients), 0.0
            )
        elif plan.picked is not None:
            first, second = (g * w for g, w in zip(gradients, plan.picked.weights, strict=True))
            gradient.view(-1)[plan.picked.index] -= first + second
        yield i, j, gradient
