"""A bag as a `Wire`: what it holds comes in at its times, and what the robot says is kept."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from jointspace.data.ros_types import NS_PER_S, ros_types
from jointspace.data.rosbag_messages import BagMessage
from jointspace.errors import ConfigError, WireError, did_you_mean


class ReplayWire:
    """The clock of a bag, its messages for whoever subscribed, and a list of what was published.

    Args:
        topics: that have messages in the bag.
        start_ns: when the bag begins: the steady clock's 0.
        full_name: of the node.
    """

    def __init__(
        self, topics: Collection[str], *, start_ns: int, full_name: str = "/jointspace"
    ) -> None:
        self.full_name = full_name
        self.said: list[BagMessage] = []
        self.now_ns = start_ns
        self._start_ns = start_ns
        self._topics = topics
        self._heard: dict[str, _Subscription] = {}

    def make(self, type_name: str, **fields: Any) -> Any:
        """Returns a message of a type from its fields."""
        return ros_types().types[type_name](**fields)

    def publisher(self, topic: str, type_name: str, *, qos: str) -> "_Publisher":  # noqa: ARG002 - a bag has no network
        """Returns what keeps the messages of a topic."""
        return _Publisher(self, self._full(topic), type_name)

    def subscribe(
        self,
        topic: str,
        type_name: str,
        *,
        qos: str,  # noqa: ARG002 - a bag has no network
        depth: int | None = None,  # noqa: ARG002 - nothing waits
        on_message: Callable[[Any], None],
        on_broken: Callable[[WireError], None],
    ) -> "_Subscription":
        """Subscribes to a topic of the bag.

        Raises:
            ConfigError: the bag has no message on it.
        """
        full = self._full(topic)
        if full not in self._topics:
            raise ConfigError(
                f"topic '{full}': the bag has no message on it.{did_you_mean(full, self._topics)}"
            )
        self._heard[full] = _Subscription(full, type_name, on_message, on_broken)
        return self._heard[full]

    @property
    def topics(self) -> tuple[str, ...]:
        """What was subscribed to."""
        return tuple(self._heard)

    def deliver(self, topic: str, data: bytes) -> None:
        """Hands a message of the bag to its subscriber.

        Args:
            topic: one of `topics`.
            data: serialised.
        """
        subscription = self._heard[topic]
        try:
            message = ros_types().deserialize_cdr(data, subscription.type_name)
        except Exception as error:  # noqa: BLE001 - rosbags raises whatever damaged bytes lead to
            cause = f"a message of {len(data)} bytes is no {subscription.type_name}: {error}"
            subscription.on_broken(WireError(cause))
            return
        subscription.on_message(message)

    def steady_s(self) -> float:
        """Returns the seconds since the bag's start."""
        return (self.now_ns - self._start_ns) / NS_PER_S

    def stamp_ns(self) -> int:
        """Returns the bag's time."""
        return self.now_ns

    def _full(self, topic: str) -> str:
        return full_topic(topic, node=self.full_name)


def full_topic(topic: str, *, node: str = "") -> str:
    """Returns the full name of a topic, of a node in the outermost namespace.

    Args:
        topic: `camera/image`, `/camera/image`, or `~/image` (under the node).
        node: full name of the node.
    """
    if topic.startswith("~/"):
        return f"{node}{topic[1:]}"
    return topic if topic.startswith("/") else f"/{topic}"


@dataclass(frozen=True)
class _Publisher:
    wire: ReplayWire
    topic: str
    type_name: str
    num_readers: int = 0

    def publish(self, message: Any) -> None:
        self.wire.said.append(BagMessage(self.topic, self.type_name, self.wire.now_ns, message))

    def flush(self, *, timeout_s: float) -> bool:  # noqa: ARG002 - it is kept already
        return True


@dataclass(frozen=True)
class _Subscription:
    topic: str
    type_name: str
    on_message: Callable[[Any], None]
    on_broken: Callable[[WireError], None]
    num_writers: int = 1
    num_refused: int = 0
