import gc
import time

from jointspace.export.timing import interleaved_ms


def test_the_slower_call_takes_longer():
    calls = {"quick": lambda: None, "slow": lambda: time.sleep(0.002)}
    found = interleaved_ms(calls, budget_s=0.05)
    assert found["quick"] < 1
    assert found["slow"] >= 2


def test_calls_take_turns():
    order = []
    interleaved_ms({n: lambda n=n: order.append(n) for n in "ab"}, budget_s=0.0, fewest=3)
    assert order == ["a", "b"] * (len(order) // 2)


def test_a_budget_that_is_spent_still_gives_the_fewest_rounds():
    times = []
    interleaved_ms({"slow": lambda: times.append(time.sleep(0.001))}, budget_s=0.0, fewest=7)
    assert len(times) == 5 + 7  # warm-up first


def test_no_more_than_the_most_rounds():
    times = []
    interleaved_ms({"quick": lambda: times.append(None)}, budget_s=60.0, most=20)
    assert len(times) == 5 + 20


def test_garbage_is_collected_again_afterwards():
    interleaved_ms({"quick": lambda: None}, most=15)
    assert gc.isenabled()
