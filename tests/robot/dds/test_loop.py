"""The control loop's clock, and signals."""

import os
import signal
import threading
import time

import pytest

from jointspace.robot.dds.loop import interruption, run_at_rate


class Clock:
    """A clock that stands still unless somebody sleeps or works."""

    def __init__(self, work_s):
        self.now_s = 100.0
        self.work_s = list(work_s)
        self.called_s = []

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds

    def work(self, now_s):
        self.called_s.append(round(now_s - 100, 6))
        self.now_s += self.work_s.pop(0)


def run(clock, calls):
    return run_at_rate(
        clock.work,
        rate_hz=20.0,
        until=lambda: len(clock.called_s) == calls,
        clock=clock,
        sleep=clock.sleep,
    )


def test_the_rate_is_kept_whatever_the_work_takes_within_a_period():
    clock = Clock([0.01, 0.04, 0.0, 0.03])
    assert run(clock, 4) == 0
    assert clock.called_s == [0, 0.05, 0.1, 0.15]


def test_a_late_call_is_not_made_up_for():
    clock = Clock([0.01, 0.12, 0.0, 0.0])
    assert run(clock, 4) == 2
    assert clock.called_s == [0, 0.05, 0.2, 0.25]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_ends_nothing(number):
    before = signal.getsignal(number)
    with interruption() as interrupted:
        assert not interrupted
        os.kill(os.getpid(), number)
        assert interrupted
        assert interrupted.name == number.name
    assert signal.getsignal(number) is before


def test_a_signal_ends_a_sleep():
    with interruption() as interrupted:
        began_s = time.monotonic()
        interrupted.sleep(0.02)
        assert time.monotonic() - began_s >= 0.02
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        interrupted.sleep(30.0)
        timer.join()
        assert time.monotonic() - began_s < 20
