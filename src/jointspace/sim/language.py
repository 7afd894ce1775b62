"""How people tell the robot what to do: several wordings of every goal, some never trained on.

Left and right are those of the front camera's picture, which looks at the robot from across the
table; clockwise is as seen from above, which is clockwise in that picture too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from jointspace.sim.goals import Goal
from jointspace.sim.layout import Item


@dataclass(frozen=True)
class Wordings:
    """The sentence templates of one skill.

    Attributes:
        trained: for the episodes that a model learns from.
        held_out: worded otherwise, for testing whether a model understands more than it was told.
    """

    trained: tuple[str, ...]
    held_out: tuple[str, ...]


WORDINGS: Mapping[str, Wordings] = MappingProxyType(
    {
        "lift": Wordings(
            trained=(
                "pick up {item}",
                "lift {item}",
                "grasp {item} and raise it",
                "take {item} off the table",
                "lift {item} into the air",
                "grab {item} and hold it up",
            ),
            held_out=(
                "get hold of {item} and bring it up above the table",
                "hoist {item}",
            ),
        ),
        "put": Wordings(
            trained=(
                "put {item} {in} {target}",
                "place {item} {in} {target}",
                "pick up {item} and put it {in} {target}",
                "set {item} down {in} {target}",
                "drop {item} {into} {target}",
                "move {item} {into} {target}",
            ),
            held_out=(
                "I want {item} to end up {in} {target}",
                "{target} is where {item} belongs",
            ),
        ),
        "stack": Wordings(
            trained=(
                "stack {item} on {target}",
                "put {item} on top of {target}",
                "place {item} onto {target}",
                "pick up {item} and set it on top of {target}",
                "build a tower with {item} on {target}",
                "balance {item} on {target}",
            ),
            held_out=(
                "use {target} as the base and {item} as the second storey",
                "make {item} sit atop {target}",
            ),
        ),
        "push": Wordings(
            trained=(
                "push {item} {way}",
                "slide {item} {way}",
                "nudge {item} {way}",
                "shove {item} {way}",
                "push {item} along the table, {way}",
                "without lifting it, move {item} {way}",
            ),
            held_out=(
                "give {item} a push so that it slides {way}",
                "make {item} glide {way}",
            ),
        ),
        "touch": Wordings(
            trained=(
                "touch {item}",
                "reach for {item}",
                "move the gripper to {item}",
                "tap {item} from above",
                "touch the top of {item}",
                "point at {item} with the gripper",
            ),
            held_out=(
                "bring your fingertips to {item} and keep them there",
                "make contact with {item}, but leave it where it is",
            ),
        ),
        "beside": Wordings(
            trained=(
                "put {item} to the {side} of {target}",
                "place {item} on the {side} side of {target}",
                "set {item} down {side} of {target}",
                "pick up {item} and put it to the {side} of {target}",
                "move {item} next to {target}, on its {side}",
                "lay {item} beside {target}, on the {side}",
            ),
            held_out=(
                "{item} should be {target}'s neighbour on the {side}",
                "line up {item} with {target} so that it is the one on the {side}",
            ),
        ),
        "press": Wordings(
            trained=(
                "press {item}",
                "push {item} down",
                "press down on {item}",
                "hit {item}",
                "activate {item}",
                "push down {item}",
            ),
            held_out=(
                "give {item} a firm press",
                "trigger whatever {item} does",
            ),
        ),
        "rotate": Wordings(
            trained=(
                "rotate {item} {direction}",
                "turn {item} {direction}",
                "twist {item} {direction}",
                "spin {item} {direction} in place",
                "grip {item} and turn it {direction}",
                "give {item} a turn {direction}",
            ),
            held_out=(
                "without moving {item} elsewhere, swivel it {direction}",
                "change which way {item} faces by winding it {direction}",
            ),
        ),
    }
)
"""The templates of every skill, in one order for good: a seed's sentence depends on it."""

_IN = {"bowl": "in", "plate": "on", "tray": "on"}
_INTO = {"bowl": "into", "plate": "onto", "tray": "onto"}
_WAY = {
    "left": "to the left",
    "right": "to the right",
    "away": "away from the robot",
    "toward": "toward the robot",
}


def say(goal: Goal, rng: np.random.Generator, *, held_out: bool = False) -> str:
    """Draws one of a goal's sentences.

    Args:
        goal: what is to be said.
        rng: draws the wording.
        held_out: whether the wording is one of those that are never trained on.
    """
    known = sentences(goal, held_out=held_out)
    return known[rng.integers(len(known))]


def sentences(goal: Goal, *, held_out: bool = False) -> tuple[str, ...]:
    """Returns every sentence of a goal, in the order of its skill's templates.

    No sentence means two goals, within a scene or across scenes.

    Args:
        goal: what is to be said.
        held_out: whether the wordings are those that are never trained on.
    """
    wordings = WORDINGS[goal.skill]
    words = _words(goal)
    templates = wordings.held_out if held_out else wordings.trained
    return tuple(template.format_map(words) for template in templates)


def goal_name(goal: Goal) -> str:
    """Returns a goal's one name, such as `put red block in blue bowl`; paraphrases share it."""
    item = _noun(goal.item)
    if goal.target is None:
        return " ".join(filter(None, (goal.skill, item, goal.direction)))
    target = _noun(goal.target)
    match goal.skill:
        case "put":
            return f"put {item} {_IN[goal.target.kind]} {target}"
        case "stack":
            return f"stack {item} on {target}"
        case _:
            return f"place {item} {goal.direction} of {target}"


def factors(goal: Goal) -> dict[str, str]:
    """Returns what a goal is made of; an empty value does not apply to its skill."""
    return {
        "skill": goal.skill,
        "colour": goal.item.colour,
        "shape": goal.item.kind,
        "direction": goal.direction,
        "target": "" if goal.target is None else _noun(goal.target),
    }


def _words(goal: Goal) -> dict[str, str]:
    words = {"item": f"the {_noun(goal.item)}", "direction": goal.direction}
    words["side"] = goal.direction
    words["way"] = _WAY.get(goal.direction, "")
    if goal.target is not None:
        words["target"] = f"the {_noun(goal.target)}"
        words["in"] = _IN.get(goal.target.kind, "")
        words["into"] = _INTO.get(goal.target.kind, "")
    return words


def _noun(item: Item) -> str:
    return f"{item.colour} {item.kind}"
