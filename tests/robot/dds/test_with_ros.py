"""The robot beside a real ROS 2: its command-line tools see the node, speak to it and hear it."""

import os
import shutil
import subprocess
import time

import pytest

from tests.robot.dds.peer import PATIENCE_S, Peer, Shot, robot, stand_in

pytestmark = [
    pytest.mark.ros,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("ros2") is None, reason="no ROS 2: `ros2` is not found"),
]

# Without the daemon of the tools, which may be of another domain.
LOOK = ("--no-daemon", "--spin-time", "3")


def ros2(domain_id, *words):
    """Runs one of ROS's tools on the test's domain; returns what it prints."""
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOCALHOST_ONLY": "1"}
    done = subprocess.run(
        [shutil.which("ros2"), *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE_S,
        env=environment,
    )
    return done.stdout


def test_the_tools_of_ros_list_the_node_its_topics_and_its_types(domain_id):
    with (
        Peer(domain_id) as peer,
        robot(stand_in(domain_id), domain_id=domain_id) as started,
    ):
        peer.wait_for_robot()
        assert "/jointspace" in ros2(domain_id, "node", "list", *LOOK).splitlines()
        topics = ros2(domain_id, "topic", "list", "-t", *LOOK).splitlines()
        assert "/robot_velocity [geometry_msgs/msg/Twist]" in topics
        assert "/natural_language_command [std_msgs/msg/String]" in topics
        assert "/camera/image_rect_color [sensor_msgs/msg/Image]" in topics
        told = ros2(domain_id, "topic", "info", "-v", "/robot_velocity", *LOOK)
        assert "Node name: jointspace" in told
        assert "RIHS01_" in told
        started.end()


def test_a_command_from_ros_moves_the_robot_and_ros_hears_it(domain_id):
    with (
        Peer(domain_id) as peer,
        robot(stand_in(domain_id), domain_id=domain_id) as started,
    ):
        peer.wait_for_robot()
        peer.shot = Shot()
        began_s = time.monotonic()
        say = ("topic", "pub", "-1", "/natural_language_command", "std_msgs/msg/String")
        ros2(domain_id, *say, "{data: forward}")
        peer.control.wait_for(lambda twist: twist.linear.x > 0, since_s=began_s)
        heard = ros2(domain_id, "topic", "echo", "--once", "/robot_velocity")
        assert heard.startswith("linear:")
        stopped_s = time.monotonic()
        ros2(domain_id, *say, "{data: stop}")
        peer.control.wait_for(lambda twist: twist.linear.x == 0, since_s=stopped_s)
        started.end()
