"""What stands around a robot in the black-box tests: a camera, somebody who speaks, a base."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from jointspace.robot import messages
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.node import Node
from jointspace.robot.dds.qos import qos_profile
from jointspace.robot.dds.types import dds_type, encode, message

COLOURS = {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}

# Where a machine is busy with other things, everything takes longer.
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Shot:
    """What the camera shows: a plain colour, and what is wrong with its messages."""

    colour: str = "red"
    age_s: float = 0.0
    encoding: str = "rgb8"
    cut: bool = False
    garbled: bool = False

    def to_cdr(self):
        cdr = encode(self._message())
        return cdr.replace(b"rgb8", b"\xff\xfe\xfd\xfc") if self.garbled else cdr

    def _message(self):
        pixels = np.broadcast_to(np.array(COLOURS[self.colour], dtype=np.uint8), (48, 64, 3))
        data = pixels.reshape(-1).copy()
        return message(
            "sensor_msgs/msg/Image",
            header=header(self.age_s),
            height=48,
            width=64,
            encoding=self.encoding,
            is_bigendian=0,
            step=64 * 3,
            data=data[: data.size // 2] if self.cut else data,
        )


@dataclass(frozen=True)
class JpegShot:
    """The same as a JPEG file."""

    colour: str = "red"

    def to_cdr(self):
        file = io.BytesIO()
        Image.new("RGB", (64, 48), COLOURS[self.colour]).save(file, format="JPEG")
        sent = message(
            "sensor_msgs/msg/CompressedImage",
            header=header(),
            format="jpeg",
            data=np.frombuffer(file.getvalue(), dtype=np.uint8),
        )
        return encode(sent)


def header(age_s=0.0):
    now_ns = time.time_ns() - round(age_s * 1e9)
    return messages.header(message, time_ns=now_ns, frame_id="front")


@dataclass
class Heard:
    """Messages of a topic, with the time at which each came."""

    items: list = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, received):
        with self.changed:
            self.items.append((time.monotonic(), received))
            self.changed.notify_all()

    def since(self, time_s):
        return [(at_s, item) for at_s, item in list(self.items) if at_s >= time_s]

    def wait_for(self, fits, *, since_s, timeout_s=PATIENCE_S):
        """Returns when the first message after a time came that fits, and the message."""
        ends_s = time.monotonic() + timeout_s
        with self.changed:
            while True:
                for at_s, item in self.since(since_s):
                    if fits(item):
                        return at_s, item
                left_s = ends_s - time.monotonic()
                assert left_s > 0, f"nothing that fits came in {timeout_s} s: {self.items[-1:]}"
                self.changed.wait(left_s)


class Peer:
    """A node around the robot.

    Args:
        domain_id: of the test.
        camera_qos: of the camera.
        image_type: `Image` or `CompressedImage`.
        control_type: what the base listens to.
    """

    def __init__(
        self,
        domain_id,
        *,
        camera_qos="SENSOR_DATA",
        image_type="Image",
        control_type="geometry_msgs/msg/Twist",
    ):
        self.node = Node(Network(domain_id=domain_id, loopback=True), NodeName("peer"))
        default = qos_profile("DEFAULT")
        image = f"sensor_msgs/msg/{image_type}"
        self._picture = dds_type(image)
        self._camera = self.node.publisher(
            "camera/image_rect_color", image, qos_profile(camera_qos)
        )
        self._speech = self.node.publisher(
            "natural_language_command", "std_msgs/msg/String", default
        )
        self._joints = self.node.publisher("joint_states", "sensor_msgs/msg/JointState", default)
        self.control = self._listen("robot_velocity", control_type)
        self.embeddings = self._listen("embedding", "std_msgs/msg/Float32MultiArray")
        self.similarity = self._listen("/jointspace/similarity", "std_msgs/msg/Float32")
        self.diagnostics = self._listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        self.shot = None
        self.joints = None
        self.joints_age_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="camera")

    def __enter__(self):
        self.node.start()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self.node.close()

    def wait_for_robot(self):
        """Waits until the robot hears and is heard."""
        ends_s = time.monotonic() + PATIENCE_S
        while not (self._speech.num_readers and self._control_subscription.num_writers):
            assert time.monotonic() < ends_s, "the robot did not come"
            time.sleep(0.02)

    def say(self, text, *, garbled=False):
        """Speaks; returns when."""
        cdr = encode(message("std_msgs/msg/String", data=text))
        if garbled:
            cdr = cdr.replace(text[:2].encode(), b"\xff\xfe")
        now_s = time.monotonic()
        self._speech.writer.write(dds_type("std_msgs/msg/String")(cdr))
        return now_s

    def _listen(self, topic, type_name):
        heard = Heard()
        subscription = self.node.subscribe(
            topic, type_name, qos_profile("DEFAULT"), on_message=heard.add, on_broken=heard.add
        )
        if topic == "robot_velocity":
            self._control_subscription = subscription
        return heard

    def _live(self):
        while not self._over.wait(1 / 30):
            if self.shot is not None:
                self._camera.writer.write(self._picture(self.shot.to_cdr()))
            if self.joints is not None:
                self._joints.publish(joint_state(self.joints, self.joints_age_s))


def joint_state(positions, age_s):
    nothing = np.empty(0)
    return message(
        "sensor_msgs/msg/JointState",
        header=header(age_s),
        name=list(positions),
        position=np.array(list(positions.values()), dtype=np.float64),
        velocity=nothing,
        effort=nothing,
    )


class Robot:
    """The process under test."""

    def __init__(self, words, *, domain_id):
        environment = os.environ | {
            "ROS_DOMAIN_ID": str(domain_id),
            "ROS_LOCALHOST_ONLY": "1",
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("CYCLONEDDS_URI", None)
        self.ended = False
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def end(self, number=signal.SIGTERM):
        """Sends a signal; returns the seconds until the process was gone, and its summary."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=PATIENCE_S)
        self.ended = True
        assert self.process.returncode == 0, errors
        return time.monotonic() - began_s, json.loads(out)


@contextlib.contextmanager
def robot(words, *, domain_id):
    """Starts a robot as a process; whatever happens, it is gone afterwards."""
    started = Robot(words, domain_id=domain_id)
    try:
        yield started
    finally:
        if not started.ended:
            started.process.kill()
            sys.stderr.write(started.process.communicate()[1])


def stand_in(domain_id, *words):
    """Returns the words that start a robot with a stand-in for its network."""
    return ["-m", "tests.robot.dds.stand_in", str(domain_id), *words]
