"""Messages, their bytes and their names on the wire."""

import struct
import threading
import time

import numpy as np
import pytest

from jointspace.errors import ConfigError, WireError
from jointspace.robot.dds.types import (
    dds_type,
    dds_type_name,
    decode,
    encode,
    message,
    type_hash,
)

IMAGE = "sensor_msgs/msg/Image"

TYPES = [
    "diagnostic_msgs/msg/DiagnosticArray",
    "geometry_msgs/msg/Twist",
    "geometry_msgs/msg/TwistStamped",
    "rmw_dds_common/msg/ParticipantEntitiesInfo",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/JointState",
    "std_msgs/msg/Float32MultiArray",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/String",
    "trajectory_msgs/msg/JointTrajectory",
]


def picture(height, width):
    stamp = message("builtin_interfaces/msg/Time", sec=3, nanosec=4)
    pixels = np.arange(height * width * 3, dtype=np.uint32).astype(np.uint8)
    return message(
        IMAGE,
        header=message("std_msgs/msg/Header", stamp=stamp, frame_id="front"),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=width * 3,
        data=pixels,
    )


def test_a_message_is_the_bytes_that_ros_writes():
    # By hand: little-endian CDR, the length of a string counts its closing zero.
    expected = b"\x00\x01\x00\x00" + struct.pack("<I", 5) + b"stop\x00"
    assert encode(message("std_msgs/msg/String", data="stop")) == expected
    assert decode(expected + b"\x00\x00\x00", "std_msgs/msg/String").data == "stop"  # padded
    big = b"\x00\x00\x00\x00" + struct.pack(">I", 5) + b"stop\x00"
    assert decode(big, "std_msgs/msg/String").data == "stop"


def test_a_picture_comes_back_as_a_view_of_its_bytes():
    sent = picture(4, 5)
    received = decode(encode(sent), IMAGE)
    assert (received.header.stamp.sec, received.header.frame_id) == (3, "front")
    assert np.array_equal(received.data, sent.data)
    assert not received.data.flags.owndata


def test_a_picture_of_640_x_480_takes_a_small_part_of_its_30_milliseconds():
    sent = picture(480, 640)
    times_ms = []
    for _ in range(20):
        start = time.perf_counter()
        decode(encode(sent), IMAGE)
        times_ms.append(1e3 * (time.perf_counter() - start))
    # 0.25 ms where it was measured; the wire's own reader would take 80 to 130.
    assert np.median(times_ms) < 10


@pytest.mark.parametrize("cut", [0, 3, 10, 40, 100])
def test_bytes_that_are_cut_off_are_an_error_and_no_message(cut):
    with pytest.raises(WireError, match=f"a message of {cut} bytes is no sensor_msgs/msg/Image"):
        decode(encode(picture(4, 5))[:cut], IMAGE)


def test_bytes_of_another_type_or_encapsulation_are_an_error():
    with pytest.raises(WireError, match="is no sensor_msgs/msg/Image"):
        decode(encode(message("std_msgs/msg/String", data="stop")), IMAGE)
    with pytest.raises(WireError, match="is no std_msgs/msg/String"):
        decode(b"\x00\x07\x00\x00" + struct.pack("<I", 5) + b"stop\x00", "std_msgs/msg/String")


def test_types_have_their_names_and_hashes_of_the_wire():
    assert dds_type_name(IMAGE) == "sensor_msgs::msg::dds_::Image_"
    # The hash that the Jazzy binaries of std_msgs carry.
    assert type_hash("std_msgs/msg/String") == (
        "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    )


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_the_node_has_a_class_for_the_wire(name):
    kind = dds_type(name)
    kind.__idl__.populate()
    assert kind.__idl_typename__ == dds_type_name(name)
    assert kind(b"bytes").serialize(use_version_2=False) == b"bytes"
    assert kind.deserialize(b"bytes").cdr == b"bytes"


def test_an_unknown_type_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match="Did you mean 'sensor_msgs/msg/Image'"):
        dds_type("sensor_msgs/msg/Imag")


def test_threads_that_ask_for_a_type_at_once_get_the_same_one():
    name = "sensor_msgs/msg/PointCloud2"  # nobody else asks for it
    together, found = threading.Barrier(8), []

    def ask():
        together.wait()
        found.append(dds_type(name))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
