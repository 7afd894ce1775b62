"""The way of a batch from NumPy to torch and back."""

import numpy as np
import torch
from torch import Tensor

from jointspace.batch import Batch


def to_tensors(batch: Batch, *, device: torch.device | str = "cpu") -> Batch:
    """Returns the batch with torch tensors on `device`; the row ids stay as they are.

    Memory is shared with the arrays where that is safe (on the processor, writable and contiguous).
    """
    return batch.map(lambda array: _tensor(array).to(device, non_blocking=True))


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Returns a tensor as a float32 array on the processor, detached from its graph."""
    array: np.ndarray = tensor.detach().to("cpu", torch.float32).numpy()
    return array


def _tensor(array: np.ndarray | Tensor) -> Tensor:
    if isinstance(array, Tensor):
        return array
    array = np.ascontiguousarray(array)
    # Writing through a tensor into a read-only memory map would crash the process, so torch
    # warns: copy.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
