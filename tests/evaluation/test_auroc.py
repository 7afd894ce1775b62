import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.evaluation import auroc as auroc_module
from jointspace.evaluation.auroc import auroc
from jointspace.evaluation.bootstrap import Resampling

QUICK = Resampling(num_resamples=200)


def area_by_loop(scores, right):
    wins = [
        float(a > b) + float(a == b) / 2 for a in scores[right].tolist() for b in scores[~right]
    ]
    return sum(wins) / len(wins)


def pairs(seed, *, num_pairs=60, num_episodes=8, levels=None):
    generator = np.random.default_rng(seed)
    right = generator.random(num_pairs) < 0.4
    scores = generator.standard_normal(num_pairs) + right
    if levels:
        scores = np.round(scores * levels) / levels
    return scores, right, generator.integers(0, num_episodes, num_pairs)


@pytest.mark.parametrize("levels", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_area_is_that_of_a_double_loop_ties_counting_half(seed, levels):
    scores, right, episodes = pairs(seed, levels=levels)
    value = auroc(scores, right, episodes=episodes, resampling=QUICK).value
    assert value == pytest.approx(area_by_loop(scores, right), abs=1e-12)


def test_of_four_comparisons_one_is_a_tie_and_one_is_lost():
    scores = np.array([0.9, 0.3, 0.3, 0.5])
    right = np.array([True, True, False, False])
    area = auroc(scores, right, episodes=np.arange(4))
    assert (area.value, area.chance) == ((1 + 1 + 0.5 + 0) / 4, 0.5)


def test_equal_scores_are_chance_and_their_interval_a_point():
    right = np.arange(12) % 3 == 0
    area = auroc(np.ones(12), right, episodes=np.arange(12) // 3, resampling=QUICK)
    assert (area.value, area.low, area.high) == (0.5, 0.5, 0.5)


def test_the_interval_is_that_of_drawing_whole_episodes_anew():
    scores, right, episodes = pairs(3, levels=4)
    area = auroc(scores, right, episodes=episodes, resampling=Resampling(num_resamples=4000))
    generator = np.random.default_rng(99)
    drawn = []
    for _ in range(600):
        of = [np.flatnonzero(episodes == e) for e in generator.integers(0, 8, 8)]
        chosen = np.concatenate(of)
        drawn.append(area_by_loop(scores[chosen], right[chosen]))
    np.testing.assert_allclose([area.low, area.high], np.quantile(drawn, [0.025, 0.975]), atol=0.03)


def test_an_interval_in_bins_is_nearly_the_exact_one(monkeypatch):
    scores, right, episodes = pairs(4, num_pairs=900, num_episodes=30)
    exact = auroc(scores, right, episodes=episodes, resampling=QUICK)
    monkeypatch.setattr(auroc_module, "_MOST_BINS", 64)
    binned = auroc(scores, right, episodes=episodes, resampling=QUICK)
    assert binned.value == exact.value
    assert binned.low != exact.low
    np.testing.assert_allclose([binned.low, binned.high], [exact.low, exact.high], atol=2e-3)


def test_one_episode_and_no_draws_give_no_interval():
    scores, right, episodes = pairs(5)
    for area in (
        auroc(scores, right, episodes=np.zeros_like(episodes)),
        auroc(scores, right, episodes=episodes, resampling=Resampling(num_resamples=0)),
    ):
        assert np.isnan([area.low, area.high]).all()


def test_draws_without_both_kinds_are_left_out():
    # Right pairs in one episode only: some draws miss it.
    scores = np.array([1.0, 0.0, 0.5, 2.0])
    right = np.array([True, False, False, False])
    area = auroc(scores, right, episodes=np.array([0, 0, 1, 2]), resampling=QUICK)
    assert area.value == pytest.approx(2 / 3)
    assert 0 <= area.low < area.high <= 1
    # A single draw often holds no right pair: then there is no interval.
    single = [Resampling(num_resamples=1, seed=seed) for seed in range(8)]
    lows = [auroc(scores, right, episodes=np.array([0, 0, 1, 2]), resampling=r).low for r in single]
    assert 0 < np.isnan(lows).sum() < 8


def test_what_cannot_be_compared_is_refused():
    scores, right, episodes = pairs(6)
    with pytest.raises(InputError, match="60 pairs, none of them wrong"):
        auroc(scores, np.ones_like(right), episodes=episodes)
    with pytest.raises(InputError, match="60 pairs, none of them right"):
        auroc(scores, np.zeros_like(right), episodes=episodes)
    scores[7] = np.nan
    with pytest.raises(InputError, match="pair 7 is nan"):
        auroc(scores, right, episodes=episodes)
