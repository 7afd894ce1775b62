"""Reads what a bag says: the times of all topics, the numbers of some, and the texts."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from jointspace.data.ros_types import NS_PER_S
from jointspace.data.rosbag_read import OpenBag, open_bag
from jointspace.data.rosbag_roles import Roles
from jointspace.data.rosbag_values import numbers_of, reordered
from jointspace.errors import DataError

_TRUSTED_S = 1.0
"""A topic whose stamps are further from when the bag received it has another clock."""

_STAMPS = (struct.Struct(">4xiI"), struct.Struct("<4xiI"))
"""A header's stamp lies behind four bytes, of which the second is odd where the order is little."""


@dataclass(frozen=True)
class BagSeries:
    """What was recorded, topic by topic.

    Attributes:
        path: of the bag.
        times_ns: topic -> when its messages were made, strictly ascending: by their own stamps
            where these agree with the bag's clock, else when the bag received them.
        kept: topic -> numbers of the messages that `times_ns` is of; one that goes back in time is
            none of them.
        numbers: role -> one row per entry of its topic's `times_ns`.
        names: role -> names of its channels.
        texts: what was said on the topic of instructions, in order.
        other_clocks: topics whose stamps are those of another clock, and by how many seconds.
        custom_data: facts about the recording.
    """

    path: Path
    times_ns: Mapping[str, Int64[np.ndarray, " _"]]
    kept: Mapping[str, Int64[np.ndarray, " _"]]
    numbers: Mapping[str, Float64[np.ndarray, "_ _"]]
    names: Mapping[str, tuple[str, ...]]
    texts: tuple[str, ...]
    other_clocks: Mapping[str, float]
    custom_data: Mapping[str, str]


def read_series(path: Path, roles: Roles) -> BagSeries:
    """Reads a bag, all but its pictures.

    Args:
        path: the bag.
        roles: what its topics are used as.

    Returns:
        What was recorded.

    Raises:
        DataError: the bag cannot be read, lacks a topic, or a message is not what its
            topic carries.
    """
    with open_bag(path) as bag:
        return _Reading(bag, roles).read()


class _Reading:
    """One pass over a bag."""

    def __init__(self, bag: OpenBag, roles: Roles) -> None:
        self._bag = bag
        self._roles = roles
        self._by_topic: dict[str, list[str]] = {}
        for role, numbers in roles.numbers.items():
            self._by_topic.setdefault(numbers.topic, []).append(role)
        needed = [*self._by_topic, *roles.cameras.values()]
        there = {topic.name for topic in bag.topics if topic.count}
        missing = [topic for topic in needed if topic not in there]
        if missing:
            raise DataError(bag.path, f"no messages on {', '.join(missing)}")
        self._received_ns: dict[str, list[int]] = {topic: [] for topic in needed}
        self._stamps_ns: dict[str, list[int]] = {topic: [] for topic in needed}
        self._types = {topic: bag.types_of(topic) for topic in needed}
        self._rows: dict[str, list[tuple[float, ...]]] = {role: [] for role in roles.numbers}
        self._names: dict[str, tuple[str, ...]] = {}

    def read(self) -> BagSeries:
        texts = []
        told = self._roles.instruction
        for topic, time_ns, data in self._bag.messages({*self._received_ns, told}):
            if topic == told:
                store, kind = self._bag.types_of(topic)
                texts.append(str(store.deserialize_cdr(data, kind).data))
                continue
            self._received_ns[topic].append(time_ns)
            self._stamps_ns[topic].append(self._stamp_ns(topic, data))
            if topic in self._by_topic:
                self._take_numbers(topic, data)
        times_ns, kept, other_clocks = {}, {}, {}
        for topic in self._received_ns:
            times, apart_s = self._times_ns(topic)
            ascending = np.flatnonzero(np.diff(np.maximum.accumulate(times), prepend=-1) > 0)
            times_ns[topic], kept[topic] = times[ascending], ascending
            if apart_s > _TRUSTED_S:
                other_clocks[topic] = apart_s
        return BagSeries(
            path=self._bag.path,
            times_ns=times_ns,
            kept=kept,
            numbers={
                role: np.asarray(self._rows[role])[kept[numbers.topic]]
                for role, numbers in self._roles.numbers.items()
            },
            names=self._names,
            texts=tuple(texts),
            other_clocks=other_clocks,
            custom_data=self._bag.custom_data,
        )

    def _stamp_ns(self, topic: str, data: bytes) -> int:
        """When the message says that it was made; 0 where it does not."""
        store, kind = self._types[topic]
        first = store.fielddefs[kind][1][:1]
        if not first or first[0][1][1] != "std_msgs/msg/Header" or len(data) < _STAMPS[0].size:
            return 0
        sec, nanosec = _STAMPS[data[1] & 1].unpack_from(data)
        return int(sec) * NS_PER_S + int(nanosec)

    def _times_ns(self, topic: str) -> tuple[Int64[np.ndarray, " _"], float]:
        """The times to go by, and how far the stamps are from when the messages were received."""
        received = np.asarray(self._received_ns[topic], dtype=np.int64)
        stamps = np.asarray(self._stamps_ns[topic], dtype=np.int64)
        if not stamps.all():
            return received, 0.0
        apart_s = float(np.median(np.abs(stamps - received))) / NS_PER_S
        return (stamps if apart_s <= _TRUSTED_S else received), apart_s

    def _take_numbers(self, topic: str, data: bytes) -> None:
        store, kind = self._types[topic]
        count = len(self._received_ns[topic]) - 1
        try:
            message = store.deserialize_cdr(data, kind)
        except Exception as error:  # rosbags raises whatever damaged bytes lead to
            raise DataError(
                self._bag.path, f"message {count} of {topic} is damaged: {error}"
            ) from error
        for role in self._by_topic[topic]:
            try:
                found = numbers_of(message, kind, self._roles.numbers[role].fields)
            except ValueError as error:
                raise DataError(self._bag.path, f"message {count} of {topic}: {error}") from None
            names = self._names.setdefault(role, found[0])
            row = reordered(found, names)
            if row is None or not names:
                raise DataError(
                    self._bag.path,
                    f"message {count} of {topic} holds {len(found[0])} numbers "
                    f"({', '.join(found[0][:6])}), the first one {len(names)}",
                )
            self._rows[role].append(row)
