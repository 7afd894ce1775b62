"""Scripted experts, which see the scene's poses, and the noise that makes them fail for real."""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from jointspace.errors import InputError
from jointspace.sim.goals import Goal
from jointspace.sim.scene import CONTROL_HZ
from jointspace.sim.waypoints import Waypoint, waypoints
from jointspace.sim.world import World

SPEED_M_S = (0.22, 0.34)
"""Slowest and fastest expert."""

_TURN_RAD_S = 3.5
_ARRIVED_M = 0.002
_ARRIVED_RAD = 0.02
_SPARE_STEPS = 2
"""Noise may keep the tool from arriving; so many steps after it should have, the expert goes on."""
_LAST_STEPS = 8
"""At the end the expert stays where it is, until things have come to rest. Its hand does not shake
then: what a shaking hand holds is never at rest, so every noisy lift would be a failure."""


class ActionNoise:
    """Shakes the hand: adds a random displacement to every action.

    Args:
        std_m: standard deviation along each axis, in metres a step.
        rng: draws the displacements.

    Raises:
        InputError: a negative deviation.
    """

    def __init__(self, std_m: float, *, rng: np.random.Generator) -> None:
        if not std_m >= 0:
            raise InputError(f"std_m: got {std_m}, expected 0 or more metres")
        self._std_m = std_m
        self._rng = rng

    def __call__(self, action: Float64[np.ndarray, "7"]) -> Float64[np.ndarray, "7"]:
        """Returns the action displaced; turn and gripper stay as they are."""
        if not self._std_m:
            return action
        shaken = action.copy()
        shaken[:3] += self._rng.normal(0.0, self._std_m, 3)
        return shaken


class Expert:
    """Performs one goal in one scene, step by step.

    It steers by the commanded tool pose and by the true poses of the items, so it corrects what
    noise or another hand does to the tool. It never starts over: what it drops stays dropped.

    Args:
        world: in which it acts; the caller steps it.
        goal: possible in the world's scene.
        rng: draws speed, heights and noise, so that no two demonstrations are alike.
        noise_std_m: see `ActionNoise`; 0 is a steady hand.

    Raises:
        InputError: a negative noise.

    Example:
        expert = Expert(env.world, env.goal, rng=np.random.default_rng(0))
        while (action := expert.act()) is not None:
            observation, reward, terminated, truncated, info = env.step(action)
    """

    def __init__(
        self, world: World, goal: Goal, *, rng: np.random.Generator, noise_std_m: float = 0.0
    ) -> None:
        self._world = world
        self._noise = ActionNoise(noise_std_m, rng=rng)
        # A shaking hand that waited for exactness would dawdle at every waypoint.
        self._arrived_m = max(_ARRIVED_M, noise_std_m)
        self._step_m = rng.uniform(*SPEED_M_S) / CONTROL_HZ
        self._actions = self._follow(waypoints(goal, world, rng))

    def act(self) -> Float64[np.ndarray, "7"] | None:
        """Returns the next action; None once there is nothing left to do."""
        return next(self._actions, None)

    def _follow(self, way: Iterator[Waypoint]) -> Iterator[Float64[np.ndarray, "7"]]:
        gripper = 1.0
        for waypoint in way:
            gripper = waypoint.gripper
            yield from self._approach(waypoint)
        for _ in range(_LAST_STEPS):
            yield np.array((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, gripper))

    def _approach(self, waypoint: Waypoint) -> Iterator[Float64[np.ndarray, "7"]]:
        step_m = self._step_m * waypoint.pace
        step_rad = _TURN_RAD_S / CONTROL_HZ * waypoint.pace
        offset, turn_rad = self._remaining(waypoint)
        needed = max(float(np.linalg.norm(offset)) / step_m, abs(turn_rad) / step_rad)
        for _ in range(math.ceil(needed) + _SPARE_STEPS):
            offset, turn_rad = self._remaining(waypoint)
            distance_m = float(np.linalg.norm(offset))
            if distance_m < self._arrived_m and abs(turn_rad) < _ARRIVED_RAD:
                break
            move = offset * min(1.0, step_m / max(distance_m, 1e-9))
            turn = float(np.clip(turn_rad, -step_rad, step_rad))
            yield self._noise(np.array((*move, 0.0, 0.0, turn, waypoint.gripper)))
        for _ in range(waypoint.wait_steps):
            offset, turn_rad = self._remaining(waypoint)
            move = offset * min(1.0, step_m / max(float(np.linalg.norm(offset)), 1e-9))
            yield self._noise(np.array((*move, 0.0, 0.0, 0.0, waypoint.gripper)))

    def _remaining(self, waypoint: Waypoint) -> tuple[Float64[np.ndarray, "3"], float]:
        offset = np.array(waypoint.place) - self._world.target_position
        turn_rad = math.remainder(waypoint.yaw_rad - self._world.target_yaw_rad, 2 * math.pi)
        return offset, turn_rad
