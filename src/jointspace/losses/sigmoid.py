"""Sigmoid loss over all pairs of modalities: every query and target are judged by themselves."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from jointspace.batch import Direction, Modality, RowIds
from jointspace.losses.all_pairs import PairRows, pair_all, plain_rows
from jointspace.losses.pairing import Pairing
from jointspace.losses.positive_sums import PositiveSums
from jointspace.losses.relations import OVERLAP_THRESHOLD, Ignore, Positives
from jointspace.losses.tile_walk import TileWalk, full_precision, product_dtype


def sigmoid_loss(
    logits: Float[Tensor, "query target"],
    *,
    positive: Bool[Tensor, "query target"],
    ignore: Bool[Tensor, "query target"] | None = None,
) -> Float[Tensor, ""]:
    """Returns the cross-entropy of "is this a right target?", summed over targets, per query.

    No target competes with another: many positives need no normalisation, and a query without one
    still learns from its negatives.

    Args:
        logits: scaled similarities plus a bias, which should start near minus the logarithm of the
            number of negatives for each positive, or the first steps only unlearn.
        positive: right targets.
        ignore: targets that take no part.

    Returns:
        The sum over all that is not ignored, divided by the number of queries; 0 where there is
        none. Memory: a few times the logits. This is the plain statement of the loss; training
        computes it by `tiled_sigmoid`.

    Source:
        Zhai et al. 2023 (SigLIP), equation 1; many positives and ignored targets are ours.
    """
    terms = logsigmoid(torch.where(positive, logits, -logits))
    if ignore is not None:
        terms = terms.masked_fill(ignore, 0.0)
    return -terms.sum() / max(len(logits), 1)


def tiled_sigmoid(
    query: Float[Tensor, "row dim"],
    target: Float[Tensor, "row2 dim"],
    *,
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    pairing: Pairing,
    tile_rows: int = 0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Returns `sigmoid_loss` of both directions of a pair, without the matrix of its logits.

    Both directions are the same sum, divided by the number of queries and by that of targets.

    Args:
        query: embeddings of one side; see `tiled_info_nce`.
        target: of the other.
        scale: inverse temperature; has a gradient.
        bias: added to every logit; has a gradient.
        pairing: which rows take part, are positives, or are ignored.
        tile_rows: side of a tile; 0 chooses by the number of rows.

    Returns:
        The loss per query and the loss per target. Memory: O(rows x dim), and one tile; second
        derivatives are refused. Exact for any logits: nothing is relative to a bound.

    Source:
        open_clip computes the sum in slices of one side; here it is in tiles, and positives, which
        may be many, are sums over groups.
    """
    how = query.device, product_dtype(query, target), tile_rows
    plan = pairing.once(("sigmoid", *how), lambda own: _Plan(own, *how))
    result: tuple[Tensor, Tensor] = _TiledSigmoid.apply(  # type: ignore[no-untyped-call]
        query, target, scale, bias, plan
    )
    return result


def multimodal_sigmoid(
    embeddings: Mapping[Modality, Float[Tensor, "row dim"]],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    pair_rows: PairRows = plain_rows,
    logit_scale: Callable[[Modality, Modality], Float[Tensor, ""]],
    logit_bias: Callable[[Modality, Modality], Float[Tensor, ""]],
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
    tile_rows: int = 0,
) -> dict[Direction, Float[Tensor, ""]]:
    """Returns the sigmoid loss of every ordered pair of modalities.

    Args:
        embeddings: unit rows by modality or fused query.
        rows: ids of the rows, from which the positives come.
        present: rows that have each modality; a pair is compared over the rows that have both.
        pair_rows: what the dot products of a pair are of; the rows as they are by default.
        logit_scale: inverse temperature of a pair, the same in both orders.
        logit_bias: bias of a pair, the same in both orders.
        positives: `ids`, or `diagonal`.
        ignore: see `relations.Ignore`.
        overlap: see `relations.relate`.
        text_only: see `relations.compare_all`; read where a fused query is among the embeddings.
        tile_rows: see `tiled_sigmoid`.

    Returns:
        Loss by direction, equal in both; pairs that fewer than two rows have are absent. Memory:
        O(rows x dim).

    Source:
        Zhai et al. 2023 (SigLIP), applied to each pair of modalities.
    """
    losses: dict[Direction, Tensor] = {}
    pairings = pair_all(
        embeddings,
        rows,
        present=present,
        positives=positives,
        ignore=ignore,
        overlap=overlap,
        text_only=text_only,
    )
    for first, second, pairing in pairings:
        first_rows, second_rows = pair_rows(first, second, embeddings[first], embeddings[second])
        losses[Direction(first, second)], losses[Direction(second, first)] = tiled_sigmoid(
            first_rows,
            second_rows,
            scale=logit_scale(first, second),
            bias=logit_bias(first, second),
            pairing=pairing,
            tile_rows=tile_rows,
        )
    return losses


class _Plan:
    """How a pair is computed, which its ids alone decide.

    Args:
        pairing: the pair.
        device: where the embeddings are.
        dtype: of the products.
        tile_rows: see `tiled_sigmoid`.
    """

    def __init__(
        self, pairing: Pairing, device: torch.device, dtype: torch.dtype, tile_rows: int
    ) -> None:
        self.walk = TileWalk(pairing, device=device, dtype=dtype, tile_rows=tile_rows)
        self.positives = PositiveSums(self.walk.pairing, device)
        of_query, of_target = self.walk.pairing.num_positives
        self.num_positives = int(of_query.sum())
        self.sizes = max(len(of_query), 1), max(len(of_target), 1)
        self.weights = tuple(
            torch.full((len(each),), 1 / 2, dtype=dtype, device=device)
            for each in (of_query, of_target)
        )


class _TiledSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes them by position
        ctx: Any, query: Tensor, target: Tensor, scale: Tensor, bias: Tensor, plan: _Plan
    ) -> tuple[Tensor, Tensor]:
        with full_precision(query.device):
            factor, offset = float(scale), float(bias)
            # log(1 + exp(x)) over all; a positive has log(1 + exp(-x)), which is less by x.
            total = torch.zeros((), dtype=torch.float64, device=query.device)
            for _, _, tile in plan.walk.logits(query, target, factor):
                tile.add_(offset)
                total += tile.clamp(min=0).sum() + tile.abs_().neg_().exp_().log1p_().sum()
            products = sum(plan.positives.products(query, target, *plan.weights))
            total -= factor * products + offset * plan.num_positives
        ctx.save_for_backward(query, target, scale, bias)
        ctx.plan, ctx.numbers, ctx.products = plan, (factor, offset), products
        total = total.to(plan.walk.dtype)
        return total / plan.sizes[0], total / plan.sizes[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, target, scale, bias = ctx.saved_tensors
        plan: _Plan = ctx.plan
        factor, offset = ctx.numbers
        weight = gradients[0] / plan.sizes[0] + gradients[1] / plan.sizes[1]
        with full_precision(query.device):
            of_bias = torch.zeros((), dtype=torch.float64, device=query.device)

            def tiles() -> Iterator[tuple[int, int, Tensor]]:
                for i, j, tile in plan.walk.logits(query, target, factor):
                    gradient = tile.add_(offset).sigmoid_()
                    of_bias.add_(gradient.sum())
                    yield i, j, gradient.mul_(weight)

            of_query, of_target, of_scale = plan.walk.pull_back(query, target, factor, tiles())
            weights = [-weight * factor * each for each in plan.weights]
            plan.positives.pull_back(
                query, target, *weights, of_query=of_query, of_target=of_target
            )
        return (
            of_query.to(query.dtype),
            of_target.to(target.dtype),
            (of_scale - weight * ctx.products).to(scale.dtype),
            (weight * (of_bias - plan.num_positives)).to(bias.dtype),
            None,
        )
