"""A configured robot in a simulated world: what it will do with its limits, ramps and timeouts."""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from jointspace.errors import ConfigError, InputError
from jointspace.robot.core.images import RgbPicture
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.safety import Decision, State
from jointspace.robot.late_perception import LatePerception

_NS_PER_S = 1_000_000_000
_LONGEST_DELAY_S = 60.0


class SimulatedRobot:
    """Lives in a simulator's steps as a robot does between its topics: messages in, decisions out.

    Implements `jointspace.sim.policies.Policy`. At every step it measures its state, gets the
    pictures that have arrived by then, and decides once, on a steady clock that ticks with the
    simulator. Before each episode it has stood before the scene for a moment with its cameras
    running; then it is told the sentence, once.

    A message that is not sent leaves the body as it is: velocities are zero, and positions stay
    where they were set last.

    Args:
        runtime: the robot's mind.
        fps: steps a second of the simulator.
        action_names: of the simulator's actions, in their order.
        latency_s: how long perception takes, whatever this machine's speed.
        picture_delay_s: how long pictures travel. Their stamps say when they were taken.

    Attributes:
        states: state -> decisions of every episode so far.

    Raises:
        ConfigError: the configured channels are not the simulator's, or the control rate is.
        InputError: a delay is negative, or longer than a minute.
    """

    def __init__(
        self,
        runtime: RobotRuntime,
        *,
        fps: int,
        action_names: Sequence[str],
        latency_s: float = 0.0,
        picture_delay_s: float = 0.0,
    ) -> None:
        config = runtime.config
        if not runtime.decoder.moves:
            raise ConfigError(
                f"decoder: got '{config.decoder}', which never moves; expected one that does, "
                "such as 'retrieval'"
            )
        if runtime.channels != tuple(action_names):
            raise ConfigError(
                f"channels: got {list(runtime.channels)}, expected those of the simulator's "
                f"actions in their order: {list(action_names)}"
            )
        if config.control_rate_hz != fps:
            raise ConfigError(
                f"control_rate_hz: got {config.control_rate_hz:g}, expected {fps}, the "
                "simulator's: each message is one step of it"
            )
        for name, delay_s in (("latency", latency_s), ("picture delay", picture_delay_s)):
            if not 0 <= delay_s < _LONGEST_DELAY_S:
                raise InputError(f"{name}: got {delay_s:g} s, expected 0 to {_LONGEST_DELAY_S:g}")
        self.states: Counter[State] = Counter()
        self._runtime = runtime
        self._fps = fps
        self._latency_ns = round(latency_s * _NS_PER_S)
        self._delay_ns = round(picture_delay_s * _NS_PER_S)
        self._cameras = {camera.rsplit(".", maxsplit=1)[-1]: camera for camera in runtime.cameras}
        self._positions = [
            (place, channel.state_index)
            for place, channel in enumerate(config.control_channels)
            if channel.kind == "position"
        ]

    def reset(self, observation: Mapping[str, Any], instruction: str) -> None:
        """Starts an episode: the robot stands and looks, then is told what to do."""
        self._runtime.shutdown()
        self._runtime.activate()
        self._perception = LatePerception(self._runtime, latency_ns=self._latency_ns)
        self._travelling: deque[tuple[int, Mapping[str, UInt8[np.ndarray, "px px 3"]]]] = deque()
        self._num_steps = 0
        self._told = ""
        self._body = np.zeros(len(self._runtime.channels))
        for place, index in self._positions:
            self._body[place] = observation["state"][index]
        delay_s = (self._latency_ns + self._delay_ns) / _NS_PER_S
        for _ in range(1 + math.ceil(delay_s * self._fps)):
            self._live(observation)
        self._told = instruction

    def act(
        self,
        observation: Mapping[str, Any],
        instruction: str,  # noqa: ARG002 - was told at the reset
    ) -> Float64[np.ndarray, " channel"]:
        """Lets the robot live a step, and returns what its body is told."""
        decision = self._live(observation)
        self.states[decision.state] += 1
        if decision.publish:
            self._body = decision.values.copy()
            return decision.values
        still = np.zeros_like(self._body)
        for place, _ in self._positions:
            still[place] = self._body[place]
        return still

    def _live(self, observation: Mapping[str, Any]) -> Decision:
        now_ns = round(self._num_steps * _NS_PER_S / self._fps)
        now_s = now_ns / _NS_PER_S
        self._num_steps += 1
        self._perception.conclude(until_ns=now_ns)
        self._runtime.on_state(observation["state"], now_s=now_s)
        if self._told:
            # Before the pictures of its moment, so that the first of them meets the command.
            self._runtime.on_command(self._told, now_s=now_s)
            self._told = ""
        self._travelling.append((now_ns, observation["pictures"]))
        while self._travelling and self._travelling[0][0] + self._delay_ns <= now_ns:
            taken_ns, pictures = self._travelling.popleft()
            for name, picture in pictures.items():
                if name in self._cameras:
                    self._runtime.on_image(
                        RgbPicture(picture),
                        now_s=now_s,
                        age_s=(now_ns - taken_ns) / _NS_PER_S,
                        camera=self._cameras[name],
                    )
        self._perception.begin(now_ns)
        return self._runtime.tick(now_s)
