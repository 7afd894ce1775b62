"""Where there is room on the table: for a push, for one thing beside another."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from jointspace.sim.layout import Item
from jointspace.sim.world import WORKSPACE_M, World

PUSH_WAYS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"left": (0.0, -1.0), "right": (0.0, 1.0), "away": (1.0, 0.0), "toward": (-1.0, 0.0)}
)
"""Left and right as seen in the front camera's picture: +y is right there."""

SIDES: Mapping[str, float] = MappingProxyType({"left": -1.0, "right": 1.0})

PUSH_LANE_M = 0.10
"""A push is offered where so much of the way is free."""
PUSH_ROOM_BEHIND_M = 0.055
"""For the fingers, between the object and what stands behind it."""
BESIDE_GAP_M = 0.035
"""Between the sides of two things that are put beside each other."""

_ON_TABLE_M = 0.012
_FINGERS_M = 0.058
"""Reach of the open fingers from the tool's middle."""
_MARGIN_M = 0.01
_PUSHER_HALF_M = 0.03


def is_bare(target: Item, world: World) -> bool:
    """Tells whether nothing stands on an object.

    Args:
        target: the object.
        world: as it is now.
    """
    middle = world.position(target)
    return all(
        math.dist(world.position(item)[:2], middle[:2]) > target.half_m
        or world.position(item)[2] < middle[2]
        for item in world.items
        if item != target
    )


def has_lane(item: Item, way: str, world: World) -> bool:
    """Tells whether an object can slide freely, with room for the fingers behind it.

    Args:
        item: the object.
        way: one of `PUSH_WAYS`.
        world: as it is now.
    """
    along = np.array(PUSH_WAYS[way])
    middle = world.position(item)[:2]
    behind = middle - (item.radius_m + PUSH_ROOM_BEHIND_M) * along
    ahead = middle + (PUSH_LANE_M + item.radius_m + _MARGIN_M) * along
    low, high = (np.array([bounds[end] for bounds in WORKSPACE_M[:2]]) for end in (0, 1))
    if not all(((low <= place) & (place <= high)).all() for place in (behind, ahead)):
        return False
    for other in world.items:
        if other == item:
            continue
        offset = world.position(other)[:2] - middle
        place, aside = float(offset @ along), abs(float(offset @ along[::-1]))
        half_width = item.radius_m + _MARGIN_M if place > 0 else _PUSHER_HALF_M + _MARGIN_M
        nearest = np.clip(
            place,
            -item.radius_m - PUSH_ROOM_BEHIND_M,
            PUSH_LANE_M + item.radius_m + _MARGIN_M,
        )
        outside_m = math.hypot(max(aside - half_width, 0.0), place - float(nearest))
        if outside_m < other.radius_m:
            return False
    return True


def place_beside(item: Item, target: Item, side: str, world: World) -> Float64[np.ndarray, "2"]:
    """Returns where an object goes that is put beside another.

    Args:
        item: the object.
        target: its neighbour to be, where it stands now.
        side: one of `SIDES`.
        world: as it is now.

    Returns:
        x and y, in metres.
    """
    offset_m = SIDES[side] * (item.half_m + target.half_m + BESIDE_GAP_M)
    return world.position(target)[:2] + np.array((0.0, offset_m))


def has_room_beside(item: Item, target: Item, side: str, world: World) -> bool:
    """Tells whether an object and the open fingers about it find a free place beside another.

    Args:
        item: the object.
        target: its neighbour to be.
        side: one of `SIDES`.
        world: as it is now.
    """
    place = place_beside(item, target, side, world)
    (low_x, high_x), (low_y, high_y) = WORKSPACE_M[:2]
    if not (low_x + _MARGIN_M <= place[0] <= high_x - _MARGIN_M):
        return False
    if not (low_y + _MARGIN_M <= place[1] <= high_y - _MARGIN_M):
        return False
    reach_m = max(item.radius_m, _FINGERS_M) + _MARGIN_M
    return all(
        math.dist(place, world.position(other)[:2]) >= reach_m + other.radius_m
        for other in world.items
        if other not in (item, target)
    )


def on_table(item: Item, world: World) -> bool:
    """Tells whether an object stands or lies on the table itself, not on another thing.

    Args:
        item: the object.
        world: as it is now.
    """
    return abs(float(world.position(item)[2]) - item.half_m) < _ON_TABLE_M
