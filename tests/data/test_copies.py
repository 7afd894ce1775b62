import numpy as np

from jointspace.data.copies import duplicate_groups
from tests.data.memory_dataset import make_episode


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
