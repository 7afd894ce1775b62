"""A step of several processes is the step of one."""

import numpy as np
import pytest

from jointspace.train.distributed import ALONE
from tests.train import shared_steps
from tests.train.launched import finish, start


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_loss_and_gradient_of_several_processes_are_those_of_one(size, tmp_path):
    for code, _, error in finish(start([shared_steps.__file__, tmp_path], size=size)):
        assert (code, error) == (0, "")
    alone = shared_steps.gradients(ALONE)
    joined = np.repeat(np.arange(size), np.arange(size) + 1)
    for rank in range(size):
        found = dict(np.load(tmp_path / f"{size}-{rank}.npz"))
        rows = joined == rank
        np.testing.assert_array_equal(found.pop("gathered")[:, 0], joined)
        # Process k weighs element i by i * 10^k; the gradient is the sum over the processes.
        weights = np.arange(2 * len(joined)).reshape(-1, 2)[rows] * sum(
            10.0**k for k in range(size)
        )
        np.testing.assert_array_equal(found.pop("gathered: gradient"), weights)
        assert set(found) == set(alone), "what takes no part has no gradient, on any process"
        for name, expected in alone.items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-12, err_msg=name)
