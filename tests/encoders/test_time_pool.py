import dataclasses
import math

import pytest
import torch
from torch import nn

from jointspace.batch import ModalityInput
from jointspace.encoders.time_pool import FrequencyPool
from jointspace.errors import InputError


def pictures_at(time_s, valid):
    return ModalityInput(torch.zeros(*valid.shape, 1, 1, 3, dtype=torch.uint8), valid, time_s)


def numbers_read(pool, frames, time_s):
    """What the pool's small network reads."""
    seen = []
    pool.norm = nn.Identity()
    pool.mix.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    pool(frames, pictures_at(time_s, torch.ones(frames.shape[:3], dtype=torch.bool)))
    return seen[0]


def coefficients(values, *, number):
    """Coefficients of the cosine transform of evenly spaced values, by the textbook's sum."""
    count = len(values)
    found = []
    for order in range(number):
        total = sum(v * math.cos(math.pi / count * (i + 0.5) * order) for i, v in enumerate(values))
        found.append(total / count * (math.sqrt(2) if order else 1))
    return found


def test_the_network_reads_the_cosine_transform_of_each_camera_and_the_duration():
    torch.manual_seed(0)
    # 3 = as wide as what `highest` adds, which is nothing here.
    pool = FrequencyPool(1, num_cameras=2, num_coefficients=3, num_points=4)
    frames = torch.randn(1, 4, 2, 1)
    got = numbers_read(pool, frames, torch.arange(4)[None] * 0.5)[0].tolist()
    wanted = [
        each
        for camera in range(2)
        for each in coefficients(frames[0, :, camera, 0].tolist(), number=3)
    ]
    assert got == pytest.approx([*wanted, math.log1p(1.5)], abs=1e-6)


def test_pictures_between_others_on_a_straight_line_change_nothing():
    # Interpolated in time, 3 and 5 pictures of one steady change are the same motion.
    pool = FrequencyPool(1, num_cameras=1)
    line = torch.linspace(0, 1, 5)[None, :, None, None]
    five = numbers_read(pool, line, torch.arange(5.0)[None])
    three = numbers_read(pool, line[:, ::2], torch.arange(3.0)[None] * 2)
    torch.testing.assert_close(five, three)


def test_one_picture_is_its_mean_and_no_change():
    pool = FrequencyPool(1, num_cameras=1, num_coefficients=4)
    got = numbers_read(pool, torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1))
    torch.testing.assert_close(got, torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0]]))


def test_a_new_robot_begins_to_read_its_cameras_as_the_known_one_with_most_of_them():
    pool = FrequencyPool(3, num_cameras=(1, 0, 2, 3, 1)).eval()
    before = [{n: w.clone() for n, w in each.named_parameters()} for each in pool.mix]
    pool.begin_alike(num_known=3)
    frames, time_s = torch.randn(2, 4, 3, 3), torch.arange(4.0).expand(2, 4)

    def read(number, cameras):
        valid = torch.ones(2, 4, cameras, dtype=torch.bool)
        inputs = dataclasses.replace(pictures_at(time_s, valid), embodiment=number)
        return pool(frames[:, :, :cameras], inputs)

    torch.testing.assert_close(read(3, 2), read(2, 2))
    torch.testing.assert_close(read(4, 1), read(0, 1))
    per_camera = 4 * 3
    own = slice(2 * per_camera, 3 * per_camera)  # of the camera that no known robot has
    assert torch.equal(pool.mix[3].weight[:, own], before[3]["weight"][:, own])
    for number in (0, 2):
        for name, weight in pool.mix[number].named_parameters():
            assert torch.equal(weight, before[number][name])


def test_what_is_masked_changes_nothing_even_as_nan():
    torch.manual_seed(0)
    pool = FrequencyPool(4, num_cameras=2).eval()
    frames, time_s = torch.randn(2, 3, 2, 4), torch.arange(3.0).expand(2, 3)
    valid = torch.ones(2, 3, 2, dtype=torch.bool)
    valid[0, 2] = valid[1] = False
    changed = frames.masked_fill(~valid[..., None], 7.0)
    inputs = pictures_at(time_s, valid)
    got = pool(frames, inputs)
    torch.testing.assert_close(pool(changed, inputs), got)
    assert (got[1] == 0).all()


@pytest.mark.parametrize("number", [0, 9])
def test_more_coefficients_than_points_are_refused(number):
    with pytest.raises(InputError, match=f"num_coefficients is {number}; wanted between 1 and 8"):
        FrequencyPool(4, num_cameras=1, num_coefficients=number)
