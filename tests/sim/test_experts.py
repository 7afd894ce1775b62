import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.experts import SPEED_M_S, ActionNoise, Expert
from jointspace.sim.goals import SKILLS


@pytest.fixture(scope="module")
def env():
    return TabletopEnv(cameras=())


def _perform(env, *, seed, skill, noise_std_m=0.0, motion_seed=None):
    """Returns whether the expert succeeds, and its actions."""
    env.reset(seed=seed, skill=skill)
    rng = np.random.default_rng(seed if motion_seed is None else motion_seed)
    expert = Expert(env.world, env.goal, rng=rng, noise_std_m=noise_std_m)
    actions, ended = [], False
    while not ended and (action := expert.act()) is not None:
        _, _, terminated, truncated, _ = env.step(action)
        actions.append(action)
        ended = terminated or truncated
    return env.success, np.stack(actions)


@pytest.mark.parametrize("skill", SKILLS)
def test_the_expert_reaches_goals_of_every_skill_without_dawdling(env, skill):
    for seed in (3, 4):
        success, actions = _perform(env, seed=seed, skill=skill)
        assert success
        assert 10 <= len(actions) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("skill", SKILLS)
def test_the_expert_hardly_ever_fails(env, skill):
    failed = [seed for seed in range(100, 107) if not _perform(env, seed=seed, skill=skill)[0]]
    assert failed == []


def test_actions_keep_to_the_speed_and_to_the_gripper_range(env):
    _, actions = _perform(env, seed=5, skill="put")
    assert np.linalg.norm(actions[:, :3], axis=1).max() <= SPEED_M_S[1] / 10 + 1e-9
    assert ((actions[:, 6] >= 0) & (actions[:, 6] <= 1)).all()
    assert not actions[:, 3:5].any()


def test_the_same_seed_gives_the_same_demonstration_and_another_seed_another(env):
    _, first = _perform(env, seed=6, skill="lift", motion_seed=1)
    _, again = _perform(env, seed=6, skill="lift", motion_seed=1)
    _, other = _perform(env, seed=6, skill="lift", motion_seed=2)
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.allclose(first, other)


def test_the_expert_goes_after_what_was_moved_before_it_sets_out(env):
    env.reset(seed=7, skill="touch")
    expert = Expert(env.world, env.goal, rng=np.random.default_rng(0))
    for _ in range(4):
        env.step(np.array((0.03, 0.02, 0.0, 0.0, 0.0, 0.0, 1.0)))
    while (action := expert.act()) is not None:
        if env.step(action)[2]:
            break
    assert env.success


def test_a_shaking_hand_fails_sometimes(env):
    outcomes = [_perform(env, seed=s, skill="stack", noise_std_m=0.015)[0] for s in range(6)]
    assert not all(outcomes)


def test_noise_moves_the_tool_by_its_deviation_and_nothing_else():
    noise = ActionNoise(0.01, rng=np.random.default_rng(0))
    action = np.array((0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 1.0))
    shaken = np.stack([noise(action) for _ in range(2000)])
    np.testing.assert_allclose(shaken[:, :3].std(axis=0), 0.01, rtol=0.1)
    np.testing.assert_allclose(shaken[:, :3].mean(axis=0), 0.0, atol=0.001)
    np.testing.assert_array_equal(shaken[:, 3:], np.tile(action[3:], (2000, 1)))
    np.testing.assert_array_equal(action[:3], 0.0)


@pytest.mark.parametrize("std_m", [-0.01, float("nan")])
def test_impossible_noise_is_refused(std_m):
    with pytest.raises(InputError, match=r"std_m: got .*, expected 0 or more metres"):
        ActionNoise(std_m, rng=np.random.default_rng(0))
