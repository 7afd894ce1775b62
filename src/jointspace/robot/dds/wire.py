"""DDS as a `Wire`."""

import time
from collections.abc import Callable
from typing import Any

from jointspace.errors import WireError
from jointspace.robot.dds.node import Node, Publisher, Subscription
from jointspace.robot.dds.qos import qos_profile
from jointspace.robot.dds.types import message


class DdsWire:
    """A node of ours, with the machine's clocks; see `robot.wire.Wire`.

    Args:
        node: on the wire.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def full_name(self) -> str:
        """The node's name with its namespace."""
        return self._node.name.full_name

    def make(self, type_name: str, **fields: Any) -> Any:
        """Returns a message of a type from its fields.

        Raises:
            ConfigError: ROS 2 has no such type.
        """
        return message(type_name, **fields)

    def publisher(self, topic: str, type_name: str, *, qos: str) -> Publisher:
        """Returns a publisher of a topic.

        Raises:
            ConfigError: topic, type or profile cannot be.
        """
        return self._node.publisher(topic, type_name, qos_profile(qos))

    def subscribe(
        self,
        topic: str,
        type_name: str,
        *,
        qos: str,
        depth: int | None = None,
        on_message: Callable[[Any], None],
        on_broken: Callable[[WireError], None],
    ) -> Subscription:
        """Subscribes to a topic.

        Raises:
            ConfigError: topic, type or profile cannot be.
        """
        return self._node.subscribe(
            topic,
            type_name,
            qos_profile(qos, depth=depth),
            on_message=on_message,
            on_broken=on_broken,
        )

    def steady_s(self) -> float:
        """Returns the time on the machine's steady clock."""
        return time.monotonic()

    def stamp_ns(self) -> int:
        """Returns the machine's time of day."""
        return time.time_ns()
