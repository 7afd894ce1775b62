"""Corrections of the textbook's robot node that hold already, before there is a robot node."""

import numpy as np
import pytest
import torch

from jointspace.batch import ModalityInput
from jointspace.data.resize import resize_frame
from jointspace.data.tokenizer import Tokenizer, tokenizer_from_json
from jointspace.encoders.vision import VisionEncoder
from jointspace.errors import InputError


def test_row_04_a_picture_of_another_shape_is_refused_with_both_shapes_named():
    tower = VisionEncoder(image_px=16, num_cameras=1, channels=(4,), width=8, temporal_layers=0)
    channels_first = torch.zeros(1, 1, 1, 3, 224, 224, dtype=torch.uint8)
    inputs = ModalityInput(channels_first, torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1))
    with pytest.raises(InputError, match=r"\(1, 1, 1, 3, 224, 224\).*wanted.*16, 16, 3\)"):
        tower(inputs)


def test_row_21_a_command_has_its_own_tokens_every_time_also_after_storage():
    commands = ["open the drawer", "close the drawer"]
    tokenizer = Tokenizer.fit(commands, max_tokens=8)
    ids, valid = tokenizer.encode(commands)
    again, _ = tokenizer_from_json(tokenizer.to_json()).encode(commands)
    assert valid.all()
    np.testing.assert_array_equal(ids, again)
    assert (ids[0] != ids[1]).sum() == 1


def test_row_24_a_picture_keeps_its_aspect_and_the_order_of_its_colours():
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[..., 0] = 200
    square = resize_frame(wide, image_px=16)
    assert not square[:4].any()
    assert not square[12:].any()
    np.testing.assert_array_equal(square[4:12], wide)
