"""Perception in its own thread, on the real clock: control and stops do not wait for it."""

import threading
import time

import numpy as np
import pytest

from jointspace.robot.core.images import RgbPicture
from jointspace.robot.core.safety import State
from jointspace.robot.core.worker import PerceptionWorker
from tests.robot.stand_ins import PICTURE, FakeEmbedder, make_runtime

SLOW_S = 0.3


def wait_until(condition, *, timeout_s=5.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "nothing happened"
        time.sleep(0.002)


def test_pictures_are_perceived_as_they_come_and_listeners_told():
    runtime, percepts = make_runtime(), []
    with PerceptionWorker(runtime, on_percept=percepts.append):
        for count in range(3):
            runtime.on_image(PICTURE, now_s=time.monotonic(), source=count)
            wait_until(lambda count=count: len(percepts) == count + 1)
    assert [percept.sources["front"] for percept in percepts] == [0, 1, 2]
    assert not any(thread.name == "perception" for thread in threading.enumerate())


def test_a_listener_that_raises_is_a_fault_and_the_thread_lives_on():
    runtime, percepts = make_runtime(), []

    def listen(percept):
        percepts.append(percept)
        if len(percepts) == 1:
            raise ValueError("the publisher is gone")

    with PerceptionWorker(runtime, on_percept=listen):
        runtime.on_command("forward", now_s=time.monotonic())
        runtime.on_image(PICTURE, now_s=time.monotonic())
        wait_until(lambda: runtime.tick(time.monotonic()).state is State.FAULT)
        assert "the publisher is gone" in runtime.tick(time.monotonic()).reason
        runtime.on_image(PICTURE, now_s=time.monotonic())
        wait_until(lambda: runtime.tick(time.monotonic()).state is State.ACTING)


def test_a_slow_network_keeps_control_at_its_rate_and_a_stop_waits_for_one_tick_only():
    """The pictures come at 30 Hz, the network takes 0.3 s, control runs at 20 Hz."""
    runtime = make_runtime(before_row=lambda: time.sleep(SLOW_S), image_timeout_s=2.0)
    done = threading.Event()

    def camera():
        while not done.wait(1 / 30):
            runtime.on_image(RgbPicture(PICTURE.pixels), now_s=time.monotonic())

    ticks, states = [], []
    feed = threading.Thread(target=camera)
    with PerceptionWorker(runtime):
        feed.start()
        runtime.on_command("forward", now_s=time.monotonic())
        began_s = time.monotonic()
        while time.monotonic() - began_s < 1.0:
            before_s = time.monotonic()
            states.append(runtime.tick(before_s).state)
            ticks.append(time.monotonic() - before_s)
            time.sleep(max(0.0, 0.05 - ticks[-1]))
        assert State.ACTING in states
        told_s = time.monotonic()
        runtime.on_command("stop", now_s=told_s)
        decision = runtime.tick(time.monotonic())
        stopped_s = time.monotonic() - told_s
        done.set()
        feed.join()
    assert not decision.values.any()
    assert decision.state is State.STOPPED
    # Each is microseconds; a tick that waited for the network would take a good part of 0.3 s.
    assert max(ticks) < SLOW_S / 3
    assert stopped_s < SLOW_S / 3
    assert len(ticks) >= 10
    # Older pictures make room: the network never works through a queue.
    assert runtime.diagnostics(time.monotonic()).drops["replaced"] >= 5


def test_many_threads_at_once_keep_the_limits_and_hear_the_stop():
    runtime = make_runtime(image_timeout_s=0.1)
    done, errors = threading.Event(), []

    def repeat(call):
        try:
            while not done.is_set():
                call(time.monotonic())
        except Exception as error:
            errors.append(error)
            raise

    def listen(now_s):
        runtime.on_command("forward" if int(now_s * 100) % 2 else "turn left", now_s=now_s)
        time.sleep(0.02)

    calls = (
        lambda now_s: runtime.on_image(PICTURE, now_s=now_s),
        lambda now_s: runtime.on_state(np.zeros(2), now_s=now_s),
        runtime.diagnostics,
        listen,
    )
    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    values, last_s, moved = np.zeros(2), time.monotonic(), False
    runtime.tick(last_s)
    with PerceptionWorker(runtime):
        for thread in threads:
            thread.start()
        end_s = time.monotonic() + 0.7
        while time.monotonic() < end_s:
            now_s = time.monotonic()
            new = runtime.tick(now_s).values
            step = np.multiply((1.0, 2.0), now_s - last_s) + 1e-9
            assert not new.any() or (np.abs(new - values) <= step).all()
            moved |= bool(new.any())
            values, last_s = new, now_s
            time.sleep(0.001)
        done.set()
        for thread in threads:
            thread.join()
        runtime.on_command("stop", now_s=time.monotonic())
        assert not runtime.tick(time.monotonic()).values.any()
    assert moved
    assert not errors
    assert runtime.diagnostics(time.monotonic()).clock_jumps == 0


def test_a_network_too_slow_for_the_image_timeout_is_named_in_the_diagnostics():
    runtime = make_runtime(FakeEmbedder(), before_row=lambda: time.sleep(0.06), image_timeout_s=0.1)
    runtime.on_image(PICTURE, now_s=1.0)
    runtime.perceive()
    assert "image_timeout_s should be above 0.1" in runtime.diagnostics(1.0).advice


def test_a_thread_that_was_never_started_is_stopped_without_a_word():
    PerceptionWorker(make_runtime()).stop()


@pytest.mark.parametrize("timeout_s", [0.0])
def test_waiting_for_input_ends_when_there_is_none(timeout_s):
    runtime = make_runtime()
    assert not runtime.wait_for_input(timeout_s)
    runtime.on_image(PICTURE, now_s=0.0)
    assert runtime.wait_for_input(timeout_s)
    assert not runtime.wait_for_input(timeout_s)
