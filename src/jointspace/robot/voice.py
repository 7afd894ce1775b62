"""From the robot's mind to messages: control, embeddings, similarity and diagnostics."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from jointspace.robot import messages
from jointspace.robot.core.diagnostics import Diagnostics, Level
from jointspace.robot.core.percept import Percept
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.wire import Publisher, Wire


class Voice:
    """Publishes what a robot does, sees and is.

    Args:
        wire: where messages go.
        runtime: the robot's mind.
        model_id: of the bundle, told with each embedding.

    Raises:
        ConfigError: a topic cannot be.
    """

    def __init__(self, wire: Wire, runtime: RobotRuntime, *, model_id: str) -> None:
        config = self._config = runtime.config
        self._wire = wire
        self._channels = runtime.channels
        self._model_id = model_id
        self._told_command = 0
        self.control: Publisher | None = None
        if runtime.channels:
            self._control_message, type_name = self._control_kind()
            self.control = wire.publisher(config.output_topic, type_name, qos=config.output_qos)
        self._embedding = (
            wire.publisher(config.embedding_topic, "std_msgs/msg/Float32MultiArray", qos="DEFAULT")
            if config.embedding_topic
            else None
        )
        self._similarity = wire.publisher(
            messages.SIMILARITY_TOPIC, "std_msgs/msg/Float32", qos="DEFAULT"
        )
        self._best_instruction = (
            wire.publisher(messages.BEST_INSTRUCTION_TOPIC, "std_msgs/msg/String", qos="DEFAULT")
            if config.instructions
            else None
        )
        self._diagnostics = (
            wire.publisher(
                config.diagnostics_topic, "diagnostic_msgs/msg/DiagnosticArray", qos="DEFAULT"
            )
            if config.diagnostics_topic
            else None
        )

    def move(self, values: Float64[np.ndarray, " channel"]) -> None:
        """Sends a control vector.

        Raises:
            WireError: the network did not take it.
        """
        if self.control is not None:
            self.control.publish(self._control_message(values))

    def tell_percept(self, percept: Percept) -> None:
        """Sends what was seen, and what a new command means, as embeddings; and how they compare.

        Raises:
            WireError: the network did not take it.
        """
        sources: list[Any] = [each for each in percept.sources.values() if each is not None]
        # Of several cameras the one whose picture is oldest: the row is as old as that.
        source = min(sources, key=lambda header: messages.time_ns(header.stamp), default=None)
        if percept.vision is not None:
            self._embed(percept.vision, modality="vision", source=source)
        if percept.command is not None and percept.text is not None:
            if percept.command.number != self._told_command:
                self._embed(percept.text, modality="text", source=None)
            self._told_command = percept.command.number
        if percept.similarity is not None:
            self._similarity.publish(
                self._wire.make("std_msgs/msg/Float32", data=percept.similarity)
            )
        if self._best_instruction is not None and percept.best_instruction is not None:
            self._best_instruction.publish(
                self._wire.make("std_msgs/msg/String", data=percept.best_instruction)
            )

    def tell_diagnostics(
        self, diagnostics: Diagnostics, refusals: Mapping[str, str], values: Mapping[str, str]
    ) -> None:
        """Sends how the robot is.

        Args:
            diagnostics: of the runtime.
            refusals: setting -> which publishers it keeps out.
            values: the numbers to send.

        Raises:
            WireError: the network did not take it.
        """
        if self._diagnostics is None:
            return
        level = max(diagnostics.level, Level.WARN) if refusals else diagnostics.level
        summary = "; ".join([f"{diagnostics.state}: {diagnostics.reason}", *refusals.values()])
        self._diagnostics.publish(
            messages.diagnostics(
                self._wire.make,
                header=messages.header(self._wire.make, time_ns=self._wire.stamp_ns(), frame_id=""),
                name=self._wire.full_name,
                level=int(level),
                summary=summary,
                values={**values, "model": self._model_id},
            )
        )

    def _embed(self, row: Float32[np.ndarray, " dim"], *, modality: str, source: Any) -> None:
        if self._embedding is not None:
            self._embedding.publish(
                messages.embedding(
                    self._wire.make, row, model_id=self._model_id, modality=modality, source=source
                )
            )

    def _control_kind(self) -> tuple[Callable[[Float64[np.ndarray, " channel"]], Any], str]:
        config, names, make = self._config, self._channels, self._wire.make

        def stamp(time_ns: int) -> Any:
            return messages.header(make, time_ns=time_ns, frame_id=config.frame_id)

        if config.output == "float64_multi_array":
            return (
                lambda values: messages.number_array(make, names, values),
                "std_msgs/msg/Float64MultiArray",
            )
        if config.output == "joint_trajectory":
            reach_ns = round(1e9 / config.control_rate_hz)
            return (
                # A stamp of 0 means "from now on", whatever the clock of the controller.
                lambda values: messages.joint_trajectory(
                    make, names, values, reach_ns=reach_ns, header=stamp(0)
                ),
                "trajectory_msgs/msg/JointTrajectory",
            )
        if config.enable_stamped_cmd_vel:
            return (
                lambda values: messages.twist(
                    make, names, values, stamped=stamp(self._wire.stamp_ns())
                ),
                "geometry_msgs/msg/TwistStamped",
            )
        return lambda values: messages.twist(make, names, values), "geometry_msgs/msg/Twist"
