"""Triplet loss over every ordered pair of modalities; mining leaves false negatives out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad, softplus
from torch.utils.checkpoint import checkpoint

from jointspace.batch import Direction, Modality, RowIds
from jointspace.errors import InputError
from jointspace.losses.all_pairs import PairRows, pair_all, plain_rows
from jointspace.losses.pairing import Pairing
from jointspace.losses.relations import OVERLAP_THRESHOLD, Ignore, Positives
from jointspace.losses.tile_walk import KEPT_ROWS, as_rows, product_dtype, take_rows

Mining = Literal["semi-hard", "hard", "all"]

PANEL_ROWS = 256
"""Anchors whose similarities to all targets are in memory at once, in batches of more than
`KEPT_ROWS`."""


def triplet_loss(
    cosine: Float[Tensor, "anchor target"],
    *,
    positive: Bool[Tensor, "anchor target"],
    ignore: Bool[Tensor, "anchor target"] | None = None,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    soft_margin: bool = False,
) -> Float[Tensor, ""]:
    """Returns how far positives fail to be nearer than negatives by the margin.

    Distances are squared Euclidean distances of unit rows, 2 - 2 cosine: their gradient stays
    finite where anchor and positive coincide, which that of the plain distance does not.

    Args:
        cosine: similarity of every anchor with every target of the other modality.
        positive: right targets.
        ignore: targets that are no negatives either.
        margin: wanted difference of the squared distances.
        mining: `semi-hard` takes, for each anchor and positive, the nearest negative that is
            farther than the positive, or the farthest negative where none is; `hard` takes each
            anchor's farthest positive and nearest negative; `all` takes every triplet and averages
            those that violate the margin.
        soft_margin: log(1 + exp(difference)) in place of the hinge: no margin to choose, and a
            pull that fades instead of ending. Not for `all`, whose sum over sorted negatives needs
            terms that are linear.

    Returns:
        The mean over the mined triplets, 0 with zero gradient where there is none: an anchor needs
        a positive and a negative. Where several targets are equally far, one of them or all of them
        share the gradient. Memory: O(anchors x targets) for every kind of mining, since `all` sorts
        instead of enumerating; `tiled_triplet` needs less.

    Raises:
        InputError: a soft margin is asked for with `all`.

    Source:
        Schroff et al. 2015 (FaceNet), sections 3.1 and 3.2, with the farthest negative as the
        fallback of semi-hard mining; Hermans et al. 2017, section 2: "batch
        hard" for `hard`, "batch all" averaged over non-zero terms for `all`, and the soft margin.
    """
    rules = _Rules(margin, mining, soft_margin)
    total, count = _terms(cosine, positive=positive, ignore=ignore, rules=rules)
    return total / count.clamp(min=1)


def tiled_triplet(
    query: Float[Tensor, "row dim"],
    target: Float[Tensor, "row2 dim"],
    *,
    pairing: Pairing,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    soft_margin: bool = False,
    tile_rows: int = 0,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Returns `triplet_loss` of both directions of a pair, some anchors at a time.

    Mining needs all targets of an anchor at once (semi-hard and `all` sort them), so that a tile is
    as wide as there are targets. Each direction has products of its own, which backward makes
    again.

    Args:
        query: unit rows of one side.
        target: unit rows of the other.
        pairing: which rows take part, are positives, or are ignored.
        margin: see `triplet_loss`.
        mining: see `triplet_loss`.
        soft_margin: see `triplet_loss`.
        tile_rows: anchors at a time; 0 takes all of them up to `KEPT_ROWS`, else `PANEL_ROWS`.

    Returns:
        The loss of the queries and the loss of the targets as anchors. Memory: O(rows x dim), and
        some times `tile_rows` x targets.

    Raises:
        InputError: a soft margin is asked for with `all`.
    """
    rules = _Rules(margin, mining, soft_margin)
    sides = (query, target, pairing), (target, query, pairing.transposed)
    losses = []
    for anchors, others, each in sides:
        num_anchors = len(each.query)
        size = tile_rows or (num_anchors if num_anchors <= KEPT_ROWS else PANEL_ROWS)
        total = torch.zeros((), dtype=product_dtype(query, target), device=query.device)
        count = torch.zeros((), dtype=torch.int64, device=query.device)
        for start in range(0, num_anchors, max(size, 1)):
            part = slice(start, min(start + size, num_anchors))

            panel = partial(_panel, part=part, pairing=each, rules=rules)
            added, number = (
                panel(anchors, others)
                if size >= num_anchors
                else checkpoint(
                    panel, anchors, others, use_reentrant=False, preserve_rng_state=False
                )
            )
            total, count = total + added, count + number
        losses.append(total / count.clamp(min=1))
    return losses[0], losses[1]


_Terms = tuple[Tensor, Tensor]
"""The sum over the mined triplets, and their number."""


@dataclass(frozen=True)
class _Rules:
    margin: float
    mining: Mining
    soft_margin: bool


def _panel(
    anchors: Tensor, others: Tensor, *, part: slice, pairing: Pairing, rules: _Rules
) -> _Terms:
    """Returns the terms of some anchors."""
    everything = slice(0, len(pairing.target))
    device, dtype = anchors.device, product_dtype(anchors, others)
    positive, ignore = (
        torch.from_numpy(mask(part, everything)).to(device)
        for mask in (pairing.positive, pairing.ignored)
    )
    with torch.autocast(device.type, enabled=False):
        query = take_rows(anchors, as_rows(pairing.query.index[part], device)).to(dtype)
        target = take_rows(others, as_rows(pairing.target.index, device)).to(dtype)
        return _terms(query @ target.T, positive=positive, ignore=ignore, rules=rules)


def _terms(
    cosine: Float[Tensor, "anchor target"],
    *,
    positive: Bool[Tensor, "anchor target"],
    ignore: Bool[Tensor, "anchor target"] | None,
    rules: _Rules,
) -> _Terms:
    if rules.soft_margin and rules.mining == "all":
        raise InputError(
            "triplet loss: a soft margin with mining 'all'; wanted 'hard' or 'semi-hard', or a "
            "margin without soft_margin"
        )
    negative = ~positive if ignore is None else ~(positive | ignore)
    usable = positive.any(1) & negative.any(1)
    if not bool(usable.any()):
        return cosine.sum() * 0.0, usable.sum()
    distance = 2 - 2 * cosine[usable]
    positive, negative = positive[usable], negative[usable]
    if rules.mining == "all":
        return _all(distance, positive, negative, rules.margin)
    if rules.mining == "hard":
        farthest = distance.masked_fill(~positive, -torch.inf).amax(1)
        nearest = distance.masked_fill(~negative, torch.inf).amin(1)
        difference = farthest - nearest
    else:
        difference = (distance - _semi_hard(distance, negative))[positive]
    terms = softplus(difference) if rules.soft_margin else (difference + rules.margin).relu()
    return terms.sum(), torch.tensor(len(terms), device=terms.device)


def _semi_hard(
    distance: Float[Tensor, "anchor target"], negative: Bool[Tensor, "anchor target"]
) -> Float[Tensor, "anchor target"]:
    """Returns the distance of the negative that each target would be compared with."""
    ordered, num_negatives = _sorted_negatives(distance, negative)
    # First negative that is strictly farther than the positive; past the last one, the farthest
    # there is.
    first = torch.searchsorted(ordered.detach(), distance.detach().contiguous(), right=True)
    return ordered.gather(1, first.minimum(num_negatives - 1))


def _all(
    distance: Float[Tensor, "anchor target"],
    positive: Bool[Tensor, "anchor target"],
    negative: Bool[Tensor, "anchor target"],
    margin: float,
) -> _Terms:
    ordered, num_negatives = _sorted_negatives(distance, negative)
    # The negatives nearer than positive + margin are a prefix of the sorted ones: a prefix sum
    # replaces the triplets.
    reach = (distance + margin).detach().contiguous()
    num_violating = torch.searchsorted(ordered.detach(), reach).minimum(num_negatives)
    finite = ordered.masked_fill(ordered.isinf(), 0.0)
    prefix = pad(finite.cumsum(1), (1, 0)).gather(1, num_violating)
    terms = num_violating * (distance + margin) - prefix
    return terms[positive].sum(), num_violating[positive].sum()


def _sorted_negatives(
    distance: Float[Tensor, "anchor target"], negative: Bool[Tensor, "anchor target"]
) -> tuple[Float[Tensor, "anchor target"], Tensor]:
    ordered = distance.masked_fill(~negative, torch.inf).sort(dim=1, stable=True).values
    return ordered, negative.sum(1, keepdim=True)


def multimodal_triplet(
    embeddings: Mapping[Modality, Float[Tensor, "row dim"]],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    pair_rows: PairRows = plain_rows,
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
    soft_margin: bool = False,
    tile_rows: int = 0,
) -> dict[Direction, Float[Tensor, ""]]:
    """Returns the triplet loss of every ordered pair of modalities.

    Each modality is anchor, positive and negative in turn.

    Args:
        embeddings: unit rows by modality or fused query.
        rows: ids of the rows, from which positives and negatives come.
        present: rows that have each modality; a pair is compared over the rows that have both.
        pair_rows: what the dot products of a pair are of; the rows as they are by default.
        positives: `ids`, or `diagonal`.
        ignore: see `relations.Ignore`.
        overlap: see `relations.relate`.
        text_only: see `relations.compare_all`; read where a fused query is among the embeddings.
        margin: see `triplet_loss`.
        mining: see `triplet_loss`.
        soft_margin: see `triplet_loss`.
        tile_rows: see `tiled_triplet`.

    Returns:
        Loss by direction; pairs that fewer than two rows have are absent. Memory: see
        `tiled_triplet`.

    Raises:
        InputError: a soft margin is asked for with `all`.

    Source:
        The textbook's `TripletMultimodalTrainer` always takes vision as the anchor, text as the
        positive and action as the negative, so that action is only pushed away; here the negative
        comes from the positive's modality.
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
        losses[Direction(first, second)], losses[Direction(second, first)] = tiled_triplet(
            first_rows,
            second_rows,
            pairing=pairing,
            margin=margin,
            mining=mining,
            soft_margin=soft_margin,
            tile_rows=tile_rows,
        )
    return losses
