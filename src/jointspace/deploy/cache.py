"""Embeddings computed once: a cache keyed by what a row holds, and an embedder that asks it."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Float32

from jointspace.batch import TEXT, Batch, Modality, ModalityInput
from jointspace.embedder import Embedder
from jointspace.errors import InputError, did_you_mean

_KEY_BYTES = 16  # at a billion rows, two share a key with a chance of about 1e-21
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class CacheStatistics:
    """What a cache did since it was made, and what it holds now.

    Attributes:
        hits: look-ups that found their key.
        misses: look-ups that did not.
        stored: vectors taken in.
        rejected: vectors refused: not finite, or larger than the whole cache.
        evicted: vectors dropped to make room, the least recently used first.
        entries: vectors held.
        bytes: of the vectors held and their keys. The interpreter adds a few hundred for each.
    """

    hits: int = 0
    misses: int = 0
    stored: int = 0
    rejected: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0

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
        self, *, max_entries: int = 10_000, max_bytes: int = 64 * _MEBIBYTE, copies: bool = True
    ) -> None:
        for name, limit in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if limit < 1:
                raise InputError(f"cache: {name} is {limit}; wanted at least 1")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.copies = copies
        self._lock = threading.Lock()
        self._vectors: OrderedDict[bytes, np.ndarray] = OrderedDict()  # least recently used first
        self._bytes = 0
        self._hits = self._misses = self._stored = self._rejected = self._evicted = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._vectors)

    def __contains__(self, key: bytes) -> bool:
        with self._lock:
            return key in self._vectors

    def get(self, key: bytes) -> Float[np.ndarray, " dim"] | None:
        """Returns the vector of a key, which is then the most recently used, or None."""
        with self._lock:
            vector = self._vectors.get(key)
            if vector is None:
                self._misses += 1
                return None
            self._vectors.move_to_end(key)
            self._hits += 1
        return vector.copy() if self.copies else vector

    def put(self, key: bytes, vector: Float[np.ndarray, " dim"]) -> bool:
        """Stores a copy of a vector in place of what the key had, and evicts what is too much.

        Returns:
            False if the vector was refused: it is not finite, or alone exceeds `max_bytes`. Nothing
            changes then.
        """
        size = vector.nbytes + len(key)
        accepted = size <= self.max_bytes and bool(np.isfinite(vector).all())
        kept = _frozen(vector) if accepted else None
        with self._lock:
            if kept is None:
                self._rejected += 1
                return False
            self._drop(key)
            self._vectors[key] = kept
            self._bytes += size
            self._stored += 1
            while len(self._vectors) > self.max_entries or self._bytes > self.max_bytes:
                self._drop(next(iter(self._vectors)))
                self._evicted += 1
        return True

    def clear(self) -> None:
        """Forgets every vector; the counts go on."""
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
            )

    def _drop(self, key: bytes) -> None:
        vector = self._vectors.pop(key, None)
        if vector is not None:
            self._bytes -= vector.nbytes + len(key)


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
        rows_of: dict[bytes, list[int]] = {}
        space = repr((self._version, str(modality), self.embed_dim))
        for row, key in enumerate(content_keys(needed.inputs, version=space)):
            rows_of.setdefault(key, []).append(row)
        vectors = np.empty((len(batch), self.embed_dim), np.float32)
        missing = []
        for key, rows in rows_of.items():
            vector = self.cache.get(key)
            if vector is None:
                missing.append(key)
            else:
                vectors[rows] = vector
        if missing:
            first = np.asarray([rows_of[key][0] for key in missing])
            computed = self._computed(modality, _take(needed, first))
            for key, vector in zip(missing, computed, strict=True):
                vectors[rows_of[key]] = vector
                self.cache.put(key, vector)
        return vectors

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


def content_keys(inputs: Mapping[Modality, ModalityInput], *, version: str) -> list[bytes]:
    """Names every row by what it holds: equal keys mean equal rows.

    The key covers each modality's name, values, validity and times, with their shapes and types,
    and which robot they are from, since each has input layers of its own; all share those of text.
    What a tower may not depend on is left out: steps after the last valid one are cut, and masked
    values and the times of masked steps count as zero. So a row keeps its key however far its batch
    is padded. Gaps before the last valid step stay, since a tower may tell steps by their position.

    Args:
        inputs: the modalities that the embedding depends on, all of the same rows.
        version: what else it depends on: the model, the preprocessing, the query.

    Returns:
        One key of 16 bytes per row.

    Raises:
        InputError: validity or times do not fit the values, or an array holds objects.

    Source:
        BLAKE2b (Aumasson et al. 2013), with 128 bits of digest.
    """
    digests: list[blake2b] = []
    for modality, each in inputs.items():
        values, valid, time_s = each.values, each.valid, each.time_s
        _check(modality, each)
        robot = 0 if modality == TEXT else each.embodiment
        steps = valid.any(axis=tuple(range(2, valid.ndim)))
        stops = (steps * np.arange(1, steps.shape[1] + 1)).max(axis=1, initial=0)
        entries = tuple(range(1, valid.ndim))
        gaps = valid.sum(axis=entries) < stops * np.prod(valid.shape[2:], dtype=np.int64)
        if not digests:
            start = blake2b(repr(version).encode(), digest_size=_KEY_BYTES)
            digests = [start.copy() for _ in stops]
        for row, (digest, stop) in enumerate(zip(digests, stops, strict=True)):
            parts = [valid[row, :stop], values[row, :stop]]
            if time_s is not None:
                parts.append(time_s[row, :stop])
            if gaps[row]:
                masks = (parts[0], parts[0], steps[row, :stop])
                parts = [_visible(part, mask) for part, mask in zip(parts, masks, strict=False)]
            # Shapes and types say where each part ends, so that no two rows spell one sequence.
            header = [(part.dtype.str, part.shape) for part in parts]
            digest.update(repr((str(modality), robot, header)).encode())
            for part in parts:
                digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
    return [digest.digest() for digest in digests]


def _check(modality: Modality, each: ModalityInput) -> None:
    shape, valid = each.values.shape, each.valid
    if valid.dtype != np.bool_ or valid.ndim < 2 or shape[: valid.ndim] != valid.shape:
        raise InputError(
            f"cached embedder: validity of '{modality}' has shape {valid.shape} and type "
            f"{valid.dtype}; wanted the first axes of the values {shape}, as booleans"
        )
    if each.time_s is not None and each.time_s.shape != shape[:2]:
        raise InputError(
            f"cached embedder: times of '{modality}' have shape {each.time_s.shape}; "
            f"wanted {shape[:2]}, the first axes of the values"
        )
    if each.values.dtype.hasobject:
        raise InputError(f"cached embedder: '{modality}' holds Python objects; wanted numbers")


def _visible(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Returns the array with zeros where it is masked."""
    shown = array.copy()
    shown[~valid] = 0
    return shown


def _frozen(vector: np.ndarray) -> np.ndarray:
    """Returns a read-only copy that cannot be made writeable again, as a view of a frozen array."""
    copy = np.array(vector)
    copy.flags.writeable = False
    return copy.view()


def _take(batch: Batch, index: np.ndarray) -> Batch:
    if len(index) == len(batch):
        return batch  # every row, in order: nothing to copy
    inputs = {modality: each.map(lambda a: a[index]) for modality, each in batch.inputs.items()}
    return Batch(inputs, batch.rows.take(index))
