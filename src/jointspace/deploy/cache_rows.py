"""Rows of texts and pictures computed once, without making a batch of them first."""

import functools
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from jointspace.batch import VISION
from jointspace.deploy.cache import EmbeddingCache
from jointspace.deploy.cache_keys import array_key, text_key
from jointspace.errors import InputError

_REMEMBERED_KEYS = 4096

Item = TypeVar("Item")


class CachedRows(Generic[Item]):
    """A function from items to rows, asked only for items that it has not seen lately.

    Of several items, the missing ones go to the function in one call, each distinct one once. Rows
    that come out not finite are returned as they came, and never stored. Threads may share an
    object if the function bears them; two that miss the same item at the same time both compute it.

    Args:
        compute: from items to their rows.
        key: names an item; items of one key have one row.
        dim: length of a row.
        cache: where the rows are kept; None makes one.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Float32[np.ndarray, "row dim"]],
        *,
        key: Callable[[Item], bytes],
        dim: int,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._compute = compute
        self._key = key
        self._dim = dim
        self.cache = EmbeddingCache() if cache is None else cache

    def row(self, item: Item) -> Float32[np.ndarray, " dim"]:
        """Returns the row of one item, as `cache.copies` says a copy or a read-only view.

        Raises:
            InputError: the function refused the item, or returned another shape than it owes.
        """
        key = self._key(item)
        vector = self.cache.get(key)
        if vector is None:
            vector = self._computed([item])[0]
            self.cache.put(key, vector)
        return vector

    def rows(self, items: Sequence[Item]) -> Float32[np.ndarray, "row dim"]:
        """Returns the rows of several items, the caller's own.

        Raises:
            InputError: the function refused an item, or returned another shape than it owes.
        """
        return self.cache.rows(
            [self._key(item) for item in items],
            dim=self._dim,
            compute=lambda first: self._computed([items[place] for place in first]),
        )

    def _computed(self, items: Sequence[Item]) -> Float32[np.ndarray, "row dim"]:
        rows = np.asarray(self._compute(items), np.float32)
        if rows.shape != (len(items), self._dim):
            raise InputError(
                f"cached rows: {len(items)} items gave shape {rows.shape}; "
                f"wanted {(len(items), self._dim)}, a row for each"
            )
        return rows


def cached_texts(
    embed_texts: Callable[[Sequence[str]], Float32[np.ndarray, "text dim"]],
    *,
    version: str,
    normalise: Callable[[str], str],
    dim: int,
    cache: EmbeddingCache | None = None,
) -> CachedRows[str]:
    """Returns rows of instructions, found again before they are tokenised.

    Args:
        embed_texts: a bundle's `embed_texts`, or the like.
        version: names the model's weights and the preprocessing.
        normalise: the tokenizer's.
        dim: length of a row.
        cache: may be shared with other modalities and versions; None makes one.

    Raises:
        InputError: the version is empty.
    """
    _check_version(version)

    def key(text: str) -> bytes:
        return text_key(normalise(text), version=version)

    # A robot repeats its command letter for letter: then not even normalising is needed.
    remembered = functools.lru_cache(maxsize=_REMEMBERED_KEYS)(key)
    return CachedRows(embed_texts, key=remembered, dim=dim, cache=cache)


def cached_pictures(
    encode_frames: Callable[
        [UInt8[np.ndarray, "picture px px 3"]], Float32[np.ndarray, "picture width"]
    ],
    *,
    version: str,
    width: int,
    cache: EmbeddingCache | None = None,
) -> CachedRows[UInt8[np.ndarray, "px px 3"]]:
    """Returns frame vectors of goal and reference pictures.

    A live picture never comes twice: caching those costs time, and pushes out what does.

    Args:
        encode_frames: a bundle's `encode_frames`, or the like.
        version: names the model's weights and the preprocessing.
        width: length of a frame vector.
        cache: may be shared with other modalities and versions; None makes one.

    Raises:
        InputError: the version is empty.
    """
    _check_version(version)

    def compute(
        pictures: Sequence[UInt8[np.ndarray, "px px 3"]],
    ) -> Float32[np.ndarray, "picture width"]:
        return encode_frames(np.stack(pictures))

    def key(picture: UInt8[np.ndarray, "px px 3"]) -> bytes:
        return array_key(picture, modality=VISION, version=f"frame {width} {version}")

    return CachedRows(compute, key=key, dim=width, cache=cache)


def _check_version(version: str) -> None:
    if not version:
        raise InputError("cache: version is empty; wanted the name of model and preprocessing")
