"""The node as a process of its own, over stand-ins: `python -m tests.ros.process [fail|idle]`.

A thread plays the robot around it: a command, and a picture every 50 ms. What is published on the
topic of velocities is printed, a line each.
"""

import sys
import threading
import time
from pathlib import Path

from tests.ros import stand_in_rclpy

sys.modules.update(stand_in_rclpy.modules())
sys.path.insert(0, str(Path(__file__).parents[2] / "ros" / "jointspace_ros"))

from jointspace_ros.main import main  # noqa: E402 - the stand-ins come first
from jointspace_ros.node import JointspaceNode  # noqa: E402

from jointspace.errors import BundleError  # noqa: E402
from tests.ros import test_node  # noqa: E402


def tell(topic, message):
    if topic == test_node.TWIST:
        print(message.linear.x, flush=True)  # noqa: T201 - the test reads it


def live(network):
    while not network.subscriptions:
        time.sleep(0.01)
    time.sleep(0.1)
    while True:
        test_node.say(network, "forward")
        network.publish(test_node.IMAGE, test_node.image())
        time.sleep(0.05)


def load(config):
    if "fail" in sys.argv:
        raise BundleError("no bundle")
    return test_node.load(config)


def make_node():
    node = JointspaceNode(load=load)
    print("made", file=sys.stderr, flush=True)  # noqa: T201 - the test waits for it
    return node


if __name__ == "__main__":
    stand_in_rclpy.Node.overrides = {**test_node.SPEEDS, "autostart": "idle" not in sys.argv}
    stand_in_rclpy.NETWORK.on_said = tell
    threading.Thread(target=live, args=(stand_in_rclpy.NETWORK,), daemon=True).start()
    sys.exit(main([], make_node=make_node))
