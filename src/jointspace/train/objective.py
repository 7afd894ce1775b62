"""What training minimises: the loss of every pair of modalities, and that of the fused queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import TEXT, Batch, Direction, Modality, RowIds
from jointspace.config import LossConfig
from jointspace.errors import InputError
from jointspace.losses.contrastive import multimodal_contrastive
from jointspace.losses.sigmoid import multimodal_sigmoid
from jointspace.losses.triplet import multimodal_triplet
from jointspace.models.joint import JointModel, JointOutput


@dataclass(frozen=True)
class Objective:
    """The loss of one batch and its parts.

    Attributes:
        total: mean over `pairs` plus the weighted mean over `fused`.
        pairs: loss of every ordered pair of modalities.
        fused: loss between every fused query and its target, in both directions.
    """

    total: Float[Tensor, ""]
    pairs: Mapping[Direction, Float[Tensor, ""]]
    fused: Mapping[Direction, Float[Tensor, ""]]


def training_loss(model: JointModel, batch: Batch, *, config: LossConfig) -> Objective:
    """Computes the loss of a batch.

    Args:
        model: in training mode; torch's random numbers decide dropout and modality dropout.
        batch: of tensors, with at least two modalities that two rows have in common.
        config: kind of loss, and the weight of fused queries.

    Returns:
        The loss with its graph.

    Raises:
        InputError: no two modalities can be compared.

    Source:
        The textbook's `MultimodalTrainer` and `TripletMultimodalTrainer`; its fusion modules have
        no loss at all. Here every fused query learns to retrieve the modality that it lacks, from
        a random part of its modalities (modality dropout, Neverova et al. 2016).
    """
    output = model(batch)
    pairs = _pair_losses(model, output.embeddings, output.present, batch.rows, config)
    if not pairs:
        raise InputError(
            f"training: no two of {', '.join(output.embeddings)} are both present in two rows; "
            "there is nothing to align"
        )
    total = torch.stack(list(pairs.values())).mean()
    fused: dict[Direction, Tensor] = {}
    if config.fused_weight > 0:
        fused = _fused_losses(model, output, batch.rows, config)
        if fused:
            total = total + config.fused_weight * torch.stack(list(fused.values())).mean()
    return Objective(total, pairs, fused)


def drop_modalities(
    present: Bool[Tensor, "row modality"], *, probability: float
) -> Bool[Tensor, "row modality"]:
    """Hides modalities at random, but never the last one that a row has.

    Args:
        present: modalities that each row has.
        probability: of each to be hidden.

    Returns:
        What is left; a row that has any modality keeps at least one.
    """
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1.0)
    kept = draw >= probability
    last = torch.nn.functional.one_hot(draw.argmax(1), present.shape[1]).bool() & present
    return (kept & present) | (last & ~kept.any(1, keepdim=True))


def _fused_losses(
    model: JointModel, output: JointOutput, rows: RowIds, config: LossConfig
) -> dict[Direction, Tensor]:
    losses: dict[Direction, Tensor] = {}
    here = set(output.features)
    possible = [q for q in model.fused_queries if here.issuperset((*q.members, q.target))]
    # The same in expectation as all of them, at a part of the cost: all were half of a step's time.
    drawn = torch.randperm(len(possible))[: config.fused_queries_per_step or None].tolist()
    for query in (possible[i] for i in sorted(drawn)):
        members = query.members
        present = torch.stack([output.present[m] for m in members], 1)
        kept = drop_modalities(present, probability=config.modality_dropout)
        masks = dict(zip(members, kept.unbind(1), strict=True))
        others = torch.stack([masks[m] for m in members if m != TEXT]).any(0)
        vectors = model.fuse(output.features, members, masks)
        losses |= _pair_losses(
            model,
            {query.name: vectors, query.target: output.embeddings[query.target]},
            {query.name: kept.any(1), query.target: output.present[query.target]},
            rows,
            config,
            text_only={query.name: ~others},
        )
    return losses


def _pair_losses(
    model: JointModel,
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    rows: RowIds,
    config: LossConfig,
    *,
    text_only: Mapping[Modality, Tensor] | None = None,
) -> dict[Direction, Tensor]:
    if config.name == "triplet":
        return multimodal_triplet(
            embeddings,
            rows,
            present=present,
            positives=config.positives,
            ignore=config.ignore,
            text_only=text_only,
            margin=config.margin,
            mining=config.mining,
            soft_margin=config.soft_margin,
            tile_rows=config.tile_rows,
        )
    if config.name == "sigmoid":
        return multimodal_sigmoid(
            embeddings,
            rows,
            present=present,
            logit_scale=model.logit_scale,
            logit_bias=model.logit_bias,
            positives=config.positives,
            ignore=config.ignore,
            text_only=text_only,
            tile_rows=config.tile_rows,
        )
    return multimodal_contrastive(
        embeddings,
        rows,
        present=present,
        logit_scale=model.logit_scale,
        positives=config.positives,
        ignore=config.ignore,
        text_only=text_only,
        normalisation=config.normalisation,
        tile_rows=config.tile_rows,
    )
