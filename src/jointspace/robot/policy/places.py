"""Where in a picture the words are that a command is about: the densest place, and its shape."""

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

PLACE_DIM = 6
_LEAST_PIXELS = 0.5
_MOST_PIXELS = 400.0


def densest_place(
    relevance: Float[np.ndarray, " word"],
    words: UInt8[np.ndarray, "px px"],
    *,
    blur_px: int,
    radius_px: int,
) -> Float32[np.ndarray, "6"]:
    """Finds the place with most relevant pixels, and looks at its surroundings alone.

    Args:
        relevance: of every visual word to the command, 0..1.
        words: of every pixel.
        blur_px: half the side of the square in which pixels are counted.
        radius_px: half the side of the surroundings.

    Returns:
        Mean x and y in -1..1, size, 1 for found, and how four-cornered it is along and across
        (a square's turn, twice: real and imaginary part of the fourth harmonic); zeros where
        nothing is found.
    """
    seen = relevance[words]
    side = 2 * blur_px + 1
    sums = np.pad(seen, ((blur_px + 1, blur_px), (blur_px + 1, blur_px))).cumsum(0).cumsum(1)
    counts = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    image_px = words.shape[1]
    row, column = divmod(int(counts.argmax()), image_px)
    top, left = max(0, row - radius_px), max(0, column - radius_px)
    near = seen[top : row + radius_px + 1, left : column + radius_px + 1]
    mass = float(near.sum())
    if mass < _LEAST_PIXELS:
        return np.zeros(PLACE_DIM, np.float32)
    half = (image_px - 1) / 2
    y = (top + np.arange(near.shape[0])) / half - 1
    x = (left + np.arange(near.shape[1])) / half - 1
    mean_x, mean_y = float(near.sum(0) @ x) / mass, float(near.sum(1) @ y) / mass
    arm = ((x - mean_x)[None] + 1j * (y - mean_y)[:, None]) * (image_px / 2)
    corners = (near * arm**4).sum() / ((near * np.abs(arm) ** 4).sum() + 1e-6)
    size = min(mass, _MOST_PIXELS) ** 0.5 / 10
    return np.array((mean_x, mean_y, size, 1.0, corners.real, corners.imag), np.float32)


def moments(
    words: UInt8[np.ndarray, "picture px px"], *, num_words: int
) -> tuple[Float64[np.ndarray, "picture word"], Float64[np.ndarray, "picture word 2"]]:
    """Returns how many pixels of each word a picture has, and their mean place in -1..1."""
    line = np.linspace(-1, 1, words.shape[-1])
    x, y = (grid.ravel() for grid in np.meshgrid(line, line, indexing="xy"))
    flat = words.reshape(len(words), -1)
    counts = np.stack([np.bincount(each, minlength=num_words) for each in flat]).astype(float)
    sums = np.stack(
        [
            np.stack([np.bincount(each, weights, num_words) for weights in (x, y)], axis=-1)
            for each in flat
        ]
    )
    return counts, sums / np.maximum(counts, 1)[..., None]


def quadratic(places: Float[np.ndarray, "*more 2"]) -> Float[np.ndarray, "*more 6"]:
    """Returns the monomials of x and y up to the second degree."""
    x, y = places[..., :1], places[..., 1:]
    return np.concatenate([np.ones_like(x), x, y, x * y, x**2, y**2], axis=-1)
