"""The linear floor: canonical correlation analysis between pictures and 1 s of robot data.

A trained space that does not beat this has learned nothing that a linear map could not have found.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

THUMBNAIL_PX = 32
NUM_PRINCIPAL = (50, 150)
NUM_COMPONENTS = 20
PICTURE_RIDGES = (1e-2, 1e-1, 1.0)
STEP_RIDGE = 1e-1


@dataclass(frozen=True)
class LinearMap:
    """An affine map into the canonical space, with rows scaled to unit length."""

    mean: Float[np.ndarray, " feature"]
    weight: Float[np.ndarray, "feature component"]

    def __call__(
        self, rows: Float[np.ndarray, "row feature"]
    ) -> Float[np.ndarray, "row component"]:
        """Returns unit rows."""
        projected = (rows - self.mean) @ self.weight
        return projected / np.linalg.norm(projected, axis=1, keepdims=True).clip(1e-12)


def thumbnails(frames: UInt8[np.ndarray, "row px px 3"]) -> Float[np.ndarray, "row feature"]:
    """Returns the pictures averaged down to 32 x 32 and flattened, in 0..1."""
    rows, px = frames.shape[:2]
    block = px // THUMBNAIL_PX
    if block * THUMBNAIL_PX != px:
        raise ValueError(f"pictures of {px} px: expected a multiple of {THUMBNAIL_PX}")
    blocks = frames.reshape(rows, THUMBNAIL_PX, block, THUMBNAIL_PX, block, 3)
    return blocks.mean((2, 4), dtype=np.float32).reshape(rows, -1) / 255


def _inverse_root(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values.clip(1e-12))) @ vectors.T


def fit_cca(
    pictures: Float[np.ndarray, "row feature"],
    steps: Float[np.ndarray, "row feature2"],
    *,
    num_principal: int,
    picture_ridge: float,
) -> tuple[LinearMap, LinearMap]:
    """Fits both maps.

    Args:
        pictures: flattened thumbnails.
        steps: flattened robot data of the same rows.
        num_principal: principal components that are kept of the pictures.
        picture_ridge: added to the variance of the pictures' components, which is 1 on average.

    Returns:
        The map of the pictures and that of the steps. Components are weighted by their canonical
        correlation.

    Source:
        Hotelling 1936; ridge as in Vinod 1976.
    """
    centre = pictures.mean(0)
    _, _, axes = np.linalg.svd(pictures[::3] - centre, full_matrices=False)
    principal = axes[:num_principal].T
    reduced = (pictures - centre) @ principal
    principal = principal / reduced.std(0).mean()
    x = (pictures - centre) @ principal
    step_mean, step_std = steps.mean(0), steps.std(0) + 1e-3
    y = (steps - step_mean) / step_std
    x_root = _inverse_root(x.T @ x / len(x) + picture_ridge * np.eye(x.shape[1]))
    y_root = _inverse_root(y.T @ y / len(y) + STEP_RIDGE * np.eye(y.shape[1]))
    left, correlation, right = np.linalg.svd(x_root @ (x.T @ y / len(x)) @ y_root)
    count = min(NUM_COMPONENTS, len(correlation))
    weight_x = principal @ x_root @ left[:, :count] * correlation[:count]
    weight_y = (y_root @ right[:count].T * correlation[:count]) / step_std[:, None]
    return LinearMap(centre, weight_x), LinearMap(step_mean, weight_y)


def candidates(
    pictures: Float[np.ndarray, "row feature"], steps: Float[np.ndarray, "row feature2"]
) -> Iterable[tuple[str, LinearMap, LinearMap]]:
    """Yields a fitted floor for every choice of its settings, so that the best can be reported."""
    for num_principal in NUM_PRINCIPAL:
        for picture_ridge in PICTURE_RIDGES:
            fitted = fit_cca(
                pictures, steps, num_principal=num_principal, picture_ridge=picture_ridge
            )
            yield f"{num_principal} components, ridge {picture_ridge:g}", *fitted
