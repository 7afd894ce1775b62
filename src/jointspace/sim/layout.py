"""A random scene: which items stand where, in which colours, and what else varies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jointspace.errors import InputError

Kind = Literal["block", "cylinder", "ball", "bowl", "plate", "tray", "button"]
Category = Literal["object", "container", "button"]

OBJECT_KINDS: tuple[Kind, ...] = ("block", "cylinder", "ball")
CONTAINER_KINDS: tuple[Kind, ...] = ("bowl", "plate", "tray")
BUTTON_KINDS: tuple[Kind, ...] = ("button",)

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.83, 0.09, 0.09),
    "orange": (0.98, 0.46, 0.04),
    "yellow": (0.98, 0.86, 0.12),
    "green": (0.13, 0.60, 0.18),
    "cyan": (0.13, 0.78, 0.84),
    "blue": (0.07, 0.20, 0.86),
    "purple": (0.55, 0.14, 0.70),
    "pink": (0.99, 0.52, 0.74),
}
"""Red, green and blue of each colour's name, in 0..1; draws depend on the order."""

MAX_OBJECTS = 3
MAX_CONTAINERS = 2
MAX_BUTTONS = 2
MAX_ITEMS = 6

OBJECT_HALF_M = (0.022, 0.028)
CONTAINER_HALF_M = 0.065
BUTTON_HALF_M = 0.038
"""Half the width of a button's base."""

PLACE_X_M = (0.36, 0.66)
PLACE_Y_M = (-0.30, 0.30)
"""Where the middle of an item may stand: all of it is within reach and in view of both cameras."""

GAP_M = 0.045
"""Free table between any two items, for the fingers."""

_TABLE_TINTS: tuple[tuple[float, float, float], ...] = (
    (0.74, 0.67, 0.57),
    (0.68, 0.68, 0.67),
    (0.63, 0.645, 0.655),
    (0.70, 0.62, 0.52),
    (0.76, 0.74, 0.70),
)


@dataclass(frozen=True)
class Item:
    """One thing on the table.

    Attributes:
        name: its slot in the scene, such as `object0`.
        kind: what it is.
        colour: a name of `COLOURS`, unique in its scene.
        half_m: half its width; of blocks, cylinders and balls half its height, too.
        place: x and y of its middle in the robot's frame, in metres.
        yaw_rad: how far it is turned about the vertical.
    """

    name: str
    kind: Kind
    colour: str
    half_m: float
    place: tuple[float, float]
    yaw_rad: float = 0.0

    @property
    def category(self) -> Category:
        """What can be done with it: objects move, containers hold, buttons are pressed."""
        return _category(self.kind)

    @property
    def radius_m(self) -> float:
        """Radius of the circle about its middle that holds it, whichever way it is turned."""
        return self.half_m * (math.sqrt(2.0) if self.kind in ("block", "tray") else 1.0)


@dataclass(frozen=True)
class Layout:
    """Everything random of a scene.

    Attributes:
        items: what stands on the table; two of a scene never share a colour.
        table_rgb: the table's tint.
        home_jitter: displacement of each joint from the home pose, before the tool is set upright.
        light_shift: displacement of the direction to the light.
        camera_shift_m: displacement of the front camera.
    """

    items: tuple[Item, ...]
    table_rgb: tuple[float, float, float] = _TABLE_TINTS[0]
    home_jitter: tuple[float, ...] = (0.0,) * 7
    light_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    camera_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        _check_layout(self)

    def of(self, category: Category) -> tuple[Item, ...]:
        """Returns the items of one category, in order of their slots."""
        return tuple(item for item in self.items if item.category == category)


def draw_layout(rng: np.random.Generator) -> Layout:
    """Draws a scene in which every skill has something to do, whatever the goal will be.

    There are two or three objects, among them a block (it can be turned) and two that can be
    stacked; one or two containers; one or two buttons; six items at most, `GAP_M` apart.

    Args:
        rng: source of all randomness.

    Returns:
        The scene; equal for equal states of the generator.
    """
    kinds = _draw_kinds(rng)
    colours = [list(COLOURS)[int(index)] for index in rng.permutation(len(COLOURS))]
    halves = [_draw_half_m(kind, rng) for kind in kinds]
    yaws = [float(rng.uniform(-math.pi / 4, math.pi / 4)) for _ in kinds]
    blanks = [
        Item(name=name, kind=kind, colour=colour, half_m=half_m, place=(0.0, 0.0), yaw_rad=yaw_rad)
        for name, kind, colour, half_m, yaw_rad in zip(
            _slot_names(kinds), kinds, colours, halves, yaws, strict=False
        )
    ]
    places = _draw_places([item.radius_m for item in blanks], rng)
    tint = np.array(_TABLE_TINTS[int(rng.integers(len(_TABLE_TINTS)))])
    tint = np.clip(tint * rng.uniform(0.92, 1.06) + rng.normal(0.0, 0.012, 3), 0.0, 1.0)
    return Layout(
        items=tuple(
            Item(item.name, item.kind, item.colour, item.half_m, place, item.yaw_rad)
            for item, place in zip(blanks, places, strict=True)
        ),
        table_rgb=_triple(tint),
        home_jitter=tuple(float(q) for q in np.clip(rng.normal(0.0, 0.02, 7), -0.04, 0.04)),
        light_shift=_triple(rng.uniform(-0.15, 0.15, 3)),
        camera_shift_m=_triple(rng.uniform(-0.01, 0.01, 3)),
    )


def _draw_kinds(rng: np.random.Generator) -> list[Kind]:
    num_objects = int(rng.integers(2, MAX_OBJECTS + 1))
    num_containers = int(rng.integers(1, MAX_CONTAINERS + 1))
    num_buttons = int(
        rng.integers(1, min(MAX_BUTTONS, MAX_ITEMS - num_objects - num_containers) + 1)
    )
    objects: list[Kind] = ["block", OBJECT_KINDS[int(rng.integers(2))]]
    if num_objects == MAX_OBJECTS:
        objects.append(OBJECT_KINDS[int(rng.choice(3, p=(0.25, 0.25, 0.5)))])
    objects = [objects[int(index)] for index in rng.permutation(num_objects)]
    containers = [CONTAINER_KINDS[int(rng.integers(3))] for _ in range(num_containers)]
    return [*objects, *containers, *BUTTON_KINDS * num_buttons]


def _draw_half_m(kind: Kind, rng: np.random.Generator) -> float:
    if _category(kind) == "object":
        return float(rng.uniform(*OBJECT_HALF_M))
    return CONTAINER_HALF_M if _category(kind) == "container" else BUTTON_HALF_M


def _slot_names(kinds: list[Kind]) -> list[str]:
    counts: dict[Category, int] = {}
    names = []
    for kind in kinds:
        category = _category(kind)
        names.append(f"{category}{counts.get(category, 0)}")
        counts[category] = counts.get(category, 0) + 1
    return names


def _draw_places(radii_m: list[float], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Throws items, the largest first, until all lie free; starts over where one finds no place."""
    order = sorted(range(len(radii_m)), key=lambda index: -radii_m[index])
    while True:
        placed: dict[int, tuple[float, float]] = {}
        for index in order:
            for _ in range(60):
                place = (float(rng.uniform(*PLACE_X_M)), float(rng.uniform(*PLACE_Y_M)))
                if all(
                    math.dist(place, other) >= radii_m[index] + radii_m[neighbour] + GAP_M
                    for neighbour, other in placed.items()
                ):
                    placed[index] = place
                    break
            else:
                break
        if len(placed) == len(radii_m):
            return [placed[index] for index in range(len(radii_m))]


def _check_layout(layout: Layout) -> None:
    colours = [item.colour for item in layout.items]
    names = [item.name for item in layout.items]
    known = {
        f"{category}{index}"
        for category, count in (
            ("object", MAX_OBJECTS),
            ("container", MAX_CONTAINERS),
            ("button", MAX_BUTTONS),
        )
        for index in range(count)
    }
    for item in layout.items:
        if item.colour not in COLOURS:
            raise InputError(
                f"item '{item.name}': colour '{item.colour}' is none of {list(COLOURS)}"
            )
        if item.name not in known or not item.name.startswith(item.category):
            raise InputError(
                f"item '{item.name}': a {item.kind} needs a slot {item.category}0, "
                f"{item.category}1, ... of {sorted(known)}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"items share a slot: {names}; expected a slot of its own for each")
    if len(set(colours)) < len(colours):
        raise InputError(f"items share a colour: {colours}; expected a colour of its own for each")
    if len(layout.home_jitter) != 7:
        raise InputError(f"home_jitter: got {len(layout.home_jitter)} numbers, expected 7")


def _category(kind: Kind) -> Category:
    if kind in OBJECT_KINDS:
        return "object"
    return "container" if kind in CONTAINER_KINDS else "button"


def _triple(numbers: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(number) for number in numbers)
    return first, second, third
