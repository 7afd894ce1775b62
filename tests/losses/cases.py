"""Rows, vectors and pairings that the tests of the losses share."""

import numpy as np
import torch
from torch.nn import functional

from jointspace.batch import RowIds
from jointspace.losses.pairing import Pairing, Side

PAIRS = {
    "text": (True, True),
    "steps": (False, False),
    "fused": ("some", False),
    "both-fused": ("some", "some"),
}
"""Who of query and target means a goal."""


def make_rows(num_rows, *, seed=0, goals=4, episodes=3):
    """Ids with repeated goals and instructions, rows without either, and overlapping spans."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 4, num_rows)
    return RowIds(
        random.integers(0, episodes, num_rows),
        random.integers(-1, goals + 2, num_rows),
        random.integers(-1, goals, num_rows),
        start,
        start + random.choice([0.0, 1.0, 2.0], num_rows),
    )


def by_goal_masks(pair, num_rows):
    random = np.random.default_rng(7)
    return tuple(
        random.random(num_rows) < 0.4 if each == "some" else np.full(num_rows, each)
        for each in PAIRS[pair]
    )


def make_pairing(rows, pair, *, keep_query=None, keep_target=None, **rules):
    query, target = by_goal_masks(pair, len(rows))
    return Pairing(
        Side.of(rows, by_goal=query, keep=keep_query),
        Side.of(rows, by_goal=target, keep=keep_target),
        **rules,
    )


def vectors(num_rows, dim, seed, *, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(num_rows, dim, generator=generator, dtype=torch.float64)
    return functional.normalize(drawn, dim=1).to(dtype)


def dense(pairing):
    """The relations as the plain losses want them."""
    everyone = slice(0, len(pairing.query)), slice(0, len(pairing.target))
    return (
        torch.from_numpy(pairing.positive(*everyone)),
        torch.from_numpy(pairing.ignored(*everyone)),
    )


def gradients(losses, inputs, weights=(0.3, 0.9)):
    """Of a weighted sum of both directions, so that neither can stand in for the other."""
    return torch.autograd.grad(
        sum(w * loss for w, loss in zip(weights, losses, strict=True)), inputs
    )
