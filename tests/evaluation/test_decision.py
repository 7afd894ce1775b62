"""Thresholds over time, and what keeps a decision from flickering."""

from dataclasses import replace

import pytest

from jointspace.errors import InputError
from jointspace.evaluation.decision import Latch
from tests.deploy.bundles import GROWTH


def settled(decisions):
    latch = Latch()
    return [latch.settle(each) for each in decisions]


def test_a_latch_takes_up_above_the_band_and_lets_go_below_it():
    said = ["abstain", "accept", "abstain", "abstain", "reject", "abstain", "accept"]
    assert settled(said) == ["abstain", "accept", "accept", "accept", "reject", "abstain", "accept"]


def test_a_latch_that_is_released_begins_anew():
    latch = Latch()
    assert latch.settle("accept") == "accept"
    latch.release()
    assert latch.settle("abstain") == "abstain"


@pytest.mark.parametrize(
    ("similarity", "elapsed_s", "decision"),
    [
        (0.61, 0.1, "accept"),
        (0.6, 0.1, "abstain"),
        (0.1, 0.5, "abstain"),
        (-0.21, 0.5, "reject"),
        (0.1, 0.51, "reject"),
        (0.4, 0.51, "abstain"),
        (0.1, 99.0, "reject"),  # the last stage lasts on
        (0.7, 99.0, "accept"),
    ],
)
def test_what_is_rejected_depends_on_the_time_and_what_is_accepted_does_not(
    similarity, elapsed_s, decision
):
    assert GROWTH.decide(similarity, elapsed_s=elapsed_s) == decision


@pytest.mark.parametrize(("similarity", "elapsed_s"), [(float("nan"), 1.0), (0.5, float("inf"))])
def test_nothing_is_decided_on_what_is_not_finite(similarity, elapsed_s):
    with pytest.raises(InputError, match="nothing was decided"):
        GROWTH.decide(similarity, elapsed_s=elapsed_s)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, r"stages end at \[\]"),
        ({"stages": GROWTH.stages[::-1]}, "wanted later and later times"),
        ({"accept": 0.3}, "finite reject <= accept"),
        ({"accept": float("nan")}, "finite reject <= accept"),
    ],
)
def test_impossible_thresholds_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        replace(GROWTH, **changes)
