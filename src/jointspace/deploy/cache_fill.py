"""Fills a cache ahead of time: a whole list of instructions, or a whole data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jointspace.batch import Modality
from jointspace.data.samples import SampleSet
from jointspace.deploy.cache import EmbeddingCache
from jointspace.deploy.cache_embedder import CachedEmbedder
from jointspace.deploy.cache_rows import CachedRows, Item
from jointspace.errors import InputError

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


@dataclass(frozen=True)
class Filled:
    """What filling a cache came to.

    Attributes:
        asked: rows asked for.
        computed: rows that were not there and were stored; equal ones count once.
    """

    asked: int
    computed: int


def fill_rows(
    cached: CachedRows[Item],
    items: Sequence[Item],
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Filled:
    """Computes what is missing of a list of instructions or pictures.

    Interrupted, it continues where it was: with a file, what was computed is there.

    Args:
        cached: from `cached_texts` or `cached_pictures`.
        items: the list.
        batch_size: items at a time.
        progress: called after each batch.

    Returns:
        What it came to.

    Raises:
        InputError: an item was refused, or the cache cannot hold as many.
        StorageError: the cache's file cannot be written.
    """
    _check_room(cached.cache, len(items))
    before = cached.cache.statistics.stored
    for start in range(0, len(items), batch_size):
        part = items[start : start + batch_size]
        cached.rows(part)
        if progress is not None:
            progress(start + len(part), len(items))
    return _finish(cached.cache, asked=len(items), before=before)


def fill_samples(
    embedder: CachedEmbedder,
    samples: SampleSet,
    *,
    modalities: Sequence[Modality],
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Filled:
    """Computes what is missing of the rows of a data set.

    Interrupted, it continues where it was: with a file, what was computed is there.

    Args:
        embedder: with the cache to fill.
        samples: the rows.
        modalities: which modalities and fused queries to compute.
        batch_size: rows at a time.
        progress: called after each batch.

    Returns:
        What it came to, over all modalities.

    Raises:
        InputError: the embedder lacks a modality, or the cache cannot hold as many.
        StorageError: the cache's file cannot be written.
    """
    count = len(samples.rows)
    _check_room(embedder.cache, count * len(modalities))
    before = embedder.cache.statistics.stored
    for start in range(0, count, batch_size):
        span = range(start, min(start + batch_size, count))
        batch = samples.batch(span)
        for modality in modalities:
            embedder.embed(modality, batch)
        if progress is not None:
            progress(span.stop, count)
    return _finish(embedder.cache, asked=count * len(modalities), before=before)


def _check_room(cache: EmbeddingCache, count: int) -> None:
    in_file = cache.file is not None and cache.file.writable
    if not in_file and count > cache.max_entries:
        raise InputError(
            f"cache: {count} rows to compute, and room for {cache.max_entries}; "
            "give it a file that may be written, or raise max_entries"
        )


def _finish(cache: EmbeddingCache, *, asked: int, before: int) -> Filled:
    if cache.file is not None and cache.file.writable:
        cache.file.flush()
    return Filled(asked, cache.statistics.stored - before)
