"""What evaluation, search, serving and the robot rely on: modality inputs in, unit rows out."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from jointspace.batch import Batch, Modality


@runtime_checkable
class Embedder(Protocol):
    """Anything that maps a NumPy batch to unit rows: the torch model or an exported bundle."""

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        ...

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What `embed` accepts; a fused query is named by `fused_name`, as in `vision+text`."""
        ...

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality (or fused query) of a NumPy batch.

        Returns:
            One unit row per row of the batch; a row that lacks the modality is all zero.

        Raises:
            InputError: the batch lacks the modality, or its shape is not what the model was built
                for.
        """
        ...

    def pair_gate(self, first: Modality, second: Modality) -> Float32[np.ndarray, " dim"] | None:
        """Returns what each dimension counts where two modalities are compared.

        Rows are compared through it by `batch.gated_rows`; one of the two may be a fused query.

        Returns:
            A positive number for each dimension, the same in either order; None where the pair is
            compared by the cosine of its rows.

        Raises:
            InputError: the two are not compared.
        """
        ...
