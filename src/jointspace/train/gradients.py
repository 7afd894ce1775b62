"""Loss and gradient of a step: in one piece or in chunks, in one process or in several."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from jointspace.batch import Batch
from jointspace.config import LossConfig
from jointspace.models.joint import JointModel
from jointspace.models.tensors import to_tensors
from jointspace.train.distributed import ALONE, Processes
from jointspace.train.encoding import common_modalities, draw_fusions, encode_rows
from jointspace.train.gather import average_gradients, gather_ids, gather_rows
from jointspace.train.gradient_cache import backward_in_chunks
from jointspace.train.objective import Objective, loss_of_vectors


def step_gradients(
    model: JointModel,
    batch: Batch,
    *,
    config: LossConfig,
    generator: torch.Generator,
    autocast: Callable[[], AbstractContextManager[object]],
    chunk_rows: int = 0,
    processes: Processes = ALONE,
) -> Objective:
    """Adds the gradient of a step's loss to the parameters.

    Each process encodes its own rows and computes the loss of the rows of all, so that loss and
    gradient are those of one process with all rows. Torch's `DistributedDataParallel` is not used:
    it averages what each process computes of its own rows, ties gradients to one call of the
    model's `forward`, which neither temperatures nor chunks go through, and must be told which
    parameters a step leaves out.

    Args:
        model: in training mode.
        batch: the NumPy rows of this process; may be none where there are several.
        config: what is minimised.
        generator: decides fused queries; in the same state on every process.
        autocast: makes the context in which the towers run.
        chunk_rows: rows that the graph holds at a time; 0 holds all.
        processes: which of them this one is.

    Returns:
        The loss of all rows, the same on every process.

    Raises:
        InputError: no two modalities can be compared.
    """
    device = next(model.parameters()).device
    modalities = common_modalities(model, batch)
    # Without rows there is nothing to reduce.
    none = torch.zeros(0, dtype=torch.bool)
    masks = {m: torch.as_tensor(batch[m].present) if len(batch) else none for m in modalities}
    ids = batch.rows
    counts: tuple[int, ...] = (len(batch),)
    if processes.are_many:
        present = np.stack([each.numpy() for each in masks.values()], 1)
        ids, present, counts = gather_ids(batch.rows, present)
        columns = torch.from_numpy(present).unbind(1)
        masks = dict(zip(modalities, columns, strict=True))
    # Several processes have the rows in the order of their episodes, a single one as drawn; the
    # same random numbers must meet the same row.
    order = torch.from_numpy(np.argsort(ids.episode, kind="stable"))
    ordered = {m: mask[order] for m, mask in masks.items()}
    drawn = draw_fusions(model, ordered, config=config, generator=generator)
    fusions = [each.part(order.argsort()) for each in drawn]
    first = sum(counts[: processes.place.rank])
    own = [each.part(slice(first, first + len(batch))) for each in fusions]

    def encode(rows: slice) -> Tensor:
        part = _part(batch, rows, device)
        with autocast():
            return encode_rows(
                model, part, modalities=modalities, fusions=[each.part(rows) for each in own]
            )

    def finish(vectors: Tensor) -> tuple[Tensor, Objective]:
        if processes.are_many:
            vectors = gather_rows(vectors, counts=counts)
        objective = loss_of_vectors(
            model, vectors, ids, present=masks, fusions=fusions, config=config
        )
        return objective.total, objective

    rows = [slice(i, i + chunk_rows) for i in range(0, len(batch), chunk_rows or len(batch) or 1)]
    if len(rows) > 1:
        chunks = [partial(encode, each) for each in rows]
        objective = backward_in_chunks(chunks, finish=finish, device=device)
    else:
        total, objective = finish(encode(slice(None)))
        torch.autograd.backward(total)
    if processes.are_many:
        average_gradients(model.parameters())
    return objective


def _part(batch: Batch, rows: slice, device: torch.device) -> Batch:
    """Returns some rows on the device, in memory that torch allocated.

    Sums may depend on how an array lies in memory, and NumPy promises less there than torch does;
    a run that is continued must not.
    """
    inputs = {m: each.map(lambda array: array[rows]) for m, each in batch.inputs.items()}
    return to_tensors(Batch(inputs, batch.rows.take(rows)), device=device).map(torch.clone)
