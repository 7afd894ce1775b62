"""What holds for ANY sequence of pictures, commands, states, clocks, numbers and exceptions.

The oracle below knows nothing of the gate: it books what the test itself did, and asks of every
decision whether it could be right.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from jointspace.errors import InputError
from jointspace.robot.core.images import RawPicture
from jointspace.robot.core.percept import ActionChunk
from jointspace.robot.core.safety import CLOCK_SLACK_S, State
from tests.robot.stand_ins import PICTURE, FakeEmbedder, make_runtime

MAX_SPEED, MAX_ACCELERATION = (0.5, 1.0), (1.0, 2.0)
IMAGE_TIMEOUT_S, COMMAND_TIMEOUT_S, STATE_TIMEOUT_S = 0.5, 1.2, 0.4
CUT_OFF = RawPicture(b"\0" * 10, height_px=4, width_px=4, step=12, encoding="rgb8")

numbers = st.one_of(
    st.floats(-2.0, 2.0), st.floats(), st.sampled_from([math.nan, math.inf, -math.inf, 1e308])
)
rows = st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=1, max_size=3)
broken_rows = st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=1, max_size=1)
ages_s = st.one_of(st.floats(0.0, 0.6), st.floats(-0.3, 0.0), numbers)
events = st.one_of(
    st.tuples(st.just("nothing"), st.none()),
    st.tuples(st.just("pass"), st.floats(0.0, 5.0)),
    st.tuples(st.just("camera"), st.booleans()),
    st.tuples(st.just("joints"), st.booleans()),
    st.tuples(st.just("say unheard"), st.sampled_from(["forward", "turn left"])),
    st.tuples(st.just("clock"), st.floats(-5.0, 5.0)),
    st.tuples(st.just("tick at"), numbers),
    st.tuples(st.just("picture"), ages_s),
    st.tuples(st.just("cut off"), st.just(0.0)),
    st.tuples(st.just("say"), st.sampled_from(["forward", "forward", "turn left", "what?"])),
    st.tuples(st.just("say at"), numbers),
    st.tuples(
        st.just("stop"), st.sampled_from(["stop", "STOP!", "halt, please", "", "don't move"])
    ),
    st.tuples(st.just("state"), st.lists(numbers, min_size=2, max_size=3)),
    st.tuples(st.just("similarity"), st.sampled_from([0.9, 0.9, 0.4, 0.1, math.nan, 0.5])),
    st.tuples(st.just("row"), st.sampled_from([1.0, 1.0, math.nan, math.inf, 0.0, 2.0])),
    st.tuples(st.just("raise"), st.sampled_from([None, RuntimeError("boom"), MemoryError()])),
    st.tuples(st.just("act"), st.one_of(rows, broken_rows)),
    st.tuples(st.just("act"), st.just([[9.0, -9.0]])),
    st.tuples(st.just("chunk"), st.tuples(st.floats(0.1, 1e308), numbers, st.booleans())),
    st.tuples(st.just("decoder"), st.sampled_from(["acts", "acts", "knows nothing", "raises"])),
    st.tuples(st.just("row message"), numbers),
    st.tuples(st.just("fault"), st.just("")),
    st.tuples(st.just("shut down"), st.just("")),
    st.tuples(st.just("activate"), st.just("")),
)
# After each event the world goes on for some ticks, so that it can have consequences.
sequences = st.lists(st.tuples(events, st.integers(0, 14)), max_size=9)


@dataclass
class WildDecoder:
    """Does what the test says, sense or not."""

    needs_state: bool
    values: list = field(default_factory=lambda: [[9.0, -9.0]])
    rate_hz: float = 10.0
    delay_s: float = 0.0
    hold: bool = True
    mood: str = "acts"
    moves = True

    def decode(self, percept):
        if self.mood == "raises":
            raise InputError("the decoder raised")
        if self.mood == "knows nothing":
            return None
        return ActionChunk(
            values=np.array(self.values),
            rate_hz=self.rate_hz,
            start_s=percept.frame_s + self.delay_s,
            hold=self.hold,
        )

    def reset(self):
        pass


class Oracle:
    """Drives a runtime, and checks every decision against what it did itself."""

    def __init__(self, *, needs_state):
        self.embedder = FakeEmbedder()
        self.decoder = WildDecoder(needs_state=needs_state)
        self.runtime = make_runtime(
            self.embedder,
            decoder=self.decoder,
            image_timeout_s=IMAGE_TIMEOUT_S,
            command_timeout_s=COMMAND_TIMEOUT_S,
            state_timeout_s=STATE_TIMEOUT_S,
        )
        self.clock_s = self.tick_s = 100.0
        self.good_s = self.told_s = self.state_s = -math.inf
        self.told = self.ever_told = self.shut_down = self.stopped = False
        self.has_camera = self.has_joints = True
        self.text, self.percept, self.accepted = "", None, None
        self.fault = False
        self.values = np.zeros(2)
        self.zeros_due = False
        self.published = []
        self.tick()

    def run(self, kind, value):
        getattr(self, f"do_{kind.replace(' ', '_')}")(value)

    def do_nothing(self, _):
        pass

    def do_camera(self, on):
        self.has_camera = on

    def do_joints(self, on):
        self.has_joints = on

    def live(self, count):
        """Camera, joints, operator and control as they should be, unless they are off."""
        for _ in range(count):
            self.clock_s += 0.05
            if not self.told and not self.stopped:
                self.do_say("forward")
            if self.has_joints:
                self.do_state([0.0, 0.0])
            if self.has_camera:
                self.do_picture(0.01)
            self.tick()

    def do_pass(self, seconds):
        self.clock_s += seconds
        self.tick()

    def do_clock(self, seconds):
        self.clock_s += seconds
        self.tick()

    def do_tick_at(self, now_s):
        if math.isfinite(now_s):
            self.clock_s = now_s
        self.tick(now_s)

    def do_picture(self, age_s):
        taken = self.runtime.on_image(PICTURE, now_s=self.clock_s, age_s=age_s)
        assert taken == (-0.1 <= age_s <= IMAGE_TIMEOUT_S)
        self.perceive()

    def do_cut_off(self, _):
        self.runtime.on_image(CUT_OFF, now_s=self.clock_s)
        self.perceive()

    def do_row_message(self, value):
        row = np.zeros(8, dtype=np.float32)
        with np.errstate(over="ignore"):
            row[0] = value
        self.runtime.on_embedding(row, now_s=self.clock_s)
        self.perceive()

    def do_say(self, text):
        self.say(text, self.clock_s)
        self.perceive()

    def do_say_unheard(self, text):
        self.say(text, self.clock_s)
        self.tick()

    def do_say_at(self, now_s):
        self.say("forward", now_s)
        self.perceive()

    def say(self, text, now_s):
        self.runtime.on_command(text, now_s=now_s)
        self.ever_told = True
        if not self.shut_down and math.isfinite(now_s):
            self.told, self.told_s, self.zeros_due = True, now_s, False
            self.text, self.stopped = text, False

    def do_stop(self, text):
        self.runtime.on_command(text, now_s=math.nan)
        self.ever_told, self.told, self.stopped = True, False, True
        self.zeros_due = not self.shut_down
        self.tick()

    def do_state(self, values):
        if self.runtime.on_state(np.array(values), now_s=self.clock_s):
            assert np.isfinite(values).all()
            self.state_s = self.clock_s

    def do_similarity(self, value):
        self.embedder.similarity_value = value

    def do_row(self, value):
        self.embedder.row_value = value

    def do_raise(self, error):
        self.embedder.error = error

    def do_act(self, values):
        self.decoder.values = values

    def do_chunk(self, value):
        self.decoder.rate_hz, self.decoder.delay_s, self.decoder.hold = value

    def do_decoder(self, mood):
        self.decoder.mood = mood

    def do_fault(self, _):
        self.runtime.on_fault("the shell is broken")
        self.fault = True
        self.tick()

    def do_shut_down(self, _):
        decision = self.runtime.shutdown()
        self.told, self.shut_down, self.zeros_due = False, True, False
        assert decision.publish
        self.check_values(decision, self.tick_s)
        assert not decision.values.any()

    def do_activate(self, _):
        self.runtime.activate()
        self.told = self.shut_down = self.zeros_due = self.ever_told = False

    def perceive(self):
        with np.errstate(over="ignore", invalid="ignore"):
            percept = self.runtime.perceive()
        if percept is None:
            return
        self.fault = percept.fault is not None
        self.percept = percept
        if not self.fault:
            assert math.isfinite(percept.similarity or 0.0)
            if percept.command is not None and not 0.3 <= percept.similarity <= 0.5:
                matches = percept.similarity > 0.5
                self.accepted = percept.command.number if matches else None
            self.good_s = percept.frame_s

    def tick(self, now_s=None):
        now_s = self.clock_s if now_s is None else now_s
        decision = self.runtime.tick(now_s)
        if math.isfinite(now_s):
            if now_s < self.tick_s - CLOCK_SLACK_S:
                self.told, self.good_s, self.state_s = False, -math.inf, -math.inf
                self.tick_s = now_s
                assert not decision.values.any()
            if self.zeros_due:
                assert decision.publish
        self.check_values(decision, now_s)
        assert decision.publish <= (self.ever_told and not self.shut_down)
        assert (decision.state is State.SHUT_DOWN) == self.shut_down
        if math.isfinite(now_s):
            self.tick_s = max(self.tick_s, now_s)
            self.zeros_due = False

    def check_values(self, decision, now_s):
        values = decision.values
        assert np.isfinite(values).all()
        if values.any():
            assert decision.publish
            assert decision.state is State.ACTING
            assert not self.fault
            assert self.told, "moves although nobody told it to, or somebody told it to stop"
            assert self.percept.command.text == self.text
            assert self.percept.command.number == self.accepted, "moves on what never matched"
            assert self.percept.similarity >= 0.3
            assert now_s - self.told_s <= COMMAND_TIMEOUT_S + 1e-9
            assert now_s - self.good_s <= IMAGE_TIMEOUT_S + 1e-9
            if self.decoder.needs_state:
                assert now_s - self.state_s <= STATE_TIMEOUT_S + 1e-9
            assert (np.abs(values) <= MAX_SPEED).all()
            step = np.multiply(MAX_ACCELERATION, max(0.0, now_s - self.tick_s))
            assert (np.abs(values - self.values) <= step + 1e-9).all()
            event("moved")
        self.values = values
        if decision.publish:
            self.published.append(values)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(sequence=sequences, needs_state=st.booleans())
@example(sequence=[(("nothing", None), 9), (("clock", -1.0), 5)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("stop", "stop"), 9)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("similarity", 0.4), 5)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("raise", MemoryError()), 5)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("camera", False), 14)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("joints", False), 14)], needs_state=True)
@example(sequence=[(("nothing", None), 9), (("act", [[math.nan, 0.0]]), 5)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("act", [[0.1]]), 5)], needs_state=False)
@example(sequence=[(("nothing", None), 9), (("say unheard", "turn left"), 1)], needs_state=False)
@example(sequence=[(("nothing", None), 14)] * 3, needs_state=False)
def test_limits_timeouts_stops_and_silence_hold_for_any_sequence(sequence, needs_state):
    oracle = Oracle(needs_state=needs_state)
    for (kind, value), count in sequence:
        oracle.run(kind, value)
        oracle.live(count)
    oracle.do_shut_down("")
    assert not oracle.published[-1].any()
    oracle.clock_s += 0.05
    oracle.tick()


@settings(deadline=None, max_examples=30)
@given(
    stop_at=st.integers(1, 30),
    cut_at=st.integers(1, 30),
    rate_hz=st.floats(5.0, 100.0),
    timeout_s=st.floats(0.1, 1.0),
)
def test_zero_comes_within_a_tick_of_a_stop_and_a_timeout_of_the_last_picture(
    stop_at, cut_at, rate_hz, timeout_s
):
    runtime = make_runtime(control_rate_hz=rate_hz, image_timeout_s=timeout_s)
    runtime.tick(0.0)
    runtime.on_command("forward", now_s=0.0)
    for step in range(1, 40):
        now_s = step / rate_hz
        if step <= cut_at:
            runtime.on_image(PICTURE, now_s=now_s)
            runtime.perceive()
        if step == stop_at:
            runtime.on_command("stop", now_s=now_s)
        decision = runtime.tick(now_s)
        may_move = step < stop_at and now_s - cut_at / rate_hz <= timeout_s + 1e-9
        assert decision.values.any() <= may_move
        if step < stop_at and step <= cut_at:
            assert decision.values[0] > 0
