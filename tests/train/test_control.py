import numpy as np
import pytest

pytest.importorskip("torch")

from jointspace.robot.policy.head import ControlHead
from jointspace.train.control import train_control


def _moments() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(300, 3)).astype(np.float32)
    episodes = np.arange(300) % 2
    rows = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    # What is to be done depends on what was told as well as on what is seen.
    chunks = (seen[:, :1] * np.where(episodes, 1, -1)[:, None]).astype(np.float32)
    return seen, rows, episodes, chunks


def _trained(num_steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    seen, rows, episodes, chunks = _moments()
    return train_control(
        seen, rows, episodes, chunks, text_scale=6.0, num_steps=num_steps, seed=seed
    )


def _error(arrays: dict[str, np.ndarray]) -> float:
    seen, rows, episodes, chunks = _moments()
    head = ControlHead(arrays)
    return float(np.abs(head.chunks(head.rows(seen, rows[episodes])) - chunks).mean())


def test_training_learns_to_do_what_was_told() -> None:
    assert _error(_trained(150)) < 0.25 * _error(_trained(1))


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = _trained(2), _trained(2), _trained(2, seed=1)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert any(not np.array_equal(array, other[name]) for name, array in first.items())


def test_rows_tell_apart_moments_at_which_something_is_seldom_done() -> None:
    """A turn of seven moments in ten, where four things are so at once: nowhere else the median."""
    rng = np.random.default_rng(0)
    seen = np.sign(rng.normal(size=(1500, 6))).astype(np.float32)
    episodes = np.arange(1500) % 2
    moment = (seen[:, :4] > 0).all(axis=1)
    turn = np.where(episodes, 3, -3) * moment * (rng.random(1500) < 0.7)
    chunks = np.stack([turn, seen[:, 0]], axis=1).astype(np.float32)
    told = np.eye(2, dtype=np.float32)
    arrays = train_control(seen, told, episodes, chunks, text_scale=6.0, num_steps=300, seed=0)
    assert not [name for name in arrays if name.startswith("mean.")]
    rows = ControlHead(arrays).rows(seen, told[episodes])
    entries = np.column_stack([rows, np.ones(len(rows))])
    ridge = np.linalg.solve(entries.T @ entries + 0.1 * np.eye(entries.shape[1]), entries.T @ turn)
    predicted = entries @ ridge
    assert (predicted * np.sign(turn))[turn != 0].mean() > 1.4
