"""Small models with the preprocessing of the robot that they are for."""

import dataclasses

import numpy as np
import torch

from jointspace.batch import ACTION, STATE
from jointspace.config import DataConfig, RunConfig
from jointspace.data.normalise import Normaliser
from jointspace.data.preprocess import Preprocessor
from jointspace.data.tokenizer import Tokenizer
from jointspace.models.joint import JointModel
from jointspace.models.run_folder import build_run_model
from tests.encoders.inputs import IMAGE_PX, NUM_ACTIONS
from tests.models.batches import CHANNELS, config

MAX_TOKENS = 8


def normaliser(channels, *, seed=0):
    """Every dimension another map; the last never changed in training."""
    generator = np.random.default_rng(seed)
    low = np.full(channels, -5.0)
    low[-1] = 0.0
    columns = (generator.normal(size=channels), generator.uniform(0.1, 3, channels), low, -low)
    return Normaliser(*(column.astype(np.float32) for column in columns))


def preprocessor(*, discrete=False, sensors=(STATE,), **changes) -> Preprocessor:
    """Of a robot with two cameras, one instruction and windows of two pictures."""
    continuous = (*(() if discrete else (ACTION,)), *sensors)
    made = Preprocessor(
        image_px=IMAGE_PX,
        cameras=("left", "right"),
        fps=5.0,
        window_s=1.0,
        window_frames=2,
        episode_frames=3,
        max_tokens=MAX_TOKENS,
        tokenizer=Tokenizer.fit(["push the ball"], max_tokens=MAX_TOKENS),
        normalisers={m: normaliser(CHANNELS[m], seed=i) for i, m in enumerate(continuous)},
        discrete={ACTION: NUM_ACTIONS} if discrete else {},
    )
    return dataclasses.replace(made, **changes)


def build(robot, *, seed=0, **changes) -> JointModel:
    """Builds a model with fresh weights; several robots give it input layers of each."""
    torch.manual_seed(seed)
    first = robot if isinstance(robot, Preprocessor) else robot[0]
    data = DataConfig(image_px=first.image_px, max_tokens=first.max_tokens)
    return build_run_model(RunConfig(data=data, model=config(**changes)), robot)
