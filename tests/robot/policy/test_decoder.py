"""The decoder `retrieval`: what the policy would answer, through the robot's whole mind."""

import subprocess
import sys

import numpy as np
import pytest

from jointspace.errors import ConfigError, InputError, RunFolderError
from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.images import RgbPicture
from jointspace.robot.core.percept import Command, Percept, StateWindow
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.safety import State
from jointspace.robot.policy.decoder import RetrievalDecoder
from jointspace.robot.policy.folder import save_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from tests.robot.policy.tiny import ARM, state_at, tiny_demonstrations, tiny_pictures
from tests.robot.stand_ins import DIM, FakeEmbedder, FakeStream

KNOWN = tiny_demonstrations(np.random.default_rng(0), text_dim=DIM)
COMMAND = Command(1, "lift the red block", 0.0)
EMBED = FakeEmbedder().embed_texts


@pytest.fixture
def folder(tmp_path):
    save_demonstrations(KNOWN, tmp_path / "policy")
    return tmp_path / "policy"


def make_arm(folder, *, cameras=("front", "wrist"), model_id="id", **settings):
    embedder = FakeEmbedder(model_id=model_id)
    return RobotRuntime(
        robot_config({**ARM, "policy": str(folder), **settings}),
        embedder,
        cameras=cameras,
        make_stream=lambda: FakeStream(embedder),
        judge=None if settings.get("match_required") is False else FakeJudge(),
    )


class FakeJudge:
    def decide(self, similarity):
        return "accept"


def window(*steps, rate_hz=10.0):
    values = np.stack([state_at(step) for step in steps])
    return StateWindow(values, np.array(steps) / rate_hz)


def percept(step, states, *, seed=0, command=COMMAND):
    return Percept(
        frame_s=step / 10,
        command=command,
        text=EMBED([command.text])[0],
        states=states,
        pictures=tiny_pictures(seed),
    )


def asked(steps, *, seed, text=COMMAND.text):
    """The chunk of the policy itself, which felt these steps and sees these pictures."""
    policy = RetrievalPolicy(KNOWN, embed_texts=EMBED)
    policy.tell(EMBED([text])[0])
    for step in steps:
        policy.feel(state_at(step))
    return policy.chunk(tiny_pictures(seed))


def step_arm(arm, step, *, seed):
    now_s = step / 10
    arm.on_state(state_at(step), now_s=now_s)
    for camera, picture in tiny_pictures(seed).items():
        arm.on_image(RgbPicture(picture), now_s=now_s, camera=camera)
    assert arm.perceive().fault is None
    return arm.tick(now_s)


def test_a_commanded_arm_carries_out_the_policys_own_chunks(folder):
    arm = make_arm(folder)
    assert isinstance(arm.decoder, ActionDecoder)
    step_arm(arm, 0, seed=0)
    arm.on_command(COMMAND.text, now_s=0.05)
    decisions = [step_arm(arm, step, seed=step) for step in range(1, 12)]
    assert {decision.state for decision in decisions} == {State.ACTING}
    wanted = [
        *asked(range(1, 2), seed=1)[:5],
        *asked(range(1, 7), seed=6)[:5],
        *asked(range(1, 12), seed=11)[:1],
    ]
    np.testing.assert_allclose([each.values for each in decisions], wanted, atol=1e-9)
    assert not np.allclose(wanted[0], wanted[5])


def test_the_arm_stands_still_after_a_stop_and_begins_anew_with_the_next_command(folder):
    arm = make_arm(folder)
    arm.tick(0.0)
    arm.on_command(COMMAND.text, now_s=0.0)
    assert step_arm(arm, 1, seed=1).values.any()
    arm.on_command("stop", now_s=0.15)
    for step in (2, 3):
        decision = step_arm(arm, step, seed=step)
        assert (decision.state, decision.values.any()) == (State.STOPPED, False)
    arm.on_command("press the button", now_s=0.35)
    decision = step_arm(arm, 4, seed=4)
    np.testing.assert_allclose(decision.values, asked([4], seed=4, text="press the button")[0])


def test_the_arm_stands_still_where_its_state_is_not_known(folder):
    arm = make_arm(folder)
    arm.tick(0.0)
    arm.on_command(COMMAND.text, now_s=0.0)
    for camera, picture in tiny_pictures().items():
        arm.on_image(RgbPicture(picture), now_s=0.1, camera=camera)
    assert arm.perceive().fault is None
    assert arm.tick(0.1).state is State.BLIND


def test_states_that_come_faster_and_pictures_that_come_slower_are_one_state_a_step():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED, replan_steps=1)
    times_s = np.arange(0, 0.61, 0.01)
    # Between the steps is what must not be read.
    values = np.stack([state_at(round(10 * time_s)) for time_s in times_s])
    values[np.arange(len(times_s)) % 10 != 0] = 7.0
    decoder.decode(percept(0, StateWindow(values[:1], times_s[:1])))
    chunk = decoder.decode(percept(6, StateWindow(values, times_s), seed=1))
    np.testing.assert_allclose(chunk.values, asked(range(7), seed=1))
    assert (chunk.rate_hz, chunk.start_s, chunk.hold) == (10.0, 0.6, False)


def test_a_gap_in_the_states_starts_the_memory_anew():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED, replan_steps=8)
    for step in range(6):
        whole = decoder.decode(percept(step, window(*range(step + 1)), seed=step))
    np.testing.assert_allclose(whole.values, asked([0], seed=0))
    decoder.reset()
    decoder.decode(percept(0, window(0)))
    torn = decoder.decode(percept(6, window(3, 4, 5, 6), seed=1))
    np.testing.assert_allclose(torn.values, asked([6], seed=1))
    assert not np.allclose(torn.values, asked(range(7), seed=1))


def test_a_plan_does_not_run_out_where_perception_is_slow():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED)
    plans = [decoder.decode(percept(step, window(*range(step + 1)))) for step in (0, 3, 6, 9)]
    # A look takes three steps, so what is decided at the sixth takes effect at the ninth.
    assert [plan.start_s for plan in plans] == [0.0, 0.3, 0.6, 0.9]
    decoder.reset()
    plans = [decoder.decode(percept(step, window(*range(step + 1)))) for step in (0, 2, 4, 6)]
    assert [plan.start_s for plan in plans] == [0.0, 0.0, 0.4, 0.4]


def test_after_a_reset_the_command_is_told_anew_whatever_its_number():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED)
    decoder.decode(percept(0, window(0)))
    decoder.reset()
    other = Command(COMMAND.number, "press the button", 0.0)
    chunk = decoder.decode(percept(0, window(0), command=other))
    np.testing.assert_allclose(chunk.values, asked([0], seed=0, text=other.text))
    assert not np.allclose(chunk.values, asked([0], seed=0))


def test_cameras_may_have_the_long_names_of_their_data_set():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED)
    short = percept(0, window(0))
    pictures = {f"observation.images.{name}": each for name, each in short.pictures.items()}
    long = Percept(frame_s=0.0, command=COMMAND, states=short.states, pictures=pictures)
    np.testing.assert_allclose(decoder.decode(long).values, asked([0], seed=0))


def test_a_percept_that_lacks_what_the_policy_reads_is_refused():
    decoder = RetrievalDecoder(KNOWN, embed_texts=EMBED)
    good = percept(0, window(0))
    with pytest.raises(InputError, match="has no command"):
        decoder.decode(Percept(frame_s=0.0))
    with pytest.raises(InputError, match="camera 'front' has shape None"):
        decoder.decode(Percept(frame_s=0.0, command=COMMAND, states=good.states))
    small = {name: each[:32, :32] for name, each in good.pictures.items()}
    with pytest.raises(InputError, match=r"shape \(32, 32, 3\), expected \(64, 64, 3\)"):
        decoder.decode(Percept(frame_s=0.0, command=COMMAND, states=good.states, pictures=small))
    short = StateWindow(np.zeros((1, 7)), np.zeros(1))
    with pytest.raises(InputError, match="a state of 7 numbers, expected at least 14"):
        decoder.decode(percept(0, short))
    with pytest.raises(InputError, match="replan_steps 9"):
        RetrievalDecoder(KNOWN, embed_texts=EMBED, replan_steps=9)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model_id": "other"}, "learned with the joint space id, expected other"),
        ({"cameras": ("front",)}, "cameras: got front, expected also wrist"),
        (
            {"channels": ["a"], "max_speeds": [1.0], "max_accelerations": [1.0]},
            "channels: got 1, expected 7",
        ),
        ({"control_rate_hz": 20.0}, "control_rate_hz: got 20, expected 10"),
        ({"policy": ""}, "policy: got '', expected the folder"),
        ({"visual_input": "tensor_list"}, "visual_input: got 'tensor_list', expected 'image'"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_anything_moves(folder, settings, match):
    with pytest.raises(ConfigError, match=match):
        make_arm(folder, **settings)


def test_a_folder_without_a_policy_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"policy\.json"):
        make_arm(tmp_path / "nowhere")


def test_the_decoder_needs_no_simulator_and_no_torch():
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('mujoco', 'torch')))\n"
        "import jointspace.robot.core.runtime, jointspace.robot.policy.decoder\n"
        "assert not any(name.startswith('jointspace.sim') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
