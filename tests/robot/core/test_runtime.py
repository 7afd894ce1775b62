"""The runtime as a shell uses it, on a clock of the test's own."""

import numpy as np

from jointspace.robot.core.runtime import Heard
from jointspace.robot.core.safety import State
from tests.robot.stand_ins import PICTURE, make_runtime


def see(runtime, now_s, **options):
    runtime.on_image(PICTURE, now_s=now_s, **options)
    return runtime.perceive()


def test_the_robot_is_silent_before_the_first_command():
    runtime = make_runtime()
    for step in range(5):
        see(runtime, step / 20)
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


def test_stop_gives_zero_at_the_next_tick_and_then_silence():
    runtime = make_runtime()
    runtime.tick(0.0)
    runtime.on_command("forward", now_s=0.0)
    for step in range(1, 10):
        see(runtime, step / 20)
        assert runtime.tick(step / 20).publish
    assert runtime.on_command("STOP!!", now_s=0.46) is Heard.STOP
    after = [runtime.tick(0.46 + step / 20) for step in range(6)]
    assert all(not decision.values.any() for decision in after)
    assert [decision.publish for decision in after] == [True, True, True, False, False, False]
    assert after[0].state is State.STOPPED
