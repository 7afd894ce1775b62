"""Contrastive loss over all pairs of modalities, with one or many positives per row."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import Direction, Modality, RowIds
from jointspace.losses.all_pairs import PairRows, pair_all, plain_rows
from jointspace.losses.relations import OVERLAP_THRESHOLD, Ignore, Positives
from jointspace.losses.tiled import Normalisation, tiled_info_nce


def info_nce(
    logits: Float[Tensor, "query target"],
    *,
    positive: Bool[Tensor, "query target"],
    ignore: Bool[Tensor, "query target"] | None = None,
    normalisation: Normalisation = "out",
) -> Float[Tensor, ""]:
    """Returns the negative log-likelihood of the right targets, averaged over the queries.

    With one positive per query and nothing ignored this is the cross-entropy of CLIP. With many,
    `out` has its least value, log of their number, when all of them are equally likely; `in`
    reaches 0 when any of them is certain.

    Args:
        logits: scaled similarities; the scale is the caller's, and must be the inverse temperature
            itself (14.3 at the start), not its logarithm (2.66), with which a perfect embedding
            cannot get near zero.
        positive: right targets. A query without one takes no part.
        ignore: targets that stay out of the denominator.
        normalisation: `out` averages the log-likelihood over the positives, `in` takes the
            log-likelihood of any.

    Returns:
        The mean over queries; 0 with zero gradient where no query has a positive. Memory: a few
        times the logits. This is the plain statement of the loss; training computes it by
        `tiled_info_nce`.

    Source:
        Radford et al. 2021 (CLIP), figure 3, for one direction; Khosla et al. 2020 (SupCon),
        equation 2 for `out` and 3 for `in`, where positives and negatives here come from another
        modality than the query.
    """
    answered = positive.any(1)
    if not bool(answered.any()):
        return logits.sum() * 0.0
    logits, positive = logits[answered], positive[answered]
    if ignore is not None:
        logits = logits.masked_fill(ignore[answered], -torch.inf)
    if normalisation == "in":
        right = logits.masked_fill(~positive, -torch.inf)
        return (logits.logsumexp(1) - right.logsumexp(1)).mean()
    log_likelihood = logits.log_softmax(1).masked_fill(~positive, 0.0)
    return -(log_likelihood.sum(1) / positive.sum(1)).mean()


def multimodal_contrastive(
    embeddings: Mapping[Modality, Float[Tensor, "row dim"]],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    pair_rows: PairRows = plain_rows,
    logit_scale: Callable[[Modality, Modality], Float[Tensor, ""]],
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
    normalisation: Normalisation = "out",
    tile_rows: int = 0,
) -> dict[Direction, Float[Tensor, ""]]:
    """Returns the contrastive loss of every ordered pair of modalities: six for the core three.

    Args:
        embeddings: rows by modality or fused query, of unit length as a rule; a row that lacks the
            modality may hold anything finite.
        rows: ids of the rows, from which the positives come.
        present: rows that have each modality; a pair is compared over the rows that have both.
        pair_rows: what the dot products of a pair are of; the rows as they are by default.
        logit_scale: inverse temperature of a pair, the same in both orders.
        positives: `ids`, or `diagonal` for the textbook's one positive per row.
        ignore: see `relations.Ignore`.
        overlap: see `relations.relate`.
        text_only: see `relations.compare_all`; read where a fused query is among the embeddings.
        normalisation: see `info_nce`.
        tile_rows: see `tiled_info_nce`.

    Returns:
        Loss by direction; pairs that fewer than two rows have are absent. Needs distinct
        instructions or episodes in a batch to teach anything. Memory: O(rows x dim); see
        `tiled_info_nce`.

    Source:
        Equation of CLIP applied to each pair of modalities, as the textbook's `MultimodalTrainer`
        does; positives from ids, overlapping windows and missing modalities are ours.
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
        losses[Direction(first, second)], losses[Direction(second, first)] = tiled_info_nce(
            first_rows,
            second_rows,
            scale=logit_scale(first, second),
            pairing=pairing,
            normalisation=normalisation,
            tile_rows=tile_rows,
        )
    return losses
