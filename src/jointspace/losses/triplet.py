"""Triplet loss over every ordered pair of modalities; mining leaves false negatives out."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import Direction, Modality, RowIds
from jointspace.losses.relations import OVERLAP_THRESHOLD, Positives, compare_all

Mining = Literal["semi-hard", "hard", "all"]


def triplet_loss(
    cosine: Float[Tensor, "anchor target"],
    *,
    positive: Bool[Tensor, "anchor target"],
    ignore: Bool[Tensor, "anchor target"] | None = None,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
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

    Returns:
        The mean over the mined triplets, 0 with zero gradient where there is none: an anchor needs
        a positive and a negative. Memory: O(anchors x targets) for every kind of mining, since
        `all` sorts instead of enumerating.

    Source:
        Schroff et al. 2015 (FaceNet), sections 3.1 and 3.2, with the farthest negative as the
        fallback of semi-hard mining; Hermans et al. 2017, section 2: "batch
        hard" for `hard`, "batch all" averaged over non-zero terms for `all`.
    """
    negative = ~positive if ignore is None else ~(positive | ignore)
    usable = positive.any(1) & negative.any(1)
    if not bool(usable.any()):
        return cosine.sum() * 0.0
    distance = 2 - 2 * cosine[usable]
    positive, negative = positive[usable], negative[usable]
    if mining == "hard":
        farthest = distance.masked_fill(~positive, -torch.inf).amax(1)
        nearest = distance.masked_fill(~negative, torch.inf).amin(1)
        return (farthest - nearest + margin).relu().mean()
    if mining == "semi-hard":
        return _semi_hard(distance, positive, negative, margin)
    return _all(distance, positive, negative, margin)


def _semi_hard(
    distance: Float[Tensor, "anchor target"],
    positive: Bool[Tensor, "anchor target"],
    negative: Bool[Tensor, "anchor target"],
    margin: float,
) -> Float[Tensor, ""]:
    ordered, num_negatives = _sorted_negatives(distance, negative)
    # First negative that is strictly farther than the positive; past the last one, the farthest
    # there is.
    first = torch.searchsorted(ordered.detach(), distance.detach().contiguous(), right=True)
    chosen = ordered.gather(1, first.minimum(num_negatives - 1))
    return (distance - chosen + margin).relu()[positive].mean()


def _all(
    distance: Float[Tensor, "anchor target"],
    positive: Bool[Tensor, "anchor target"],
    negative: Bool[Tensor, "anchor target"],
    margin: float,
) -> Float[Tensor, ""]:
    ordered, num_negatives = _sorted_negatives(distance, negative)
    # The negatives nearer than positive + margin are a prefix of the sorted ones: a prefix sum
    # replaces the triplets.
    reach = (distance + margin).detach().contiguous()
    num_violating = torch.searchsorted(ordered.detach(), reach).minimum(num_negatives)
    finite = ordered.masked_fill(ordered.isinf(), 0.0)
    prefix = torch.nn.functional.pad(finite.cumsum(1), (1, 0)).gather(1, num_violating)
    terms = num_violating * (distance + margin) - prefix
    return terms[positive].sum() / num_violating[positive].sum().clamp(min=1)


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
    positives: Positives = "ids",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
    margin: float = 0.2,
    mining: Mining = "semi-hard",
) -> dict[Direction, Float[Tensor, ""]]:
    """Returns the triplet loss of every ordered pair of modalities.

    Each modality is anchor, positive and negative in turn.

    Args:
        embeddings: unit rows by modality or fused query.
        rows: ids of the rows, from which positives and negatives come.
        present: rows that have each modality; a pair is compared over the rows that have both.
        positives: `ids`, or `diagonal`.
        overlap: see `relations.relate`.
        text_only: see `relations.compare_all`; read where a fused query is among the embeddings.
        margin: see `triplet_loss`.
        mining: see `triplet_loss`.

    Returns:
        Loss by direction; pairs that fewer than two rows have are absent. Memory: O(rows squared)
        for each pair.

    Source:
        The textbook's `TripletMultimodalTrainer` always takes vision as the anchor, text as the
        positive and action as the negative, so that action is only pushed away; here the negative
        comes from the positive's modality.
    """
    return {
        pair.direction: triplet_loss(
            pair.cosine, positive=pair.positive, ignore=pair.ignore, margin=margin, mining=mining
        )
        for pair in compare_all(
            embeddings,
            rows,
            present=present,
            positives=positives,
            overlap=overlap,
            text_only=text_only,
        )
    }
