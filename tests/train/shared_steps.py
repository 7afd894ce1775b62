"""Loss and gradient of single steps: `shared_steps.py OUT`, alone or as one of several."""

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from jointspace.batch import ACTION, TEXT, VISION, Batch, ModalityInput
from jointspace.config import LossConfig
from jointspace.train.distributed import processes
from jointspace.train.gather import gather_rows, share_weights
from jointspace.train.gradients import step_gradients
from jointspace.train.launch import read_place
from tests.train.toy import toy_batch, toy_model

ALL = LossConfig(fused_queries_per_step=0, modality_dropout=0.3)
CASES = {
    "uneven rows": (13, ALL, 0),
    "chunks": (13, ALL, 2),
    "fewer rows than processes": (3, replace(ALL, fused_weight=0.0), 0),
    "some fused queries": (12, LossConfig(modality_dropout=0.5), 0),
    "triplets in chunks": (12, replace(ALL, name="triplet", mining="all"), 3),
    "no text": (10, ALL, 0),
    "gates in chunks": (13, ALL, 2),
}
GATED = {"triplets in chunks", "gates in chunks"}


def rows_of(case, *, num_rows):
    """Rows of which some lack a modality; one case lacks the text altogether."""
    modalities = (VISION, ACTION) if case == "no text" else (VISION, TEXT, ACTION)
    batch = toy_batch(num_rows, seed=num_rows, modalities=modalities)
    inputs = dict(batch.inputs)
    for number, modality in enumerate(m for m in modalities if num_rows > 4):
        each = inputs[modality]
        valid = each.valid.copy()
        valid[number::5] = False
        inputs[modality] = ModalityInput(each.values, valid, each.time_s)
    # Rows of an episode neither lie together nor come in order.
    episode = np.random.default_rng(num_rows).integers(0, 5, num_rows)
    return Batch(inputs, replace(batch.rows, episode=episode))


def part_of(batch, rows):
    inputs = {m: each.map(lambda array: array[rows]) for m, each in batch.inputs.items()}
    return Batch(inputs, batch.rows.take(rows))


def gradients(team):
    """Returns loss and gradients by name, of every case; temperatures are among the parameters."""
    found = {}
    for case, (num_rows, config, chunk_rows) in CASES.items():
        # Rank 0's weights count: the others start with different ones.
        model = toy_model(seed=team.place.rank, dropout=0.0, gated=case in GATED).double()
        if team.are_many:
            share_weights(model)
        batch = rows_of(case, num_rows=num_rows)
        objective = step_gradients(
            model.train(),
            part_of(batch, team.share.positions(batch.rows.episode)),
            config=config,
            generator=torch.Generator().manual_seed(5),
            autocast=contextlib.nullcontext,
            chunk_rows=chunk_rows,
            processes=team,
        )
        found[f"{case}: loss"] = objective.total.detach().numpy()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[f"{case}: {name}"] = parameter.grad.numpy()
    return found


def gathered(team):
    """Returns what a process that weighs all rows in its own way gets as gradient of its own."""
    counts = [rank + 1 for rank in range(team.place.size)]
    rank = team.place.rank
    local = torch.full((counts[rank], 2), float(rank), dtype=torch.float64, requires_grad=True)
    everything = gather_rows(local, counts=counts)
    weights = torch.arange(everything.numel()).view_as(everything) * 10.0**rank
    (everything * weights).sum().backward()
    return {"gathered": everything.detach().numpy(), "gathered: gradient": local.grad.numpy()}


if __name__ == "__main__":
    place = read_place()
    with processes(place, torch.device("cpu")) as met:
        found = gradients(met) | gathered(met)
        np.savez(Path(sys.argv[1]) / f"{place.size}-{place.rank}.npz", **found)
