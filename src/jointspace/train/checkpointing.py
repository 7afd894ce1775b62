"""Checkpoints: everything that a run needs to go on bit by bit, written whole or not at all."""

import contextlib
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from jointspace.data.artefact import read_json, write_json
from jointspace.errors import RunFolderError, StorageError
from jointspace.models.checkpoint import load_weights, save_weights
from jointspace.storage import force_folder, write_whole
from jointspace.train.optim import parameter_groups

CHECKPOINT_VERSION = 1
"""Format of a checkpoint's `state.json`."""

_WEIGHTS, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True)
class TrainState:
    """Where a run stands, beside weights and optimiser; random numbers follow from seed and step.

    Attributes:
        step: steps done.
        best_step: steps done when the best weights were taken; -1 if none were.
        best_worst: worst direction at `best_step`.
        best_mean: mean over the directions at `best_step`.
        num_worse: evaluations since then.
        done: no further step follows.
    """

    step: int = 0
    best_step: int = -1
    best_worst: float = 0.0
    best_mean: float = 0.0
    num_worse: int = 0
    done: bool = False


def save_checkpoint(
    folder: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainState,
    keep: int = 2,
) -> Path:
    """Writes a checkpoint and removes old ones.

    It is written into a folder beside it, forced to the disk, and takes its name in one step: a
    folder with the name of a checkpoint is a whole checkpoint.

    Args:
        folder: of all checkpoints of the run; made if it is missing.
        model: whose weights.
        optimizer: over that model's trainable parameters.
        state: where the run stands.
        keep: how many of the newest checkpoints stay.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: it could not be written; older checkpoints are untouched.
    """
    final = folder / f"step-{state.step:07d}"
    aside = folder / f".{final.name}.{os.getpid()}.tmp"
    try:
        for stale in folder.glob(".step-*.tmp"):  # of a process that was killed
            shutil.rmtree(stale)
        aside.mkdir(parents=True)
        save_weights(model, aside / _WEIGHTS)
        write_whole(aside / _OPTIMIZER, save(_optimizer_tensors(model, optimizer)))
        write_json(aside / _STATE, {"version": CHECKPOINT_VERSION, **asdict(state)})
        if final.exists():
            _remove(final)
        aside.rename(final)
        force_folder(folder)
    except OSError as error:
        raise StorageError(f"{final}: checkpoint not written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for old in checkpoints(folder)[:-keep]:
        _remove(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Returns the folders of all whole checkpoints, oldest first."""
    return sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))


def load_checkpoint(
    path: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Reads a checkpoint back.

    Args:
        path: the checkpoint's folder.
        model: gets its weights.
        optimizer: over that model's trainable parameters; gets its state.

    Returns:
        Where the run stood.

    Raises:
        RunFolderError: a file is missing or damaged, or belongs to another model or version.
    """
    stored = read_json(path / _STATE, version=CHECKPOINT_VERSION)
    load_weights(model, path / _WEIGHTS)
    try:
        tensors = load((path / _OPTIMIZER).read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path / _OPTIMIZER}: cannot be read: {error}") from error
    parameters = _trainable(model)
    for key, tensor in sorted(tensors.items()):
        name, _, entry = key.rpartition("/")
        if name not in parameters:
            raise RunFolderError(
                f"{path / _OPTIMIZER}: '{name}' is not the model's; wanted the configuration that "
                "the checkpoint was made with"
            )
        # The step count stays on the processor, where AdamW keeps it.
        device = "cpu" if entry == "step" else parameters[name].device
        optimizer.state[parameters[name]][entry] = tensor.to(device)
    return TrainState(**{name: stored[name] for name in asdict(TrainState())})


def _remove(checkpoint: Path) -> None:
    """Takes the name away first: a checkpoint that a kill left half removed must not have it."""
    doomed = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.old.tmp")
    with contextlib.suppress(OSError):
        checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    decayed, others = parameter_groups(model)
    return decayed | others


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{entry}": value.detach().cpu().contiguous()
        for name, parameter in _trainable(model).items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }
