"""Principal components: the flattest honest view of a space of many dimensions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from jointspace.errors import InputError


@dataclass(frozen=True)
class Projection:
    """Rows seen along the directions in which they vary most.

    Attributes:
        points: coordinates of the rows.
        explained: share of the variance that each axis shows.
    """

    points: Float64[np.ndarray, "row axis"]
    explained: Float64[np.ndarray, " axis"]


def principal_components(vectors: Float[np.ndarray, "row dim"], *, num_axes: int = 2) -> Projection:
    """Projects rows onto their principal components.

    The sign of each axis is fixed so that its largest loading is positive: the same rows give the
    same picture.

    Args:
        vectors: at least one row, of at least `num_axes` dimensions.
        num_axes: axes to keep.

    Raises:
        InputError: no row, or fewer dimensions than axes.
    """
    if not len(vectors) or vectors.shape[1] < num_axes:
        raise InputError(
            f"a projection to {num_axes} axes needs rows of at least as many dimensions, "
            f"got {vectors.shape[0]} rows of {vectors.shape[1]}"
        )
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    variance, axes = np.linalg.eigh(centred.T @ centred)
    variance, axes = variance[::-1][:num_axes], axes[:, ::-1][:, :num_axes]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, np.arange(num_axes)] < 0, -1.0, 1.0)
    total = float((centred**2).sum())
    explained = np.maximum(variance, 0) / total if total > 0 else np.zeros(num_axes)
    return Projection(centred @ axes, explained)
