"""Small batches and models for the tests of models."""

import dataclasses

import numpy as np
import torch

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, Modality, RowIds
from jointspace.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    TextConfig,
    TrajectoryConfig,
    VisionConfig,
)
from jointspace.models.build import build_model
from jointspace.models.joint import JointModel
from tests.encoders.inputs import IMAGE_PX, NUM_ACTIONS, VOCAB_SIZE, ids, pictures, steps, words

FORCE = Modality("observation.force")
CHANNELS = {ACTION: 4, STATE: 3, FORCE: 6}


def rows(count: int) -> RowIds:
    number = np.arange(count)
    return RowIds(number, number, number, np.zeros(count), np.ones(count))


def batch(*, seed=0, discrete=False) -> Batch:
    """Four rows: all modalities, no vision, no text, nothing."""
    inputs = {
        VISION: pictures((3, 0, 2, 0), seed=seed),
        TEXT: words((5, 3, 0, 0), seed=seed),
        ACTION: ids((5, 2, 4, 0), seed=seed) if discrete else steps((5, 2, 4, 0), seed=seed),
        STATE: steps((3, 5, 1, 0), channels=3, seed=seed + 1),
        FORCE: steps((0, 5, 2, 0), channels=6, seed=seed + 2),
    }
    return Batch(inputs, rows(4))


def full_batch(*, seed=0, discrete=False) -> Batch:
    """Four rows that have every modality."""
    inputs = {
        VISION: pictures((3, 2, 2, 1), seed=seed),
        TEXT: words((5, 3, 4, 2), seed=seed),
        ACTION: ids((5, 2, 4, 3), seed=seed) if discrete else steps((5, 2, 4, 3), seed=seed),
        STATE: steps((3, 5, 1, 2), channels=3, seed=seed + 1),
        FORCE: steps((4, 5, 2, 3), channels=6, seed=seed + 2),
    }
    return Batch(inputs, rows(4))


def as_numpy(made: Batch) -> Batch:
    return made.map(lambda tensor: tensor.numpy())


def config(**changes) -> ModelConfig:
    small = ModelConfig(
        embed_dim=16,
        vision=VisionConfig(channels=(8, 12), width=16, dropout=0.1),
        text=TextConfig(width=16, layers=1),
        action=TrajectoryConfig(width=16, num_actions=NUM_ACTIONS),
        sensor=TrajectoryConfig(width=16),
    )
    return dataclasses.replace(small, **changes)


def build(*, seed=0, loss=None, channels=None, num_cameras=2, **changes) -> JointModel:
    torch.manual_seed(seed)
    return build_model(
        config(**changes),
        loss or LossConfig(),
        DataConfig(image_px=IMAGE_PX, max_tokens=8),
        vocab_size=VOCAB_SIZE,
        channels=CHANNELS if channels is None else channels,
        num_cameras=num_cameras,
    )
