"""The shape of a joint space: how close pairs lie, how evenly rows spread, how modalities part."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from jointspace.batch import TEXT, Embeddings, Modality
from jointspace.errors import InputError

_BLOCK_ROWS = 1024
_MAX_ROWS = 10_000
_SAMPLE_SEED = 0


@dataclass(frozen=True)
class PairGeometry:
    """How two modalities lie to each other.

    Attributes:
        alignment: mean squared distance of the two vectors of a row: 0 is perfect, 2 is unrelated.
        gap: distance between the centres of the two modalities; 0 where they fill the same region.
        num_rows: rows that have both.
    """

    alignment: float
    gap: float
    num_rows: int


@dataclass(frozen=True)
class Geometry:
    """The shape of the space.

    Attributes:
        pairs: of every two modalities (fused queries left out) that share a row.
        uniformity: of each modality: log of the mean Gaussian kernel between its rows. 0 means
            that all rows are one point; rows spread evenly over a sphere of many dimensions come
            near -4. NaN with fewer than two rows.
    """

    pairs: Mapping[tuple[Modality, Modality], PairGeometry]
    uniformity: Mapping[Modality, float]


def alignment(
    first: Float[np.ndarray, "row dim"], second: Float[np.ndarray, "row dim"], *, alpha: float = 2.0
) -> float:
    """Measures how close the two views of each row lie: the mean distance to the power `alpha`.

    Args:
        first: unit rows.
        second: unit rows of the same things, in the same order.
        alpha: power of the distance.

    Raises:
        InputError: the shapes differ, or there is no row.

    Source:
        Wang and Isola, "Understanding contrastive representation learning through alignment and
        uniformity on the hypersphere" (ICML 2020), equation of the alignment loss.

    Example:
        >>> round(alignment(np.eye(2), np.eye(2)[::-1]), 6)
        2.0
    """
    if first.shape != second.shape or not len(first):
        raise InputError(
            "alignment needs two row-aligned sides with at least one row, "
            f"got {first.shape} and {second.shape}"
        )
    difference = first.astype(np.float64) - second
    return float((np.linalg.norm(difference, axis=1) ** alpha).mean())


def uniformity(
    vectors: Float[np.ndarray, "row dim"], *, t: float = 2.0, max_rows: int = _MAX_ROWS
) -> float:
    """Measures how evenly unit rows spread: log of the mean of exp(-t * squared distance).

    Taken over all pairs of distinct rows, in blocks: memory grows with the rows, not their square.

    Args:
        vectors: unit rows.
        t: sharpness of the kernel.
        max_rows: more rows than this are sampled down to it, with a fixed seed.

    Raises:
        InputError: fewer than two rows.

    Source:
        Wang and Isola (ICML 2020), equation of the uniformity loss.

    Example:
        Two opposite points lie at squared distance 4:

        >>> uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]]))
        -8.0
    """
    count = len(vectors)
    if count < 2:
        raise InputError(f"uniformity needs at least two rows, got {count}")
    if count > max_rows:
        generator = np.random.default_rng(_SAMPLE_SEED)
        vectors = vectors[generator.choice(count, max_rows, replace=False)]
        count = max_rows
    rows = vectors.astype(np.float64)
    squared = (rows**2).sum(axis=1)
    total = 0.0
    for start in range(0, count, _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        rest = rows[start:]
        distance = squared[start : start + _BLOCK_ROWS, None] + squared[None, start:]
        distance -= 2 * (block @ rest.T)
        kernel = np.exp(-t * np.maximum(distance, 0))
        total += float(np.triu(kernel, k=1).sum())
    return float(np.log(total / (count * (count - 1) / 2)))


def modality_gap(
    first: Float[np.ndarray, "row dim"], second: Float[np.ndarray, "other dim"]
) -> float:
    """Measures the distance between the centres of two modalities.

    Args:
        first: unit rows of one modality.
        second: unit rows of the other.

    Raises:
        InputError: a side has no row.

    Source:
        Liang et al., "Mind the gap: understanding the modality gap in multi-modal contrastive
        representation learning" (NeurIPS 2022), the norm of their gap vector.
    """
    if not len(first) or not len(second):
        raise InputError(
            f"modality gap needs rows on both sides, got {len(first)} and {len(second)}"
        )
    centre = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    return float(np.linalg.norm(centre))


def measure_geometry(embeddings: Embeddings) -> Geometry:
    """Measures alignment and gap of every pair of modalities, and the uniformity of each.

    A pair is measured as the model compares it, through its gate if it has one; uniformity is of
    the rows as they are.

    Repeated texts would look like a collapse, so that uniformity counts each instruction once.
    """
    plain = [m for m in embeddings.modalities if "+" not in m]
    present = {m: embeddings.present(m) for m in plain}
    pairs = {}
    for a, b in combinations(plain, 2):
        both = present[a] & present[b]
        if both.any():
            first, second = embeddings.pair_rows(a, b, both)
            pairs[a, b] = PairGeometry(
                alignment(first, second), modality_gap(first, second), int(both.sum())
            )
    spread = {}
    for modality in plain:
        rows = np.flatnonzero(present[modality])
        if modality == TEXT:
            rows = rows[np.unique(embeddings.rows.instruction[rows], return_index=True)[1]]
        spread[modality] = (
            uniformity(embeddings.vectors[modality][rows]) if len(rows) > 1 else float("nan")
        )
    return Geometry(pairs, spread)
