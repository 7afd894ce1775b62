"""The vision-language-action model: what the robot sees, is told and does, in one space."""

from collections.abc import Mapping

from torch import nn

from jointspace.batch import ACTION, TEXT, VISION, Modality


def vision_language_action_towers(
    *,
    vision: nn.Module,
    text: nn.Module,
    action: nn.Module,
    sensors: Mapping[Modality, nn.Module],
) -> dict[Modality, nn.Module]:
    """Returns the towers of a vision-language-action model, in the order of its modalities.

    Args:
        vision: reads pictures and clips.
        text: reads instructions.
        action: reads commands, trajectories or discrete actions.
        sensors: further modalities, such as the robot's state; may be empty.

    Returns:
        Modality -> tower.
    """
    return {VISION: vision, TEXT: text, ACTION: action, **sensors}
