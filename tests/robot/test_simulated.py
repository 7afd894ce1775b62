"""A robot in a simulator's steps: the policy's own actions, but for what the gate does to them."""

import numpy as np
import pytest

from jointspace.errors import ConfigError, InputError
from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.policy.folder import save_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from jointspace.robot.simulated import SimulatedRobot
from jointspace.sim.policies import Policy
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ
from tests.robot.policy.tiny import ARM, state_at, tiny_demonstrations, tiny_pictures
from tests.robot.stand_ins import DIM, FakeEmbedder, FakeStream

KNOWN = tiny_demonstrations(np.random.default_rng(0), text_dim=DIM)
COMMAND = "lift the red block"
GRIPPER = 6
HELD = {"channel_kinds": ["velocity"] * 6 + ["position"], "state_indices": [-1] * 6 + [7]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("policies") / "policy"
    save_demonstrations(KNOWN, path)
    return path


def make_robot(folder, *, latency_s=0.0, picture_delay_s=0.0, fps=CONTROL_HZ, **settings):
    embedder = FakeEmbedder(model_id="id")
    runtime = RobotRuntime(
        robot_config({**ARM, "match_required": False, "policy": str(folder), **settings}),
        embedder,
        cameras=("observation.images.front", "observation.images.wrist"),
        make_stream=lambda: FakeStream(embedder),
    )
    return SimulatedRobot(
        runtime,
        fps=fps,
        action_names=ACTION_NAMES,
        latency_s=latency_s,
        picture_delay_s=picture_delay_s,
    )


def observation(step):
    """State and pictures of the step."""
    return {"state": state_at(step).astype(np.float32), "pictures": tiny_pictures(step)}


def episode(policy, *, steps=12, command=COMMAND):
    policy.reset(observation(0), command)
    return np.stack([policy.act(observation(step), command) for step in range(steps)])


def test_without_delays_and_limits_the_robot_does_what_the_policy_says(folder):
    robot = make_robot(folder)
    assert isinstance(robot, Policy)
    wanted = episode(RetrievalPolicy(KNOWN, embed_texts=FakeEmbedder().embed_texts))
    np.testing.assert_allclose(episode(robot), wanted, atol=1e-9)
    assert dict(robot.states) == {"acting": 12}
    # An episode leaves nothing behind for the next.
    other = episode(robot, command="press the button")
    assert not np.allclose(other, wanted)
    np.testing.assert_array_equal(episode(robot), episode(make_robot(folder)))


def test_speeds_and_accelerations_bound_what_the_policy_asks_for(folder):
    wanted = episode(make_robot(folder))
    speed = float(np.abs(wanted[:, :6]).max()) / 2
    robot = make_robot(folder, max_speeds=[speed] * 7, max_accelerations=[speed * 5] * 7)
    bounded = episode(robot)
    assert np.abs(bounded).max() <= speed + 1e-9
    steps = np.abs(np.diff(bounded, axis=0, prepend=np.zeros((1, 7))))
    assert steps.max() <= speed * 5 / CONTROL_HZ + 1e-9
    assert not np.allclose(bounded, wanted)


@pytest.mark.parametrize("delays", [{"latency_s": 0.2}, {"picture_delay_s": 0.2}])
def test_a_delay_carries_out_the_steps_that_are_due_of_what_was_planned_before(folder, delays):
    late = episode(make_robot(folder, **delays))
    assert np.isfinite(late).all()
    assert not np.allclose(late, episode(make_robot(folder)))


def test_a_slow_network_never_lets_the_robot_run_out_of_a_plan(folder):
    robot = make_robot(folder, latency_s=0.2)
    episode(robot, steps=40)
    assert dict(robot.states) == {"waiting": 3, "acting": 37}


def test_pictures_that_travel_longer_than_the_timeout_move_nothing(folder):
    robot = make_robot(folder, picture_delay_s=0.6, image_timeout_s=0.5, **HELD)
    actions = episode(robot)
    assert not actions[:, :GRIPPER].any()
    np.testing.assert_array_equal(actions[:, GRIPPER], 1.0)  # as it was measured at the start
    assert "acting" not in robot.states


def test_a_command_that_is_not_repeated_ends_and_a_position_stays_where_it_is(folder):
    robot = make_robot(folder, command_timeout_s=0.45, zero_messages=1, **HELD)
    actions = episode(robot)
    assert actions[4, :GRIPPER].any()
    assert not actions[5:, :GRIPPER].any()
    assert len(set(actions[4:, GRIPPER])) == 1
    assert dict(robot.states) == {"acting": 5, "idle": 7}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "none"}, "decoder: got 'none', which never moves"),
        ({"channels": list("abcdefg")}, r"channels: got \['a', .*expected those of the simulator"),
        ({"fps": 20}, "control_rate_hz: got 10, expected 20, the simulator's"),
    ],
)
def test_a_robot_of_another_body_is_refused(folder, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_robot(folder, **settings)


def test_an_impossible_delay_is_refused(folder):
    with pytest.raises(InputError, match="latency: got -1 s, expected 0 to 60"):
        make_robot(folder, latency_s=-1.0)
    with pytest.raises(InputError, match="picture delay: got 60 s"):
        make_robot(folder, picture_delay_s=60.0)
