"""The contrastive loss of a pair in tiles: exact, in memory that grows with the rows alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from jointspace.losses.log_sum_exp import Part, RunningMaximum, SharedShift
from jointspace.losses.pairing import Pairing
from jointspace.losses.positive_sums import PositiveSums
from jointspace.losses.tile_walk import TileWalk, full_precision, product_dtype

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
    plan = pairing.once(("info_nce", *how), lambda own: _Plan(own, *how))
    losses = _TiledInfoNCE.apply(query, target, scale, plan)  # type: ignore[no-untyped-call]
    of_query, of_target = losses.unbind()
    return of_query, of_target


_PICKED_SHARE = 1 / 8
"""Positives of a single tile are picked out one by one up to this share of it."""

_Rule = SharedShift | RunningMaximum


class _TiledInfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, target: Tensor, scale: Tensor, plan: "_Plan"
    ) -> Float[Tensor, " direction"]:
        with full_precision(query.device):
            factor = float(scale)
            sums = _log_sums(plan, query, target, factor)
            losses, products = plan.means @ sums.logarithms[0], None
            if plan.within:
                losses -= plan.means @ sums.logarithms[1]
            elif plan.picked is not None:
                losses -= plan.picked.weights @ sums.picked
            elif plan.groups is not None:
                products = torch.stack(plan.groups.products(query, target, *plan.shares))
                losses -= factor * products
        ctx.save_for_backward(query, target, scale, sums.kept, products, *sums.states)
        ctx.plan, ctx.rule, ctx.factor = plan, sums.rule, factor
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, target, scale, kept, products, *states = ctx.saved_tensors
        plan: _Plan = ctx.plan
        rule: _Rule = ctx.rule
        with full_precision(query.device):
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
                of_scale -= gradients @ products
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
        weights: what it counts in the loss of each direction.
    """

    index: Tensor
    weights: Float[Tensor, "direction positive"]


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
        num_queries: that take part.
        counts: what the log-sum-exp of each query, and then of each target, counts in the mean of
            its direction; 0 where it has no positive.
        means: the same for each direction, with 0 for the rows of the other.
        shares: what each positive of a query counts, and each of a target; with `groups` alone.
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

        def tensor(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device, dtype)

        places = self._places()
        numbers: Sequence[Int[np.ndarray, " row"]]
        if places is None:
            numbers = self.walk.pairing.num_positives
        else:
            sides = self.walk.pairing.query, self.walk.pairing.target
            numbers = tuple(
                np.bincount(each, minlength=len(side))
                for each, side in zip(places, sides, strict=True)
            )
        (of_query, share_query), (of_target, share_target) = map(_weights, numbers)
        self.num_queries = len(of_query)
        means = np.zeros((2, len(of_query) + len(of_target)))
        means[0, : len(of_query)], means[1, len(of_query) :] = of_query, of_target
        self.means, self.counts = tensor(means), tensor(means.sum(0))
        self.picked: _Picked | None = None
        self.groups: PositiveSums | None = None
        if places is not None:
            query, target = places
            index = torch.from_numpy(query * len(of_target) + target).to(device)
            weights = np.stack([share_query[query], share_target[target]])
            self.picked = _Picked(index, tensor(weights))
        elif not self.within:
            self.groups = PositiveSums(self.walk.pairing, device)
            self.shares = tensor(share_query), tensor(share_target)

    def part(self, queries: slice, targets: slice) -> Part:
        """Returns where some queries and some targets stand in a vector of both."""
        first = self.num_queries
        return queries, slice(first + targets.start, first + targets.stop)

    def _places(
        self,
    ) -> tuple[Int[np.ndarray, " positive"], Int[np.ndarray, " positive"]] | None:
        """Returns query and target of each positive of a single tile; None where they are many."""
        if not self.walk.is_single or self.within:
            return None
        pairing = self.walk.pairing
        if pairing.is_diagonal:
            own = np.arange(len(pairing.query))
            return own, own
        positive = pairing.positive(self.walk.queries[0], self.walk.targets[0])
        index = np.flatnonzero(positive)  # many times as fast as `nonzero` of the matrix
        if len(index) > positive.size * _PICKED_SHARE:
            return None
        query, target = np.divmod(index, positive.shape[1])
        return query, target


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
        logarithms: of the sums over all that is not ignored, for each query and each target; then,
            where positives are added up within the logarithm, of those over the positives.
        states: of each of them, what backward needs.
        picked: logits of the picked positives.
        kept: the exponentials, where they are a single tile.
        exact: whether nothing that matters was lost.
    """

    rule: _Rule
    logarithms: list[Tensor]
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
    longest = max(plan.num_queries, len(plan.counts) - plan.num_queries)
    sums = _stream(plan, tiles, SharedShift(largest, longest=longest, counts=plan.counts))
    if sums.exact:
        return sums
    return _stream(plan, plan.walk.logits(query, target, scale), RunningMaximum(plan.counts))


def _stream(plan: _Plan, tiles: Iterable[tuple[int, int, Tensor]], rule: _Rule) -> _LogSums:
    """Makes one pass over the logits."""
    walk = plan.walk
    sums = [rule.start() for _ in range(1 + plan.within)]
    kept, picked = None, plan.counts[:0]
    for i, j, tile in tiles:
        if plan.picked is not None:
            picked = tile.view(-1).index_select(0, plan.picked.index)
        part = plan.part(walk.queries[i], walk.targets[j])
        prepared = rule.prepare(tile)
        rule.add(sums[0], part, prepared)
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            rule.add(sums[1], part, rule.hide(prepared, positive))
        kept = prepared if walk.is_single else None
    logarithms, states, exact = zip(*map(rule.finish, sums), strict=True)
    return _LogSums(rule, list(logarithms), list(states), picked, kept, all(exact))


def _logit_gradients(
    plan: _Plan,
    rule: _Rule,
    tiles: Iterable[tuple[int, int, Tensor]],
    states: list[Tensor],
    gradients: Float[Tensor, " direction"],
) -> Iterator[tuple[int, int, Tensor]]:
    """Yields the gradient of the logits, without the part of positives that are summed by group."""
    walk = plan.walk
    for i, j, prepared in tiles:
        part = plan.part(walk.queries[i], walk.targets[j])
        gradient = rule.softmax(prepared, part, states[0], gradients)
        positive = walk.positive(i, j) if plan.within else None
        if positive is not None:
            right = rule.softmax(prepared, part, states[1], gradients)
            gradient -= torch.where(positive, right, 0.0)
        elif plan.picked is not None:
            weights = gradients @ plan.picked.weights
            gradient.view(-1).index_add_(0, plan.picked.index, weights, alpha=-1)
        yield i, j, gradient
