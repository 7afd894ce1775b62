"""Which data set a step trains on."""

import numpy as np
import pytest

from jointspace.train.mixing import mixture_steps


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 1.0), (3.0, 1.0), (1.0, 2.0, 4.0), (0.1, 9.0)])
def test_every_data_set_has_its_share_of_the_steps_at_any_time(weights):
    places, before = mixture_steps(weights, num_steps=200)
    for number, weight in enumerate(weights):
        done = np.cumsum(places == number)
        expected = np.arange(1, 201) * weight / sum(weights)
        assert np.abs(done - expected).max() < max(1, len(weights) - 1)
        own = before[places == number]
        np.testing.assert_array_equal(own, np.arange(len(own)))


def test_equal_weights_take_turns_and_a_shorter_training_is_the_beginning_of_a_longer():
    places, _ = mixture_steps((2.0, 2.0), num_steps=6)
    assert places.tolist() == [0, 1, 0, 1, 0, 1]
    longer, _ = mixture_steps((1.0, 2.5), num_steps=50)
    shorter, _ = mixture_steps((1.0, 2.5), num_steps=20)
    np.testing.assert_array_equal(longer[:20], shorter)
