"""What the robot can be asked to reach, and whether it has: settled outcomes, no passing states."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64

from jointspace.errors import InputError, did_you_mean
from jointspace.sim.layout import CONTAINER_HALF_M, Item
from jointspace.sim.room import PUSH_WAYS, SIDES, has_lane, has_room_beside, is_bare, on_table
from jointspace.sim.world import World

SKILLS = ("lift", "put", "stack", "push", "touch", "beside", "press", "rotate")
"""All skills, in one order for good: seeds count on it."""

TURNS: Mapping[str, float] = MappingProxyType({"clockwise": -1.0, "counterclockwise": 1.0})
"""Sign of the turn about the vertical, as seen from above and in the front camera's picture."""

_TARGETED = ("put", "stack", "beside")
_DIRECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"push": tuple(PUSH_WAYS), "beside": tuple(SIDES), "rotate": tuple(TURNS)}
)

_STILL_M_S = 0.03
_ON_TABLE_M = 0.012
_LIFTED_M = 0.07
_PUSHED_M = 0.05
_PUSHED_ASIDE_M = 0.04
_TOUCH_M = 0.025
_TOUCHED_AWAY_M = 0.02
_CLOSED = 0.3
_OPEN = 0.5
_HELD_M = 0.04
_AWAY_M = 0.03
_IN_CONTAINER_M = CONTAINER_HALF_M - 0.010
_ABOVE_FLOOR_M = 0.03
_STACK_HEIGHT_M = 0.01
_BESIDE_FARTHEST_M = 0.08
_BESIDE_ASKEW_M = 0.04
_NEIGHBOUR_STRAY_M = 0.03
_TURNED_RAD = math.radians(25.0)
_TURN_STRAY_M = 0.04
_UPRIGHT = 0.95


@dataclass(frozen=True)
class Goal:
    """One thing to reach in one scene.

    Attributes:
        skill: one of `SKILLS`.
        item: what is acted on.
        target: the container, base or neighbour; None for skills without one.
        direction: of push, beside and rotate; empty for other skills.
    """

    skill: str
    item: Item
    target: Item | None = None
    direction: str = ""

    def __post_init__(self) -> None:
        if self.skill not in SKILLS:
            raise InputError(
                f"skill '{self.skill}' is not known.{did_you_mean(self.skill, SKILLS)}"
            )
        directions = _DIRECTIONS.get(self.skill, ("",))
        if self.direction not in directions:
            raise InputError(
                f"skill '{self.skill}': got the direction '{self.direction}', "
                f"expected one of {list(directions)}"
            )
        if (self.target is None) == (self.skill in _TARGETED):
            wanted = "expected one" if self.target is None else "expected none"
            raise InputError(f"skill '{self.skill}': got target {self.target}, {wanted}")

    @property
    def destination(self) -> Item:
        """The target of a skill that has one.

        Raises:
            InputError: the skill has none.
        """
        if self.target is None:
            raise InputError(f"skill '{self.skill}' has no target")
        return self.target


@dataclass(frozen=True)
class Poses:
    """Where the items of a scene were at some moment.

    Attributes:
        position: name of the item -> its place, in metres.
        yaw_rad: name of the item -> its turn about the vertical.
    """

    position: Mapping[str, Float64[np.ndarray, "3"]]
    yaw_rad: Mapping[str, float]


def current_poses(world: World) -> Poses:
    """Returns where the items are now."""
    return Poses(
        position={item.name: world.position(item) for item in world.items},
        yaw_rad={item.name: world.yaw_rad(item) for item in world.items},
    )


def possible_goals(world: World) -> tuple[Goal, ...]:
    """Returns every goal that the scene, as it stands, leaves room for and that does not hold.

    Args:
        world: with the items at rest.
    """
    start = current_poses(world)
    return tuple(goal for goal in _feasible_goals(world) if not holds(goal, world, start))


def holds(goal: Goal, world: World, start: Poses) -> bool:
    """Tells whether a goal is reached now: things lie still, and the hand has let go of them.

    One true moment may be luck; `TabletopEnv` asks for several in a row.

    Args:
        goal: of the world's scene.
        world: as it is now.
        start: the poses before the robot moved.
    """
    return _PREDICATES[goal.skill](goal, world, start)


def _feasible_goals(world: World) -> Iterator[Goal]:
    objects = [item for item in world.items if item.category == "object"]
    objects = [item for item in objects if on_table(item, world)]
    containers = [item for item in world.items if item.category == "container"]
    steady = [item for item in objects if item.kind != "ball"]
    yield from (Goal("lift", item) for item in objects)
    yield from (Goal("put", item, target) for item in objects for target in containers)
    yield from (
        Goal("stack", item, target)
        for item in steady
        for target in steady
        if item != target and is_bare(target, world)
    )
    # A ball that is pushed rolls on.
    yield from (
        Goal("push", item, direction=way)
        for item in steady
        for way in PUSH_WAYS
        if has_lane(item, way, world)
    )
    yield from (Goal("touch", item) for item in objects)
    for item in objects:
        for target in objects:
            for side in SIDES:
                if item != target and has_room_beside(item, target, side, world):
                    yield Goal("beside", item, target, side)
    yield from (Goal("press", item) for item in world.items if item.category == "button")
    for item in objects:
        if item.kind == "block":
            yield from (Goal("rotate", item, direction=turn) for turn in TURNS)


def _still(item: Item, world: World) -> bool:
    return world.speed_m_s(item) < _STILL_M_S


def _released(item: Item, world: World) -> bool:
    """Whether the open gripper has left the item, which lies still."""
    return (
        world.gripper_opening > _OPEN and _distance_m(item, world) > _AWAY_M and _still(item, world)
    )


def _distance_m(item: Item, world: World) -> float:
    """From the point between the finger tips to an object's surface; negative inside."""
    local = world.rotation(item).T @ (world.tool_position - world.position(item))
    if item.kind == "ball":
        return float(np.linalg.norm(local)) - item.half_m
    if item.kind == "cylinder":
        local = np.array((np.hypot(local[0], local[1]), local[2]))
    beyond = np.abs(local) - item.half_m
    return float(np.linalg.norm(np.maximum(beyond, 0.0)) + min(float(beyond.max()), 0.0))


def _strayed_m(item: Item, world: World, start: Poses) -> float:
    return math.dist(world.position(item), start.position[item.name])


def _lifted(goal: Goal, world: World, start: Poses) -> bool:  # noqa: ARG001 - one signature for all
    bottom_m = float(world.position(goal.item)[2]) - goal.item.half_m
    held = math.dist(world.tool_position, world.position(goal.item)) < _HELD_M
    return held and bottom_m > _LIFTED_M and _still(goal.item, world)


def _put(goal: Goal, world: World, start: Poses) -> bool:  # noqa: ARG001
    offset = world.position(goal.item) - world.position(goal.destination)
    above_m = float(offset[2]) - goal.item.half_m
    inside = math.hypot(offset[0], offset[1]) < _IN_CONTAINER_M
    return inside and -_ON_TABLE_M < above_m < _ABOVE_FLOOR_M and _released(goal.item, world)


def _stacked(goal: Goal, world: World, start: Poses) -> bool:  # noqa: ARG001
    offset = world.position(goal.item) - world.position(goal.destination)
    above_m = float(offset[2]) - goal.item.half_m - goal.destination.half_m
    return (
        math.hypot(offset[0], offset[1]) < goal.destination.half_m
        and abs(above_m) < _STACK_HEIGHT_M
        and _still(goal.destination, world)
        and _released(goal.item, world)
    )


def _pushed(goal: Goal, world: World, start: Poses) -> bool:
    along = np.array(PUSH_WAYS[goal.direction])
    moved = (world.position(goal.item) - start.position[goal.item.name])[:2]
    return (
        float(moved @ along) > _PUSHED_M
        and abs(float(moved @ along[::-1])) < _PUSHED_ASIDE_M
        and on_table(goal.item, world)
        and _still(goal.item, world)
    )


def _touched(goal: Goal, world: World, start: Poses) -> bool:
    return (
        world.gripper_opening < _CLOSED
        and _distance_m(goal.item, world) < _TOUCH_M
        and _strayed_m(goal.item, world, start) < _TOUCHED_AWAY_M
    )


def _beside(goal: Goal, world: World, start: Poses) -> bool:
    offset = world.position(goal.item) - world.position(goal.destination)
    gap_m = SIDES[goal.direction] * float(offset[1]) - goal.item.half_m - goal.destination.half_m
    return (
        -_ON_TABLE_M < gap_m < _BESIDE_FARTHEST_M
        and abs(float(offset[0])) < _BESIDE_ASKEW_M
        # Otherwise moving the neighbour, the other way, would do as well.
        and _strayed_m(goal.destination, world, start) < _NEIGHBOUR_STRAY_M
        and on_table(goal.item, world)
        and _released(goal.item, world)
    )


def _pressed(goal: Goal, world: World, start: Poses) -> bool:  # noqa: ARG001
    return world.button_pressed(goal.item) and (
        math.dist(world.tool_position, world.position(goal.item)) < _HELD_M
    )


def _turned(goal: Goal, world: World, start: Poses) -> bool:
    turn_rad = world.yaw_rad(goal.item) - start.yaw_rad[goal.item.name]
    turn_rad = math.remainder(turn_rad, 2 * math.pi)
    return (
        TURNS[goal.direction] * turn_rad > _TURNED_RAD
        and _strayed_m(goal.item, world, start) < _TURN_STRAY_M
        and world.rotation(goal.item)[2, 2] > _UPRIGHT
        and on_table(goal.item, world)
        and _still(goal.item, world)
    )


_PREDICATES: Mapping[str, Callable[[Goal, World, Poses], bool]] = MappingProxyType(
    {
        "lift": _lifted,
        "put": _put,
        "stack": _stacked,
        "push": _pushed,
        "touch": _touched,
        "beside": _beside,
        "press": _pressed,
        "rotate": _turned,
    }
)
