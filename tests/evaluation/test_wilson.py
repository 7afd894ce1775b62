import math
from statistics import NormalDist

import pytest

from jointspace.errors import InputError
from jointspace.evaluation.wilson import proportion, wilson_interval


@pytest.mark.parametrize(
    ("num_successes", "num_trials", "expected"),
    [
        # R. G. Newcombe (1998), Statistics in Medicine 17, table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_intervals_equal_the_published_ones(num_successes, num_trials, expected):
    assert wilson_interval(num_successes, num_trials) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("num_successes", "num_trials"), [(0, 5), (3, 7), (40, 41), (9, 9)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_holds_the_rates_that_a_score_test_does_not_reject(
    num_successes, num_trials, confidence
):
    low, high = wilson_interval(num_successes, num_trials, confidence=confidence)

    def rejected(rate):
        deviations = abs(num_successes / num_trials - rate) / math.sqrt(
            rate * (1 - rate) / num_trials
        )
        return 2 * (1 - NormalDist().cdf(deviations)) < 1 - confidence

    step = 1e-4
    rates = [step * i for i in range(1, round(1 / step))]
    kept = [rate for rate in rates if not rejected(rate)]
    assert (kept[0], kept[-1]) == pytest.approx((low, high), abs=1.01 * step)


def test_successes_and_failures_mirror_each_other():
    low, high = wilson_interval(3, 11)
    assert wilson_interval(8, 11) == pytest.approx((1 - high, 1 - low))


def test_without_a_trial_nothing_is_known():
    assert wilson_interval(0, 0) == (0, 1)
    assert math.isnan(proportion(0, 0).rate)


def test_a_proportion_holds_rate_and_interval():
    got = proportion(3, 4, confidence=0.9)
    assert got.rate == 0.75
    assert (got.low, got.high) == wilson_interval(3, 4, confidence=0.9)


@pytest.mark.parametrize(("num_successes", "num_trials"), [(5, 4), (-1, 4), (0, -1)])
def test_impossible_counts_are_refused(num_successes, num_trials):
    with pytest.raises(InputError, match=f"{num_successes} successes of {num_trials} trials"):
        wilson_interval(num_successes, num_trials)


def test_a_confidence_of_one_is_refused():
    with pytest.raises(InputError, match=r"between 0 and 1, got 1\.0"):
        wilson_interval(1, 2, confidence=1.0)
