"""The textbook chapter's cache of embeddings, mistakes and all.

Its lines, cut into three methods so that each can be measured: the key is the hash of the tensor's
mean, and making room searches the times of use of all entries. A modality that it does not know,
for which it fails on an unbound name, is left out.
"""

import time
from typing import Protocol

import torch
from torch import Tensor


class EncodingModel(Protocol):
    """What the chapter's models offer."""

    def encode_vision(self, images: Tensor) -> Tensor:
        """Returns the embedding of pictures."""
        ...

    def encode_text(self, texts: Tensor) -> Tensor:
        """Returns the embedding of text vectors."""
        ...

    def encode_action(self, actions: Tensor) -> Tensor:
        """Returns the embedding of actions."""
        ...


class CachedMultimodalSystem:
    """The chapter's cache, by its own name."""

    def __init__(self, model: EncodingModel, cache_size: int = 1000) -> None:
        self.model = model
        self.cache_size = cache_size
        self.embedding_cache: dict[str, Tensor] = {}
        self.access_times: dict[str, float] = {}

    def key(self, input_tensor: Tensor, modality_type: str) -> str:
        """Returns the chapter's key."""
        tensor_hash = hash(input_tensor.mean().item())
        return f"{modality_type}_{tensor_hash}"

    def get_or_compute_embedding(self, input_tensor: Tensor, modality_type: str) -> Tensor:
        """Returns the stored embedding of whatever has the same key, or a fresh one."""
        cache_key = self.key(input_tensor, modality_type)
        if cache_key in self.embedding_cache:
            self.access_times[cache_key] = time.time()
            return self.embedding_cache[cache_key]
        encode = {
            "visual": self.model.encode_vision,
            "text": self.model.encode_text,
            "action": self.model.encode_action,
        }[modality_type]
        with torch.no_grad():
            embedding = encode(input_tensor)
        self.store(cache_key, embedding)
        return embedding

    def store(self, cache_key: str, embedding: Tensor) -> None:
        """Takes an embedding in, and drops the one that was used longest ago where it is full."""
        self.embedding_cache[cache_key] = embedding
        self.access_times[cache_key] = time.time()
        if len(self.embedding_cache) > self.cache_size:
            oldest_key = min(self.access_times.keys(), key=lambda key: self.access_times[key])
            del self.embedding_cache[oldest_key]
            del self.access_times[oldest_key]
