from pathlib import Path

import numpy as np
import pytest

from jointspace.errors import InputError, RunFolderError
from jointspace.robot.policy.folder import ARRAYS_FILE, load_demonstrations, save_demonstrations
from jointspace.robot.policy.head import TEXT_SCALE, ControlHead
from jointspace.robot.policy.learn import Demonstration, observe_all
from jointspace.robot.policy.motion import (
    MotionLayout,
    action_chunks,
    actions_of,
    episode_motion,
    event_steps,
)
from jointspace.robot.policy.retrieval import Answer, Demonstrations, RetrievalPolicy
from jointspace.sim.environment import Observation
from jointspace.sim.scene import ACTION_NAMES, STATE_NAMES
from tests.robot.policy.tiny import LAYOUT, tiny_demonstrations, tiny_pictures

_STATE = np.zeros(14, np.float32)


def _states(openings: list[float]) -> np.ndarray:
    states = np.zeros((len(openings), 14), np.float32)
    states[:, 7] = openings
    states[:, 8] = np.arange(len(openings)) * 0.01
    return states


def _policy(known: Demonstrations, answer: Answer = "ridge", **changes: int) -> RetrievalPolicy:
    return RetrievalPolicy(
        known,
        embed_texts=lambda texts: np.ones((len(texts), 1), np.float32),
        answer=answer,
        **changes,
    )


def _look(policy: RetrievalPolicy, pictures: dict[str, np.ndarray]) -> np.ndarray:
    policy.reset({"state": _STATE, "pictures": pictures}, "lift")
    return np.stack([policy.act({"state": _STATE, "pictures": pictures}, "lift") for _ in range(7)])


def test_a_stored_policy_acts_as_it_did(tmp_path: Path) -> None:
    known = tiny_demonstrations(np.random.default_rng(0))
    save_demonstrations(known, tmp_path)
    again = load_demonstrations(tmp_path)
    for answer in ("ridge", "mean", "nearest", "cloning"):
        np.testing.assert_allclose(
            _look(_policy(again, answer), tiny_pictures()),
            _look(_policy(known, answer), tiny_pictures()),
        )


def test_a_damaged_policy_is_refused_by_name(tmp_path: Path) -> None:
    save_demonstrations(tiny_demonstrations(np.random.default_rng(0)), tmp_path)
    file = tmp_path / ARRAYS_FILE
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(RunFolderError, match=ARRAYS_FILE):
        load_demonstrations(tmp_path)


def test_the_nearest_demonstration_is_repeated_word_for_word() -> None:
    known = tiny_demonstrations(np.random.default_rng(0))
    chunks = [actions_of(chunk, LAYOUT) for chunk in known.index.chunks]
    actions = _look(_policy(known, "nearest", replan_steps=5), tiny_pictures())
    assert any(np.allclose(actions[:5], chunk[:5]) for chunk in chunks)
    np.testing.assert_allclose(actions[:, 3:5], 0)


def test_the_policy_looks_again_after_its_steps_and_not_before() -> None:
    policy = _policy(tiny_demonstrations(np.random.default_rng(0)), replan_steps=3)
    seen: Observation = {"state": _STATE, "pictures": tiny_pictures(0)}
    policy.reset(seen, "lift")
    first = policy.act(seen, "lift")
    blind: Observation = {"state": _STATE, "pictures": {}}
    assert not np.allclose(policy.act(blind, "lift"), first)
    policy.act(blind, "lift")
    with pytest.raises(InputError, match="camera 'front' has shape None"):
        policy.act(blind, "lift")


def test_settings_that_cannot_be_are_refused() -> None:
    known = tiny_demonstrations(np.random.default_rng(0))
    with pytest.raises(InputError, match="replan_steps 9"):
        _policy(known, replan_steps=9)
    with pytest.raises(InputError, match="no channel 'gripper'"):
        MotionLayout.of(STATE_NAMES, ACTION_NAMES[:-1])


def test_motion_is_measured_from_where_the_gripper_closed() -> None:
    motion = episode_motion(_states([1.0, 1.0, 0.6, 0.6, 0.6]), LAYOUT)
    moved_m = motion[:, 5] * 0.05
    np.testing.assert_allclose(moved_m, (0, 0.01, 0, 0.01, 0.02), atol=1e-6)
    # Another episode before this one changes nothing.
    np.testing.assert_array_equal(motion[:2], episode_motion(_states([1.0, 1.0]), LAYOUT))


def test_chunks_hold_the_next_actions_and_then_stay() -> None:
    actions = np.zeros((10, 7), np.float32)
    actions[:, 0] = np.arange(10) / 100
    actions[:, 6] = (1, 1, 1, 1, 0, 0, 0, 1, 1, 1)
    chunks = action_chunks(actions, LAYOUT)
    np.testing.assert_allclose(actions_of(chunks[1], LAYOUT), actions[1:9], atol=1e-6)
    last = actions_of(chunks[9], LAYOUT)
    np.testing.assert_allclose(last[1:], np.tile((0, 0, 0, 0, 0, 0, 1), (7, 1)), atol=1e-6)
    assert event_steps(actions, LAYOUT) == (4, 7)
    assert event_steps(actions[:4], LAYOUT) == (3, 3)


def test_learning_and_acting_see_the_same_moment() -> None:
    known = tiny_demonstrations(np.random.default_rng(0))
    pictures = [tiny_pictures(seed) for seed in range(6)]
    states = _states([1.0, 1.0, 1.0, 0.6, 0.6, 0.6])
    stacked = np.stack([np.stack([each["front"], each["wrist"]]) for each in pictures])
    demonstration = Demonstration(
        stacked, states, np.zeros((6, 7), np.float32), np.ones(1, np.float32)
    )
    item, target = known.observer.grounding.relevance(np.ones(1))
    moments = observe_all(
        [demonstration], known.observer, LAYOUT, relevances=(item[None], target[None])
    )
    expected = known.head.chunks(known.head.rows(moments.seen, np.ones((6, 1), np.float32)))
    policy = _policy(known, "cloning", replan_steps=1)
    policy.reset({"state": states[0], "pictures": pictures[0]}, "lift")
    for step in range(6):
        action = policy.act({"state": states[step], "pictures": pictures[step]}, "lift")
        np.testing.assert_allclose(action, actions_of(expected[step], LAYOUT)[0], atol=1e-5)


def test_the_head_computes_what_the_trained_network_computes() -> None:
    torch = pytest.importorskip("torch")
    from jointspace.train.control import ControlNetwork  # noqa: PLC0415 - needs torch

    network = ControlNetwork(seen_dim=5, text_dim=4, target_dim=6, text_scale=TEXT_SCALE)
    head = ControlHead({n: p.detach().numpy() for n, p in network.named_parameters()})
    rng = np.random.default_rng(0)
    seen, text = (rng.normal(size=(3, dim)).astype(np.float32) for dim in (5, 4))
    with torch.inference_mode():
        expected = network(torch.from_numpy(seen), torch.from_numpy(text))[0].numpy()
    np.testing.assert_allclose(head.chunks(head.rows(seen, text)), expected, atol=1e-5)
