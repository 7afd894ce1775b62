"""The runtime as a shell uses it, on a clock of the test's own."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from jointspace.errors import ConfigError
from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.decoders.none import NoneDecoder
from jointspace.robot.core.diagnostics import Level
from jointspace.robot.core.images import CompressedPicture, RawPicture
from jointspace.robot.core.percept import Heard
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.safety import State
from tests.robot.stand_ins import DIM, PICTURE, VELOCITY, FakeEmbedder, FakeStream, make_runtime

CUT_OFF = RawPicture(b"\0" * 10, height_px=4, width_px=4, step=12, encoding="rgb8")
DEPTH = RawPicture(b"\0" * 32, height_px=4, width_px=4, step=8, encoding="16UC1")


def see(runtime, now_s, picture=PICTURE, **options):
    runtime.on_image(picture, now_s=now_s, **options)
    return runtime.perceive()


def drive(runtime, *, until_s=1.0):
    """Drives forward from 0 s; the last picture is from `until_s`."""
    runtime.tick(0.0)
    runtime.on_command("forward", now_s=0.0)
    for step in range(1, round(until_s * 20) + 1):
        see(runtime, step / 20)
        decision = runtime.tick(step / 20)
    assert decision.state is State.ACTING
    assert decision.values[0] > 0
    return decision


def test_the_robot_is_silent_before_the_first_command():
    runtime = make_runtime()
    for step in range(5):
        assert see(runtime, step / 20) is not None
        decision = runtime.tick(step / 20)
        assert (decision.state, decision.publish) == (State.IDLE, False)


def test_a_command_that_applies_moves_the_robot_up_a_ramp():
    runtime = make_runtime()
    runtime.tick(0.0)
    assert runtime.on_command("Drive forward!", now_s=0.0) is Heard.COMMAND
    speeds = []
    for step in range(1, 15):
        see(runtime, step / 20)
        decision = runtime.tick(step / 20)
        assert (decision.state, decision.publish) == (State.ACTING, True)
        speeds.append(decision.values[0])
    np.testing.assert_allclose(speeds[:9], np.minimum(np.arange(1, 10) * 0.05, 0.4))
    np.testing.assert_allclose(speeds[9:], 0.4)


def test_a_velocity_beyond_the_limit_is_clamped():
    runtime = make_runtime(velocity_values=[9.0, 0.0, 0.0, 0.8])
    assert drive(runtime).values[0] == 0.5


def test_stop_gives_zero_at_the_next_tick_and_then_silence():
    runtime = make_runtime()
    drive(runtime)
    assert runtime.on_command("STOP!!", now_s=1.01) is Heard.STOP
    after = [runtime.tick(1.01 + step / 20) for step in range(6)]
    assert all(not decision.values.any() for decision in after)
    assert [decision.publish for decision in after] == [True, True, True, False, False, False]
    assert after[0].state is State.STOPPED


def test_a_stop_is_heard_even_when_the_clock_is_broken():
    runtime = make_runtime()
    drive(runtime)
    assert runtime.on_command("stop", now_s=float("nan")) is Heard.STOP
    assert not runtime.tick(1.05).values.any()


def test_what_was_thought_before_a_stop_moves_nothing_after_the_same_command_again():
    runtime = make_runtime()
    drive(runtime)
    runtime.on_command("stop", now_s=1.0)
    assert runtime.on_command("forward", now_s=1.01) is Heard.COMMAND
    assert runtime.tick(1.05).state is State.WAITING
    runtime.perceive()  # compares the newest pictures with the new command, without new ones
    assert runtime.tick(1.1).state is State.ACTING


def test_a_command_said_again_goes_on_and_its_timeout_starts_again():
    runtime = make_runtime(command_timeout_s=0.6)
    before = drive(runtime, until_s=0.5)
    assert runtime.on_command("forward", now_s=0.5) is Heard.REPEATED
    see(runtime, 0.75)
    decision = runtime.tick(0.75)
    assert decision.state is State.ACTING
    assert decision.values[0] >= before.values[0]
    assert runtime.tick(1.11).state is State.IDLE


def test_a_command_without_a_time_is_ignored():
    runtime = make_runtime()
    assert runtime.on_command("forward", now_s=float("nan")) is Heard.IGNORED
    assert not runtime.tick(0.0).publish


def test_a_command_longer_than_any_sentence_is_ignored_but_stops_if_it_says_so():
    runtime = make_runtime()
    drive(runtime)
    assert runtime.on_command("forward " * 600, now_s=1.0) is Heard.IGNORED
    assert runtime.tick(1.05).state is State.ACTING
    assert runtime.diagnostics(1.05).ignored == {"command": 1}
    assert runtime.on_command("forward " * 600 + "stop", now_s=1.05) is Heard.STOP


@pytest.mark.parametrize(
    ("age_s", "cause"),
    [
        (5.0, "too old"),
        (0.51, "too old"),
        (-0.11, "future"),
        (-1e9, "future"),
        (float("nan"), "malformed"),
        (float("inf"), "malformed"),
    ],
)
def test_row_23_pictures_whose_stamp_is_wrong_are_dropped_and_the_robot_stands_still(age_s, cause):
    runtime = make_runtime()
    drive(runtime)
    for step in range(21, 40):
        assert not runtime.on_image(PICTURE, now_s=step / 20, age_s=age_s)
        assert runtime.perceive() is None
        decision = runtime.tick(step / 20)
    assert (decision.state, decision.publish) == (State.BLIND, True)
    assert not decision.values.any()
    diagnostics = runtime.diagnostics(2.0)
    assert diagnostics.drops[cause] == 19
    assert diagnostics.level is Level.WARN


def test_a_pictures_age_counts_from_its_stamp_not_from_its_arrival():
    runtime = make_runtime()
    drive(runtime)
    see(runtime, 1.4, age_s=0.35)
    assert runtime.tick(1.5).state is State.ACTING
    assert runtime.tick(1.56).state is State.BLIND


def test_a_stamp_a_moment_in_the_future_counts_as_now():
    runtime = make_runtime()
    assert see(runtime, 1.0, age_s=-0.09).frame_s == 1.0


@pytest.mark.parametrize("picture", [CUT_OFF, DEPTH, CompressedPicture(b"\xff\xd8nonsense")])
def test_pictures_that_cannot_be_read_stop_the_robot_after_the_timeout_and_it_lives_on(picture):
    runtime = make_runtime()
    drive(runtime)
    states = []
    for step in range(21, 40):
        assert see(runtime, step / 20, picture) is None
        states.append(runtime.tick(step / 20).state)
    assert states == [State.ACTING] * 10 + [State.BLIND] * 9
    assert runtime.diagnostics(2.0).drops["malformed"] == 19
    assert "image" in runtime.diagnostics(2.0).last_refusal
    see(runtime, 2.0)
    assert runtime.tick(2.0).state is State.ACTING


def test_a_picture_whose_decoder_breaks_is_malformed_too():
    class Broken:
        def rgb(self):
            raise IndexError

    runtime = make_runtime()
    assert see(runtime, 1.0, Broken()) is None
    assert runtime.diagnostics(1.0).last_refusal == "IndexError"


def test_only_the_newest_picture_is_perceived():
    runtime = make_runtime()
    for step in range(5):
        runtime.on_image(PICTURE, now_s=step / 30, source=step)
    assert runtime.perceive().sources == {"front": 4}
    assert runtime.perceive() is None
    assert runtime.diagnostics(1.0).drops == {"replaced": 4}


def test_pictures_that_overtook_each_other_are_dropped():
    runtime = make_runtime()
    see(runtime, 1.0)
    assert see(runtime, 1.05, age_s=0.1) is None
    assert runtime.diagnostics(1.0).drops == {"out of order": 1}


def test_pictures_of_an_unknown_camera_are_dropped_by_name():
    runtime = make_runtime(cameras=("front", "wrist"))
    assert not runtime.on_image(PICTURE, now_s=0.0, camera="frnot")
    assert "Did you mean 'front'" in runtime.diagnostics(0.0).last_refusal
    assert not runtime.on_image(PICTURE, now_s=0.0)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError(), ValueError("x")])
def test_an_exception_of_the_network_stops_the_robot_and_it_lives_on(error):
    embedder = FakeEmbedder()
    runtime = make_runtime(embedder)
    drive(runtime)
    embedder.error = error
    assert type(error).__name__ in see(runtime, 1.05).fault
    decision = runtime.tick(1.05)
    assert (decision.state, decision.publish) == (State.FAULT, True)
    assert not decision.values.any()
    assert runtime.diagnostics(1.05).level is Level.ERROR
    embedder.error = None
    see(runtime, 1.1)
    assert runtime.tick(1.1).state is State.ACTING


@pytest.mark.parametrize("change", [{"row_value": np.nan}, {"similarity_value": np.nan}])
def test_nan_from_the_network_stops_the_robot(change):
    embedder = FakeEmbedder()
    runtime = make_runtime(embedder)
    drive(runtime)
    for name, value in change.items():
        setattr(embedder, name, value)
    assert see(runtime, 1.05).fault
    assert runtime.tick(1.05).state is State.FAULT


def test_row_22_a_similarity_that_is_rejected_stops_the_robot():
    embedder = FakeEmbedder()
    runtime = make_runtime(embedder)
    drive(runtime)
    embedder.similarity_value = 0.1
    see(runtime, 1.05)
    decision = runtime.tick(1.05)
    assert (decision.state, decision.publish) == (State.ABSTAINING, True)
    assert not decision.values.any()
    embedder.similarity_value = 0.4
    see(runtime, 1.1)
    assert runtime.tick(1.1).state is State.ABSTAINING  # let go is let go


def test_a_similarity_in_the_abstain_band_moves_nothing_but_stops_nothing_either():
    embedder = FakeEmbedder(similarity_value=0.4)
    runtime = make_runtime(embedder)
    runtime.on_command("forward", now_s=0.0)
    see(runtime, 0.05)
    assert runtime.tick(0.05).state is State.ABSTAINING
    embedder.similarity_value = 0.6
    see(runtime, 0.1)
    assert runtime.tick(0.1).state is State.ACTING
    embedder.similarity_value = 0.4
    see(runtime, 0.15)
    assert runtime.tick(0.15).state is State.ACTING
    runtime.on_command("turn left", now_s=0.16)
    see(runtime, 0.2)
    assert runtime.tick(0.2).state is State.ABSTAINING  # nothing of it was accepted yet


def test_after_blindness_or_a_fault_a_similarity_in_the_abstain_band_moves_nothing():
    embedder = FakeEmbedder()
    runtime = make_runtime(embedder, image_timeout_s=0.3, command_timeout_s=9.0)
    drive(runtime)
    embedder.similarity_value = 0.4
    see(runtime, 1.25)
    assert runtime.tick(1.25).state is State.ACTING
    assert runtime.tick(1.6).state is State.BLIND
    see(runtime, 1.65)
    assert runtime.tick(1.65).state is State.ABSTAINING
    embedder.similarity_value = 0.6
    see(runtime, 1.7)
    assert runtime.tick(1.7).state is State.ACTING
    embedder.similarity_value = np.nan
    assert see(runtime, 1.75).fault
    embedder.similarity_value = 0.4
    see(runtime, 1.8)
    assert runtime.tick(1.8).state is State.ABSTAINING


def test_a_fault_of_the_shell_stops_the_robot_until_the_next_percept():
    runtime = make_runtime()
    drive(runtime)
    runtime.on_fault("the tensor is float16")
    assert runtime.tick(1.05).reason == "the tensor is float16"
    see(runtime, 1.1)
    assert runtime.tick(1.1).state is State.ACTING


def test_a_message_that_the_shell_could_not_read_is_counted():
    runtime = make_runtime()
    runtime.on_malformed("no CDR header")
    diagnostics = runtime.diagnostics(0.0)
    assert diagnostics.drops == {"malformed": 1}
    assert diagnostics.last_refusal == "no CDR header"


def test_embeddings_take_the_place_of_pictures():
    runtime = make_runtime()
    runtime.tick(0.0)
    runtime.on_command("forward", now_s=0.0)
    row = np.eye(1, DIM, dtype=np.float32)[0]
    assert runtime.on_embedding(row, now_s=0.05, source="header")
    assert runtime.perceive().sources == {"front": "header"}
    assert runtime.tick(0.05).state is State.ACTING
    assert not runtime.on_embedding(row, now_s=0.1, age_s=9.0)
    runtime.on_embedding(row * 2, now_s=0.1)
    assert "length 2" in runtime.perceive().fault
    assert runtime.tick(0.1).state is State.FAULT


def test_shutdown_says_zero_and_then_nothing_until_activated():
    runtime = make_runtime()
    drive(runtime)
    last = runtime.shutdown()
    assert last.publish
    assert not last.values.any()
    assert runtime.on_command("forward", now_s=1.05) is Heard.IGNORED
    see(runtime, 1.05)
    assert not runtime.tick(1.05).publish
    runtime.activate()
    assert not runtime.tick(1.1).publish
    assert runtime.on_command("forward", now_s=1.1) is Heard.COMMAND
    see(runtime, 1.15)
    assert runtime.tick(1.15).state is State.ACTING


def test_a_thought_from_before_a_shutdown_is_not_acted_on_after_it():
    thinking, go_on = threading.Event(), threading.Event()

    def wait():
        thinking.set()
        assert go_on.wait(10)

    runtime = make_runtime(before_row=wait)
    runtime.on_command("forward", now_s=0.0)
    runtime.on_image(PICTURE, now_s=0.0)
    thread = threading.Thread(target=runtime.perceive)
    thread.start()
    assert thinking.wait(10)
    runtime.shutdown()
    runtime.activate()
    go_on.set()
    thread.join(10)
    assert runtime.percept is None
    runtime.on_command("forward", now_s=0.1)
    assert runtime.tick(0.1).reason == "no picture yet"


def test_after_the_clock_went_back_pictures_are_taken_anew():
    runtime = make_runtime()
    drive(runtime, until_s=2.0)
    assert runtime.tick(0.5).state is State.FAULT
    assert runtime.diagnostics(0.5).clock_jumps == 1
    runtime.on_command("forward", now_s=0.5)
    assert see(runtime, 0.55) is not None
    assert runtime.tick(0.55).state is State.ACTING


def test_states_that_are_not_finite_or_change_their_length_are_ignored():
    runtime = make_runtime()
    assert runtime.on_state(np.array([1.0, 2.0]), now_s=0.0)
    assert not runtime.on_state(np.array([1.0, np.nan]), now_s=0.1)
    assert not runtime.on_state(np.array([1.0]), now_s=0.1)
    assert not runtime.on_state(np.array([1.0, 2.0]), now_s=float("inf"))
    assert runtime.on_state(np.array([3.0, 4.0]), now_s=0.9)
    assert runtime.on_state(np.array([5.0, 6.0]), now_s=1.5)
    states = see(runtime, 1.5).states
    np.testing.assert_array_equal(states.values, [[3, 4], [5, 6]])  # one second of them
    np.testing.assert_array_equal(states.time_s, [0.9, 1.5])
    assert runtime.diagnostics(1.5).ignored == {"state": 3}


def test_a_state_is_kept_though_the_message_that_brought_it_is_filled_anew():
    runtime = make_runtime()
    buffer = np.array([1.0])
    runtime.on_state(buffer, now_s=0.0)
    buffer[:] = 9.0
    assert see(runtime, 0.0).states.values.tolist() == [[1.0]]


def test_the_decoder_none_sees_and_never_publishes_motion():
    runtime = make_runtime(decoder=NoneDecoder())
    runtime.on_command("forward", now_s=0.0)
    assert see(runtime, 0.05).similarity == pytest.approx(0.9)
    assert runtime.channels == ()
    assert not runtime.tick(0.05).publish
    assert not runtime.shutdown().publish


class LoggingDecoder:
    """Notes what it is asked."""

    needs_state = False
    moves = True

    def __init__(self):
        self.log = []

    def decode(self, percept):
        self.log.append(percept.command.text)

    def reset(self):
        self.log.append("reset")


def test_a_decoder_is_asked_only_where_the_command_applies_and_forgets_between_commands():
    decoder, embedder = LoggingDecoder(), FakeEmbedder()
    runtime = make_runtime(embedder, decoder=decoder)
    see(runtime, 0.1)
    runtime.on_command("open it", now_s=0.1)
    see(runtime, 0.2)
    see(runtime, 0.3)
    embedder.similarity_value = 0.2
    see(runtime, 0.4)
    embedder.similarity_value = 0.9
    runtime.on_command("close it", now_s=0.4)
    see(runtime, 0.5)
    assert decoder.log == ["reset", "open it", "open it", "reset", "close it"]


def test_a_robot_that_moves_needs_a_threshold_or_to_be_told_that_it_needs_none():
    def build(**settings):
        return RobotRuntime(
            robot_config({**VELOCITY, **settings}),
            FakeEmbedder(),
            cameras=("front",),
            make_stream=lambda: FakeStream(FakeEmbedder()),
        )

    with pytest.raises(ConfigError, match="use_bundle_threshold = false"):
        build()
    build(match_required=False)
    build(decoder="none")
    runtime = build(use_bundle_threshold=False, accept_similarity=0.95, reject_similarity=0.5)
    runtime.on_command("forward", now_s=0.0)
    assert see(runtime, 0.0).verdict == "abstain"


def test_without_a_required_match_named_commands_move_whatever_is_seen():
    runtime = make_runtime(FakeEmbedder(similarity_value=-1.0), match_required=False)
    drive(runtime)


@pytest.mark.parametrize(
    "module", ["jointspace.robot.core.runtime", "jointspace.robot.core.worker"]
)
def test_the_core_imports_nothing_heavy(module):
    heavy = "('torch', 'pyarrow', 'PIL', 'matplotlib', 'av', 'cattrs', 'rich', 'onnxruntime')"
    script = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
