"""What the robot says of itself."""

import numpy as np
import pytest

from jointspace.robot.core.diagnostics import Level, Meter
from jointspace.robot.core.percept import Percept
from jointspace.robot.core.safety import Decision, State


def snapshot(meter, now_s=10.0, *, state=State.ACTING, image_timeout_s=0.5, percept=None):
    return meter.snapshot(
        now_s,
        decision=Decision(np.zeros(2), state, "because", publish=True),
        percept=percept,
        image_timeout_s=image_timeout_s,
        clock_jumps=2,
    )


def test_rates_and_percentiles_are_those_of_the_last_percepts():
    meter = Meter()
    for step in range(100):
        meter.encoded(float(step + 1), 8.0 + step * 0.02)
    got = snapshot(meter, 9.98)
    assert got.fps == pytest.approx(50.0)
    assert got.encode_p50_ms == pytest.approx(50.5)
    assert got.encode_p95_ms == pytest.approx(np.percentile(np.arange(1, 101), 95))
    assert snapshot(meter, 100.0).fps == 0


def test_a_new_meter_knows_no_times():
    got = snapshot(Meter())
    assert (got.fps, got.encode_p50_ms, got.encode_p95_ms, got.advice) == (0, None, None, "")


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (State.ACTING, Level.OK),
        (State.IDLE, Level.OK),
        (State.STOPPED, Level.OK),
        (State.BLIND, Level.WARN),
        (State.FAULT, Level.ERROR),
    ],
)
def test_the_level_follows_from_the_state(state, level):
    assert snapshot(Meter(), state=state).level is level


def test_a_slow_network_is_a_warning_with_advice():
    meter = Meter()
    meter.encoded(300.0, 9.0)
    got = snapshot(meter)
    assert got.level is Level.WARN
    assert "pictures take 300 ms" in got.advice
    assert "above 0.6" in got.advice
    assert snapshot(meter, image_timeout_s=1.0).advice == ""


def test_the_items_are_text_as_a_diagnostic_message_has_them():
    meter = Meter()
    meter.drop("too old", "5 s old")
    meter.ignored["state"] += 1
    meter.encoded(12.0, 9.0)
    percept = Percept(frame_s=9.0, similarity=0.25, best_instruction="open it")
    items = dict(snapshot(meter, percept=percept).items())
    assert items == {
        "state": "acting",
        "reason": "because",
        "fps": "0.5",
        "encode_p50_ms": "12.000",
        "encode_p95_ms": "12.000",
        "similarity": "0.250",
        "best_instruction": "open it",
        "last_refusal": "5 s old",
        "advice": "",
        "clock_jumps": "2",
        "dropped: too old": "1",
        "ignored: state": "1",
    }
    assert dict(snapshot(Meter()).items())["similarity"] == ""
