"""Weights on disk: written whole or not at all, and read only into the model that they fit."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from jointspace.errors import RunFolderError, StorageError

WEIGHTS_FORMAT = "1"
"""Version of the weight files; a change that old files do not survive raises it."""

_FORMAT_KEY = "jointspace_weights"


def save_weights(
    model: nn.Module, path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a model's parameters and buffers.

    The file is written aside, forced to the disk, and moved into place: whatever happens on the
    way, `path` holds either what it held before or all of the new weights.

    Args:
        model: whose weights.
        path: of the file; its folder must exist.
        metadata: further texts for the file's header.

    Raises:
        StorageError: the file could not be written.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    content = save(tensors, metadata={_FORMAT_KEY: WEIGHTS_FORMAT, **(metadata or {})})
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            aside = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
        _force_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: weights not written: {error.strerror or error}") from error


def load_weights(model: nn.Module, path: Path) -> dict[str, str]:
    """Reads weights into a model, which must be built alike.

    Args:
        model: changed in place, and only when everything fits.
        path: of the file.

    Returns:
        The texts of the file's header.

    Raises:
        RunFolderError: the file is missing, cut, of another version, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise RunFolderError(f"{path}: no such weights; wanted a finished training run") from None
    except (OSError, SafetensorError) as error:
        raise RunFolderError(f"{path}: weights cannot be read: {error}") from error
    found = metadata.pop(_FORMAT_KEY, None)
    if found != WEIGHTS_FORMAT:
        raise RunFolderError(
            f"{path}: weights of format {found or 'unknown'}; wanted format {WEIGHTS_FORMAT}, "
            "so train again or use the version of jointspace that wrote them"
        )
    _check_fit(model.state_dict(), tensors, path)
    model.load_state_dict(tensors)
    return metadata


def _check_fit(
    wanted: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor], path: Path
) -> None:
    differences = [f"{name} is missing" for name in wanted.keys() - got.keys()]
    differences += [f"{name} is not the model's" for name in got.keys() - wanted.keys()]
    differences += [
        f"{name} has shape {tuple(got[name].shape)}, the model {tuple(wanted[name].shape)}"
        for name in wanted.keys() & got.keys()
        if got[name].shape != wanted[name].shape
    ]
    if differences:
        differences.sort()
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise RunFolderError(
            f"{path}: weights of another model: {'; '.join(differences[:3])}{more}; "
            "wanted the configuration that they were trained with"
        )


def _force_folder(folder: Path) -> None:
    """Forces a folder's entries to the disk, without which a rename may not survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
