"""A step in several processes, or in chunks, is the step of one process in one piece."""

import contextlib

import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, VISION
from jointspace.config import LossConfig
from jointspace.models.tensors import to_tensors
from jointspace.train.distributed import ALONE
from jointspace.train.gradients import step_gradients
from jointspace.train.objective import training_loss
from tests.train import shared_steps
from tests.train.launched import finish, start
from tests.train.toy import toy_batch, toy_model


@pytest.fixture(scope="module")
def alone():
    return shared_steps.gradients(ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradient_of_several_processes_are_those_of_one(size, alone, tmp_path):
    for code, _, error in finish(start([shared_steps.__file__, tmp_path], size=size)):
        assert (code, error) == (0, "")
    for rank in range(size):
        found = np.load(tmp_path / f"{size}-{rank}.npz")
        assert set(found) == set(alone), "what takes no part has no gradient, on any process"
        for name, expected in alone.items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-11, err_msg=name)
