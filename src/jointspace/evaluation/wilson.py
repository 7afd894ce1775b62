"""The interval of a success rate, from a handful of trials upward."""

import math
from dataclasses import dataclass
from statistics import NormalDist

from jointspace.errors import InputError


@dataclass(frozen=True)
class Proportion:
    """How often something succeeded, and what that says of how often it will.

    Attributes:
        num_successes: trials that succeeded.
        num_trials: all trials; without any, the rate is unknown and the interval is [0, 1].
        low: lower end of the interval.
        high: upper end of the interval.
    """

    num_successes: int
    num_trials: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of the trials that succeeded; NaN without any."""
        return self.num_successes / self.num_trials if self.num_trials else math.nan


def wilson_interval(
    num_successes: int, num_trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """The rates that a two-sided score test of the outcome does not reject.

    Unlike the textbook's rate ± 1.96 standard errors, it stays within [0, 1] and keeps a width
    where all trials, or none, succeeded.

    Args:
        num_successes: trials that succeeded.
        num_trials: all trials, taken to be independent.
        confidence: of the interval, between 0 and 1.

    Returns:
        Both ends; (0, 1) without a trial.

    Raises:
        InputError: counts that cannot be, or a confidence outside (0, 1).

    Source:
        E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
        without continuity correction.

    Example:
        >>> low, high = wilson_interval(81, 263)
        >>> round(low, 4), round(high, 4)
        (0.2553, 0.3662)
    """
    if not 0 <= num_successes <= num_trials:
        raise InputError(
            f"got {num_successes} successes of {num_trials} trials, "
            "expected 0 <= successes <= trials"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}")
    if not num_trials:
        return 0.0, 1.0
    deviations = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = num_successes / num_trials
    shrinkage = deviations**2 / num_trials
    centre = rate + shrinkage / 2
    reach = math.sqrt(shrinkage * (rate * (1 - rate) + shrinkage / 4))
    # Rounding must not exclude the certain ends.
    low = 0.0 if num_successes == 0 else (centre - reach) / (1 + shrinkage)
    high = 1.0 if num_successes == num_trials else (centre + reach) / (1 + shrinkage)
    return low, high


def proportion(num_successes: int, num_trials: int, *, confidence: float = 0.95) -> Proportion:
    """Returns the rate of a count with its Wilson interval.

    Args:
        num_successes: trials that succeeded.
        num_trials: all trials, taken to be independent.
        confidence: of the interval, between 0 and 1.
    """
    low, high = wilson_interval(num_successes, num_trials, confidence=confidence)
    return Proportion(num_successes, num_trials, low, high)
