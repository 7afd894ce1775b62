"""From messages that come when they come to steps at a constant rate, on the clock of a camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from jointspace.data.ros_types import NS_PER_S

_SLACK = 0.51
"""Of a step: so far may a topic begin after the first step, or end before the last."""


@dataclass(frozen=True)
class Steps:
    """Which message of each topic belongs to which step.

    Attributes:
        times_ns: of the steps, in nanoseconds since 1970.
        messages: topic -> number of its nearest message, for each step.
        gap_s: topic -> the longest time between a step and its message.
        cut_s: how much of the clock's time was left out, since other topics began later or ended
            earlier.
    """

    times_ns: Int64[np.ndarray, " step"]
    messages: Mapping[str, Int64[np.ndarray, " step"]]
    gap_s: Mapping[str, float]
    cut_s: float


def usual_rate_hz(times_ns: Sequence[Int64[np.ndarray, " _"]]) -> float:
    """Returns the rate at which messages usually come, over all recordings.

    Args:
        times_ns: per recording, when they came; ascending.

    Returns:
        One over the median of the times between; a whole number where it is within 0.05 % of one.
        0 where no recording has two messages.
    """
    between = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(each) for each in times_ns)])
    between = between[between > 0]
    if not len(between):
        return 0.0
    rate_hz = NS_PER_S / float(np.median(between))
    whole = round(rate_hz)
    return float(whole) if abs(rate_hz - whole) <= 5e-4 * rate_hz else round(rate_hz, 3)


def align(
    times_ns: Mapping[str, Int64[np.ndarray, " _"]], *, clock: str, rate_hz: float
) -> Steps | None:
    """Lays steps over a recording, and finds the message of each topic that is nearest to each.

    Steps begin at the first message of the clock that lies within all topics, and end with the
    topic that ends first.

    Args:
        times_ns: topic -> when its messages were made, strictly ascending, at least one each.
        clock: the topic that gives the time.
        rate_hz: steps per second.

    Returns:
        The steps; None where there is no time at which all topics have messages.
    """
    step_ns = NS_PER_S / rate_hz
    slack_ns = round(_SLACK * step_ns)
    first_ns = max(each[0] for each in times_ns.values()) - slack_ns
    last_ns = min(each[-1] for each in times_ns.values()) + slack_ns
    ticks = times_ns[clock]
    ticks = ticks[(ticks >= first_ns) & (ticks <= last_ns)]
    if not len(ticks):
        return None
    # A camera that trembles by less than half a step still gives each picture a step of its own.
    count = int((min(last_ns, ticks[-1] + slack_ns) - ticks[0]) / step_ns) + 1
    steps_ns = ticks[0] + np.round(np.arange(count) * step_ns).astype(np.int64)
    nearest = {topic: _nearest(each, steps_ns) for topic, each in times_ns.items()}
    gap_s = {
        topic: float(np.abs(times_ns[topic][places] - steps_ns).max()) / NS_PER_S
        for topic, places in nearest.items()
    }
    span_ns = times_ns[clock][-1] - times_ns[clock][0]
    cut_s = max(0.0, float(span_ns - (steps_ns[-1] - steps_ns[0])) / NS_PER_S)
    return Steps(steps_ns, nearest, gap_s, cut_s)


def _nearest(
    times_ns: Int64[np.ndarray, " message"], steps_ns: Int64[np.ndarray, " step"]
) -> Int64[np.ndarray, " step"]:
    """The number of the message nearest to each step; of two equally near the earlier."""
    after = np.clip(np.searchsorted(times_ns, steps_ns), 1, max(1, len(times_ns) - 1))
    if len(times_ns) == 1:
        return np.zeros(len(steps_ns), dtype=np.int64)
    earlier = steps_ns - times_ns[after - 1] <= times_ns[after] - steps_ns
    return (after - earlier).astype(np.int64)
