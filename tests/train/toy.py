"""A joint model of small towers and its rows, made on the spot: training without files."""

import numpy as np
import torch

from jointspace.batch import ACTION, TEXT, VISION, Batch, ModalityInput, RowIds
from jointspace.encoders.text import TextEncoder
from jointspace.encoders.trajectory import FrequencyEncoder
from jointspace.fusion.fuse import LateFusion
from jointspace.models.joint import JointModel


def toy_batch(num_rows=12, *, seed=0, modalities=(VISION, TEXT, ACTION), goals=3):
    """Rows whose modalities all show one hidden vector of the goal and the row."""
    rng = np.random.default_rng(seed)
    goal = rng.integers(0, goals, num_rows)
    hidden = np.eye(goals)[goal] * 2 + rng.normal(size=(num_rows, goals))
    steps = hidden[:, None] * np.ones((1, 5, 1))
    valid = np.ones((num_rows, 5), dtype=bool)
    time_s = np.tile(np.arange(5) / 10.0, (num_rows, 1)).astype(np.float32)
    inputs = {}
    for modality in modalities:
        if modality == TEXT:
            ids = np.stack([np.zeros_like(goal), goal + 1], 1)
            inputs[modality] = ModalityInput(ids, np.ones((num_rows, 2), dtype=bool))
        else:
            noisy = steps + 0.1 * rng.normal(size=steps.shape)
            inputs[modality] = ModalityInput(noisy.astype(np.float32), valid, time_s)
    episode = np.arange(num_rows) + 1000 * seed
    rows = RowIds(episode, goal, goal, np.zeros(num_rows), np.ones(num_rows))
    return Batch(inputs, rows)


def toy_model(*, seed=0, fusion=True, dropout=0.1, goals=3, initial_bias=None, gated=False):
    """Vision, text and action of `toy_batch`, with trainable fusion; gates away from 1."""
    torch.manual_seed(seed)
    towers = {
        VISION: FrequencyEncoder(goals, width=16, num_coefficients=3, dropout=dropout),
        TEXT: TextEncoder(goals + 2, width=8, layers=1, heads=2, max_tokens=4, dropout=dropout),
        ACTION: FrequencyEncoder(goals, width=16, num_coefficients=3, dropout=dropout),
    }
    widths = {VISION: 16, TEXT: 8, ACTION: 16}
    late = LateFusion(widths, dim=8, layers=1, num_heads=2, dropout=dropout) if fusion else None
    model = JointModel(towers, embed_dim=8, fusion=late, initial_bias=initial_bias, gated=gated)
    if gated:
        generator = torch.Generator().manual_seed(seed)
        for each in model.gates.parameters():
            each.data += torch.randn(each.shape, generator=generator)
    return model
