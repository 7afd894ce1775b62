"""Random raw inputs on which graphs are tried: gaps, missing modalities, readings out of range."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from jointspace.batch import TEXT, VISION, Batch, Modality, ModalityInput, RowIds
from jointspace.data.preprocess import Preprocessor

_REACH = 8.0
"""Raw readings lie up to so many steps of their normaliser from its centre, which is clipped."""


@dataclass(frozen=True)
class Trial:
    """Rows of one robot.

    Attributes:
        batch: as a model takes it, normalised.
        raw: readings of each modality of steps as a graph takes them.
    """

    batch: Batch
    raw: dict[Modality, Shaped[np.ndarray, "batch time ..."]]


def make_trial(
    preprocessor: Preprocessor,
    *,
    rows: int,
    steps: dict[Modality, int],
    first: int = 0,
    generator: np.random.Generator,
) -> Trial:
    """Makes rows whose numbers mean nothing.

    Args:
        preprocessor: of the robot.
        rows: how many.
        steps: length of the time axis of every modality that is wanted.
        first: number of the first row. Row 4 lacks every modality; rows 2, 5 and 8 lack the first,
            third and second of every three.
        generator: of the numbers.

    Returns:
        The rows. About a third of the steps are not real, anywhere in a row.
    """
    inputs: dict[Modality, ModalityInput] = {}
    raw = {}
    for place, (modality, time) in enumerate(steps.items()):
        cameras = (preprocessor.num_cameras,) if modality == VISION else ()
        valid = generator.random((rows, time, *cameras)) > 0.3
        valid[:, generator.integers(time)] = True  # no row lacks a modality by chance
        valid[[_lacks(number, place) for number in range(first, first + rows)]] = False
        between_s = generator.uniform(0.02, 0.3, (rows, time))
        time_s = (between_s.cumsum(1) - between_s[:, :1]).astype(np.float32)
        if modality == VISION:
            px = preprocessor.image_px
            pictures = _pictures((*valid.shape, px, px, 3), generator)
            inputs[modality] = ModalityInput(pictures * valid[..., None, None, None], valid, time_s)
        elif modality == TEXT:
            ids = generator.integers(0, preprocessor.tokenizer.vocab_size, valid.shape)
            inputs[modality] = ModalityInput(ids * valid, valid)
        elif modality in preprocessor.discrete:
            ids = generator.integers(0, preprocessor.discrete[modality], valid.shape) * valid
            inputs[modality], raw[modality] = ModalityInput(ids, valid, time_s), ids
        else:
            normaliser = preprocessor.normalisers[modality]
            numbers = generator.uniform(-1, 1, (rows, time, normaliser.dim))
            numbers *= generator.uniform(0, _REACH, (rows, 1, normaliser.dim))
            values = (numbers * normaliser.scale + normaliser.centre).astype(np.float32)
            raw[modality] = values
            normalised = normaliser.apply(values) * valid[..., None]
            inputs[modality] = ModalityInput(normalised, valid, time_s)
    number = np.arange(rows)
    who = RowIds(number, number, number, np.zeros(rows), np.ones(rows))
    return Trial(Batch(inputs, who).of_embodiment(preprocessor.embodiment), raw)


def _pictures(shape: tuple[int, ...], generator: np.random.Generator) -> UInt8[np.ndarray, "..."]:
    """Returns pictures of eight by eight patches, since noise alone looks the same everywhere."""
    *before, px, _, colours = shape
    patches = generator.integers(0, 256, (*before, 8, 8, colours), dtype=np.uint8)
    index = np.arange(px) * 8 // px
    return patches[..., index[:, None], index[None], :]


def _lacks(row: int, place: int) -> bool:
    return row == 4 or (row % 3 == 2 and (row // 3 + place) % 3 == 0)
