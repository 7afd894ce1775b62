import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.detection import true_positive_rate

QUICK = Resampling(num_resamples=100)


def rate_by_loop(scores, right, rate):
    """The lowest wrong score that few enough wrong ones exceed, and who exceeds it."""
    wrong = scores[~right].tolist()
    allowed = [t for t in wrong if sum(w > t for w in wrong) <= rate * len(wrong) + 1e-9]
    return np.mean(scores[right] > min(allowed))


def pairs(seed, *, num_pairs=90, num_episodes=8, levels=None):
    generator = np.random.default_rng(seed)
    right = generator.random(num_pairs) < 0.4
    scores = generator.standard_normal(num_pairs) + right
    if levels:
        scores = np.round(scores * levels) / levels
    return scores, right, generator.integers(0, num_episodes, num_pairs)


def test_the_rate_of_a_hundred_wrong_pairs_worked_by_hand():
    """One of the hundred may pass, .8; the next, .6, is the threshold, and equalling it fails."""
    wrong = np.concatenate([[0.8, 0.6], np.linspace(-1, 0.5, 98)])
    scores = np.concatenate([[0.9, 0.7, 0.6, 0.2], wrong])
    right = np.arange(104) < 4
    found = true_positive_rate(scores, right, episodes=np.arange(104), resampling=QUICK)
    assert found.value == 2 / 4
    assert found.chance == 2 / 101
    # With .6 twice, both are above .5 or neither: the threshold stays.
    scores[6] = 0.6
    assert true_positive_rate(scores, right, episodes=np.arange(104)).value == 2 / 4
    # With .8 twice, one too many lies above .6: the threshold rises.
    scores[6], scores[5] = 0.5, 0.8
    assert true_positive_rate(scores, right, episodes=np.arange(104)).value == 1 / 4


def test_with_fewer_than_a_hundred_wrong_pairs_none_may_pass():
    scores = np.concatenate([[0.9, 0.7], [0.8], np.linspace(-1, 0, 98)])
    right = np.arange(101) < 2
    found = true_positive_rate(scores, right, episodes=np.arange(101), resampling=QUICK)
    assert (found.value, found.chance) == (0.5, 0.01)


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_rate_is_that_of_a_loop_over_thresholds(levels, rate):
    for seed in range(5):
        scores, right, episodes = pairs(seed, levels=levels)
        found = true_positive_rate(
            scores, right, episodes=episodes, false_positive_rate=rate, resampling=QUICK
        )
        assert found.value == rate_by_loop(scores, right, rate)


def test_scores_that_say_nothing_reach_chance_on_average():
    generator = np.random.default_rng(0)
    right, episodes = np.arange(60) < 20, np.zeros(60, dtype=np.int64)
    found = [
        true_positive_rate(
            generator.standard_normal(60), right, episodes=episodes, false_positive_rate=0.1
        )
        for _ in range(2000)
    ]
    assert np.mean([each.value for each in found]) == pytest.approx(found[0].chance, abs=0.006)
    assert found[0].chance == 5 / 41


def test_equal_scores_find_nothing():
    right = np.arange(12) % 3 == 0
    found = true_positive_rate(np.ones(12), right, episodes=np.arange(12) // 3, resampling=QUICK)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_is_that_of_drawing_whole_episodes_anew_each_with_its_threshold():
    scores, right, episodes = pairs(3, levels=8)
    found = true_positive_rate(
        scores,
        right,
        episodes=episodes,
        false_positive_rate=0.1,
        resampling=Resampling(num_resamples=4000),
    )
    generator = np.random.default_rng(99)
    drawn = []
    for _ in range(1500):
        of = [np.flatnonzero(episodes == e) for e in generator.integers(0, 8, 8)]
        chosen = np.concatenate(of)
        drawn.append(rate_by_loop(scores[chosen], right[chosen], 0.1))
    low, high = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], [low, high], atol=0.03)
    assert found.low < found.value < found.high


def test_draws_that_lack_a_side_are_left_out():
    scores, right = np.array([0.9, 0.1, 0.8, 0.2]), np.array([True, True, False, False])
    found = true_positive_rate(scores, right, episodes=np.array([0, 0, 1, 1]), resampling=QUICK)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    single = true_positive_rate(scores, right, episodes=np.zeros(4, dtype=int), resampling=QUICK)
    assert np.isnan([single.low, single.high]).all()


@pytest.mark.parametrize(
    ("scores", "right", "rate", "message"),
    [
        ([1.0, np.nan], [True, False], 0.1, "pair 1 is nan"),
        ([1.0, 2.0], [True, True], 0.1, "none of them wrong"),
        ([1.0, 2.0], [False, False], 0.1, "none of them right"),
        ([1.0, 2.0], [True, False], 1.0, "must lie between 0 and 1, got 1.0"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, right, rate, message):
    with pytest.raises(InputError, match=message):
        true_positive_rate(
            np.array(scores), np.array(right), episodes=np.arange(2), false_positive_rate=rate
        )
