import json
import math

import numpy as np
import pytest

from jointspace.data.normalise import CLIP_SIGMA, Normaliser
from jointspace.errors import InputError, RunFolderError


def column(values):
    return np.asarray(values, dtype=np.float32)[:, None]


def fit(*columns):
    return Normaliser.fit([np.concatenate(columns, axis=1)], name="action")


def plain_quantile(values, q):
    """Linear interpolation between order statistics, as a loop."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def test_mean_and_deviation_are_those_of_the_clipped_values():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=997).astype(np.float32)
    low, high = plain_quantile(values.tolist(), 0.01), plain_quantile(values.tolist(), 0.99)
    clipped = [min(max(v, low), high) for v in values.tolist()]
    mean = sum(clipped) / len(clipped)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in clipped) / len(clipped))
    normaliser = fit(column(values))
    assert normaliser.centre[0] == pytest.approx(mean, rel=1e-5)
    assert normaliser.scale[0] == pytest.approx(deviation, rel=1e-5)


def test_training_values_come_out_centred_with_unit_spread():
    values = np.random.default_rng(1).normal([5.0, -0.02], [40.0, 0.01], size=(4000, 2))
    out = Normaliser.fit([values.astype(np.float32)], name="state").apply(values.astype(np.float32))
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(out.std(axis=0), 1, atol=0.06)


def test_trajectories_of_small_scale_differ_as_much_as_large_ones():
    # Five centimetres around half a metre: raw, any two of them have a cosine of nearly 1.
    rng = np.random.default_rng(2)
    small = [rng.normal(0.5, 0.05, size=(50, 3)).astype(np.float32) for _ in range(20)]
    normaliser = Normaliser.fit(small, name="action")

    def cosine(a, b):
        return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))

    assert cosine(small[0], small[1]) > 0.98
    assert abs(cosine(normaliser.apply(small[0]), normaliser.apply(small[1]))) < 0.3


def test_one_broken_reading_does_not_move_the_statistics_and_is_clipped():
    values = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    spoilt = values.copy()
    spoilt[7] = 1e6
    clean, robust = fit(column(values)), fit(column(spoilt))
    assert robust.centre[0] == pytest.approx(clean.centre[0], abs=2e-3)
    assert robust.scale[0] == pytest.approx(clean.scale[0], rel=2e-3)
    assert robust.apply(column(spoilt))[7, 0] == CLIP_SIGMA


def test_a_constant_dimension_gives_zero_even_where_it_moves_later():
    normaliser = fit(column([1.57] * 50), column(np.linspace(0, 1, 50)))
    assert normaliser.constant == (0,)
    out = normaliser.apply(np.array([[1.57, 0.5], [9.0, 0.5]], dtype=np.float32))
    assert out[:, 0].tolist() == [0.0, 0.0]
    assert normaliser.inverse(out)[:, 0].tolist() == pytest.approx([1.57, 1.57])


@pytest.mark.parametrize("pair", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_switch_within_one_is_untouched(pair):
    values = column([pair[i % 3 == 0] for i in range(60)])
    np.testing.assert_array_equal(fit(values).apply(values), values)


@pytest.mark.parametrize("pair", [(0.0, 250.0), (0.01, 0.04), (-3.0, 7.0)])
def test_a_switch_in_other_units_becomes_zero_and_one(pair):
    values = column([pair[i % 3 == 0] for i in range(60)])
    out = fit(values).apply(values)
    np.testing.assert_allclose(out[:, 0], [float(i % 3 == 0) for i in range(60)], atol=1e-6)


def test_a_joint_that_rests_nearly_always_keeps_its_motion_and_not_its_noise():
    rng = np.random.default_rng(4)
    values = rng.choice([-0.0009, 0.0, 0.0009], size=10_000)
    moving = rng.choice(10_000, size=150, replace=False)
    values[moving] = rng.uniform(0.05, 0.5, size=150)
    out = fit(column(values)).apply(column(values))[:, 0]
    at_rest = np.delete(out, moving)
    assert np.abs(at_rest).max() < 0.1
    assert (out[moving] < CLIP_SIGMA).mean() > 0.9
    assert out[moving].std() > 0.5


def test_an_event_in_one_of_a_thousand_steps_survives():
    values = np.zeros(10_000)
    values[:5] = [0.5, 1.0, 1.0, 0.75, 1.0]
    out = fit(column(values)).apply(column(values))[:, 0]
    assert out[:5].tolist() == pytest.approx([2.5, 5.0, 5.0, 3.75, 5.0])
    assert not out[5:].any()


def test_the_noise_of_a_resting_sensor_is_not_blown_up():
    values = 100.0 + np.random.default_rng(5).normal(0, 1e-3, size=2000)
    out = fit(column(values)).apply(column(values))
    assert np.abs(out).max() < 1


def test_applying_and_inverting_returns_what_was_not_clipped():
    values = np.random.default_rng(6).normal([1, 100], [0.1, 30], size=(500, 2)).astype(np.float32)
    normaliser = Normaliser.fit([values], name="state")
    windows = values[:300].reshape(30, 10, 2)
    back = normaliser.inverse(normaliser.apply(windows))
    np.testing.assert_allclose(back, windows, rtol=1e-5, atol=1e-5)


def test_the_input_stays_as_it_is():
    values = np.random.default_rng(7).normal(size=(20, 2)).astype(np.float32)
    before = values.copy()
    Normaliser.fit([values], name="state").apply(values)
    np.testing.assert_array_equal(values, before)


def test_json_returns_the_same_numbers_bit_by_bit():
    values = np.random.default_rng(8).normal(size=(50, 4)).astype(np.float32)
    normaliser = Normaliser.fit([values], name="state")
    again = Normaliser.from_json(json.loads(json.dumps(normaliser.to_json())))
    for name in ("centre", "scale", "low", "high"):
        np.testing.assert_array_equal(getattr(again, name), getattr(normaliser, name))
        assert getattr(again, name).dtype == np.float32


def test_an_incomplete_normaliser_is_refused():
    payload = Normaliser.fit([np.eye(3, dtype=np.float32)], name="state").to_json()
    with pytest.raises(RunFolderError, match="normaliser: expected"):
        Normaliser.from_json({k: v for k, v in payload.items() if k != "low"})
    with pytest.raises(RunFolderError, match="of one length"):
        Normaliser.from_json(payload | {"low": [0.0]})


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "action: cannot be normalised, the training episodes hold no steps"),
        ([np.zeros((0, 2))], "action: cannot be normalised"),
        ([np.array([[0.0, 1.0], [0.0, np.nan]])], "action: dimension 1 holds values that are not"),
        ([np.array([[np.inf, 1.0]])], "action: dimension 0 holds values that are not finite"),
    ],
)
def test_values_without_statistics_are_refused(sequences, message):
    with pytest.raises(InputError, match=message):
        Normaliser.fit([s.astype(np.float32) for s in sequences], name="action")


def test_another_dimension_than_in_training_is_refused():
    normaliser = Normaliser.fit([np.eye(3, dtype=np.float32)], name="state")
    with pytest.raises(InputError, match="got values of dimension 2, expected 3 as in training"):
        normaliser.apply(np.zeros((4, 2), dtype=np.float32))
