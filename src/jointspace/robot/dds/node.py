"""A node on the wire: what it publishes, what it subscribes to, and the thread that listens."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cyclonedds.core import (
    DDSException,
    GuardCondition,
    InstanceState,
    ReadCondition,
    SampleState,
    ViewState,
    WaitSet,
)
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration

from jointspace.errors import WireError
from jointspace.robot.dds.graph import announce
from jointspace.robot.dds.names import NodeName, dds_topic
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.qos import QosProfile
from jointspace.robot.dds.types import dds_type, decode, encode

_LOG = logging.getLogger(__name__)

_FRESH = ViewState.Any | SampleState.NotRead | InstanceState.Any


class Publisher:
    """Writes messages of one type to one topic; from any thread."""

    def __init__(self, writer: Any, topic: str, type_name: str) -> None:
        self.writer = writer
        self.topic = topic
        self._sample = dds_type(type_name)

    def publish(self, message: Any) -> None:
        """Sends a message.

        Raises:
            WireError: the network did not take it.
        """
        try:
            self.writer.write(self._sample(encode(message)))
        except DDSException as error:
            raise WireError(f"a message could not be sent: {error.msg}") from error

    def flush(self, *, timeout_s: float) -> bool:
        """Waits until every reliable reader has what was sent; whether all have.

        Args:
            timeout_s: how long at most.
        """
        try:
            return bool(self.writer.wait_for_acks(duration(seconds=timeout_s)))
        except AttributeError:  # what cyclonedds 11.0.1 raises where it means a timeout
            return False

    @property
    def num_readers(self) -> int:
        """How many subscriptions the topic has now."""
        return len(self.writer.get_matched_subscriptions())


@dataclass(frozen=True)
class Subscription:
    """Reads messages of one type from one topic, and hands them on as they come."""

    topic: str
    type_name: str
    reader: Any
    condition: Any
    on_message: Callable[[Any], None]
    on_broken: Callable[[WireError], None]

    def drain(self) -> None:
        """Hands on all that has come, oldest first."""
        for sample in self.reader.take(N=64, condition=self.condition):
            if not sample.sample_info.valid_data:
                continue  # a writer left
            try:
                received = decode(sample.cdr, self.type_name)
            except WireError as error:
                self.on_broken(error)
            else:
                self.on_message(received)

    @property
    def num_writers(self) -> int:
        """How many publishers the topic has now."""
        return len(self.reader.get_matched_publications())

    @property
    def num_refused(self) -> int:
        """How many publishers offered a quality of service that this subscription cannot take."""
        return int(self.reader.get_requested_incompatible_qos_status().total_count)


class Node:
    """A participant with a name, in the way of ROS 2.

    Make publishers and subscriptions, then `start` to listen. A context manager: leaving it stops
    the listening and leaves the domain.

    Args:
        network: which domain, over which network.
        name: who it is; resolves the names of its topics.

    Raises:
        WireError: the network cannot be joined.
    """

    def __init__(self, network: Network, name: NodeName) -> None:
        self.name = name
        self._domain: Any
        self._participant: Any
        self._domain, self._participant = network.join()
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._wake: Any = GuardCondition(self._participant)
        self._leaving = False
        self._thread: threading.Thread | None = None
        self._announced: Any = None

    def publisher(self, topic: str, type_name: str, qos: QosProfile) -> Publisher:
        """Returns a publisher of a topic.

        Args:
            topic: as the node writes it; resolved by its name.
            type_name: what travels: `geometry_msgs/msg/Twist`.
            qos: how.

        Raises:
            ConfigError: the topic or the type cannot be.
        """
        writer = DataWriter(
            self._participant, self._topic(topic, type_name), qos=qos.policies(type_name)
        )
        self._publishers.append(Publisher(writer, self.name.topic(topic), type_name))
        return self._publishers[-1]

    def subscribe(
        self,
        topic: str,
        type_name: str,
        qos: QosProfile,
        *,
        on_message: Callable[[Any], None],
        on_broken: Callable[[WireError], None],
    ) -> Subscription:
        """Subscribes to a topic.

        Args:
            topic: as the node writes it; resolved by its name.
            type_name: what travels: `sensor_msgs/msg/Image`.
            qos: how.
            on_message: takes each message, in the listening thread, which it must not hold up.
            on_broken: takes what is wrong with one that cannot be read.

        Raises:
            ConfigError: the topic or the type cannot be.
        """
        reader = DataReader(
            self._participant, self._topic(topic, type_name), qos=qos.policies(type_name)
        )
        self._subscriptions.append(
            Subscription(
                topic=self.name.topic(topic),
                type_name=type_name,
                reader=reader,
                condition=ReadCondition(reader, _FRESH),
                on_message=on_message,
                on_broken=on_broken,
            )
        )
        return self._subscriptions[-1]

    @property
    def topics(self) -> str:
        """What the node hears and says, in words."""
        heard = ", ".join(each.topic for each in self._subscriptions)
        said = ", ".join(each.topic for each in self._publishers)
        return f"hears {heard or 'nothing'}; says {said or 'nothing'}"

    def start(self) -> None:
        """Says to ROS 2 which node this is, and begins to listen in a thread of its own."""
        self._announced = announce(
            self._participant,
            self.name,
            readers=[each.reader for each in self._subscriptions],
            writers=[each.writer for each in self._publishers],
        )
        waitset = WaitSet(self._participant)
        waitset.attach(self._wake)
        for subscription in self._subscriptions:
            waitset.attach(subscription.condition)
        self._thread = threading.Thread(
            target=self._listen, args=(waitset,), name="listening", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stops listening and leaves the domain; publishers are of no use afterwards."""
        self._leaving = True
        if self._thread is not None:
            self._wake.set(triggered=True)
            self._thread.join()
            self._thread = None
        # cyclonedds takes an entity off the network when its object dies.
        self._announced = None
        self._subscriptions.clear()
        self._publishers.clear()
        self._wake = self._participant = self._domain = None

    # beartype knows `Self` in decorated classes alone.
    def __enter__(self) -> "Node":  # noqa: PYI034
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _topic(self, topic: str, type_name: str) -> Any:
        name = dds_topic(self.name.topic(topic))
        return Topic(self._participant, name, dds_type(type_name))

    def _listen(self, waitset: Any) -> None:
        while not self._leaving:
            waitset.wait(duration(seconds=1))
            for subscription in self._subscriptions:
                try:
                    subscription.drain()
                except Exception as error:  # noqa: BLE001 - the deaf would not hear "stop"
                    _LOG.exception("%s: a message was lost", subscription.topic)
                    subscription.on_broken(WireError(f"{subscription.topic}: {error}"))
