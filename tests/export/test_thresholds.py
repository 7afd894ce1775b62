import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings
from jointspace.evaluation.matching import match_scores
from jointspace.export.thresholds import NUM_EPISODES, calibrate_thresholds
from tests.evaluation.reference import row_ids, unit


def split(count, *, seed, noise=0.6, num_goals=5):
    rng = np.random.default_rng(seed)
    goals = np.random.default_rng(99).normal(size=(num_goals, 8))
    goal = np.arange(count) % num_goals

    def rows(noise):
        return unit(goals[goal] + noise * rng.normal(size=(count, 8)))

    vectors = {VISION: rows(noise), TEXT: unit(goals[goal]), ACTION: rows(noise)}
    vectors["vision+action"] = rows(noise / 2)
    vectors["vision+text"] = rows(0)
    ids = row_ids(episode=np.arange(count), instruction=goal)
    return Embeddings(vectors, ids)


def test_validation_calibrates_and_test_measures():
    parts = {"validation": split(60, seed=0), "test": split(80, seed=1)}
    found, notes = calibrate_thresholds(parts)
    assert notes == ()
    assert list(found) == [VISION, ACTION, "vision+action"]  # not what holds the text itself
    each = found[VISION]
    assert (each.calibrated_on, each.measured_on) == ("validation", "test")
    assert each.threshold.num_episodes == 60
    scores = match_scores(parts["test"], VISION)
    wrong = scores.similarity[~scores.right]
    shares = [
        (scores.similarity[~scores.right & (scores.episode == e)] > each.threshold.accept).mean()
        for e in range(80)
    ]
    assert each.false_positive_rate == pytest.approx(np.mean(shares))
    assert each.false_positive_rate == pytest.approx((wrong > each.threshold.accept).mean())
    assert 0 < each.false_positive_rate < 0.12
    assert each.to_json()["accept"] == each.threshold.accept


def test_a_split_with_too_few_episodes_leaves_it_to_the_next():
    parts = {"validation": split(NUM_EPISODES - 1, seed=0), "test": split(40, seed=1)}
    found, _ = calibrate_thresholds(parts)
    assert found[VISION].calibrated_on == "test"


def test_where_no_split_has_enough_episodes_it_says_why():
    found, notes = calibrate_thresholds({"test": split(6, seed=0)})
    assert found == {}
    assert len(notes) == 3
    assert notes[0].startswith("no threshold for vision: test: ")
    assert "too few for a rate of 0.05" in notes[0]


def test_a_looser_rate_needs_fewer_episodes():
    found, _ = calibrate_thresholds({"test": split(12, seed=0)}, error_rate=0.1)
    assert found[VISION].threshold.asked_false_positive_rate == 0.1
