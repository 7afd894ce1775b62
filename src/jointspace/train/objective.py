"""What training minimises: the loss of every pair of modalities, and that of the fused queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import TEXT, Batch, Direction, Modality, RowIds
from jointspace.config import LossConfig
from jointspace.errors import InputError
from jointspace.losses.contrastive import multimodal_contrastive
from jointspace.losses.sigmoid import multimodal_sigmoid
from jointspace.losses.triplet import multimodal_triplet
from jointspace.models.joint import JointModel
from jointspace.train.encoding import Fusion, common_modalities, draw_fusions, encode_rows


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


def training_loss(
    model: JointModel,
    batch: Batch,
    *,
    config: LossConfig,
    generator: torch.Generator | None = None,
) -> Objective:
    """Computes the loss of a batch.

    Args:
        model: in training mode; torch's random numbers decide dropout.
        batch: of tensors, with at least two modalities that two rows have in common.
        config: kind of loss, and the weight of fused queries.
        generator: decides which fused queries are trained, and modality dropout; None takes torch's
            own random numbers.

    Returns:
        The loss with its graph.

    Raises:
        InputError: no two modalities can be compared.

    Source:
        The textbook's `MultimodalTrainer` and `TripletMultimodalTrainer`; its fusion modules have
        no loss at all. Here every fused query learns to retrieve the modality that it lacks, from
        a random part of its modalities (modality dropout, Neverova et al. 2016).
    """
    modalities = common_modalities(model, batch)
    present = {m: batch[m].present for m in modalities}
    fusions = draw_fusions(model, present, config=config, generator=generator)
    vectors = encode_rows(model, batch, modalities=modalities, fusions=fusions)
    return loss_of_vectors(
        model, vectors, batch.rows, present=present, fusions=fusions, config=config
    )


def loss_of_vectors(
    model: JointModel,
    vectors: Float[Tensor, "row vector dim"],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    fusions: Sequence[Fusion],
    config: LossConfig,
) -> Objective:
    """Computes the loss of rows that are encoded.

    Args:
        model: its temperatures and gates are read.
        vectors: from `encoding.encode_rows`, in the order of `present` and then of `fusions`.
        rows: ids of the rows.
        present: rows that have each modality.
        fusions: the fused queries.
        config: kind of loss, and the weight of fused queries.

    Returns:
        The loss with its graph.

    Raises:
        InputError: no two modalities can be compared.
    """
    each = vectors.unbind(1)
    embeddings = dict(zip(present, each[: len(present)], strict=True))
    here = {m: mask.to(vectors.device) for m, mask in present.items()}
    pairs = _pair_losses(model, embeddings, here, rows, config)
    if not pairs:
        raise InputError(
            f"training: no two of {', '.join(embeddings)} are both present in two rows; "
            "there is nothing to align"
        )
    total = torch.stack(list(pairs.values())).mean()
    fused: dict[Direction, Tensor] = {}
    for fusion, query_vectors in zip(fusions, each[len(present) :], strict=True):
        query, kept = fusion.query, fusion.kept.to(vectors.device)
        others = [i for i, member in enumerate(query.members) if member != TEXT]
        fused |= _pair_losses(
            model,
            {query.name: query_vectors, query.target: embeddings[query.target]},
            {query.name: kept.any(1), query.target: here[query.target]},
            rows,
            config,
            text_only={query.name: ~kept[:, others].any(1)},
        )
    if fused:
        total = total + config.fused_weight * torch.stack(list(fused.values())).mean()
    return Objective(total, pairs, fused)


def _pair_losses(
    model: JointModel,
    embeddings: Mapping[Modality, Tensor],
    present: Mapping[Modality, Tensor],
    rows: RowIds,
    config: LossConfig,
    *,
    text_only: Mapping[Modality, Tensor] | None = None,
) -> dict[Direction, Tensor]:
    return _loss(model, config)(
        embeddings,
        rows,
        present=present,
        pair_rows=model.pair_rows,
        positives=config.positives,
        ignore=config.ignore,
        text_only=text_only,
        tile_rows=config.tile_rows,
    )


def _loss(model: JointModel, config: LossConfig) -> Callable[..., dict[Direction, Tensor]]:
    """Returns the configured kind of loss, with the settings that no other kind has."""
    if config.name == "triplet":
        return partial(
            multimodal_triplet,
            margin=config.margin,
            mining=config.mining,
            soft_margin=config.soft_margin,
        )
    if config.name == "sigmoid":
        return partial(
            multimodal_sigmoid, logit_scale=model.logit_scale, logit_bias=model.logit_bias
        )
    return partial(
        multimodal_contrastive,
        logit_scale=model.logit_scale,
        normalisation=config.normalisation,
    )
