import math

import numpy as np
import pytest
import torch
from torch import nn

from jointspace.batch import ModalityInput
from jointspace.encoders.trajectory import (
    FrequencyEncoder,
    TrajectoryConvolution,
    TrajectoryTransformer,
    cosine_transform,
    resample,
)
from jointspace.errors import InputError
from tests.encoders.inputs import change, cosine, steps, valid_steps, with_longer_padding

TOWERS = {
    "frequency": FrequencyEncoder,
    "transformer": TrajectoryTransformer,
    "convolution": TrajectoryConvolution,
}


@pytest.fixture(params=list(TOWERS))
def tower(request) -> nn.Module:
    torch.manual_seed(0)
    return TOWERS[request.param](4, width=16).eval()


class ChapterTrajectoryEncoder(nn.Module):
    """The chapter's: a transformer without times and masks, and a mean over everything."""

    def __init__(self):
        super().__init__()
        self.action_embedding = nn.Linear(4, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.projection = nn.Linear(16, 16)

    def forward(self, inputs):
        return self.projection(self.transformer(self.action_embedding(inputs.values)).mean(1))


@pytest.fixture
def chapter():
    torch.manual_seed(0)
    return ChapterTrajectoryEncoder().eval()


def motion(rate_hz, *, seconds=2.0):
    """One smooth motion of four channels, recorded at a rate."""
    time_s = torch.arange(0, seconds + 1e-6, 1 / rate_hz)
    values = torch.stack([(2 * time_s + k).sin() for k in range(4)], dim=1)
    return ModalityInput(values[None], torch.ones(1, len(time_s), dtype=torch.bool), time_s[None])


def test_row_11_reversed_trajectory_gives_another_vector(tower, chapter):
    # An opening gripper, and the same backwards: a closing one.
    opening = motion(10)
    closing = ModalityInput(opening.values.flip(1), opening.valid, opening.time_s)
    assert change(chapter(opening), chapter(closing)) < 1e-5
    assert change(tower(opening).pooled, tower(closing).pooled) > 0.02


def test_row_11_shuffled_trajectory_gives_another_vector(tower, chapter):
    straight = motion(10)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    shuffled = ModalityInput(straight.values[:, order], straight.valid, straight.time_s)
    assert change(chapter(straight), chapter(shuffled)) < 1e-5
    assert change(tower(straight).pooled, tower(shuffled).pooled) > 0.02


def test_row_12_fifty_padded_steps_do_not_move_the_vector(tower, chapter):
    made = steps((5, 3))
    padded = with_longer_padding(made, extra=50)
    assert change(chapter(made), chapter(padded)) > 0.1
    torch.testing.assert_close(tower(padded).pooled, tower(made).pooled)


def test_row_13_unrelated_small_trajectories_are_far_apart_once_normalised(chapter):
    # Steps of 5 cm beside an offset: raw, the tower sees the offset alone.
    generator = torch.Generator().manual_seed(0)
    paths = 0.05 * torch.randn(8, 20, 4, generator=generator).cumsum(1) / 20 + 0.5
    valid = torch.ones(8, 20, dtype=torch.bool)
    time_s = (torch.arange(20) / 10).expand(8, 20)
    raw = ModalityInput(paths, valid, time_s)
    every = paths.flatten(0, 1)
    normalised = ModalityInput((paths - every.mean(0)) / every.std(0), valid, time_s)
    torch.manual_seed(0)
    ours = FrequencyEncoder(4, width=16).eval()
    assert cosine(chapter(raw)[:-1], chapter(raw)[1:]) > 0.999
    assert cosine(ours(normalised).pooled[:-1], ours(normalised).pooled[1:]) < 0.9


@pytest.mark.parametrize("name", ["frequency", "transformer"])
def test_row_14_a_motion_looks_the_same_at_ten_and_at_twenty_hertz(name):
    torch.manual_seed(0)
    tower = TOWERS[name](4, width=16).eval()
    slow, fast = tower(motion(10)).pooled, tower(motion(20)).pooled
    assert cosine(slow, fast) > 0.995
    # Read as steps instead of seconds, the same two recordings are twice as fast as one another.
    stretched = motion(20)
    by_index = ModalityInput(stretched.values, stretched.valid, stretched.time_s * 2)
    assert change(fast, tower(by_index).pooled) > 3 * change(fast, slow)


def test_interpolation_equals_numpy_over_gaps_and_uneven_times():
    valid = torch.tensor(
        [[True, True, False, True, True, False], [False, True, True] + [False] * 3]
    )
    time_s = torch.tensor([[0.0, 0.1, 9.0, 0.25, 0.7, 0.0], [5.0, 0.5, 0.6, 0.0, 0.0, 0.0]])
    values = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).double()
    points, duration_s = resample(values, valid, time_s.double(), num_points=9)
    for index in range(2):
        real = valid[index].numpy()
        at = time_s[index].double().numpy()[real]
        wanted = np.linspace(at[0], at[-1], 9)
        for channel in range(3):
            expected = np.interp(wanted, at, values[index, :, channel].numpy()[real])
            np.testing.assert_allclose(points[index, :, channel].numpy(), expected, atol=1e-6)
        assert duration_s[index] == pytest.approx(at[-1] - at[0])


def test_interpolation_of_one_step_repeats_it_and_of_none_is_zero():
    values = torch.tensor([[[3.0], [9.0]], [[9.0], [9.0]]])
    valid = torch.tensor([[True, False], [False, False]])
    points, duration_s = resample(values, valid, torch.zeros(2, 2), num_points=4)
    assert points.squeeze(2).tolist() == [[3.0] * 4, [0.0] * 4]
    assert duration_s.tolist() == [0.0, 0.0]


def test_interpolation_at_repeated_times_stays_finite():
    values = torch.tensor([[[1.0], [2.0], [4.0]]], requires_grad=True)
    time_s = torch.tensor([[0.0, 0.5, 0.5]])
    points, _ = resample(values, valid_steps([3], 3), time_s, num_points=4)
    points.sum().backward()
    assert points.isfinite().all()
    assert values.grad.isfinite().all()
    assert points[0, -1] == 4.0


def test_cosine_transform_equals_its_definition():
    expected = torch.empty(5, 5)
    for order in range(5):
        for point in range(5):
            factor = (1 if order == 0 else math.sqrt(2)) / 5
            expected[order, point] = factor * math.cos(math.pi / 5 * order * (point + 0.5))
    torch.testing.assert_close(cosine_transform(5), expected)
    torch.testing.assert_close(cosine_transform(5) @ cosine_transform(5).T, torch.eye(5) / 5)
    assert (cosine_transform(5) @ torch.full((5,), 7.0))[0] == pytest.approx(7.0)


def test_frequency_tower_refuses_more_coefficients_than_points():
    with pytest.raises(InputError, match="num_coefficients is 33; wanted between 1 and 32"):
        FrequencyEncoder(4, num_coefficients=33)


def test_duration_is_part_of_what_a_trajectory_is():
    tower = FrequencyEncoder(4, width=16).eval()
    quick = motion(10)
    slow = ModalityInput(quick.values, quick.valid, quick.time_s * 3)
    assert not torch.allclose(tower(quick).pooled, tower(slow).pooled, atol=1e-3)


def test_convolution_sees_the_past_alone():
    tower = TrajectoryConvolution(4, width=16, layers=2).eval()
    made = steps((5,))
    changed = made.values.clone()
    changed[:, 3:] += 1
    before = tower(made).tokens
    after = tower(ModalityInput(changed, made.valid, made.time_s)).tokens
    torch.testing.assert_close(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3])


def test_convolution_treats_hidden_first_steps_like_the_time_before_the_start():
    tower = TrajectoryConvolution(4, width=16, layers=2).eval()
    made = steps((5,))
    late = made.map(lambda a: torch.cat([torch.zeros_like(a[:, :2]), a], dim=1))
    torch.testing.assert_close(tower(late).pooled, tower(made).pooled)


def test_the_frequency_tower_sees_a_brief_excursion_that_low_frequencies_smear():
    time_s = torch.arange(64, dtype=torch.float32)[None] / 10
    still = torch.zeros(1, 64, 1)
    shaking = still.clone()
    shaking[0, ::2], shaking[0, 1::2] = 1.0, -1.0
    tower = FrequencyEncoder(1, width=16).eval()
    valid = torch.ones(1, 64, dtype=torch.bool)
    vectors = [tower(ModalityInput(values, valid, time_s)).pooled for values in (still, shaking)]
    assert (vectors[0] - vectors[1]).norm() > 0.1
