"""The torch model behind the `Embedder` protocol: NumPy in, unit rows out."""

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Float32

from jointspace.batch import Batch, Modality
from jointspace.errors import InputError, did_you_mean
from jointspace.models.joint import JointModel
from jointspace.models.tensors import to_numpy, to_tensors


class TorchEmbedder:
    """Embeds NumPy batches with a `JointModel`, in evaluation mode and without gradients.

    The mode that the model was in is restored after each call, so that training can evaluate its
    own model.

    Args:
        model: moved to `device`.
        device: where it runs.
        only: modalities that the rows can have, where a robot lacks some of the model's; None means
            all.
    """

    def __init__(
        self,
        model: JointModel,
        *,
        device: torch.device | str = "cpu",
        only: Collection[Modality] | None = None,
    ) -> None:
        self._only = model.modalities if only is None else only
        self._device = torch.device(device)
        self._model = model.to(self._device)

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        return self._model.embed_dim

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The model's modalities, and the fused queries that it is trained for."""
        plain = [m for m in self._model.modalities if m in self._only]
        fused = dict.fromkeys(
            query.name
            for query in self._model.fused_queries
            if all(member in self._only for member in query.members)
        )
        return (*plain, *fused)

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality, or a fused query such as `vision+text`, of a NumPy batch.

        Returns:
            One unit row per row of the batch; a row that lacks the modality is all zero.

        Raises:
            InputError: the model or the batch lacks the modality, or its shape is not what the
                model was built for.
        """
        members = [Modality(name) for name in modality.split("+")]
        for member in members:
            if member not in self._model.modalities:
                raise InputError(
                    f"model: no modality '{member}'.{did_you_mean(member, self._model.modalities)}"
                )
        needed = Batch({member: batch[member] for member in members}, batch.rows)
        if not len(needed):
            return np.zeros((0, self.embed_dim), np.float32)
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode():
                return to_numpy(
                    self._model.encode(modality, to_tensors(needed, device=self._device))
                )
        finally:
            self._model.train(was_training)

    def pair_gate(self, first: Modality, second: Modality) -> Float32[np.ndarray, " dim"] | None:
        """Returns what each dimension counts where two modalities are compared.

        Rows are compared through it by `batch.gated_rows`; one of the two may be a fused query.

        Returns:
            A positive number for each dimension, the same in either order; None where the pair is
            compared by the cosine of its rows.

        Raises:
            InputError: the model has no such pair.
        """
        with torch.inference_mode():
            gate = self._model.pair_gate(first, second)
            return None if gate is None else to_numpy(gate)
