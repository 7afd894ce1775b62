"""Collectives that are exact: what several processes compute together is what one would compute."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jointspace.batch import RowIds
from jointspace.train.distributed import contact

_BUCKET_BYTES = 32 << 20
"""Gradients are reduced in pieces of this size: few messages, and no second copy of all of them."""


def gather_rows(local: Float[Tensor, "row ..."], *, counts: Sequence[int]) -> Tensor:
    """Joins the rows of all processes, in order of rank, with their gradient.

    In backward each process gets the sum over the processes of the gradients of its own rows. Where
    every process computes the same loss of all rows, that is `size` times the gradient of one; the
    mean over the processes that `average_gradients` takes is then exactly that of one process, for
    parameters in front of the gather and behind it alike.

    Args:
        local: rows of this process; must require a gradient on all processes or on none.
        counts: how many rows each process has, zero included.

    Returns:
        The rows of all, the same on every process.

    Raises:
        LostContactError: another process does not answer; so do the other functions here.
    """
    rows: Tensor = _GatherRows.apply(local, tuple(counts))  # type: ignore[no-untyped-call]
    return rows


def gather_ids(
    rows: RowIds, present: Bool[np.ndarray, "row modality"]
) -> tuple[RowIds, Bool[np.ndarray, "all_row modality"], tuple[int, ...]]:
    """Joins the ids of the rows of all processes, and which modalities each row has.

    Args:
        rows: ids of this process's rows.
        present: modalities that each of them has; the same modalities on every process.

    Returns:
        Ids and modalities of all rows in order of rank, and how many rows each process has.
    """
    columns = [np.asarray(getattr(rows, each.name)) for each in fields(RowIds)]
    # Seconds travel as the bits that they are.
    words = [c.astype(np.float64).view(np.int64) if c.dtype.kind == "f" else c for c in columns]
    packed = np.column_stack([*(w.astype(np.int64) for w in words), present.astype(np.int64)])
    counts = _counts(len(rows))
    joined = _join(torch.from_numpy(np.ascontiguousarray(packed)), counts).numpy()
    unpacked = {
        each.name: (
            np.ascontiguousarray(joined[:, i]).view(np.float64)
            if column.dtype.kind == "f"
            else joined[:, i].astype(column.dtype)
        )
        for i, (each, column) in enumerate(zip(fields(RowIds), columns, strict=True))
    }
    return RowIds(**unpacked), joined[:, len(columns) :].astype(np.bool_), counts


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the processes.

    A process in which a parameter took no part counts as zero; a parameter that took part in none
    of them keeps no gradient at all, so that the optimiser passes over it as it does in one
    process.

    Args:
        parameters: the same on every process, in the same order.
    """
    trainable = [each for each in parameters if each.requires_grad]
    used = torch.tensor([each.grad is not None for each in trainable], dtype=torch.int32)
    _add_up(used)
    gradients = []
    for parameter, count in zip(trainable, used.tolist(), strict=True):
        if count:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([each.flatten() for each in bucket])
        _add_up(flat)
        flat /= dist.get_world_size()
        stop = 0
        for each in bucket:
            start, stop = stop, stop + each.numel()
            each.copy_(flat[start:stop].view_as(each))


def share_weights(model: nn.Module) -> None:
    """Gives every process the parameters and buffers of rank 0."""
    for tensor in (*model.parameters(), *model.buffers()):
        # The copy is contiguous, which not every parameter need be.
        shared = tensor.detach().contiguous()
        with contact():
            dist.broadcast(shared, src=0)
        tensor.data.copy_(shared)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.counts = counts
        return _join(local, counts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        total = gradient.contiguous().clone()
        _add_up(total)
        rank = dist.get_rank()
        first = sum(ctx.counts[:rank])
        return total[first : first + ctx.counts[rank]], None


def _add_up(tensor: Tensor) -> None:
    """Replaces a tensor by its sum over the processes."""
    with contact():
        dist.all_reduce(tensor)


def _counts(number: int) -> tuple[int, ...]:
    numbers = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    numbers[dist.get_rank()] = number
    _add_up(numbers)
    return tuple(numbers.tolist())


def _join(local: Tensor, counts: Sequence[int]) -> Tensor:
    """Joins rows without a gradient; backends gather tensors of one size alone, so rows are padded.

    Returns:
        The rows of all processes in order of rank.
    """
    padded = local.new_zeros((max(counts), *local.shape[1:]))
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in counts]
    with contact():
        dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _buckets(gradients: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    """Yields gradients of one type and device, at most `_BUCKET_BYTES` (or one) at a time."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for each in gradients:
        kinds.setdefault((each.dtype, each.device), []).append(each)
    for alike in kinds.values():
        bucket: list[Tensor] = []
        size = 0
        for each in alike:
            num_bytes = each.numel() * each.element_size()
            if bucket and size + num_bytes > _BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
            bucket.append(each)
            size += num_bytes
        if bucket:
            yield bucket
