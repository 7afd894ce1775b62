import math
from dataclasses import replace

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.goals import SKILLS, Goal, Poses, current_poses, holds, possible_goals
from jointspace.sim.language import goal_name
from jointspace.sim.layout import Item, Layout, draw_layout
from jointspace.sim.world import World

BLOCK = Item("object0", "block", "red", 0.025, (0.45, -0.10))
BASE = Item("object1", "cylinder", "blue", 0.025, (0.45, 0.10))
BALL = Item("object2", "ball", "green", 0.025, (0.60, 0.00))
BOWL = Item("container0", "bowl", "cyan", 0.065, (0.60, 0.25))
BUTTON = Item("button0", "button", "pink", 0.038, (0.60, -0.25))


class ArrangedWorld(World):
    """Items and tool lie where a test puts them; there are no physics."""

    def __init__(self, *items):
        self.arranged = items
        self.places = {item.name: np.array((*item.place, item.half_m)) for item in items}
        self.yaws = {item.name: 0.0 for item in items}
        self.speeds = {item.name: 0.0 for item in items}
        self.pressed = False
        self.tool, self.opening = np.array((0.45, 0.0, 0.40)), 1.0

    items = property(lambda self: self.arranged)
    tool_position = property(lambda self: self.tool)
    gripper_opening = property(lambda self: self.opening)

    def position(self, item):
        return self.places[item.name]

    def yaw_rad(self, item):
        return self.yaws[item.name]

    def rotation(self, item):
        cos, sin = math.cos(self.yaws[item.name]), math.sin(self.yaws[item.name])
        return np.array(((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0)))

    def speed_m_s(self, item):
        return self.speeds[item.name]

    def button_pressed(self, item):
        return self.pressed


@pytest.fixture
def world():
    arranged = ArrangedWorld(BLOCK, BASE, BALL, BOWL, BUTTON)
    arranged.places["container0"] = np.array((*BOWL.place, 0.008))
    arranged.places["button0"] = np.array((*BUTTON.place, 0.034))
    return arranged


def _start(world):
    return Poses(
        position={name: place.copy() for name, place in world.places.items()},
        yaw_rad=dict(world.yaws),
    )


def _move(world, item, *offset):
    world.places[item.name] = world.places[item.name] + np.array(offset)


def _hold(world, item, opening=0.6):
    world.tool, world.opening = world.places[item.name].copy(), opening


def _on(world, item, target, height_m):
    x, y, z = world.places[target.name]
    world.places[item.name] = np.array((x, y, z + height_m + item.half_m))


def test_lifting_holds_high_up_in_the_hand_and_at_rest(world):
    goal, start = Goal("lift", BLOCK), _start(world)
    _move(world, BLOCK, 0, 0, 0.08)
    assert not holds(goal, world, start), "it flies"
    _hold(world, BLOCK)
    assert holds(goal, world, start)
    world.speeds["object0"] = 0.1
    assert not holds(goal, world, start), "still on its way"
    world.speeds["object0"] = 0.0
    _move(world, BLOCK, 0, 0, -0.02)
    _hold(world, BLOCK)
    assert not holds(goal, world, start), "too low"


def test_putting_holds_once_the_thing_lies_in_the_bowl_alone(world):
    goal, start = Goal("put", BLOCK, BOWL), _start(world)
    _on(world, BLOCK, BOWL, 0.0)
    assert holds(goal, world, start)
    _hold(world, BLOCK, opening=1.0)
    assert not holds(goal, world, start), "the fingers are about it"
    world.tool, world.opening = np.array((0.45, 0.0, 0.40)), 0.0
    assert not holds(goal, world, start), "the gripper is closed"
    world.opening = 1.0
    _move(world, BLOCK, 0, 0, 0.05)
    assert not holds(goal, world, start), "above the bowl"
    _move(world, BLOCK, 0.07, 0, -0.05)
    assert not holds(goal, world, start), "beside the bowl"


def test_stacking_holds_on_top_of_the_base_and_not_the_other_way_round(world):
    goal, start = Goal("stack", BLOCK, BASE), _start(world)
    _on(world, BLOCK, BASE, 0.025)
    assert holds(goal, world, start)
    assert not holds(Goal("stack", BASE, BLOCK), world, start)
    _move(world, BLOCK, 0, 0, 0.02)
    assert not holds(goal, world, start), "hangs above"
    _move(world, BLOCK, 0.03, 0, -0.02)
    assert not holds(goal, world, start), "beyond the edge"


@pytest.mark.parametrize(
    ("direction", "offset"),
    [("left", (0, -1)), ("right", (0, 1)), ("away", (1, 0)), ("toward", (-1, 0))],
)
def test_pushing_holds_in_its_own_direction_alone(world, direction, offset):
    start = _start(world)
    _move(world, BLOCK, *(0.06 * np.array(offset)), 0)
    held = {
        way: holds(Goal("push", BLOCK, direction=way), world, start)
        for way in ("left", "right", "away", "toward")
    }
    assert held == {way: way == direction for way in held}


def test_pushing_does_not_hold_askew_or_in_the_air_or_too_short(world):
    goal, start = Goal("push", BLOCK, direction="right"), _start(world)
    _move(world, BLOCK, 0, 0.06, 0)
    assert holds(goal, world, start)
    _move(world, BLOCK, 0.045, 0, 0)
    assert not holds(goal, world, start), "askew"
    _move(world, BLOCK, -0.045, 0, 0.03)
    assert not holds(goal, world, start), "in the air"
    _move(world, BLOCK, 0, -0.02, -0.03)
    assert not holds(goal, world, start), "too short"


def test_touching_needs_the_closed_fingers_at_the_surface_of_a_thing_left_in_place(world):
    start = _start(world)
    for item in (BLOCK, BASE, BALL):
        goal = Goal("touch", item)
        world.tool = world.places[item.name] + (0, 0, item.half_m + 0.02)
        world.opening = 0.0
        assert holds(goal, world, start)
        world.opening = 1.0
        assert not holds(goal, world, start), "open"
        world.opening = 0.0
        world.tool = world.tool + np.array((0, 0, 0.01))
        assert not holds(goal, world, start), "too far above"
    world.tool = world.places["object0"] + (0, 0, 0.03)
    _move(world, BLOCK, 0.021, 0, 0)
    assert not holds(Goal("touch", BLOCK), world, start), "shoved away"


def test_the_corner_of_a_block_is_farther_out_than_the_side_of_a_ball(world):
    start, world.opening = _start(world), 0.0
    aside = 0.045 / math.sqrt(2) * np.array((1, 1, 0))
    for item, touched in ((BLOCK, True), (BASE, True), (BALL, True)):
        world.tool = world.places[item.name] + aside
        assert holds(Goal("touch", item), world, start) == touched
    aside = 0.058 / math.sqrt(2) * np.array((1, 1, 0))
    for item, touched in ((BLOCK, True), (BASE, False), (BALL, False)):
        world.tool = world.places[item.name] + aside
        assert holds(Goal("touch", item), world, start) == touched


@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_beside_holds_on_its_own_side_within_reach_and_released(world, side, sign):
    goal, start = Goal("beside", BLOCK, BASE, side), _start(world)
    other = Goal("beside", BLOCK, BASE, "right" if side == "left" else "left")
    _move(world, BLOCK, *(world.places["object1"] - world.places["object0"]))
    _move(world, BLOCK, 0.01, sign * 0.09, 0)
    assert holds(goal, world, start)
    assert not holds(other, world, start)
    _hold(world, BLOCK, opening=1.0)
    assert not holds(goal, world, start), "not released"
    world.tool = np.array((0.45, 0.0, 0.40))
    _move(world, BLOCK, 0.05, 0, 0)
    assert not holds(goal, world, start), "behind rather than beside"
    _move(world, BLOCK, -0.05, sign * 0.05, 0)
    assert not holds(goal, world, start), "too far"


def test_moving_the_neighbour_puts_nothing_beside_it(world):
    start = _start(world)
    _move(world, BASE, *(world.places["object0"] - world.places["object1"]))
    _move(world, BASE, 0, 0.09, 0)
    assert holds(Goal("beside", BASE, BLOCK, "right"), world, start)
    assert not holds(Goal("beside", BLOCK, BASE, "left"), world, start)


def test_pressing_holds_while_the_tool_is_what_presses(world):
    goal, start = Goal("press", BUTTON), _start(world)
    world.pressed = True
    assert not holds(goal, world, start)
    world.tool = world.places["button0"].copy()
    assert holds(goal, world, start)
    world.pressed = False
    assert not holds(goal, world, start)


@pytest.mark.parametrize(("direction", "sign"), [("clockwise", -1), ("counterclockwise", 1)])
def test_turning_holds_in_its_own_sense_also_across_half_a_turn(world, direction, sign):
    goal = Goal("rotate", BLOCK, direction=direction)
    world.yaws["object0"] = sign * math.radians(170)
    start = _start(world)
    world.yaws["object0"] = sign * math.radians(170 + 26 - 360)
    assert holds(goal, world, start)
    world.yaws["object0"] = sign * math.radians(170 + 24 - 360)
    assert not holds(goal, world, start), "too little"
    world.yaws["object0"] = sign * math.radians(130)
    assert not holds(goal, world, start), "the other way"
    world.yaws["object0"] = sign * math.radians(170 + 40 - 360)
    _move(world, BLOCK, 0.05, 0, 0)
    assert not holds(goal, world, start), "carried away"


def test_a_roomy_scene_offers_every_skill(world):
    offered = possible_goals(world)
    assert {goal.skill for goal in offered} == set(SKILLS)
    assert len(offered) == len(set(offered))


def test_goals_suit_the_shapes(world):
    offered = possible_goals(world)
    assert {goal.item for goal in offered if goal.skill == "press"} == {BUTTON}
    assert {goal.item for goal in offered if goal.skill == "rotate"} == {BLOCK}
    assert {goal.destination for goal in offered if goal.skill == "put"} == {BOWL}
    rolling = [goal for goal in offered if goal.item == BALL]
    assert {goal.skill for goal in rolling} == {"lift", "put", "touch", "beside"}
    assert BALL not in {goal.target for goal in offered if goal.skill == "stack"}


def _push_ways(*items):
    offered = possible_goals(ArrangedWorld(*items))
    return {goal.direction for goal in offered if goal.skill == "push" and goal.item == items[0]}


def test_a_push_needs_a_free_lane_and_room_for_the_fingers():
    block = replace(BLOCK, place=(0.5, 0.0))
    assert _push_ways(block) == {"left", "right", "away", "toward"}
    ahead = replace(BASE, place=(0.5, 0.15))
    assert _push_ways(block, ahead) == {"left", "away", "toward"}
    close_behind = replace(BASE, place=(0.5, 0.10))
    assert _push_ways(block, close_behind) == {"away", "toward"}
    beyond = replace(BASE, place=(0.5, 0.22))
    assert _push_ways(block, beyond) == {"left", "right", "away", "toward"}


def test_a_push_stays_on_the_workspace():
    assert _push_ways(replace(BLOCK, place=(0.5, 0.27))) == {"left", "away", "toward"}
    assert "toward" not in _push_ways(replace(BLOCK, place=(0.36, 0.0)))


def test_beside_needs_a_free_place():
    target = replace(BASE, place=(0.5, 0.0))
    block = replace(BLOCK, place=(0.65, 0.0))

    def sides(*items):
        offered = possible_goals(ArrangedWorld(*items))
        return {
            goal.direction
            for goal in offered
            if (goal.skill, goal.item, goal.target) == ("beside", block, target)
        }

    assert sides(block, target) == {"left", "right"}
    assert sides(block, target, replace(BALL, place=(0.5, 0.12))) == {"left"}


def test_what_holds_already_is_no_goal():
    target = replace(BASE, place=(0.5, 0.0))
    world = ArrangedWorld(replace(BLOCK, place=(0.5, 0.09)), target)
    names = {goal_name(goal) for goal in possible_goals(world)}
    assert "place red block right of blue cylinder" not in names
    assert "place red block left of blue cylinder" in names


def test_nothing_is_stacked_on_what_carries_something():
    world = ArrangedWorld(BLOCK, BASE, replace(BALL, kind="block"))
    _on(world, BLOCK, BASE, 0.025)
    targets = {goal.target for goal in possible_goals(world) if goal.skill == "stack"}
    assert BASE not in targets


def test_no_goal_of_a_random_scene_holds_at_its_start():
    world = World(cameras=())
    skills = set()
    for seed in range(20):
        world.reset(draw_layout(np.random.default_rng(seed)))
        start, offered = current_poses(world), possible_goals(world)
        assert not any(holds(goal, world, start) for goal in offered)
        skills |= {goal.skill for goal in offered}
    assert skills == set(SKILLS)


def test_an_empty_scene_has_no_goals():
    world = World(cameras=())
    world.reset(Layout(items=()))
    assert possible_goals(world) == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lifted", BLOCK), r"skill 'lifted' is not known. Did you mean 'lift'\?"),
        (("push", BLOCK, None, "up"), r"direction 'up', expected one of \['left', 'right'"),
        (("lift", BLOCK, None, "left"), r"direction 'left', expected one of \[''\]"),
        (("put", BLOCK), "skill 'put': got target None, expected one"),
        (("lift", BLOCK, BASE), "expected none"),
    ],
)
def test_goals_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Goal(*arguments)


def test_a_goal_without_a_target_has_no_destination():
    with pytest.raises(InputError, match="'lift' has no target"):
        _ = Goal("lift", BLOCK).destination
