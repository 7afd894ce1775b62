"""From messages to the robot's mind: cameras, commands and joint states."""

import logging
from collections.abc import Callable
from typing import Any

from jointspace.errors import InputError, WireError
from jointspace.robot.core.build import camera_of_topic
from jointspace.robot.core.images import CompressedPicture, Picture, RawPicture
from jointspace.robot.core.percept import Heard
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.messages import TENSOR_LIST, joint_positions, tensor_row, time_ns
from jointspace.robot.wire import Subscription, Wire

_LOG = logging.getLogger(__name__)


class Senses:
    """Subscribes to what a robot sees, is told and measures, and hands it to its runtime.

    Args:
        wire: where messages come from.
        runtime: the robot's mind.
        on_stop: called right after the robot was told to stop.

    Raises:
        ConfigError: the topics do not fit the bundle's cameras, or a name cannot be.
    """

    def __init__(self, wire: Wire, runtime: RobotRuntime, *, on_stop: Callable[[], object]) -> None:
        self._wire = wire
        self._runtime = runtime
        self._on_stop = on_stop
        config = runtime.config
        self._compressed = config.image_transport == "compressed"
        # First, so that a command never waits behind pictures.
        commands = wire.subscribe(
            config.command_topic,
            "std_msgs/msg/String",
            qos=config.command_qos,
            on_message=self._hear,
            on_broken=self._mishear,
        )
        self.subscriptions: dict[str, Subscription] = {"command_qos": commands}
        if config.visual_input == "tensor_list":
            self.subscriptions["image_qos"] = self._watch_tensors()
        else:
            for topic, camera in camera_of_topic(config, runtime.cameras).items():
                self.subscriptions[f"image_qos of {camera}"] = self._watch(topic, camera)
        if config.state_topic:
            self.subscriptions["state_qos"] = wire.subscribe(
                config.state_topic,
                "sensor_msgs/msg/JointState",
                qos=config.state_qos,
                on_message=self._measure,
                on_broken=lambda error: runtime.on_malformed(str(error)),
            )

    def counts(self) -> dict[str, str]:
        """Returns how many publishers each topic has, as text."""
        return {
            f"publishers of {each.topic}": str(each.num_writers)
            for each in self.subscriptions.values()
        }

    def refusals(self) -> dict[str, str]:
        """Returns setting -> what it keeps out: publishers whose quality of service is less."""
        return {
            setting: (
                f"{subscription.topic}: {subscription.num_refused} publishers offer less than "
                f"{setting.split()[0]} asks for; set it to SENSOR_DATA"
            )
            for setting, subscription in self.subscriptions.items()
            if subscription.num_refused
        }

    def _watch(self, topic: str, camera: str) -> Subscription:
        def see(picture: Picture, header: Any) -> None:
            self._runtime.on_image(
                picture,
                now_s=self._wire.steady_s(),
                age_s=self._age_s(header),
                camera=camera,
                source=header,
            )

        def see_raw(message: Any) -> None:
            picture = RawPicture(
                data=message.data,
                height_px=message.height,
                width_px=message.width,
                step=message.step,
                encoding=message.encoding,
                is_bigendian=bool(message.is_bigendian),
            )
            see(picture, message.header)

        def see_compressed(message: Any) -> None:
            see(CompressedPicture(message.data, format=message.format), message.header)

        kind = "CompressedImage" if self._compressed else "Image"
        # One picture is kept: of several that wait, only the newest is of use.
        return self._wire.subscribe(
            topic,
            f"sensor_msgs/msg/{kind}",
            qos=self._runtime.config.image_qos,
            depth=1,
            on_message=see_compressed if self._compressed else see_raw,
            on_broken=lambda error: self._runtime.on_malformed(str(error)),
        )

    def _watch_tensors(self) -> Subscription:
        config = self._runtime.config

        def see(message: Any) -> None:
            try:
                row = tensor_row(message, config.tensor_name)
            except InputError as error:
                self._runtime.on_malformed(str(error))
                return
            self._runtime.on_embedding(
                row,
                now_s=self._wire.steady_s(),
                age_s=self._age_s(message.header),
                source=message.header,
            )

        return self._wire.subscribe(
            config.tensor_topic,
            TENSOR_LIST,
            qos=config.image_qos,
            depth=1,
            on_message=see,
            on_broken=lambda error: self._runtime.on_malformed(str(error)),
        )

    def _age_s(self, header: Any) -> float:
        return (self._wire.stamp_ns() - time_ns(header.stamp)) / 1e9

    def _hear(self, message: Any) -> None:
        if self._runtime.on_command(message.data, now_s=self._wire.steady_s()) is Heard.STOP:
            self._on_stop()

    def _mishear(self, error: WireError) -> None:
        """Takes what cannot be read for a stop: it may have been one."""
        _LOG.warning("a command cannot be read, and stops the robot: %s", error)
        self._runtime.on_command("", now_s=self._wire.steady_s())
        self._on_stop()

    def _measure(self, message: Any) -> None:
        try:
            values = joint_positions(message, self._runtime.config.state_names)
        except InputError as error:
            self._runtime.on_malformed(str(error))
            return
        age_s = self._age_s(message.header)
        if age_s < -self._runtime.config.stamp_tolerance_s:
            self._runtime.on_malformed(f"a state's stamp is {-age_s:.2f} s in the future")
            return
        # A state counts from when it was measured, as a picture does.
        self._runtime.on_state(values, now_s=self._wire.steady_s() - max(0.0, age_s))
