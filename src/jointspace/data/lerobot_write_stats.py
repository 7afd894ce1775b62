"""The statistics that a LeRobot data set carries: per episode and over all, exact.

The official recorder estimates quantiles from histograms, samples pictures, and merges episodes by
bounds. Here every number and every picture counts, so that both levels are what they say.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
_LEVELS = 256

ColumnStats = dict[str, list[Any]]
"""Name of a statistic -> its value, nested as the format has it."""


def column_stats(values: Shaped[np.ndarray, "row dim"]) -> ColumnStats:
    """Returns the statistics of a column of numbers, per dimension.

    Args:
        values: one row per step; whole numbers keep whole bounds.

    Returns:
        `min`, `max`, `mean`, `std` (of the population), `count`, and the quantiles, interpolated
        between neighbours.
    """
    wide = values if np.issubdtype(values.dtype, np.integer) else values.astype(np.float64)
    stats: ColumnStats = {
        "min": wide.min(axis=0).tolist(),
        "max": wide.max(axis=0).tolist(),
        "mean": wide.mean(axis=0, dtype=np.float64).tolist(),
        "std": wide.std(axis=0, dtype=np.float64).tolist(),
        "count": [len(wide)],
    }
    for quantile, row in zip(QUANTILES, np.quantile(wide, QUANTILES, axis=0), strict=True):
        stats[_key(quantile)] = row.tolist()
    return stats


def count_levels(pictures: UInt8[np.ndarray, "time height width 3"]) -> Int64[np.ndarray, "3 256"]:
    """Counts how often each level occurs, per colour: all that the statistics need, and additive.

    Args:
        pictures: RGB.

    Returns:
        One row per colour, one column per level.
    """
    return np.stack(
        [np.bincount(pictures[..., i].ravel(), minlength=_LEVELS) for i in range(3)]
    ).astype(np.int64)


def picture_stats(levels: Int64[np.ndarray, "3 256"], *, num_frames: int) -> ColumnStats:
    """Returns the statistics of pictures, per colour, in [0, 1].

    Args:
        levels: from `count_levels`, summed over episodes for those of a data set.
        num_frames: what `count` says.

    Returns:
        The statistics of `column_stats`, each of shape 3 x 1 x 1. A quantile is the smallest level
        that at least this share of the pixels does not exceed.
    """
    scale = np.arange(_LEVELS) / (_LEVELS - 1)
    share = levels / levels.sum(axis=1, keepdims=True)
    seen = levels > 0
    mean = (share * scale).sum(axis=1)
    spread = np.sqrt((share * (scale - mean[:, None]) ** 2).sum(axis=1))
    values = {
        "min": scale[seen.argmax(axis=1)],
        "max": scale[_LEVELS - 1 - seen[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": spread,
    }
    below = np.cumsum(levels, axis=1)
    quantiles = {
        _key(quantile): scale[(below >= quantile * below[:, -1:]).argmax(axis=1)]
        for quantile in QUANTILES
    }
    return {
        **{name: row.reshape(3, 1, 1).tolist() for name, row in values.items()},
        "count": [num_frames],
        **{name: row.reshape(3, 1, 1).tolist() for name, row in quantiles.items()},
    }


def _key(quantile: float) -> str:
    return f"q{round(quantile * 100):02d}"
