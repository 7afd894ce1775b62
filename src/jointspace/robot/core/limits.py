"""What each channel of the control vector may do: speed, acceleration, range; and how it stops."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from jointspace.errors import InputError

Kind = Literal["velocity", "position"]
"""`velocity`: zero stands still. `position`: a set-point that no longer changes stands still."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One number of the control vector.

    Attributes:
        name: such as `linear.x` of a Twist, or a joint's name.
        kind: what the number means, and so what a stop is.
        max_speed: largest size of a velocity; of a position, how fast the set-point may move.
        max_acceleration: how fast that may change, per second.
        low: smallest position; not read of a velocity.
        high: largest position; not read of a velocity.
        state_index: where a position's measured value stands in the state messages.
    """

    name: str
    kind: Kind = "velocity"
    max_speed: float
    max_acceleration: float
    low: float = -math.inf
    high: float = math.inf
    state_index: int = -1

    def __post_init__(self) -> None:
        for what in ("max_speed", "max_acceleration"):
            value = getattr(self, what)
            if not (math.isfinite(value) and value > 0):
                raise InputError(
                    f"channel '{self.name}': {what}: got {value}, expected a positive number"
                )
        if not self.low < self.high:
            raise InputError(
                f"channel '{self.name}': got low {self.low} and high {self.high}, expected "
                "low < high"
            )


class MotionLimiter:
    """Follows a target no faster than the channels allow; stops at once.

    Velocities change by at most `max_acceleration * dt_s` a step. Set-points of positions move
    with a speed that is bounded and changes as slowly, brakes in time for the target, and never
    leaves `low` to `high` once inside. `stop` knows no bounds: standing still is never delayed.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._is_position = np.array([c.kind == "position" for c in channels], dtype=np.bool_)
        self._max_speed = np.array([c.max_speed for c in channels], dtype=np.float64)
        self._max_acceleration = np.array([c.max_acceleration for c in channels], dtype=np.float64)
        self._low = np.array([c.low for c in channels], dtype=np.float64)
        self._high = np.array([c.high for c in channels], dtype=np.float64)
        self._speed = np.zeros(len(channels))
        self._position = np.full(len(channels), np.nan)

    @property
    def knows_positions(self) -> bool:
        """Whether every position channel has a place to start from."""
        return bool(np.isfinite(self._position[self._is_position]).all())

    @property
    def values(self) -> Float64[np.ndarray, " channel"]:
        """The control vector as it stands; NaN for a position that is not known."""
        return np.where(self._is_position, self._position, self._speed)

    def start_from(self, positions: Float64[np.ndarray, " channel"]) -> None:
        """Takes measured positions as the place to start from, at rest.

        Args:
            positions: one number a channel; those of velocities, and NaN, are passed over.
        """
        known = self._is_position & np.isfinite(positions)
        self._position[known] = positions[known]
        self._speed[:] = 0

    def stop(self) -> Float64[np.ndarray, " channel"]:
        """Stands still at once.

        Returns:
            Zero for velocities, the last set-point for positions.
        """
        self._speed[:] = 0
        return self.values

    def follow(
        self, target: Float64[np.ndarray, " channel"], *, dt_s: float
    ) -> Float64[np.ndarray, " channel"]:
        """Goes toward a target for a time step.

        Args:
            target: finite velocities and positions.
            dt_s: time since the last step; 0 changes nothing.

        Returns:
            The control vector.
        """
        if dt_s <= 0:
            return self.values
        step = self._max_acceleration * dt_s
        speed = np.clip(target, -self._max_speed, self._max_speed)
        if self._is_position.any():
            way = np.clip(target, self._low, self._high) - self._position
            # The fastest speed v that leaves room to brake after this step, however the clock ticks
            # then: v dt + v^2 / (2 a) = way.
            far = self._max_speed**2 / self._max_acceleration + self._max_speed * dt_s
            room = np.minimum(np.abs(way), far)
            braking = np.sqrt(step**2 + 2 * self._max_acceleration * room) - step
            speed_to = np.sign(way) * np.minimum(braking, self._max_speed)
            speed = np.where(self._is_position, speed_to, speed)
        self._speed += np.clip(speed - self._speed, -step, step)
        self._position[self._is_position] += (self._speed * dt_s)[self._is_position]
        return self.values
