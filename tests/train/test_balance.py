"""Every goal equally often, as a pure function of seed and position."""

from collections import Counter

import numpy as np
import pytest

from jointspace.train.balance import GoalRows
from jointspace.train.sampling import step_rows

GOALS = np.array([7, 3, 7, 7, -1, 3, 7, 7, 9, 7, -1, 7, 7])


def drawn(positions, *, goals=GOALS, words=(0,)):
    return GoalRows(goals).at(positions, words=words)


def test_every_round_has_each_goal_once_in_a_new_order():
    rounds = GOALS[drawn(range(4 * 40))].reshape(40, 4)
    assert (np.sort(rounds, axis=1) == [-1, 3, 7, 9]).all()
    assert len({tuple(each) for each in rounds.tolist()}) > 15


def test_a_goal_gives_all_of_its_rows_before_any_returns_then_in_a_new_order():
    rows = drawn(range(4 * 8 * 5))
    of_seven = rows[GOALS[rows] == 7].reshape(5, 8)
    assert (np.sort(of_seven, axis=1) == np.flatnonzero(GOALS == 7)).all()
    assert len({tuple(each) for each in of_seven.tolist()}) == 5
    assert Counter(rows[GOALS[rows] == 3].tolist()) == {1: 20, 5: 20}


def test_each_order_and_each_place_in_it_is_equally_likely():
    pairs = Counter(
        tuple(drawn(range(2), goals=np.array([0, 1, 1]), words=(seed,)).tolist())
        for seed in range(2000)
    )
    assert set(pairs) == {(0, 1), (0, 2), (1, 0), (2, 0)}
    assert all(abs(count - 500) < 100 for count in pairs.values())


def test_rows_depend_on_position_and_seed_alone():
    order = drawn(range(100))
    kept = GoalRows(GOALS)
    for first in (60, 0, 93, 30):
        np.testing.assert_array_equal(
            kept.at(range(first, first + 7), words=(0,)), order[first : first + 7]
        )
    np.testing.assert_array_equal(kept.at(range(50), words=(1,)), drawn(range(50), words=(1,)))
    assert (drawn(range(50), words=(1,)) != order[:50]).any()


def test_with_one_goal_every_row_comes_as_often_as_without_balance():
    rows = drawn(range(30), goals=np.full(10, -1))
    assert (np.sort(rows.reshape(3, 10), axis=1) == np.arange(10)).all()


def arguments(**changes):
    return {
        "seed": 5,
        "num_windows": len(GOALS),
        "num_episodes": 6,
        "batch_size": 8,
        "episode_fraction": 0.25,
    } | changes


@pytest.mark.parametrize("kind", ["windows", "episodes"])
def test_steps_of_both_kinds_draw_every_goal_equally_often(kind):
    goals = {"windows": GOALS, "episodes": np.array([4, 4, 4, 4, 4, 2])}
    goal_rows = {name: GoalRows(each) for name, each in goals.items()}
    steps = [step_rows(step, **arguments(), goal_rows=goal_rows) for step in range(40)]
    plain = [step_rows(step, **arguments()) for step in range(40)]
    assert [each.kind for each in steps] == [each.kind for each in plain]
    assert [len(each.indices) for each in steps] == [len(each.indices) for each in plain]
    seen = np.concatenate([each.indices for each in steps if each.kind == kind])
    assert len(set(Counter(goals[kind][seen].tolist()).values())) == 1
    for step in (17, 3):
        again = step_rows(step, **arguments(), goal_rows=goal_rows)
        np.testing.assert_array_equal(again.indices, steps[step].indices)


def test_windows_and_episodes_of_equal_goals_come_in_orders_of_their_own():
    goal_rows = dict.fromkeys(("windows", "episodes"), GoalRows(np.arange(13)))
    windows, episodes = (
        step_rows(
            0, **arguments(num_episodes=13, episode_fraction=share), goal_rows=goal_rows
        ).indices.tolist()
        for share in (0.0, 1.0)
    )
    assert windows != episodes
