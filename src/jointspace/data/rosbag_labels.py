"""What a bag's `custom_data` says of the episode: `ros2 bag record --custom-data goal=... `."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class BagLabels:
    """Labels of an episode; see `Episode`.

    Attributes:
        episode: its number; None where the bag gives none.
        instruction: what the robot was told; empty where only the topics say.
        robot_type: name of the robot.
        goal: name of the goal.
        success: whether it was reached; None if unknown.
        split: the split that it belongs to.
        factors: what the goal is made of.
        other_instructions: of other goals in the same scene.
        odd: keys whose value is not understood.
    """

    episode: int | None = None
    instruction: str = ""
    robot_type: str = ""
    goal: str = ""
    success: bool | None = None
    split: str = ""
    factors: Mapping[str, str] = field(default_factory=dict)
    other_instructions: Sequence[str] = ()
    odd: tuple[str, ...] = ()


def read_labels(custom_data: Mapping[str, str]) -> BagLabels:
    """Reads the labels of an episode.

    Args:
        custom_data: of the bag: texts; factors as a JSON object, other instructions as a JSON list.

    Returns:
        What it says; other keys are passed over.
    """
    texts = {key: str(value).strip() for key, value in custom_data.items()}
    odd = []
    number = texts.get("episode", "")
    if number and not number.isdecimal():
        odd.append("episode")
    success = texts.get("success", "").lower()
    if success and success not in _TRUTHS:
        odd.append("success")
    factors = _parsed(texts.get("factors", "")) or {}
    others = _parsed(texts.get("other_instructions", "")) or []
    if not isinstance(factors, dict):
        odd.append("factors")
        factors = {}
    if not isinstance(others, list):
        odd.append("other_instructions")
        others = []
    return BagLabels(
        episode=int(number) if number.isdecimal() else None,
        instruction=texts.get("instruction", ""),
        robot_type=texts.get("robot_type", ""),
        goal=texts.get("goal", ""),
        success=_TRUTHS.get(success),
        split=texts.get("split", ""),
        factors={str(name): str(value) for name, value in factors.items()},
        other_instructions=tuple(str(text) for text in others),
        odd=tuple(odd),
    )


def _parsed(text: str) -> Any:
    """What a text says as JSON; the text itself where it is none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
