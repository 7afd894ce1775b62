import math
from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.errors import InputError
from jointspace.evaluation.matching import MatchScores, match_quality, match_scores
from jointspace.evaluation.threshold import calibrate_threshold
from tests.evaluation.reference import row_ids, unit

STOP, GO = 0, 1
TEXTBOOK_THRESHOLD = 0.8


def scores_of(right, wrong, *, right_episodes=None, wrong_episodes=None):
    """Match scores of given cosines; every pair its own episode unless said otherwise."""
    sides = [np.asarray(side, dtype=np.float32) for side in (right, wrong)]
    episodes = [
        np.arange(len(side)) if given is None else np.asarray(given)
        for side, given in zip(sides, (right_episodes, wrong_episodes), strict=True)
    ]
    num_pairs = len(sides[0]) + len(sides[1])
    return MatchScores(
        query=VISION,
        similarity=np.concatenate(sides),
        right=np.arange(num_pairs) < len(sides[0]),
        row=np.arange(num_pairs),
        instruction=np.zeros(num_pairs, dtype=np.int64),
        episode=np.concatenate(episodes).astype(np.int64),
    )


def good_model(generator, *, num_episodes=120, num_texts=8, dim=64, rows_each=2):
    """Right pairs with cosines about .5, wrong ones about 0: what contrastive training gives."""
    texts = np.linalg.qr(generator.standard_normal((dim, dim)))[0][:num_texts]
    instruction = np.repeat(np.arange(num_episodes) % num_texts, rows_each)
    noise = unit(generator.standard_normal((len(instruction), dim)), np.float64)
    vision = unit(0.58 * texts[instruction] + noise)
    return Embeddings(
        {VISION: vision, TEXT: unit(texts[instruction])},
        row_ids(np.repeat(np.arange(num_episodes), rows_each), instruction),
        {STOP: "stop", GO: "go", **{i: f"push thing {i}" for i in range(2, num_texts)}},
    )


def test_row_22_a_fixed_threshold_of_0_8_accepts_nothing_where_a_calibrated_one_accepts_most():
    generator = np.random.default_rng(22)
    embeddings = good_model(generator, num_episodes=240)
    odd = embeddings.rows.episode // 8 % 2 == 1  # each half has every instruction
    quality = match_quality(embeddings, VISION)
    assert 0.4 < quality.median_right < 0.6
    assert quality.auroc.value > 0.98
    threshold = calibrate_threshold(
        match_scores(embeddings.take(odd), VISION), false_positive_rate=0.05
    )
    held_out = match_scores(embeddings.take(~odd), VISION)
    assert not (held_out.similarity > TEXTBOOK_THRESHOLD).any()
    accepted = np.array([threshold.decide(float(s)) == "accept" for s in held_out.similarity])
    assert accepted[held_out.right].mean() > 0.95
    # Not merely below the rate, as a fixed threshold would be, but near it: 840 wrong pairs.
    assert 0.02 < accepted[~held_out.right].mean() < 0.08


def test_row_22_stop_and_go_are_not_decided_alike():
    embeddings = good_model(np.random.default_rng(23))
    scores = match_scores(embeddings, VISION)
    threshold = calibrate_threshold(scores, false_positive_rate=0.02, false_negative_rate=0.02)
    of_go = np.isin(scores.row, np.flatnonzero(embeddings.rows.instruction == GO))

    def decisions(instruction):
        said = scores.similarity[of_go & (scores.instruction == instruction)]
        return [threshold.decide(float(s)) for s in said]

    assert decisions(GO).count("accept") >= 0.95 * len(decisions(GO))
    assert decisions(STOP).count("accept") <= 0.1 * len(decisions(STOP))


def test_a_threshold_worked_by_hand():
    # Nine wrong pairs and an unseen tenth: at a rate of .2 one of them may be accepted.
    scores = scores_of(
        right=[0.25, 0.3, 0.45, 0.5, 0.6, 0.65, 0.7, 0.8, 0.9],
        wrong=[0.0, 0.05, 0.1, 0.15, 0.2, 0.35, 0.4, 0.55, 0.75],
    )
    threshold = calibrate_threshold(scores, false_positive_rate=0.2, false_negative_rate=0.2)
    assert threshold.accept == pytest.approx(0.55)
    assert threshold.reject == pytest.approx(0.3)
    assert threshold.false_positive_rate == pytest.approx(1 / 9)
    assert threshold.false_negative_rate == pytest.approx(1 / 9)
    assert threshold.right_accepted == pytest.approx(5 / 9)
    assert (threshold.num_right, threshold.num_wrong, threshold.num_episodes) == (9, 9, 9)
    assert [threshold.decide(s) for s in (0.56, 0.54, 0.31, 0.29)] == [
        "accept",
        "abstain",
        "abstain",
        "reject",
    ]
    assert threshold.decide(threshold.accept) == threshold.decide(threshold.reject) == "abstain"


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.15, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("num_wrong", [19, 20, 39, 59, 101])
def test_with_one_pair_per_episode_it_is_split_conformal_prediction(num_wrong, rate):
    wrong = np.random.default_rng(num_wrong).standard_normal(num_wrong).astype(np.float32)
    threshold = calibrate_threshold(scores_of([9.0] * 19, wrong), false_positive_rate=rate)
    place = math.ceil((1 - rate) * (num_wrong + 1) - 1e-9)
    assert threshold.accept == np.sort(wrong)[place - 1]


def test_episodes_weigh_alike_however_many_pairs_they_have():
    # One episode of a hundred high wrong pairs is one of twenty, and not most of the evidence.
    many = np.full(100, 0.9)
    scores = scores_of(
        np.full(20, 0.95),
        np.concatenate([np.full(19, 0.1), many]),
        wrong_episodes=np.concatenate([np.arange(19), np.full(100, 19)]),
    )
    threshold = calibrate_threshold(scores, false_positive_rate=0.1)
    assert threshold.accept == pytest.approx(0.1)
    assert threshold.false_positive_rate == pytest.approx(1 / 20)
    assert calibrate_threshold(scores, false_positive_rate=0.05).accept == pytest.approx(0.9)


def test_where_one_threshold_keeps_both_rates_there_is_no_abstention():
    scores = scores_of(np.linspace(0.6, 0.9, 30), np.linspace(0, 0.2, 30))
    threshold = calibrate_threshold(scores)
    assert threshold.reject == threshold.accept == pytest.approx(0.2, abs=0.01)
    assert threshold.false_negative_rate == 0
    assert threshold.right_accepted == 1


def test_a_collapsed_model_always_abstains():
    threshold = calibrate_threshold(scores_of(np.full(30, 0.5), np.full(30, 0.5)))
    assert threshold.decide(0.5) == "abstain"
    assert (threshold.false_positive_rate, threshold.right_accepted) == (0, 0)


def test_new_episodes_are_wronged_no_more_often_than_asked():
    # Pairs of an episode share most of their score: counting pairs alone would promise too much.
    rate, num_trials, num_new = 0.05, 300, 200
    generator = np.random.default_rng(5)

    def episodes(count, shift):
        common = generator.standard_normal((count, 1))
        return shift + common + 0.2 * generator.standard_normal((count, 12))

    accepted, rejected, naive = [], [], []
    of = np.repeat(np.arange(19), 12)
    for _ in range(num_trials):
        wrong = episodes(19, 0.0)
        scores = scores_of(
            episodes(19, 1.0).ravel(), wrong.ravel(), right_episodes=of, wrong_episodes=of
        )
        threshold = calibrate_threshold(scores, false_positive_rate=rate, false_negative_rate=rate)
        new_wrong, new_right = episodes(num_new, 0.0), episodes(num_new, 1.0)
        accepted.append((new_wrong > threshold.accept).mean())
        rejected.append((new_right < threshold.reject).mean())
        by_pair = calibrate_threshold(
            scores_of([9.0] * 19, wrong.ravel()), false_positive_rate=rate
        )
        naive.append((new_wrong > by_pair.accept).mean())
    error = 3 * np.std(accepted) / math.sqrt(num_trials)
    assert rate / 3 < np.mean(accepted) <= rate + error
    assert rate / 3 < np.mean(rejected) <= rate + error
    assert np.mean(naive) > rate + error


def test_too_few_episodes_for_the_rate_are_refused():
    nine = scores_of(np.ones(9), np.zeros(9))
    with pytest.raises(InputError, match=r"9 wrong pairs of 9 episodes.*at least 19 episodes"):
        calibrate_threshold(nine, false_positive_rate=0.05)
    with pytest.raises(InputError, match=r"9 right pairs of 9 episodes.*ask for 0\.1 or more"):
        calibrate_threshold(nine, false_positive_rate=0.1)
    calibrate_threshold(nine, false_positive_rate=0.1, false_negative_rate=0.1)
    # A hundred pairs of one episode are one piece of evidence.
    one = scores_of(np.ones(9), np.zeros(100), wrong_episodes=np.zeros(100))
    with pytest.raises(InputError, match="100 wrong pairs of 1 episodes"):
        calibrate_threshold(one, false_positive_rate=0.1, false_negative_rate=0.1)


def test_missing_kinds_odd_rates_and_odd_similarities_are_refused():
    good = scores_of(np.ones(19), np.zeros(19))
    with pytest.raises(InputError, match="no wrong pair among 3"):
        calibrate_threshold(scores_of(np.ones(3), []))
    with pytest.raises(InputError, match="no right pair among 3"):
        calibrate_threshold(scores_of([], np.ones(3)))
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(InputError, match="false_negative_rate must lie between 0 and 1"):
            calibrate_threshold(good, false_negative_rate=rate)
    threshold = calibrate_threshold(good)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be finite"):
            threshold.decide(odd)
    with pytest.raises(InputError, match="reject <= accept"):
        replace(threshold, reject=2.0)
    with pytest.raises(InputError, match="is not finite"):
        scores_of([1.0, np.nan], [0.0])
