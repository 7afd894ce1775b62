"""Sampling is a pure function of seed and step."""

from collections import Counter

import numpy as np
import pytest

from jointspace.train.sampling import WHOLE, Share, augment_generator, step_rows, torch_seed


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


def test_the_first_steps_train_on_episodes_and_the_others_as_evenly_as_ever():
    kinds = [rows(step, num_first=10, episode_fraction=0.3).kind for step in range(50)]
    assert kinds[:10] == ["episodes"] * 10
    assert kinds[10:] == [rows(step, episode_fraction=0.3).kind for step in range(40)]


def test_episodes_go_on_where_the_first_steps_left_off():
    seen = [
        i
        for step in range(12)
        if (found := rows(step, num_first=2, num_episodes=8, episode_fraction=0.5)).kind
        == "episodes"
        for i in found.indices
    ]
    assert len(seen) == 28
    assert Counter(seen[:24]) == dict.fromkeys(range(8), 3)


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
    row = np.zeros(1, dtype=np.int64)
    draws = [augment_generator(step, seed=3, rows=row).random(1).item() for step in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    seeds = [torch_seed(step, seed=3) for step in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]
    assert torch_seed(0, seed=4) != seeds[0]


def test_each_process_drops_out_differently_and_rank_0_like_a_process_that_is_alone():
    seeds = [torch_seed(7, seed=3, rank=rank) for rank in range(4)]
    assert len(set(seeds)) == 4
    alone = np.random.SeedSequence((3, 3, 7)).generate_state(1, np.uint64)[0]
    assert seeds[0] == torch_seed(7, seed=3) == alone


def test_processes_share_the_rows_of_a_step_evenly_and_without_overlap():
    episodes = np.random.default_rng(0).integers(0, 6, 22)
    shares = [Share(rank, 4).positions(episodes) for rank in range(4)]
    assert [len(each) for each in shares] == [6, 6, 5, 5]
    assert sorted(np.concatenate(shares)) == list(range(22))
    ordered = episodes[np.concatenate(shares)]
    assert (np.diff(ordered) >= 0).all()
    assert [len(Share(rank, 4).positions(episodes[:2])) for rank in range(4)] == [1, 1, 0, 0]
    np.testing.assert_array_equal(WHOLE.positions(episodes), np.arange(22))


def test_a_process_reads_little_more_than_its_part_of_the_episodes():
    episode_of_row = np.repeat(np.arange(100), 20)
    read = [set() for _ in range(4)]
    for step in range(100):
        rows = step_rows(
            step, seed=0, num_windows=2000, num_episodes=0, batch_size=128, episode_fraction=0.0
        )
        episodes = episode_of_row[rows.indices]
        for rank, seen in enumerate(read):
            seen.update(episodes[Share(rank, 4).positions(episodes)].tolist())
    assert max(map(len, read)) < 50, "each of four owns 25; chance moves the bounds"
    assert set.union(*read) == set(range(100))


def test_a_single_episode_is_never_a_first_step():
    assert {rows(step, num_episodes=1, num_first=3).kind for step in range(8)} == {"windows"}


def test_a_single_episode_trains_by_its_windows_alone():
    assert {rows(step, num_episodes=1).kind for step in range(8)} == {"windows"}
