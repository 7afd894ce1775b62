"""The efficient model: the same space from towers that are small enough to run beside a robot."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import nn

from jointspace.batch import TEXT, VISION, Modality
from jointspace.encoders.embodiments import Sizes
from jointspace.encoders.text import TextEncoder
from jointspace.encoders.trajectory import FrequencyEncoder
from jointspace.encoders.vision import VisionEncoder


def efficient_towers(
    *,
    image_px: int,
    num_cameras: Sizes,
    vocab_size: int,
    max_tokens: int,
    channels: Mapping[Modality, Sizes],
    vision_channels: Sequence[int] = (16, 32, 64),
    width: int = 128,
    text_width: int = 64,
    num_heads: int = 4,
    num_coefficients: int = 10,
    dropout: float = 0.0,
    stem_stride: int = 2,
    temporal_layers: int = 0,
    pooling: Literal["frequency", "attention"] = "frequency",
    max_pooling: bool = False,
) -> dict[Modality, nn.Module]:
    """Returns the towers of the efficient model, in the order of its modalities.

    Depthwise-separable convolutions that keep the grid, one block of text transformer, and
    frequency towers for all steps. They are ordinary towers, so that whatever takes another model
    takes this one.

    Args:
        image_px: side of the pictures.
        num_cameras: the most cameras that a row can have; or one number for each embodiment.
        vocab_size: of the tokenizer.
        max_tokens: the longest text.
        channels: modality of steps (actions, state, sensors) -> its channels; or one number for
            each embodiment.
        vision_channels: of the convolutions; each halves the side.
        width: of the vision and step towers.
        text_width: of the text tower.
        num_heads: of all attention; must divide both widths.
        num_coefficients: kept by the frequency towers.
        dropout: of all towers.
        stem_stride: of the vision tower, as are `temporal_layers` and `pooling`; see
            `VisionEncoder`.
        temporal_layers: of the vision tower.
        pooling: of the vision tower.
        max_pooling: of the text tower; see `TextEncoder`.

    Returns:
        Modality -> tower.

    Raises:
        InputError: a size does not fit.
    """
    vision = VisionEncoder(
        image_px=image_px,
        num_cameras=num_cameras,
        channels=vision_channels,
        width=width,
        num_heads=num_heads,
        dropout=dropout,
        separable=True,
        stem_stride=stem_stride,
        temporal_layers=temporal_layers,
        pooling=pooling,
    )
    text = TextEncoder(
        vocab_size,
        width=text_width,
        layers=1,
        heads=num_heads,
        max_tokens=max_tokens,
        dropout=dropout,
        max_pooling=max_pooling,
    )
    steps = {
        modality: FrequencyEncoder(
            each, width=width, num_coefficients=num_coefficients, dropout=dropout
        )
        for modality, each in channels.items()
    }
    return {VISION: vision, TEXT: text, **steps}
