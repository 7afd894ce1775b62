"""Towers that several robots share: each has input layers of its own, and the rest in common."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from jointspace.encoders.action import CommandEncoder
from jointspace.encoders.embodiments import PerEmbodiment, per_embodiment
from jointspace.encoders.trajectory import (
    FrequencyEncoder,
    TrajectoryConvolution,
    TrajectoryTransformer,
)
from jointspace.encoders.vision import VisionEncoder
from jointspace.errors import InputError
from tests.encoders.inputs import IMAGE_PX, pictures, steps

TRAJECTORY = {
    "frequency": lambda channels: FrequencyEncoder(channels, width=16),
    "transformer": lambda channels: TrajectoryTransformer(channels, width=16, layers=1),
    "convolution": lambda channels: TrajectoryConvolution(channels, width=16),
    "command": lambda channels: CommandEncoder(channels, width=16),
}
TOWERS = TRAJECTORY | {
    "vision": lambda cameras: VisionEncoder(
        image_px=IMAGE_PX, num_cameras=cameras, channels=(8,), width=16
    ),
}
SIZES = (2, 0, 4)


def read(name, tower, embodiment, *, size):
    made = pictures(cameras=size) if name == "vision" else steps(channels=size)
    return tower(replace(made, embodiment=embodiment))


def alone(tower, embodiment):
    """The weights of a tower as one of a single robot has them."""
    shared = {path for path, m in tower.named_modules() if isinstance(m, PerEmbodiment)}
    weights = {}
    for name, value in tower.state_dict().items():
        path = next((each for each in shared if name.startswith(f"{each}.")), None)
        if path is None:
            weights[name] = value
        elif name.removeprefix(f"{path}.").startswith(f"{embodiment}."):
            weights[f"{path}.{name.rpartition('.')[2]}"] = value
    return weights


@pytest.mark.parametrize("name", list(TOWERS))
def test_a_robot_reads_its_rows_as_a_tower_of_its_own_with_the_same_weights_would(name):
    torch.manual_seed(0)
    tower = TOWERS[name](SIZES).eval()
    for embodiment in (0, 2):
        own = TOWERS[name](SIZES[embodiment]).eval()
        own.load_state_dict(alone(tower, embodiment))
        expected = read(name, own, 0, size=SIZES[embodiment])
        got = read(name, tower, embodiment, size=SIZES[embodiment])
        assert torch.equal(got.pooled, expected.pooled)
        assert torch.equal(got.tokens, expected.tokens)
        assert got.pooled[0].abs().sum() > 0


@pytest.mark.parametrize("name", list(TOWERS))
def test_a_robot_trains_its_own_layer_and_what_all_share(name):
    torch.manual_seed(0)
    tower = TOWERS[name](SIZES)
    read(name, tower, 2, size=4).pooled.square().sum().backward()
    trained = {n for n, p in tower.named_parameters() if p.grad is not None and p.grad.any()}
    paths = tuple(p for p, m in tower.named_modules() if isinstance(m, PerEmbodiment))
    for path in paths:
        assert any(each.startswith(f"{path}.2.") for each in trained)
        assert not any(each.startswith(f"{path}.0.") for each in trained)
    assert any(not each.startswith(paths) for each in trained)


@pytest.mark.parametrize("name", list(TOWERS))
def test_a_robot_that_the_tower_does_not_know_is_named(name):
    tower = TOWERS[name](SIZES)
    for embodiment in (1, 3, -1):
        with pytest.raises(InputError, match=rf"from embodiment {embodiment}; .*for: 0, 2$"):
            read(name, tower, embodiment, size=2)


def test_rows_with_another_robots_channels_are_refused():
    tower = FrequencyEncoder(SIZES, width=16)
    with pytest.raises(InputError, match="built for 4 channels"):
        tower(replace(steps(channels=2), embodiment=2))


def test_one_size_makes_the_module_itself():
    assert isinstance(per_embodiment(lambda size: nn.Linear(size, 2), 3), nn.Linear)
    layers = per_embodiment(lambda size: nn.Linear(size, 2), (3, 0))
    assert isinstance(layers, PerEmbodiment)
    assert not list(layers[1].parameters())


def test_what_moves_a_batch_keeps_its_embodiment():
    moved = replace(steps(), embodiment=3).map(lambda tensor: tensor[:1])
    assert moved.embodiment == 3
