"""Embeds the rows of a sample set, batch by batch, with anything that embeds."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float32

from jointspace.batch import Embeddings, Modality, Pair
from jointspace.data.samples import SampleSet
from jointspace.embedder import Embedder


def embed_samples(
    embedder: Embedder,
    samples: SampleSet,
    *,
    modalities: Sequence[Modality] | None = None,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """Embeds every row of a sample set, undisturbed by augmentation.

    Args:
        embedder: the torch model or an exported bundle.
        samples: the rows.
        modalities: which of the embedder's modalities and fused queries; None means all.
        batch_size: rows at a time.
        progress: called with rows done and rows in all, after each batch.

    Returns:
        Unit rows in the order of the sample set, with the gates of their pairs; a row that lacks a
        modality is zero.

    Raises:
        InputError: the embedder lacks a modality, or was built for another shape of input.
    """
    chosen = embedder.modalities if modalities is None else tuple(modalities)
    rows = samples.rows
    vectors = {m: np.zeros((len(rows), embedder.embed_dim), np.float32) for m in chosen}
    for start in range(0, len(rows), batch_size):
        span = range(start, min(start + batch_size, len(rows)))
        batch = samples.batch(span)
        for modality in chosen:
            vectors[modality][span.start : span.stop] = embedder.embed(modality, batch)
        if progress is not None:
            progress(span.stop, len(rows))
    return Embeddings(vectors, rows, samples.texts, pair_gates(embedder, chosen))


def pair_gates(
    embedder: Embedder, modalities: Iterable[Modality]
) -> dict[Pair, Float32[np.ndarray, " dim"]]:
    """Returns the gates of the pairs that an embedder compares through one.

    Args:
        embedder: the torch model or an exported bundle.
        modalities: what is embedded; a fused query is compared with each modality that is not part
            of it.
    """
    gates = {}
    for first, second in combinations(modalities, 2):
        if _compared(first, second) and (gate := embedder.pair_gate(first, second)) is not None:
            gates[frozenset((first, second))] = gate
    return gates


def _compared(first: Modality, second: Modality) -> bool:
    plain, other = sorted((first, second), key=lambda name: "+" in name)
    return "+" not in plain and plain not in other.split("+")
