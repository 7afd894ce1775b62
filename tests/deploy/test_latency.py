import gc
import time

import numpy as np
import pytest

from jointspace.deploy.latency import Latency, measure_by_turns
from jointspace.errors import InputError


def test_quantiles_are_of_the_times_given():
    found = Latency.of(np.arange(1, 102, dtype=np.float64))
    assert (found.p50_ms, found.p95_ms, found.p99_ms) == (51, 96, 100)
    assert (found.num_calls, found.cpu_ms) == (101, None)
    with pytest.raises(InputError, match="no call was timed"):
        Latency.of(np.zeros(0))


def test_calls_take_turns_and_the_first_ones_do_not_count():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    found = measure_by_turns(calls, budget_s=0.0, fewest=4, most=9)
    assert order[-8:] == ["a", "b"] * 4
    assert len(order) > 8
    assert {each.num_calls for each in found.values()} == {4}
    assert gc.isenabled()


def test_waiting_counts_by_the_clock_and_working_for_the_processor_as_well():
    def work():
        end = time.process_time() + 0.004
        while time.process_time() < end:
            pass

    calls = {"wait": lambda: time.sleep(0.004), "work": work}
    found = measure_by_turns(calls, budget_s=0.0, fewest=3)
    assert found["wait"].p50_ms > 3.9
    assert found["wait"].cpu_ms < 2
    assert found["work"].cpu_ms > 3.9


def test_the_budget_ends_it_between_the_fewest_and_the_most_rounds():
    calls = {"a": lambda: time.sleep(0.002)}
    assert measure_by_turns(calls, budget_s=60.0, fewest=1, most=3)["a"].num_calls == 3
    assert measure_by_turns(calls, budget_s=0.01, fewest=2, most=100)["a"].num_calls <= 6
    with pytest.raises(InputError, match="fewest is 0"):
        measure_by_turns(calls, budget_s=1.0, fewest=0)


def test_collection_goes_on_after_a_call_that_fails():
    def fail():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        measure_by_turns({"a": fail}, budget_s=1.0)
    assert gc.isenabled()
