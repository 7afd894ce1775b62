"""The numbers of a `geometry_msgs/Twist` by name."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

TWIST_CHANNELS = ("linear.x", "linear.y", "linear.z", "angular.x", "angular.y", "angular.z")
"""Metres and radians per second, in the order of the message."""


def twist_numbers(
    channels: Sequence[str], values: Float64[np.ndarray, " channel"]
) -> tuple[float, ...]:
    """Returns the six numbers of a Twist, in the order of `TWIST_CHANNELS`.

    Args:
        channels: which of them the control vector has.
        values: the control vector.

    Returns:
        Six numbers; those that the control vector lacks are zero.

    Example:
        >>> twist_numbers(("linear.x", "angular.z"), np.array([0.2, 0.5]))
        (0.2, 0.0, 0.0, 0.0, 0.0, 0.5)
    """
    by_name = dict(zip(channels, values.tolist(), strict=True))
    return tuple(by_name.get(name, 0.0) for name in TWIST_CHANNELS)
