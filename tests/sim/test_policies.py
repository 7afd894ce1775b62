import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.goals import SKILLS, possible_goals
from jointspace.sim.policies import (
    ExpertPolicy,
    NoOpPolicy,
    OtherGoalExpert,
    Policy,
    Privileged,
    RandomPolicy,
    load_policy,
    reference_policies,
)

OBSERVATION = {"state": np.zeros(14, dtype=np.float32), "pictures": {}}

POLICY_FILE = """
import numpy as np
from dataclasses import dataclass

@dataclass
class Still:
    opening: float = 0.5

    def reset(self, observation, instruction):
        pass

    def act(self, observation, instruction):
        return np.array((0, 0, 0, 0, 0, 0, self.opening))

def broken():
    raise FileNotFoundError("weights.safetensors")

def a_number():
    return 3
"""


@pytest.fixture(scope="module")
def env():
    return TabletopEnv(cameras=())


@pytest.fixture
def policy_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(POLICY_FILE, encoding="utf-8")
    return path


def _run(env, policy, **wish):
    observation, info = env.reset(**wish)
    if isinstance(policy, Privileged):
        policy.watch(env)
    policy.reset(observation, info["instruction"])
    ended = False
    while not ended:
        action = policy.act(observation, info["instruction"])
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    return env.success


def test_the_references_are_policies_and_only_the_experts_look_behind_the_scene():
    references = reference_policies()
    assert all(isinstance(policy, Policy) for policy in references.values())
    privileged = {name for name, each in references.items() if isinstance(each, Privileged)}
    assert privileged == {"expert", "other-goal"}


def test_the_expert_succeeds_where_no_op_does_not(env):
    assert _run(env, ExpertPolicy(), seed=2, skill="put")
    assert not _run(env, NoOpPolicy(), seed=2, skill="put")


@pytest.mark.parametrize("skill", SKILLS)
def test_the_other_goal_is_of_the_same_skill_where_there_is_one(env, skill):
    policy = OtherGoalExpert()
    for seed in range(3):
        env.reset(seed=seed, skill=skill)
        chosen = policy._choose(env)
        assert chosen != env.goal
        skills = [goal.skill for goal in possible_goals(env.world)]
        assert (chosen.skill == skill) == (skills.count(skill) > 1)


def test_the_expert_stays_with_its_gripper_as_it_was_once_done(env):
    env.reset(seed=0, skill="lift")
    policy = ExpertPolicy()
    policy.watch(env)
    policy.reset(OBSERVATION, "")
    last = [policy.act(OBSERVATION, "") for _ in range(200)][-1]
    np.testing.assert_array_equal(last, (0, 0, 0, 0, 0, 0, 0))


def test_an_expert_without_a_scene_is_refused():
    with pytest.raises(InputError, match=r"OtherGoalExpert sees no scene: call watch\(env\) first"):
        OtherGoalExpert().reset(OBSERVATION, "")


def test_random_motion_is_smooth_and_follows_its_seed():
    def wander(seed):
        policy = RandomPolicy(seed)
        policy.reset(OBSERVATION, "")
        return np.stack([policy.act(OBSERVATION, "") for _ in range(24)])

    np.testing.assert_array_equal(wander(1), wander(1))
    assert not np.allclose(wander(1), wander(2))
    headings = wander(1)[:, :3].reshape(3, 8, 3)
    np.testing.assert_array_equal(headings, headings[:, :1].repeat(8, axis=1))
    assert not np.allclose(headings[0], headings[1])


def test_a_policy_of_ones_own_is_loaded_from_a_file(policy_file):
    policy = load_policy(f"{policy_file}:Still")
    assert policy.act(OBSERVATION, "")[6] == 0.5


def test_a_policy_is_loaded_from_a_module():
    assert isinstance(load_policy("jointspace.sim.policies:NoOpPolicy"), NoOpPolicy)


@pytest.mark.parametrize("name", ["expert", "no-op", "random", "other-goal"])
def test_references_are_loaded_by_name(name):
    assert type(load_policy(name)) is type(reference_policies()[name])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("exprt", r"'exprt': expected one of no-op, .*Did you mean 'expert'\?"),
        ("missing_module:make", "importing missing_module raised ModuleNotFoundError"),
        ("no/such/file.py:make", "there is no file .*file.py; expected path/to/file.py:factory"),
        ("{file}:still", r"nothing to call named 'still'. Did you mean 'Still'\?"),
        ("{file}:broken", r"broken\(\) raised FileNotFoundError: weights.safetensors"),
        ("{file}:a_number", r"the factory returned int, expected an object with reset\("),
    ],
)
def test_what_is_no_policy_is_refused(policy_file, spec, message):
    with pytest.raises(InputError, match=message):
        load_policy(spec.format(file=policy_file))


def test_a_file_that_does_not_run_is_refused(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(InputError, match="raised ZeroDivisionError: division by zero"):
        load_policy(f"{path}:make")
