"""Rows of length 1: what every modality ends in."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def unit_rows(
    vectors: Float[Tensor, "batch dim"], present: Bool[Tensor, " batch"]
) -> Float[Tensor, "batch dim"]:
    """Returns the rows with length 1, in float32 or better; rows that are not present are zero."""
    if vectors.dtype != torch.float64:
        vectors = vectors.float()  # half precision cannot hold a unit norm to three digits
    return functional.normalize(vectors, dim=1).masked_fill(~present[:, None], 0.0)
