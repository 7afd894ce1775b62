"""rclpy as a `jointspace.robot.wire.Wire`: topics, messages and clocks of a node."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import QoSPresetProfiles, QoSProfile

from jointspace.errors import WireError
from jointspace_ros.messages import make, message_class


class RclpyWire:
    """What a node publishes and subscribes to.

    Each subscription has a callback group of its own, so that with a `MultiThreadedExecutor` none
    waits for another.

    Args:
        node: an `rclpy.node.Node`.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._publishers: list[Any] = []
        self._subscriptions: list[Any] = []

    @property
    def full_name(self) -> str:
        """The node's name with its namespace."""
        return str(self._node.get_fully_qualified_name())

    def make(self, type_name: str, **fields: Any) -> Any:
        """Returns a message of a type from its fields.

        Raises:
            ConfigError: the package of the type is not installed.
        """
        return make(type_name, **fields)

    def publisher(self, topic: str, type_name: str, *, qos: str) -> "RclpyPublisher":
        """Returns a publisher of a topic.

        Raises:
            ConfigError: the package of the type is not installed.
        """
        publisher = self._node.create_publisher(message_class(type_name), topic, _profile(qos))
        self._publishers.append(publisher)
        return RclpyPublisher(publisher)

    def subscribe(
        self,
        topic: str,
        type_name: str,
        *,
        qos: str,
        depth: int | None = None,
        on_message: Callable[[Any], None],
        on_broken: Callable[[WireError], None],
    ) -> "RclpySubscription":
        """Subscribes to a topic.

        Raises:
            ConfigError: the package of the type is not installed.
        """

        def hear(message: Any) -> None:
            # An exception would end the executor, which then hears no "stop".
            try:
                on_message(message)
            except Exception as error:  # noqa: BLE001 - see above
                lost(error)

        def lost(cause: Exception) -> None:
            self._node.get_logger().error(f"{topic}: a message was lost: {cause}")
            try:
                on_broken(WireError(f"{topic}: {cause}"))
            except Exception as error:  # noqa: BLE001 - see above
                self._node.get_logger().error(f"{topic}: and nothing could be done: {error}")

        refused = _Refused()
        subscription = self._node.create_subscription(
            message_class(type_name),
            topic,
            hear,
            _profile(qos, depth=depth),
            callback_group=MutuallyExclusiveCallbackGroup(),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=refused.note),
        )
        self._subscriptions.append(subscription)
        return RclpySubscription(subscription, self._node, refused)

    def steady_s(self) -> float:
        """Returns the machine's steady clock, which no simulation stops."""
        return time.monotonic()

    def stamp_ns(self) -> int:
        """Returns the node's clock: the time of day, or the simulation's with `use_sim_time`."""
        return int(self._node.get_clock().now().nanoseconds)

    def close(self) -> None:
        """Takes everything off the network."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._subscriptions.clear()
        self._publishers.clear()


@dataclass(frozen=True)
class RclpyPublisher:
    """Sends messages on one topic.

    Attributes:
        publisher: an `rclpy.publisher.Publisher`.
    """

    publisher: Any

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return str(self.publisher.topic_name)

    def publish(self, message: Any) -> None:
        """Sends a message.

        Raises:
            WireError: it was not taken, as after the context was shut down.
        """
        try:
            self.publisher.publish(message)
        except Exception as error:
            raise WireError(f"a message could not be sent: {error}") from error

    def flush(self, *, timeout_s: float) -> bool:
        """Waits until every reliable reader has what was sent; whether all have."""
        try:
            return bool(self.publisher.wait_for_all_acked(Duration(seconds=timeout_s)))
        except Exception:  # noqa: BLE001 - not every middleware can tell
            return False

    @property
    def num_readers(self) -> int:
        """How many subscriptions the topic has now."""
        return int(self.publisher.get_subscription_count())


@dataclass
class _Refused:
    """Counts publishers whose quality of service a subscription cannot take."""

    count: int = 0

    def note(self, event: Any) -> None:
        """Takes what the middleware tells."""
        self.count = int(event.total_count)


@dataclass(frozen=True)
class RclpySubscription:
    """Hears messages on one topic.

    Attributes:
        subscription: an `rclpy.subscription.Subscription`.
        node: its node.
        refused: counts publishers that cannot be heard.
    """

    subscription: Any
    node: Any
    refused: _Refused = field(default_factory=_Refused)

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return str(self.subscription.topic_name)

    @property
    def num_writers(self) -> int:
        """How many publishers the topic has now."""
        return int(self.node.count_publishers(self.topic))

    @property
    def num_refused(self) -> int:
        """How many publishers offered a quality of service that this subscription cannot take."""
        return self.refused.count


def _profile(name: str, *, depth: int | None = None) -> QoSProfile:
    """Returns a profile by its name; those of rclpy are shared, and are not changed."""
    preset = QoSPresetProfiles[name].value
    return QoSProfile(
        history=preset.history,
        depth=preset.depth if depth is None else depth,
        reliability=preset.reliability,
        durability=preset.durability,
    )
