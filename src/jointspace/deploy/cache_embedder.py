"""An embedder that asks a cache first."""

from collections.abc import Collection

import numpy as np
from jaxtyping import Float32

from jointspace.batch import Batch, Modality
from jointspace.deploy.cache import EmbeddingCache
from jointspace.deploy.cache_keys import content_keys
from jointspace.embedder import Embedder
from jointspace.errors import InputError, did_you_mean


class CachedEmbedder:
    """Any embedder, which computes a row only if it has not seen that content lately.

    A row's key is its content, see `content_keys`. Of a batch, the rows that are missing from the
    cache go to the embedder in one call, each distinct row once. Rows that come out not finite are
    returned as they came, and never stored.

    The cache may be shared by several embedders and by threads. The embedder is called without a
    lock: it must itself bear the threads that call this one, and two threads that miss the same row
    at the same time both compute it. A stored row was computed beside other rows than those it is
    returned with, so it equals a fresh one up to rounding.

    Args:
        embedder: what computes the rows.
        version: names the model's weights and the preprocessing, as a digest of the run folder
            does. Rows are found again under the same version only: two models that share a cache,
            or one before and after training, must have two versions.
        cache: where the rows are kept; None makes one.
        cached: the modalities and fused queries worth keeping; every other goes straight to the
            embedder. A live picture never comes twice: its key costs time and its row pushes out
            the texts. None means all.

    Raises:
        InputError: the version is empty, or the embedder does not know a modality of `cached`.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        version: str,
        cache: EmbeddingCache | None = None,
        cached: Collection[Modality] | None = None,
    ) -> None:
        if not version:
            raise InputError("cache: version is empty; wanted the name of model and preprocessing")
        self._embedder = embedder
        self._version = version
        self.cache = EmbeddingCache() if cache is None else cache
        self._cached = None if cached is None else frozenset(cached)
        for modality in self._cached or ():
            self._members(modality)

    @property
    def embed_dim(self) -> int:
        """Width of the joint space."""
        return self._embedder.embed_dim

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the wrapped embedder accepts."""
        return self._embedder.modalities

    def embed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        """Embeds one modality, or a fused query such as `vision+text`, of a NumPy batch.

        Returns:
            One unit row per row of the batch, the caller's own; a row that lacks the modality is
            all zero.

        Raises:
            InputError: the embedder or the batch lacks the modality, its shape is not what the
                model was built for, or the embedder returned another shape than it owes.
        """
        members = self._members(modality)
        needed = Batch({member: batch[member] for member in members}, batch.rows)
        if self._cached is not None and modality not in self._cached:
            return self._computed(modality, needed)
        space = repr((self._version, str(modality), self.embed_dim))
        return self.cache.rows(
            content_keys(needed.inputs, version=space),
            dim=self.embed_dim,
            compute=lambda first: self._computed(modality, _take(needed, np.asarray(first))),
        )

    def pair_gate(self, first: Modality, second: Modality) -> Float32[np.ndarray, " dim"] | None:
        """Returns the wrapped embedder's gate of a pair; None where it has none.

        Raises:
            InputError: the embedder does not compare the two.
        """
        return self._embedder.pair_gate(first, second)

    def _members(self, modality: Modality) -> tuple[Modality, ...]:
        """Returns what a query is fused from, which for a plain modality is itself."""
        members = tuple(Modality(name) for name in modality.split("+"))
        known = self.modalities
        if modality not in known:
            for member in members:
                if member not in known:
                    raise InputError(
                        f"cached embedder: no modality '{member}'.{did_you_mean(member, known)}"
                    )
        return members

    def _computed(self, modality: Modality, batch: Batch) -> Float32[np.ndarray, "batch dim"]:
        vectors = np.asarray(self._embedder.embed(modality, batch), np.float32)
        wanted = (len(batch), self.embed_dim)
        if vectors.shape != wanted:
            raise InputError(
                f"cached embedder: {type(self._embedder).__name__} returned shape {vectors.shape} "
                f"for '{modality}'; wanted {wanted}, one row per row of the batch"
            )
        return vectors


def _take(batch: Batch, index: np.ndarray) -> Batch:
    if len(index) == len(batch):
        return batch  # every row, in order: nothing to copy
    inputs = {modality: each.map(lambda a: a[index]) for modality, each in batch.inputs.items()}
    return Batch(inputs, batch.rows.take(index))
