"""How long calls take beside each other, on a machine that others use as well."""

import gc
from collections.abc import Callable, Hashable, Mapping
from statistics import median
from time import perf_counter
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

_WARM_UP = 5


def interleaved_ms(
    calls: Mapping[Name, Callable[[], object]],
    *,
    budget_s: float = 1.0,
    fewest: int = 15,
    most: int = 300,
) -> dict[Name, float]:
    """Times calls by turns, so that what else the machine does hits all of them alike.

    Args:
        calls: what to time, by name.
        budget_s: about how long all of it may take.
        fewest: rounds, however long they take.
        most: rounds, however short they are.

    Returns:
        Milliseconds of each, the median over its calls.
    """
    for _ in range(_WARM_UP):
        for call in calls.values():
            call()
    spent_s: dict[Name, list[float]] = {name: [] for name in calls}
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter()
        for number in range(most):
            if number >= fewest and perf_counter() - begin > budget_s:
                break
            for name, call in calls.items():
                start = perf_counter()
                call()
                spent_s[name].append(perf_counter() - start)
    finally:
        if was_collecting:
            gc.enable()
    return {name: median(each) * 1e3 for name, each in spent_s.items()}
