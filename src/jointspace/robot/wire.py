"""What a shell brings: topics in and out, messages, and two clocks.

DDS, rclpy and a bag are each a `Wire`, so that the robot hears and says the same in all three.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jointspace.errors import WireError


@runtime_checkable
class Publisher(Protocol):
    """Sends messages on one topic; from any thread."""

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        ...

    def publish(self, message: Any) -> None:
        """Sends a message.

        Raises:
            WireError: it was not taken.
        """
        ...

    def flush(self, *, timeout_s: float) -> bool:
        """Waits until every reliable reader has what was sent; whether all have."""
        ...

    @property
    def num_readers(self) -> int:
        """How many subscriptions the topic has now."""
        ...


@runtime_checkable
class Subscription(Protocol):
    """Hears messages on one topic."""

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        ...

    @property
    def num_writers(self) -> int:
        """How many publishers the topic has now."""
        ...

    @property
    def num_refused(self) -> int:
        """How many publishers offered a quality of service that this subscription cannot take."""
        ...


@runtime_checkable
class Wire(Protocol):
    """Where a robot's messages come from and go to."""

    @property
    def full_name(self) -> str:
        """The node's name with its namespace: `/arm/jointspace`."""
        ...

    def make(self, type_name: str, **fields: Any) -> Any:
        """Returns a message of a type, such as `std_msgs/msg/String`, from its fields."""
        ...

    def publisher(self, topic: str, type_name: str, *, qos: str) -> Publisher:
        """Returns a publisher of a topic.

        Args:
            topic: as the node writes it.
            type_name: what travels.
            qos: how, by the name of a profile: `SENSOR_DATA`, `DEFAULT`, `SYSTEM_DEFAULT`.

        Raises:
            ConfigError: the topic or the type cannot be.
        """
        ...

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

        Args:
            topic: as the node writes it.
            type_name: what travels.
            qos: how, by the name of a profile.
            depth: how many messages wait, instead of the profile's own number.
            on_message: takes each message; it returns at once.
            on_broken: takes what is wrong with one that cannot be read.

        Raises:
            ConfigError: the topic or the type cannot be.
        """
        ...

    def steady_s(self) -> float:
        """Returns the time on the steady clock that the robot lives by."""
        ...

    def stamp_ns(self) -> int:
        """Returns the time on the clock that stamps messages, in nanoseconds since 1970."""
        ...
