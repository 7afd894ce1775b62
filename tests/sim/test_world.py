import math

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.arm import HOME
from jointspace.sim.kinematics import Kinematics
from jointspace.sim.layout import Item, Layout, draw_layout
from jointspace.sim.rays import projected
from jointspace.sim.world import MAX_TILT_RAD, MAX_YAW_RAD, WORKSPACE_M, World

STILL = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def world():
    return World(cameras=("front", "wrist"))


def one(kind, *, name=None, place=(0.5, 0.1), half_m=0.025, yaw_rad=0.0):
    slots = {"bowl": "container0", "plate": "container0", "tray": "container0", "button": "button0"}
    return Item(name=name or slots.get(kind, "object0"), kind=kind, colour="red",
                half_m=half_m, place=place, yaw_rad=yaw_rad)  # fmt: skip


def wander(world, *, seed, steps=12):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        world.step([*rng.normal(0, 0.03, 3), *rng.normal(0, 0.1, 3), rng.uniform()])


def move_to(world, place, *, gripper, steps=40):
    for _ in range(steps):
        way = np.clip(np.array(place) - world.target_position, -0.02, 0.02)
        world.step([*way, 0.0, 0.0, 0.0, gripper])


def measured(world):
    poses = [world.position(item) for item in world.items]
    return np.concatenate([world.state, *poses]).tobytes()


def test_equal_layouts_and_actions_give_identical_bits_whatever_happened_before(world):
    layout = draw_layout(np.random.default_rng(4))
    fresh = World(cameras=("front", "wrist"))
    results = []
    for used, history in ((fresh, ()), (world, (7, 8, 9))):
        for seed in history:
            used.reset(draw_layout(np.random.default_rng(seed)))
            wander(used, seed=seed)
        used.reset(layout)
        wander(used, seed=0)
        pictures = [picture.tobytes() for picture in used.pictures().values()]
        results.append((measured(used), pictures))
    assert results[0] == results[1]


def test_a_reset_starts_at_home_with_the_tool_straight_down_and_the_gripper_open(world):
    world.reset(draw_layout(np.random.default_rng(0)))
    assert world.time_s == 0.0
    np.testing.assert_allclose(world.state[:7], HOME, atol=0.25)
    assert world.gripper_opening == 1.0
    np.testing.assert_allclose(world.state[11:13], 0.0, atol=1e-3)
    np.testing.assert_allclose(world.tool_position, world.target_position, atol=1e-3)


def test_items_stand_where_the_layout_says_and_rest_there(world):
    for seed in range(5):
        layout = draw_layout(np.random.default_rng(seed))
        world.reset(layout)
        starts = [world.position(item) for item in layout.items]
        for item, start in zip(layout.items, starts, strict=True):
            np.testing.assert_allclose(start[:2], item.place, atol=1e-6)
            assert world.yaw_rad(item) == pytest.approx(item.yaw_rad, abs=1e-6)
        for _ in range(10):
            world.step(STILL)
        for item, start in zip(layout.items, starts, strict=True):
            np.testing.assert_allclose(world.position(item), start, atol=1.5e-3)
            assert world.speed_m_s(item) < 5e-3


def test_every_item_is_in_both_pictures_at_the_start_and_hardly_hidden(world):
    for seed in range(200):
        layout = draw_layout(np.random.default_rng(1000 + seed))
        world.reset(layout)
        places = np.stack([world.position(item) for item in layout.items])[:, None]
        for camera in ("front", "wrist"):
            row, column, depth = projected(
                world._model,
                world._data,
                camera=world._model.camera(camera).id,
                places=places,
                image_px=1,
            )
            assert (depth > 0).all()
            assert (np.minimum(row, column) > 0.04).all()
            assert (np.maximum(row, column) < 0.96).all()
            if seed % 4 == 0:
                assert min(world.visible(item, camera) for item in layout.items) > 0.5


def test_the_state_is_what_forward_kinematics_say(world):
    world.reset(draw_layout(np.random.default_rng(2)))
    wander(world, seed=1)
    state = world.state
    assert state.shape == (14,)
    assert state.dtype == np.float32
    pose = Kinematics().tool_pose(state[:7].astype(np.float64))
    np.testing.assert_allclose(state[8:11], pose.position, atol=1e-5)
    np.testing.assert_allclose(state[8:11], world.tool_position, atol=1e-6)
    assert state[7] == pytest.approx(world.gripper_opening)


def test_the_tool_follows_its_commands(world):
    world.reset(Layout(items=()))
    start = world.tool_position
    for _ in range(10):
        world.step((0.01, 0.01, -0.005, 0.0, 0.0, 0.05, 1.0))
    for _ in range(5):
        world.step(STILL)
    np.testing.assert_allclose(world.tool_position - start, (0.1, 0.1, -0.05), atol=2e-3)
    assert world.state[13] == pytest.approx(0.5, abs=0.01)
    assert world.target_yaw_rad == pytest.approx(0.5, abs=0.01)
    assert world.time_s == pytest.approx(1.5)


def test_one_step_moves_and_turns_only_so_far(world):
    world.reset(Layout(items=()))
    before = world.target_position.copy()
    world.step((1.0, 0.0, 0.0, 0.0, 0.0, -3.0, 1.0))
    assert np.linalg.norm(world.target_position - before) == pytest.approx(0.06)
    assert world.target_yaw_rad == pytest.approx(-0.5, abs=1e-6)


def test_the_command_stays_in_the_workspace_and_within_tilt_and_yaw(world):
    rng = np.random.default_rng(0)
    for direction in rng.choice((-1.0, 1.0), (6, 6)):
        world.reset(Layout(items=()))
        for _ in range(15):
            world.step([*direction, 1.0])
        assert world.target_position[2] >= 0.01
        for value, (low, high) in zip(world.target_position, WORKSPACE_M, strict=True):
            assert low - 0.1 <= value <= high
        down = world._target_pose().rotation[2, 2]
        assert math.acos(-down) <= MAX_TILT_RAD + 1e-6
        assert abs(world.target_yaw_rad) <= MAX_YAW_RAD + 1e-6
        assert np.isfinite(world.state).all()


@pytest.mark.parametrize(
    "action", [[0.0] * 6, [0.0] * 8, [math.nan, *[0.0] * 6], [[0.0] * 7], [math.inf] * 7]
)
def test_actions_that_are_not_seven_finite_numbers_are_refused(world, action):
    world.reset(Layout(items=()))
    before = measured(world)
    with pytest.raises(InputError, match="expected 7 finite numbers: delta_x_m"):
        world.step(action)
    assert measured(world) == before


@pytest.mark.parametrize("kind", ["block", "cylinder", "ball"])
def test_the_gripper_lifts_an_object(world, kind):
    item = one(kind)
    world.reset(Layout(items=(item,)))
    move_to(world, (*item.place, 0.15), gripper=1.0)
    move_to(world, (*item.place, 0.022), gripper=1.0, steps=12)
    move_to(world, (*item.place, 0.022), gripper=0.0, steps=5)
    assert 0.5 < world.gripper_opening < 0.75
    move_to(world, (*item.place, 0.18), gripper=0.0, steps=15)
    assert world.position(item)[2] > 0.15


def test_a_button_is_down_only_while_it_is_pressed(world):
    item = one("button", half_m=0.038)
    world.reset(Layout(items=(item,)))
    move_to(world, (*item.place, 0.08), gripper=0.0)
    assert not world.button_pressed(item)
    top_m = world.position(item)[2]
    move_to(world, (*item.place, 0.022), gripper=0.0, steps=8)
    assert world.button_pressed(item)
    assert world.position(item)[2] < top_m - 0.006
    move_to(world, (*item.place, 0.08), gripper=0.0, steps=8)
    assert not world.button_pressed(item)
    assert world.position(item)[2] == pytest.approx(top_m, abs=1e-3)


def test_a_block_on_a_button_does_not_press_it(world):
    button, block = one("button", half_m=0.038), one("block")
    block = Item("object0", "block", "blue", 0.028, (0.5, 0.1))
    world.reset(Layout(items=(button, block)))
    world._data.joint("object0").qpos[2] = 0.07
    for _ in range(10):
        world.step(STILL)
    assert world.position(block)[2] > 0.05
    assert not world.button_pressed(button)


@pytest.mark.parametrize("kind", ["bowl", "plate", "tray"])
def test_a_container_holds_what_falls_into_it(world, kind):
    container = one(kind, half_m=0.065)
    ball = Item("object0", "block", "blue", 0.022, (0.51, 0.1))
    world.reset(Layout(items=(container, ball)))
    world._data.joint("object0").qpos[2] = 0.06
    for _ in range(15):
        world.step(STILL)
    height_m = world.position(ball)[2] - world.position(container)[2]
    assert height_m == pytest.approx(0.022, abs=3e-3)
    assert world.speed_m_s(container) == 0.0


def test_empty_slots_stay_out_of_the_way(world):
    world.reset(Layout(items=(one("block"),)))
    wander(world, seed=3)
    hidden = world._data.body("object1").xpos
    assert hidden[2] == pytest.approx(-20.0, abs=1e-6)
    with pytest.raises(InputError, match="item 'object1' is not in the scene"):
        world.item("object1")


def test_only_buttons_can_be_pressed(world):
    item = one("block")
    world.reset(Layout(items=(item,)))
    with pytest.raises(InputError, match="item 'object0' is a block, expected a button"):
        world.button_pressed(item)


def test_pictures_have_the_size_and_the_cameras_asked_for():
    world = World(cameras=("wrist",), image_px=32)
    pictures = world.pictures()
    assert set(pictures) == {"wrist"}
    assert pictures["wrist"].shape == (32, 32, 3)
    assert pictures["wrist"].dtype == np.uint8


def test_an_unknown_camera_is_refused():
    with pytest.raises(InputError, match=r"camera 'frnt' is not known\. Did you mean 'front'"):
        World(cameras=("frnt",))


def test_right_in_the_front_picture_is_positive_y(world):
    for camera in ("front", "wrist"):
        index = world._model.camera(camera).id
        world.reset(Layout(items=()))
        places = np.array([[(0.5, -0.1, 0.0)], [(0.5, 0.1, 0.0)], [(0.6, 0.0, 0.0)]])
        row, column, _ = projected(
            world._model, world._data, camera=index, places=places, image_px=1
        )
        assert column[0, 0] < 0.5 < column[1, 0]
        assert row[2, 0] > row[0, 0]
