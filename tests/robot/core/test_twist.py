"""A Twist's numbers by name."""

import numpy as np
import pytest

from jointspace.robot.core.twist import TWIST_CHANNELS, twist_numbers


def test_each_number_goes_to_its_place_and_the_others_are_zero():
    got = twist_numbers(("angular.z", "linear.y"), np.array([0.5, -0.2]))
    assert got == (0.0, -0.2, 0.0, 0.0, 0.0, 0.5)
    assert twist_numbers(TWIST_CHANNELS, np.arange(6.0)) == (0, 1, 2, 3, 4, 5)


def test_every_number_has_a_name():
    with pytest.raises(ValueError, match="argument 2 is longer"):
        twist_numbers(("linear.x",), np.zeros(2))
