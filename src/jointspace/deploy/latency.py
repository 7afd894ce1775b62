"""How long calls take beside each other, on a machine that others use as well."""

import gc
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from jointspace.errors import InputError

Name = TypeVar("Name", bound=Hashable)

_WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """What a call took, over many calls.

    Attributes:
        p50_ms: half of the calls took no longer.
        p95_ms: 19 of 20 calls took no longer.
        p99_ms: 99 of 100 calls took no longer; of fewer than 100 calls, near the longest.
        num_calls: how many were timed.
        cpu_ms: of the processor, of all threads, in half of the calls: what a call costs however
            busy the machine is. None where it was not measured.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    num_calls: int
    cpu_ms: float | None = None

    @staticmethod
    def of(
        spent_ms: Float[np.ndarray, " call"], cpu_ms: Float[np.ndarray, " call"] | None = None
    ) -> "Latency":
        """Summarises the times of some calls.

        Args:
            spent_ms: by the clock.
            cpu_ms: of the processor; None if that was not measured.

        Raises:
            InputError: there are none.
        """
        if not len(spent_ms):
            raise InputError("latency: no call was timed; wanted at least one")
        p50, p95, p99 = np.quantile(spent_ms, (0.5, 0.95, 0.99)).tolist()
        processor_ms = None if cpu_ms is None else float(np.median(cpu_ms))
        return Latency(p50, p95, p99, len(spent_ms), processor_ms)


def measure_by_turns(
    calls: Mapping[Name, Callable[[], object]],
    *,
    budget_s: float,
    fewest: int = 10,
    most: int = 1000,
) -> dict[Name, Latency]:
    """Times calls by turns, so that what else the machine does hits all of them alike.

    Args:
        calls: what to time, by name.
        budget_s: about how long all of it may take, beyond the first calls, which do not count.
        fewest: rounds, however long they take.
        most: rounds, however short they are.

    Returns:
        What each took. Whatever a call raises passes through.

    Raises:
        InputError: `fewest` or `most` is below 1.
    """
    if min(fewest, most) < 1:
        raise InputError(f"latency: fewest is {fewest}, most {most}; wanted at least 1 of each")
    for _ in range(_WARM_UP):
        for call in calls.values():
            call()
    spent_ms: dict[Name, list[tuple[float, float]]] = {name: [] for name in calls}
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter()
        for number in range(most):
            if number >= fewest and perf_counter() - begin > budget_s:
                break
            for name, call in calls.items():
                cpu, start = process_time(), perf_counter()
                call()
                spent = perf_counter() - start
                spent_ms[name].append((spent * 1e3, (process_time() - cpu) * 1e3))
    finally:
        if was_collecting:
            gc.enable()
    return {name: Latency.of(*np.asarray(each).T) for name, each in spent_ms.items()}
