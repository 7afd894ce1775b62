"""How an expert performs each skill: where its tool goes, one waypoint after the other."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from jointspace.sim.goals import TURNS, Goal
from jointspace.sim.layout import CONTAINER_HALF_M, Item
from jointspace.sim.room import PUSH_LANE_M, PUSH_WAYS, place_beside
from jointspace.sim.world import World

_QUARTER_RAD = math.pi / 2
_FARTHEST_YAW_RAD = math.radians(98.0)
_OPEN, _SHUT = 1.0, 0.0
_PUSHER_OPENING = 0.12
"""Of the gripper while it pushes: two fingers side by side steer better than one, and the gap
between them is too narrow to catch a corner."""
_PUSHER_HALF_M = 0.012
_LOWEST_M = 0.014
_TIP_M = 0.005
"""The finger tips reach so far below the tool's point."""


@dataclass(frozen=True)
class Waypoint:
    """Where the tool goes next.

    Attributes:
        place: x, y and z of the tool in metres.
        yaw_rad: turn of the tool about the vertical.
        gripper: 1 open, 0 closed, from the start of the motion on.
        pace: share of the expert's speed.
        wait_steps: control steps to stay once there.
    """

    place: tuple[float, float, float]
    yaw_rad: float
    gripper: float
    pace: float = 1.0
    wait_steps: int = 0


def waypoints(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    """Yields an expert's way to a goal; each place is looked up when the tool sets out for it.

    Args:
        goal: possible in the world's scene.
        world: as it is; read whenever the next waypoint is asked for.
        rng: draws heights, offsets and angles, so that no two demonstrations are alike.
    """
    yield from _PLANS[goal.skill](goal, world, rng)


def _lift(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    yaw_rad = _grasp_yaw(goal.item, world, rng)
    yield from _grasp(goal.item, world, rng, yaw_rad=yaw_rad)
    x, y, z = world.target_position
    yield Waypoint((x, y, z + rng.uniform(0.10, 0.17)), yaw_rad, _SHUT)


def _put(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    target = goal.destination
    yaw_rad = _grasp_yaw(goal.item, world, rng)
    yield from _grasp(goal.item, world, rng, yaw_rad=yaw_rad)
    grip_m = world.target_position[2]
    x, y, floor_m = world.position(target)
    spread_m = 0.1 * (CONTAINER_HALF_M - goal.item.half_m)
    place = (x + rng.uniform(-1, 1) * spread_m, y + rng.uniform(-1, 1) * spread_m)
    drop_m = floor_m + (0.012 if target.kind == "bowl" else 0.004)
    yield from _carry(place, rng, world, bottom_m=drop_m, grip_m=grip_m, yaw_rad=yaw_rad)


def _stack(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    target = goal.destination
    yaw_rad = _grasp_yaw(goal.item, world, rng)
    yield from _grasp(goal.item, world, rng, yaw_rad=yaw_rad)
    grip_m = world.target_position[2]
    if target.kind == "block":
        yaw_rad = _nearest_yaw(world.yaw_rad(target), world.target_yaw_rad)
    x, y, middle_m = world.position(target)
    top_m = middle_m + target.half_m + 0.003
    yield from _carry((x, y), rng, world, bottom_m=top_m, grip_m=grip_m, yaw_rad=yaw_rad)


def _beside(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    target = goal.destination
    yield from _grasp(goal.item, world, rng, yaw_rad=_grasp_yaw(goal.item, world, rng))
    grip_m = world.target_position[2]
    x, y = place_beside(goal.item, target, goal.direction, world) + rng.uniform(-0.006, 0.006, 2)
    # The fingers open away from the neighbour: along x.
    yaw_rad = math.copysign(_QUARTER_RAD, world.target_yaw_rad)
    yield from _carry((x, y), rng, world, bottom_m=0.002, grip_m=grip_m, yaw_rad=yaw_rad)


def _push(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    along = np.array(PUSH_WAYS[goal.direction])
    yaw_rad = 0.0 if along[0] else math.copysign(_QUARTER_RAD, world.target_yaw_rad)
    middle = world.position(goal.item)[:2]
    behind = middle - (goal.item.radius_m + _PUSHER_HALF_M + rng.uniform(0.01, 0.02)) * along
    low_m = rng.uniform(_LOWEST_M, goal.item.half_m)
    high_m = rng.uniform(0.10, 0.14)
    touching_m = goal.item.half_m + _PUSHER_HALF_M
    ahead = middle + (rng.uniform(0.075, PUSH_LANE_M) - touching_m) * along
    yield Waypoint((*behind, high_m), yaw_rad, _PUSHER_OPENING)
    yield Waypoint((*behind, low_m), yaw_rad, _PUSHER_OPENING)
    yield Waypoint((*ahead, low_m), yaw_rad, _PUSHER_OPENING, pace=0.6, wait_steps=1)
    yield Waypoint((*(ahead - 0.02 * along), low_m), yaw_rad, _PUSHER_OPENING)
    yield Waypoint((*(ahead - 0.03 * along), high_m), yaw_rad, _PUSHER_OPENING)


def _touch(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    x, y, middle_m = world.position(goal.item)
    yaw_rad = rng.uniform(-0.5, 0.5)
    top_m = middle_m + goal.item.half_m + _TIP_M
    offset = rng.uniform(-0.03, 0.03, 2)
    above_m = top_m + rng.uniform(0.05, 0.09)
    yield Waypoint((x + offset[0], y + offset[1], above_m), yaw_rad, _SHUT, pace=0.7)
    yield Waypoint((x, y, top_m + rng.uniform(0.001, 0.004)), yaw_rad, _SHUT, pace=0.5)


def _press(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    x, y, top_m = world.position(goal.item)
    yaw_rad = rng.uniform(-0.5, 0.5)
    x, y = np.array((x, y)) + rng.uniform(-0.006, 0.006, 2)
    above_m, down_m = top_m + rng.uniform(0.06, 0.10), top_m + _TIP_M - rng.uniform(0.013, 0.016)
    yield Waypoint((x, y, above_m), yaw_rad, _SHUT, pace=0.7)
    yield Waypoint((x, y, down_m), yaw_rad, _SHUT, pace=0.5, wait_steps=4)
    yield Waypoint((x, y, above_m), yaw_rad, _SHUT)


def _rotate(goal: Goal, world: World, rng: np.random.Generator) -> Iterator[Waypoint]:
    turn_rad = TURNS[goal.direction] * math.radians(rng.uniform(40.0, 65.0))
    face_rad = world.yaw_rad(goal.item)
    starts = [face_rad + quarters * _QUARTER_RAD for quarters in range(-4, 5)]
    yaw_rad = min(starts, key=lambda start: max(abs(start), abs(start + turn_rad)))
    turn_rad = float(np.clip(yaw_rad + turn_rad, -_FARTHEST_YAW_RAD, _FARTHEST_YAW_RAD)) - yaw_rad
    yield from _grasp(goal.item, world, rng, yaw_rad=yaw_rad)
    x, y, z = world.target_position
    # Off the table, whose friction would hold the block back.
    yield Waypoint((x, y, z + 0.02), yaw_rad, _SHUT)
    yaw_rad += turn_rad
    yield Waypoint((x, y, z + 0.02), yaw_rad, _SHUT, pace=0.7)
    yield Waypoint((x, y, z + 0.002), yaw_rad, _SHUT, wait_steps=1)
    yield Waypoint((x, y, z + 0.002), yaw_rad, _OPEN, wait_steps=2)
    yield Waypoint((x, y, z + rng.uniform(0.07, 0.11)), yaw_rad, _OPEN)


def _grasp(
    item: Item, world: World, rng: np.random.Generator, *, yaw_rad: float
) -> Iterator[Waypoint]:
    x, y, middle_m = world.position(item)
    offset = rng.uniform(-0.012, 0.012, 2)
    above_m = 2 * item.half_m + rng.uniform(0.06, 0.10)
    yield Waypoint((x + offset[0], y + offset[1], above_m), yaw_rad, _OPEN)
    x, y, middle_m = world.position(item)
    grip_m = max(_LOWEST_M, float(middle_m) * rng.uniform(0.75, 1.0))
    yield Waypoint((x, y, grip_m), yaw_rad, _OPEN, wait_steps=1)
    yield Waypoint((x, y, grip_m), yaw_rad, _SHUT, wait_steps=3)


def _carry(
    place: tuple[float, float],
    rng: np.random.Generator,
    world: World,
    *,
    bottom_m: float,
    grip_m: float,
    yaw_rad: float,
) -> Iterator[Waypoint]:
    """Brings what the gripper holds to a place, sets it down there and withdraws."""
    start = world.target_position
    over_m = bottom_m + grip_m + rng.uniform(0.09, 0.13)
    yield Waypoint((start[0], start[1], over_m), world.target_yaw_rad, _SHUT)
    yield Waypoint((*place, over_m), yaw_rad, _SHUT)
    yield Waypoint((*place, bottom_m + grip_m), yaw_rad, _SHUT, pace=0.7, wait_steps=2)
    yield Waypoint((*place, bottom_m + grip_m), yaw_rad, _OPEN, wait_steps=2)
    yield Waypoint((*place, over_m), yaw_rad, _OPEN)


def _grasp_yaw(item: Item, world: World, rng: np.random.Generator) -> float:
    """The turn at which the fingers meet two faces of a block; round things have no faces."""
    if item.kind == "block":
        return _nearest_yaw(world.yaw_rad(item), 0.0)
    return float(rng.uniform(-0.5, 0.5))


def _nearest_yaw(face_rad: float, yaw_rad: float) -> float:
    """Returns the turn closest to `yaw_rad` that lines up with the faces of a block."""
    return yaw_rad + math.remainder(face_rad - yaw_rad, _QUARTER_RAD)


_PLANS: Mapping[str, Callable[[Goal, World, np.random.Generator], Iterator[Waypoint]]] = (
    MappingProxyType(
        {
            "lift": _lift,
            "put": _put,
            "stack": _stack,
            "push": _push,
            "touch": _touch,
            "beside": _beside,
            "press": _press,
            "rotate": _rotate,
        }
    )
)
