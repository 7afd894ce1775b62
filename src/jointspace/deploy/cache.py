"""Embeddings computed once: a bounded map from keys to vectors, with a file below it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from jointspace.deploy.cache_file import EmbeddingFile
from jointspace.errors import InputError

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache did since it was made, and what it holds now.

    Attributes:
        hits: look-ups that found their key, in memory or in the file.
        misses: look-ups that did not.
        stored: vectors taken in.
        rejected: vectors refused: not finite, or larger than the whole cache.
        evicted: vectors dropped to make room, the least recently used first.
        entries: vectors held in memory.
        bytes: of the vectors held in memory and their keys. The interpreter adds a few hundred for
            each.
        file_hits: hits that were read from the file.
        file_entries: vectors in the file.
    """

    hits: int = 0
    misses: int = 0
    stored: int = 0
    rejected: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0
    file_hits: int = 0
    file_entries: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the look-ups that were hits; 0 before the first."""
        return self.hits / max(self.hits + self.misses, 1)


class EmbeddingCache:
    """A bounded, thread-safe map from keys to vectors that forgets the least recently used first.

    Looking up, storing and evicting take the same time at any size. A vector is copied when it is
    stored, and what is held never changes: no caller can spoil what another one gets.

    Args:
        max_entries: how many vectors to hold at most.
        max_bytes: how many bytes of vectors and keys to hold at most.
        copies: `get` returns a copy, to do with as one likes; else a read-only view, which costs
            nothing and stays as it is even after its eviction.
        file: asked for what is not in memory, and given all that is stored where it may be written.
            What is evicted stays there.

    Raises:
        InputError: a limit is below 1.

    Example:
        >>> cache = EmbeddingCache(max_entries=1)
        >>> cache.put(b"left", np.float32([1, 0])), cache.put(b"right", np.float32([0, 1]))
        (True, True)
        >>> cache.get(b"left") is None, cache.get(b"right")
        (True, array([0., 1.], dtype=float32))
    """

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_bytes: int = 64 * _MEBIBYTE,
        copies: bool = True,
        file: EmbeddingFile | None = None,
    ) -> None:
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit < 1:
                raise InputError(f"cache: {name} is {limit}; wanted at least 1")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.copies = copies
        self.file = file
        self._lock = threading.Lock()
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()  # least recently used first
        self._bytes = 0
        self._hits = self._misses = self._stored = self._rejected = self._evicted = 0
        self._file_hits = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._vectors)

    def __contains__(self, key: bytes) -> bool:
        with self._lock:
            return key in self._vectors or (self.file is not None and key in self.file)

    def get(self, key: bytes) -> Float[np.ndarray, " dim"] | None:
        """Returns the vector of a key, which is then the most recently used, or None.

        Raises:
            StorageError: the file cannot be read.
        """
        with self._lock:
            vector = self._vectors.get(key)
            if vector is not None:
                self._vectors.move_to_end(key)
                self._hits += 1
            elif self.file is None:
                self._misses += 1
        if vector is None and self.file is not None:
            vector = self._from_file(key, self.file)
        if vector is None:
            return None
        return vector.copy() if self.copies else vector.view()

    def rows(
        self,
        keys: Sequence[bytes],
        *,
        dim: int,
        compute: Callable[[list[int]], Float32[np.ndarray, "missing dim"]],
    ) -> Float32[np.ndarray, "row dim"]:
        """Returns the vectors of several keys, the missing ones computed in one call and stored.

        Args:
            keys: repeated or not.
            dim: length of a vector.
            compute: takes the places in `keys` at which each distinct missing one first stands, and
                returns their vectors.

        Returns:
            One row per key, the caller's own.
        """
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        found = np.empty((len(keys), dim), np.float32)
        missing = []
        for key, of_key in places.items():
            vector = self.get(key)
            if vector is None:
                missing.append(key)
            else:
                found[of_key] = vector
        if missing:
            computed = compute([places[key][0] for key in missing])
            for key, vector in zip(missing, computed, strict=True):
                found[places[key]] = vector
                self.put(key, vector)
        return found

    def put(self, key: bytes, vector: Float[np.ndarray, " dim"]) -> bool:
        """Stores a copy of a vector in place of what the key had, and evicts what is too much.

        Returns:
            False if the vector was refused: it is not finite, or alone exceeds `max_bytes`. Nothing
            changes then.

        Raises:
            InputError: the vector or the key is none of the file's.
            StorageError: the file cannot be written.
        """
        # Counting is three times faster than `all` on vectors of this length.
        finite = np.count_nonzero(np.isfinite(vector)) == vector.size
        if not finite or vector.nbytes + len(key) > self.max_bytes:
            with self._lock:
                self._rejected += 1
            return False
        if self.file is not None and self.file.writable:
            self.file.put(key, vector)
        kept = _frozen(vector)
        with self._lock:
            self._keep(key, kept)
            self._stored += 1
        return True

    def clear(self) -> None:
        """Forgets every vector in memory; the counts go on, and the file stays."""
        with self._lock:
            self._vectors.clear()
            self._bytes = 0

    @property
    def statistics(self) -> CacheStatistics:
        """What the cache did and holds, all at one moment."""
        with self._lock:
            return CacheStatistics(
                hits=self._hits,
                misses=self._misses,
                stored=self._stored,
                rejected=self._rejected,
                evicted=self._evicted,
                entries=len(self._vectors),
                bytes=self._bytes,
                file_hits=self._file_hits,
                file_entries=0 if self.file is None else len(self.file),
            )

    def _from_file(self, key: bytes, file: EmbeddingFile) -> np.ndarray | None:
        """Looks a key up in the file, and holds what it finds."""
        found = file.get(key)
        with self._lock:
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._file_hits += 1
            kept = _frozen(found)
            if found.nbytes + len(key) <= self.max_bytes:
                self._keep(key, kept)
        return kept

    def _keep(self, key: bytes, kept: np.ndarray) -> None:
        before = self._vectors.pop(key, None)
        if before is not None:
            self._bytes -= before.nbytes + len(key)
        self._vectors[key] = kept
        self._bytes += kept.nbytes + len(key)
        while len(self._vectors) > self.max_entries or self._bytes > self.max_bytes:
            oldest, vector = self._vectors.popitem(last=False)
            self._bytes -= vector.nbytes + len(oldest)
            self._evicted += 1


def _frozen(vector: np.ndarray) -> np.ndarray:
    """Returns a copy whose views cannot be made writeable."""
    copy = vector.copy()
    copy.setflags(write=False)
    return copy
