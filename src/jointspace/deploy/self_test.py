"""Rows that a bundle computed when it was written, to be computed again wherever it is loaded.

An engine that is broken, or a processor whose integer products saturate, then shows at once, and
not as a robot that does the wrong thing.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from jointspace.batch import Batch, Modality
from jointspace.data.collate import Sample, Steps
from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.towers import Towers
from jointspace.errors import BundleError

SELF_TEST_FILE = "self_test.npz"

_TEXT = "move to the left"
_NUM_STEPS = 8
_MOST_PICTURES = 2

_TOLERANCE = 1e-3
"""How far two float32 engines may be apart, as the length of the difference of two unit rows."""

_ROUGH_TOLERANCE = 0.1
"""The same for less precise numbers, which processors round in their own ways: a cosine of .995."""


def self_test_batch(preprocessor: Preprocessor) -> Batch:
    """Returns one row of every modality that is the same everywhere, without random numbers.

    Args:
        preprocessor: of the bundle.

    Returns:
        The row.
    """
    count = min(preprocessor.window_frames, _MOST_PICTURES)
    shape = (count, preprocessor.num_cameras, preprocessor.image_px, preprocessor.image_px, 3)
    time_s = np.arange(_NUM_STEPS) / preprocessor.fps
    steps = {
        modality: Steps(
            each.centre
            + (_pattern((_NUM_STEPS, each.dim)) / 128 - 1).astype(np.float32) * each.scale,
            time_s,
        )
        for modality, each in preprocessor.normalisers.items()
    }
    for modality, size in preprocessor.discrete.items():
        ids = _pattern((_NUM_STEPS, 1)) % size
        steps[modality] = Steps(ids.astype(np.float32), time_s)
    has_pictures = preprocessor.num_cameras > 0
    return preprocessor.batch(
        [
            Sample(
                frames=_pattern(shape).astype(np.uint8) if has_pictures else None,
                frames_time_s=time_s[:count] if has_pictures else None,
                text=_TEXT,
                steps=steps,
            )
        ]
    )


def self_test_rows(
    towers: Towers, preprocessor: Preprocessor
) -> dict[Modality, Float32[np.ndarray, " dim"]]:
    """Computes the row of every modality and fused query.

    Args:
        towers: the graphs.
        preprocessor: of the same bundle.

    Returns:
        One row for each name.

    Raises:
        BundleError: a graph returns what is no unit row.
    """
    batch = self_test_batch(preprocessor)
    return {modality: towers.embed(modality, batch)[0] for modality in towers.modalities}


def check_self_test(
    towers: Towers,
    preprocessor: Preprocessor,
    expected: Mapping[Modality, Float32[np.ndarray, " dim"]],
    *,
    where: Path,
) -> None:
    """Computes the rows again and compares.

    Args:
        towers: the graphs.
        preprocessor: of the same bundle.
        expected: what `self_test_rows` gave when the bundle was written.
        where: the bundle, for the message.

    Raises:
        BundleError: a row is missing, or too far from what it was.
    """
    for name, row in self_test_rows(towers, preprocessor).items():
        if name not in expected or expected[name].shape != row.shape:
            raise BundleError(
                f"{where / SELF_TEST_FILE}: has no row of width {len(row)} for '{name}'; "
                "export the run again"
            )
        exact = towers.precisions(name) == {"fp32"}
        tolerance = _TOLERANCE if exact else _ROUGH_TOLERANCE
        distance = float(np.linalg.norm(row - expected[name]))
        if not distance <= tolerance:
            raise BundleError(
                f"{where}: the self-test of '{name}' is {distance:.3g} from the row of the export, "
                f"wanted at most {tolerance:g}; this engine does not compute the bundle right "
                "here: choose another engine, or export with --precision fp32"
            )


def _pattern(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers from 0 to 255 that look like noise: an integer hash of their place."""
    place = np.arange(np.prod(shape, dtype=np.int64), dtype=np.uint64)
    return ((place * np.uint64(2654435761)) >> np.uint64(13)).reshape(shape) % np.uint64(256)
