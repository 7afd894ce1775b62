"""Sampling is a pure function of seed and step."""

from collections import Counter

import numpy as np
import pytest

from jointspace.train.sampling import augment_generator, step_rows, torch_seed


def rows(step, **changes):
    arguments = {
        "seed": 0,
        "num_windows": 10,
        "num_episodes": 3,
        "batch_size": 4,
        "episode_fraction": 0.25,
    }
    return step_rows(step, **(arguments | changes))


def test_a_step_has_the_same_rows_whatever_was_asked_before():
    forwards = [rows(step) for step in range(40)]
    backwards = [rows(step) for step in reversed(range(40))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.kind == other.kind
        np.testing.assert_array_equal(one.indices, other.indices)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.25, 10), (0.3, 12), (1.0, 40)])
def test_the_share_of_episode_steps_is_exact_and_even(fraction, expected):
    kinds = [rows(step, episode_fraction=fraction).kind for step in range(40)]
    assert kinds.count("episodes") == expected
    halves = kinds[:20].count("episodes"), kinds[20:].count("episodes")
    assert abs(halves[0] - halves[1]) <= 1


def test_every_row_is_seen_before_any_returns():
    seen = [i for step in range(5) for i in rows(step, episode_fraction=0.0).indices]
    assert Counter(seen) == dict.fromkeys(range(10), 2)
    assert sorted(seen[:10]) == list(range(10))
    assert seen[:10] != seen[10:]


def test_few_episodes_make_a_smaller_batch_of_distinct_rows():
    step = next(r for r in map(rows, range(10)) if r.kind == "episodes")
    assert sorted(step.indices) == [0, 1, 2]


def test_without_windows_every_step_trains_on_episodes():
    assert {rows(step, num_windows=0).kind for step in range(8)} == {"episodes"}


def test_another_seed_gives_another_order():
    assert any((rows(s).indices != rows(s, seed=1).indices).any() for s in (0, 1, 2))


def test_augmentation_and_dropout_differ_from_step_to_step_and_repeat():
    draws = [augment_generator(step, seed=3).random() for step in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    seeds = [torch_seed(step, seed=3) for step in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    assert torch_seed(0, seed=4) != seeds[0]


def test_a_single_episode_trains_by_its_windows_alone():
    assert {rows(step, num_episodes=1).kind for step in range(8)} == {"windows"}
