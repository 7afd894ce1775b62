"""Trains the small network in which a retrieval policy compares demonstrations."""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float32, Int
from torch import Tensor, nn
from torch.nn import functional

_TEXT_WIDTH, _WIDTH, _ROW_DIM = 48, 224, 64
_BATCH_ROWS = 256
_LEARNING_RATE = 3e-3
_WARMUP_STEPS = 50
_SEEN_NOISE, _TEXT_NOISE = 0.02, 0.01
_MEAN_WEIGHT = 0.1


class ControlNetwork(nn.Module):
    """What `robot.policy.head.ControlHead` computes, with gradients, and beside it the mean.

    What is seldom done, such as a turn of four steps in thirty, is nowhere the median before the
    rows tell its moment apart, and a median that is never done teaches them nothing. The mean does:
    so it is predicted from the same rows, in training alone.

    Args:
        seen_dim: numbers of an observation.
        text_dim: width of the joint space.
        target_dim: numbers of an action chunk.
        text_scale: by which unit rows are multiplied.
    """

    def __init__(self, *, seen_dim: int, text_dim: int, target_dim: int, text_scale: float) -> None:
        super().__init__()
        self.text_scale = text_scale
        self.text = nn.Linear(text_dim, _TEXT_WIDTH)
        self.first = nn.Linear(seen_dim + _TEXT_WIDTH, _WIDTH)
        self.second = nn.Linear(_WIDTH, _WIDTH)
        self.row = nn.Linear(_WIDTH, _ROW_DIM)
        self.chunk = nn.Linear(_ROW_DIM, target_dim)
        self.mean = nn.Linear(_ROW_DIM, target_dim)

    def forward(
        self, seen: Float32[Tensor, "batch seen"], text: Float32[Tensor, "batch dim"]
    ) -> tuple[Float32[Tensor, "batch target"], Float32[Tensor, "batch target"]]:
        """Predicts scaled action chunks: their median, and their mean."""
        told = _gelu(self.text(text * self.text_scale))
        hidden = _gelu(self.first(torch.cat([seen, told], dim=1)))
        hidden = hidden + _gelu(self.second(hidden))
        row = _gelu(self.row(hidden))
        return self.chunk(row), self.mean(row)


def train_control(
    seen: Float32[np.ndarray, "moment feature"],
    text_rows: Float32[np.ndarray, "episode dim"],
    episodes: Int[np.ndarray, " moment"],
    chunks: Float32[np.ndarray, "moment target"],
    *,
    text_scale: float,
    num_steps: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Float32[np.ndarray, "..."]]:
    """Trains by behaviour cloning: the mean absolute difference of scaled action chunks.

    A small share of their squared difference, to a prediction of its own, shapes the rows.

    Args:
        seen: observations of all moments.
        text_rows: of the instructions, frozen rows of the joint space.
        episodes: row of `text_rows` of every moment.
        chunks: the actions that followed.
        text_scale: by which unit rows are multiplied.
        num_steps: of the optimiser.
        seed: of weights, rows and noise.
        progress: called with steps done and in all.

    Returns:
        `<layer>.weight` and `<layer>.bias` of every layer of the head.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ControlNetwork(
            seen_dim=seen.shape[1],
            text_dim=text_rows.shape[1],
            target_dim=chunks.shape[1],
            text_scale=text_scale,
        )
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.02)
    inputs, texts, targets = (torch.from_numpy(each) for each in (seen, text_rows, chunks))
    owners = torch.from_numpy(episodes.astype(np.int64))
    for step in range(num_steps):
        share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, step / _WARMUP_STEPS) * share
        moments = torch.randint(len(inputs), (_BATCH_ROWS,), generator=generator)
        looks, told = inputs[moments], texts[owners[moments]]
        looks = looks + _SEEN_NOISE * torch.randn(looks.shape, generator=generator)
        told = told + _TEXT_NOISE * torch.randn(told.shape, generator=generator)
        # Not its square: between an open and a shut gripper there is nothing worth doing.
        median, mean = network(looks, told)
        loss = (median - targets[moments]).abs().mean()
        loss = loss + _MEAN_WEIGHT * (mean - targets[moments]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if progress is not None:
            progress(step + 1, num_steps)
    return {
        name: value.detach().numpy()
        for name, value in network.named_parameters()
        if not name.startswith("mean.")
    }


def _gelu(values: Tensor) -> Tensor:
    return functional.gelu(values, approximate="tanh")
