from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jointspace.data.copies import copies_between, duplicate_groups
from jointspace.errors import InputError
from tests.data.memory_dataset import make_dataset, make_episode


def test_copies_are_found_by_their_numbers_and_still_episodes_are_no_copies():
    still = np.zeros((4, 3), dtype=np.float32)
    state = np.ones((12, 1), dtype=np.float32)
    episodes = [
        make_episode(0, seed=1),
        make_episode(1, seed=2),
        make_episode(2, seed=1),
        make_episode(3, action=still),
        make_episode(4, action=still),
        make_episode(5, seed=1, state=state),
    ]
    assert duplicate_groups(episodes) == (0, 1, 0, 3, 4, 5)


def test_copies_with_a_constant_action_are_found_by_their_moving_state():
    still = np.zeros((12, 3), dtype=np.float32)
    moving = np.linspace(0, 1, 12, dtype=np.float32)[:, None]
    episodes = [
        make_episode(0, action=still, state=moving),
        make_episode(1, action=still, state=2 * moving),
        make_episode(2, action=still, state=moving),
        make_episode(3, action=still, state=np.ones_like(moving)),
        make_episode(4, action=still, state=np.ones_like(moving)),
    ]
    assert duplicate_groups(episodes) == (0, 1, 0, 3, 4)


def test_episodes_that_are_equal_only_end_to_end_are_no_copies():
    rows = np.arange(24, dtype=np.float32)
    episodes = [
        make_episode(0, action=rows[:12].reshape(4, 3), state=rows[12:].reshape(4, 3)),
        make_episode(1, action=rows[:16].reshape(4, 4), state=rows[16:].reshape(4, 2)),
    ]
    assert duplicate_groups(episodes) == (0, 1)


def dataset(name, *seeds):
    made = make_dataset([make_episode(index, seed=seed) for index, seed in enumerate(seeds)])
    return replace(made, info=replace(made.info, path=Path(name)))


def test_copies_within_a_data_set_are_its_own_affair():
    assert copies_between([dataset("a", 1, 1, 2), dataset("b", 3, 3)]) == ()


def test_every_two_data_sets_that_share_episodes_are_told_with_their_number():
    sets = [dataset("a", 1, 2, 3), dataset("b", 4, 2, 9), dataset("c", 7, 9, 8)]
    found = copies_between(sets)
    assert [(each.severity, each.where) for each in found] == [("warning", "b"), ("warning", "c")]
    assert found[0].message.startswith("1 of 3 episodes are copies of episodes of a: ")
    assert found[1].message.startswith("1 of 3 episodes are copies of episodes of b: ")


def test_a_data_set_inside_another_one_is_refused():
    match = "b: holds the same episodes as a; name each data set once"
    with pytest.raises(InputError, match=match):
        copies_between([dataset("a", 1, 2, 3), dataset("b", 3, 1)])
