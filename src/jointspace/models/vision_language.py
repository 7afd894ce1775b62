"""The vision-language model: pictures and instructions in one space."""

from collections.abc import Mapping

from torch import nn

from jointspace.batch import TEXT, VISION, Modality


def vision_language_towers(
    *, vision: nn.Module, text: nn.Module, sensors: Mapping[Modality, nn.Module]
) -> dict[Modality, nn.Module]:
    """Returns the towers of a vision-language model, in the order of its modalities.

    Args:
        vision: reads pictures and clips.
        text: reads instructions.
        sensors: further modalities, such as the robot's state; may be empty.

    Returns:
        Modality -> tower.

    Source:
        Radford et al. 2021 (CLIP).
    """
    return {VISION: vision, TEXT: text, **sensors}
