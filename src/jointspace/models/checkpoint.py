"""Weights on disk: written whole or not at all, and read only into the model that they fit."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from jointspace.encoders.pretrained import check_fingerprints
from jointspace.errors import RunFolderError
from jointspace.storage import write_whole

WEIGHTS_FORMAT = "1"
"""Version of the weight files; a change that old files do not survive raises it."""

_FORMAT_KEY = "jointspace_weights"


def save_weights(
    model: nn.Module, path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a model's parameters and buffers, but none of a frozen pretrained network.

    Whatever happens on the way, `path` holds either what it held before or all of the new weights.

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
    write_whole(path, content)


def load_weights(model: nn.Module, path: Path) -> dict[str, str]:
    """Reads weights into a model, which must be built alike.

    Args:
        model: changed in place, and only when everything fits.
        path: of the file.

    Returns:
        The texts of the file's header.

    Raises:
        RunFolderError: the file is missing, cut, of another version, or of another model, or the
            frozen network that it was trained on has other weights now.
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
    difference = check_fingerprints(model, tensors)
    if difference:
        raise RunFolderError(f"{path}: {difference}")
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


def weights_hash(model: nn.Module) -> str:
    """Returns a hash of every weight, by which bundles and policies of a model know each other."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
