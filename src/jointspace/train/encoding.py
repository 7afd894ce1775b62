"""From the rows of a step to vectors: modality by modality, and the fused queries that it trains.

All of it works row by row, so that rows may be encoded by several processes, or chunk by chunk.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from jointspace.batch import Batch, Modality
from jointspace.config import LossConfig
from jointspace.errors import InputError
from jointspace.models.fused_queries import FusedQuery
from jointspace.models.joint import JointModel


@dataclass(frozen=True)
class Fusion:
    """A fused query that a step trains.

    Attributes:
        query: which one.
        kept: what it may use of each row, by the query's members.
    """

    query: FusedQuery
    kept: Bool[Tensor, "row member"]

    def part(self, rows: slice | Int64[Tensor, " part"]) -> "Fusion":
        """Returns the same query of some of the rows, or of all in another order."""
        return Fusion(self.query, self.kept[rows])


def common_modalities(model: JointModel, batch: Batch) -> tuple[Modality, ...]:
    """Returns the modalities of the model that the batch has, in the model's order.

    Raises:
        InputError: they have none in common.
    """
    known = tuple(m for m in model.modalities if m in batch.inputs)
    if not known:
        raise InputError(
            f"training: the batch has {', '.join(batch.inputs) or 'no modality'}; wanted at least "
            f"one of {', '.join(model.modalities)}"
        )
    return known


def draw_fusions(
    model: JointModel,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    *,
    config: LossConfig,
    generator: torch.Generator | None = None,
) -> tuple[Fusion, ...]:
    """Chooses the fused queries of a step, and which modalities each row lends them.

    Args:
        model: whose queries.
        present: rows that have each modality, for all rows of the step.
        config: weight and number of the queries, and modality dropout.
        generator: on the processor; None takes torch's own random numbers.

    Returns:
        None where their weight is 0.
    """
    if config.fused_weight == 0:
        return ()
    here = set(present)
    possible = [q for q in model.fused_queries if here.issuperset((*q.members, q.target))]
    # The same in expectation as all of them, at a part of the cost: all were half of a step's time.
    order = torch.randperm(len(possible), generator=generator)
    drawn = sorted(order[: config.fused_queries_per_step or None].tolist())
    return tuple(
        Fusion(
            query,
            drop_modalities(
                torch.stack([present[m] for m in query.members], 1),
                probability=config.modality_dropout,
                generator=generator,
            ),
        )
        for query in (possible[i] for i in drawn)
    )


def drop_modalities(
    present: Bool[Tensor, "row modality"],
    *,
    probability: float,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "row modality"]:
    """Hides modalities at random, but never the last one that a row has.

    Args:
        present: modalities that each row has.
        probability: of each to be hidden.
        generator: on the processor, whatever `present` is on; None takes torch's own random
            numbers.

    Returns:
        What is left; a row that has any modality keeps at least one.
    """
    draw = torch.rand(present.shape, generator=generator).to(present.device)
    draw = draw.masked_fill(~present, -1.0)
    kept = draw >= probability
    last = torch.nn.functional.one_hot(draw.argmax(1), present.shape[1]).bool() & present
    return (kept & present) | (last & ~kept.any(1, keepdim=True))


def encode_rows(
    model: JointModel,
    batch: Batch,
    *,
    modalities: Iterable[Modality],
    fusions: Iterable[Fusion],
) -> Float[Tensor, "row vector dim"]:
    """Embeds every modality and every fused query of some rows of a step.

    Args:
        model: in training mode.
        batch: of tensors; may have no rows.
        modalities: that the batch has, in the order wanted.
        fusions: of these rows.

    Returns:
        For each row its vectors, first of the modalities and then of the fused queries.
    """
    names, queries = tuple(modalities), tuple(fusions)
    if not len(batch):
        # Differentiable, so that this process takes part in what the others do with the gradient.
        weight = next(model.parameters())
        num_vectors = len(names) + len(queries)
        empty = weight.new_zeros((0, num_vectors, model.embed_dim), requires_grad=True)
        return empty if empty.dtype == torch.float64 else empty.float()
    output = model(batch)
    vectors = [output.embeddings[m] for m in names]
    for each in queries:
        members = each.query.members
        kept = dict(zip(members, each.kept.to(vectors[0].device).unbind(1), strict=True))
        vectors.append(model.fuse(output.features, members, kept))
    return torch.stack(vectors, 1)
