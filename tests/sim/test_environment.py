from collections import Counter

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim import environment
from jointspace.sim.environment import SUCCESS_STEPS, TabletopEnv
from jointspace.sim.goals import SKILLS, Goal, possible_goals
from jointspace.sim.language import goal_name, sentences
from jointspace.sim.layout import Item, Layout

STAY = np.array((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def env():
    return TabletopEnv(cameras=(), max_steps=6)


@pytest.fixture
def always(monkeypatch):
    """Every goal holds from the given step of an episode on."""

    def hold_at(*steps):
        numbers = iter(range(1, 100))
        monkeypatch.setattr(environment, "holds", lambda *_: next(numbers) in steps)

    return hold_at


def test_an_observation_has_the_state_and_the_asked_pictures():
    env = TabletopEnv(cameras=("front", "wrist"), image_px=32)
    observation, info = env.reset(seed=0)
    assert observation["state"].shape == (env.state_dim,) == (14,)
    assert observation["state"].dtype == np.float32
    assert set(observation["pictures"]) == {"front", "wrist"}
    for picture in observation["pictures"].values():
        assert picture.shape == (32, 32, 3)
        assert picture.dtype == np.uint8
    assert info == {
        "instruction": env.instruction,
        "goal": goal_name(env.goal),
        "success": False,
        "time_s": 0.0,
    }
    assert (env.action_dim, env.fps) == (7, 10)
    later, _, _, _, info = env.step(np.array((0.05, 0, 0, 0, 0, 0, 1)))
    assert info["time_s"] == pytest.approx(0.1)
    assert (later["pictures"]["front"] != observation["pictures"]["front"]).any()


def test_without_cameras_nothing_is_rendered(env):
    assert env.reset(seed=0)[0]["pictures"] == {}


def test_a_seed_decides_everything_whatever_ran_before(env):
    def episode(seed):
        observation, info = env.reset(seed=seed)
        after = env.step(np.array((0.02, -0.01, -0.03, 0, 0, 0.1, 0.0)))[0]
        return env.goal, info, observation["state"].tobytes(), after["state"].tobytes()

    first = episode(11)
    other = episode(12)
    assert episode(11) == first
    assert other != first


def test_skills_are_drawn_evenly(env):
    counts = Counter(env.reset(seed=seed)[1]["goal"].split()[0] for seed in range(80))
    assert len(counts) == len(SKILLS)
    # Goals are counted in hundreds for some skills and one by one for pressing.
    assert min(counts.values()) >= 3
    assert max(counts.values()) <= 22


def test_every_goal_of_a_skill_is_drawn(env):
    env.reset(seed=1)
    layout = env.world.layout
    known = {goal for goal in possible_goals(env.world) if goal.skill == "put"}
    drawn = set()
    for seed in range(15 * len(known)):
        env.reset(seed=seed, layout=layout, skill="put")
        drawn.add(env.goal)
    assert len(known) > 1
    assert drawn == known


@pytest.mark.parametrize("skill", SKILLS)
def test_a_skill_can_be_asked_for(env, skill):
    _, info = env.reset(seed=3, skill=skill)
    assert env.goal.skill == skill
    assert info["instruction"] in sentences(env.goal)


def test_only_allowed_goals_are_drawn(env):
    for seed in range(5):
        env.reset(seed=seed, allows=lambda goal: goal.item.colour == "cyan")
        assert env.goal.item.colour == "cyan"


def test_a_wish_that_no_scene_fulfils_is_refused(env, monkeypatch):
    monkeypatch.setattr(environment, "_MOST_LAYOUTS", 3)
    with pytest.raises(InputError, match="no goal of skill 'lift' that `allows` lets pass in any"):
        env.reset(seed=0, skill="lift", allows=lambda goal: False)
    with pytest.raises(InputError, match="call reset first"):
        env.step(STAY)


def test_a_held_out_wording_is_said_when_asked_for(env):
    env.reset(seed=5)
    goal, said = env.goal, env.instruction
    env.reset(seed=5, held_out_wording=True)
    assert env.goal == goal
    assert said in sentences(goal)
    assert env.instruction in sentences(goal, held_out=True)


def test_layout_and_goal_can_be_given(env):
    env.reset(seed=1)
    layout, goal = env.world.layout, possible_goals(env.world)[2]
    env.reset(seed=9, layout=layout, goal=goal)
    assert env.goal == goal
    assert env.world.layout == layout
    env.reset(seed=9, layout=layout, skill="press")
    assert env.world.layout == layout


def test_a_goal_that_holds_already_is_refused(env):
    block = Item("object0", "block", "red", 0.025, (0.5, 0.09))
    base = Item("object1", "block", "blue", 0.025, (0.5, 0.0))
    with pytest.raises(InputError, match="'place red block right of blue block' is not possible"):
        env.reset(
            seed=0, layout=Layout(items=(block, base)), goal=Goal("beside", block, base, "right")
        )


def test_a_layout_without_the_skill_is_refused(env):
    block = Item("object0", "block", "red", 0.025, (0.5, 0.0))
    with pytest.raises(InputError, match="no goal of skill 'press' in this scene"):
        env.reset(seed=0, layout=Layout(items=(block,)), skill="press")


def test_success_takes_several_steps_in_a_row(env, always):
    always(1, 2, 4, 5, 6)
    env.reset(seed=0)
    steps = [env.step(STAY)[1:4] for _ in range(6)]
    assert steps == [(0.0, False, False)] * 5 + [(1.0, True, False)]
    assert env.success
    assert SUCCESS_STEPS == 3


def test_steps_run_out(env, always):
    always(5, 6)
    env.reset(seed=0)
    outcomes = [env.step(STAY)[1:4] for _ in range(env.max_steps)]
    assert outcomes[-1] == (0.0, False, True)
    assert not any(truncated for _, _, truncated in outcomes[:-1])
    with pytest.raises(InputError, match="the episode has ended; call reset first"):
        env.step(STAY)


def test_a_new_episode_starts_without_success(env, always):
    always(1, 2, 3)
    env.reset(seed=0)
    for _ in range(3):
        env.step(STAY)
    assert env.success
    assert not env.reset(seed=0)[1]["success"]


def test_an_environment_without_a_reset_has_neither_goal_nor_steps():
    env = TabletopEnv(cameras=())
    assert not env.success
    with pytest.raises(InputError, match="there was no reset yet; call reset first"):
        env.step(STAY)
    with pytest.raises(InputError, match="no goal yet: call reset first"):
        _ = env.goal


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(6)])
def test_an_action_of_other_than_seven_numbers_is_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(InputError, match="expected 7 finite numbers"):
        env.step(action)


def test_impossible_arguments_are_refused(env):
    with pytest.raises(InputError, match="seed: got -1, expected 0 or more"):
        env.reset(seed=-1)
    with pytest.raises(InputError, match=r"skill 'pull' is not known"):
        env.reset(seed=0, skill="pull")
    with pytest.raises(InputError, match="max_steps: got 0, expected 1 or more"):
        TabletopEnv(cameras=(), max_steps=0)
