"""Visual words: every pixel is one of a few colours that the demonstrations show."""

import numpy as np
from jaxtyping import Float, Float32, UInt8

_VIVID_SHARE = 0.8
_VIVID = 60
"""Difference of the largest and the smallest of a pixel's three values from which it has a hue."""
_ROUNDS = 12
_LEVELS = 32


class Palette:
    """Names each pixel's nearest colour, by one look-up.

    Args:
        colours: red, green and blue of each word, 0..255.
    """

    def __init__(self, colours: Float32[np.ndarray, "word 3"]) -> None:
        self.colours = colours
        values = np.arange(_LEVELS, dtype=np.float32) * (256 // _LEVELS) + 128 // _LEVELS
        every = np.stack(np.meshgrid(values, values, values, indexing="ij"), -1).reshape(-1, 3)
        self._nearest = _nearest(every, colours).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.colours)

    def words(self, picture: UInt8[np.ndarray, "*more 3"]) -> UInt8[np.ndarray, "*more"]:
        """Returns the number of every pixel's word."""
        level = (picture >> 3).astype(np.int32)
        return self._nearest[(level[..., 0] << 10) | (level[..., 1] << 5) | level[..., 2]]

    @staticmethod
    def fit(
        pixels: UInt8[np.ndarray, "pixel 3"], *, num_words: int, rng: np.random.Generator
    ) -> "Palette":
        """Finds the colours by k-means, most of them for pixels that have a hue.

        Args:
            pixels: of many pictures.
            num_words: at most 256.
            rng: draws pixels and starts.
        """
        hue = pixels.max(1).astype(int) - pixels.min(1) > _VIVID
        vivid, dull = pixels[hue].astype(np.float32), pixels[~hue].astype(np.float32)
        if not len(vivid) or not len(dull):
            return Palette(_k_means(pixels.astype(np.float32), num_words, rng))
        num_vivid = round(_VIVID_SHARE * num_words)
        parts = (_k_means(vivid, num_vivid, rng), _k_means(dull, num_words - num_vivid, rng))
        return Palette(np.concatenate(parts))


def _k_means(
    points: Float32[np.ndarray, "point 3"], count: int, rng: np.random.Generator
) -> Float32[np.ndarray, "word 3"]:
    points = points[rng.integers(len(points), size=12_000)]
    centres = points[rng.choice(len(points), count, replace=False)]
    for _ in range(_ROUNDS):
        nearest = _nearest(points, centres)
        centres = np.stack(
            [
                points[nearest == word].mean(0) if (nearest == word).any() else centres[word]
                for word in range(count)
            ]
        )
    return centres


def _nearest(
    points: Float[np.ndarray, "point 3"], centres: Float[np.ndarray, "word 3"]
) -> np.ndarray:
    return ((centres**2).sum(1) - 2 * points @ centres.T).argmin(1)
