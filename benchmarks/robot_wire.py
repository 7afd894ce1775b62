"""What a camera's picture costs on the wire: its bytes, and its way from one process to another.

- Bytes: a 640 x 480 rgb8 `sensor_msgs/Image` to bytes and back, as the node does it (rosbags) and
  as cyclonedds would of itself, which takes a `sequence[uint8]` element by element, out of a list
  that is not counted. They take turns; medians.
- Way: a process publishes such pictures at 30 Hz over the loopback interface, stamped when they are
  made; another takes their age when its callback has them. Best effort may lose pictures.

Run: python benchmarks/robot_wire.py
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import numpy as np
from cyclonedds.idl import IdlStruct
from cyclonedds.idl import types as idl

from jointspace.robot import messages
from jointspace.robot.dds import types
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.node import Node
from jointspace.robot.dds.qos import qos_profile

IMAGE = "sensor_msgs/msg/Image"
HEIGHT_PX, WIDTH_PX = 480, 640


@dataclass
class Time(IdlStruct):
    """`builtin_interfaces/Time` as cyclonedds declares it."""

    sec: idl.int32
    nanosec: idl.uint32


@dataclass
class Header(IdlStruct):
    """`std_msgs/Header` as cyclonedds declares it."""

    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct):
    """`sensor_msgs/Image` as cyclonedds declares it."""

    header: Header
    height: idl.uint32
    width: idl.uint32
    encoding: str
    is_bigendian: idl.uint8
    step: idl.uint32
    data: idl.sequence[idl.uint8]


def picture(pixels: np.ndarray) -> Any:
    """Returns a message with the time of now."""
    header = messages.header(types.message, time_ns=time.time_ns(), frame_id="camera")
    return types.message(
        IMAGE,
        header=header,
        height=HEIGHT_PX,
        width=WIDTH_PX,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * WIDTH_PX,
        data=pixels,
    )


def some_pixels() -> np.ndarray:
    """Returns the bytes of a picture."""
    return np.random.default_rng(0).integers(0, 256, 3 * HEIGHT_PX * WIDTH_PX, dtype=np.uint8)


def times_ms(call: Any) -> float:
    """Returns how long a call takes."""
    began_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began_s)


def compare_bytes(repeats: int) -> None:
    """Prints what it takes to make bytes of a message and back."""
    sent = picture(some_pixels())
    cdr = types.encode(sent)
    theirs = Image(
        Header(Time(sent.header.stamp.sec, sent.header.stamp.nanosec), sent.header.frame_id),
        *(sent.height, sent.width, sent.encoding, sent.is_bigendian, sent.step, sent.data.tolist()),
    )
    ways = {
        "encode, ours": lambda: types.encode(sent),
        "encode, cyclonedds": lambda: theirs.serialize(use_version_2=False),
        "decode, ours": lambda: types.decode(cdr, IMAGE),
        "decode, cyclonedds": lambda: Image.deserialize(cdr),
    }
    if theirs.serialize(use_version_2=False) != cdr:
        raise SystemExit("cyclonedds and rosbags disagree about the bytes")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, call in ways.items():
            taken[name].append(times_ms(call))
    for name, each in taken.items():
        print(f"{name}: {median(each):.2f} ms")


def publish(domain_id: int, qos: str, count: int) -> None:
    """What the other process does: waits for a subscription, and publishes."""
    with Node(Network(domain_id=domain_id, loopback=True), NodeName("camera")) as node:
        camera = node.publisher("image", IMAGE, qos_profile(qos))
        node.start()
        pixels = some_pixels()
        while not camera.num_readers:
            time.sleep(0.05)
        for _ in range(count):
            camera.publish(picture(pixels))
            time.sleep(1 / 30)
        camera.flush(timeout_s=1.0)
        time.sleep(0.5)


def receive(domain_id: int, qos: str, count: int) -> None:
    """Prints how old pictures of another process are when they are here."""
    ages_ms: list[float] = []

    def see(message: Any) -> None:
        ages_ms.append((time.time_ns() - messages.time_ns(message.header.stamp)) / 1e6)

    words = [sys.executable, __file__, "--publish", qos, "--count", str(count)]
    with Node(Network(domain_id=domain_id, loopback=True), NodeName("robot")) as node:
        node.subscribe("image", IMAGE, qos_profile(qos, depth=1), on_message=see, on_broken=print)
        node.start()
        subprocess.run([*words, "--domain-id", str(domain_id)], check=True)  # noqa: S603 - this very file
    cuts = quantiles(ages_ms, n=100)
    print(
        f"{qos}: {len(ages_ms)} of {count} pictures, age p50 {cuts[49]:.1f} ms, "
        f"p95 {cuts[94]:.1f} ms"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--domain-id", type=int, default=int(os.environ.get("ROS_DOMAIN_ID", "97")))
    parser.add_argument("--publish", metavar="QOS", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.domain_id, arguments.publish, arguments.count)
        return
    compare_bytes(arguments.repeats)
    for qos in ("SENSOR_DATA", "DEFAULT"):
        receive(arguments.domain_id, qos, arguments.count)


if __name__ == "__main__":
    main()
