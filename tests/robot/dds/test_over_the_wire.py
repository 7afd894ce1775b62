"""The robot as a process of its own, over the loopback interface: what a base would feel.

Each time is printed. The bounds leave room for a machine that is busy otherwise: on an idle one
they are missed by far.
"""

import signal
import sys
import time

import numpy as np
import pytest

from tests.deploy.bundles import make_bundle, preprocessor
from tests.robot.dds.peer import JpegShot, Peer, Shot, robot, stand_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

IMAGE_TIMEOUT_S = 0.5
CONTROL_PERIOD_S = 0.05
SLACK_S = 0.5


def moves(twist):
    return twist.linear.x != 0 or twist.angular.z != 0


def stands(twist):
    return not moves(twist)


@pytest.fixture
def told(capsys):
    """Takes what was measured, and prints it when the test is over, captured or not."""
    lines = []
    yield lambda what, seconds: lines.append(f"  {what}: {1e3 * seconds:.1f} ms")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *lines, ""]))


def go(peer, text="forward", shot=None):
    """Shows a picture, speaks, waits until the robot moves; returns the seconds that it took."""
    peer.shot = Shot() if shot is None else shot
    said_s = peer.say(text)
    at_s, _ = peer.control.wait_for(moves, since_s=said_s)
    return at_s - said_s


def time_to_stand(peer, since_s):
    at_s, _ = peer.control.wait_for(stands, since_s=since_s)
    return at_s - since_s


def test_a_robot_moves_when_it_may_and_stands_whenever_it_must_not(domain_id, told):
    words = stand_in(domain_id, "velocity_values=[9.0,0,0,0,0,0,0,0]", "max_speeds=[0.4,1.0]")
    with Peer(domain_id) as peer, robot(words, domain_id=domain_id) as started:
        peer.wait_for_robot()
        peer.shot = Shot()
        peer.embeddings.wait_for(lambda _: True, since_s=0)
        time.sleep(1)
        assert peer.control.items == []  # silent before a command

        told("first motion after a command", go(peer))
        began_s = peer.control.items[0][0]
        peer.control.wait_for(lambda twist: twist.linear.x == 0.4, since_s=began_s)
        time.sleep(0.3)
        check_clamp_and_ramp(peer.control.since(began_s))

        peer.shot, cut_s = None, time.monotonic()
        seconds = time_to_stand(peer, cut_s)
        told(f"camera cut to zero, timeout {IMAGE_TIMEOUT_S} s", seconds)
        assert IMAGE_TIMEOUT_S - 0.3 <= seconds < IMAGE_TIMEOUT_S + CONTROL_PERIOD_S + SLACK_S
        check_stays_still(peer)
        go(peer)

        for what, shot in (
            ("stamps of 5 s ago", Shot(age_s=5.0)),
            ("stamps of in 5 s", Shot(age_s=-5.0)),
            ("truncated data", Shot(cut=True)),
            ("an unknown encoding", Shot(encoding="rgb9")),
            ("text that is not UTF-8", Shot(garbled=True)),
            ("depth", Shot(encoding="16UC1")),
            ("another colour", Shot(colour="blue")),
        ):
            peer.shot, wrong_s = shot, time.monotonic()
            seconds = time_to_stand(peer, wrong_s)
            told(f"{what} to zero", seconds)
            assert seconds < IMAGE_TIMEOUT_S + CONTROL_PERIOD_S + SLACK_S
            check_stays_still(peer)
            told(f"motion after {what}", go(peer))

        seconds = time_to_stand(peer, peer.say("Stop!"))
        told("'stop' to zero", seconds)
        assert seconds < CONTROL_PERIOD_S + SLACK_S
        time.sleep(0.5)
        silent_s = time.monotonic()
        time.sleep(0.5)
        assert peer.control.since(silent_s) == []  # somebody else may drive

        go(peer)
        ended_s = time.monotonic()
        seconds, summary = started.end(signal.SIGTERM)
        told("SIGTERM to the end of the process", seconds)
        told("SIGTERM to zero", time_to_stand(peer, ended_s))
        assert stands(peer.control.items[-1][1])
        assert summary["signal"] == "SIGTERM"
        assert summary["sent"] == pytest.approx(len(peer.control.items), abs=5)


def check_clamp_and_ramp(heard):
    """No faster than 0.4 m/s, and no more than 1 m/s² of acceleration by the robot's own clock."""
    speeds = np.array([twist.linear.x for _, twist in heard])
    assert speeds.max() == 0.4
    assert speeds.min() >= 0
    # A late tick may make up for one period, and no more.
    assert np.diff(speeds, prepend=0).max() <= 2 * CONTROL_PERIOD_S + 1e-9
    assert len(set(speeds)) >= 5


def check_stays_still(peer):
    from_s = time.monotonic()
    time.sleep(0.2)
    still = peer.control.since(from_s)
    assert still  # says so as long as there is a command
    assert all(stands(twist) for _, twist in still)


def test_a_slow_network_delays_neither_control_nor_stop(domain_id, told):
    words = stand_in(domain_id, "--delay-s", "0.3", "image_timeout_s=1.5")
    with Peer(domain_id) as peer, robot(words, domain_id=domain_id) as started:
        peer.wait_for_robot()
        told("first motion with a network of 0.3 s", go(peer))
        from_s = time.monotonic()
        time.sleep(3)
        rate_hz = len(peer.control.since(from_s)) / 3
        told("period of control with a network of 0.3 s", 1 / rate_hz)
        assert 16 < rate_hz < 21
        seconds = time_to_stand(peer, peer.say("stop"))
        told("'stop' to zero with a network of 0.3 s", seconds)
        assert seconds < CONTROL_PERIOD_S + SLACK_S
        go(peer)
        ended_s = time.monotonic()
        _, summary = started.end(signal.SIGINT)
        told("SIGINT to zero", time_to_stand(peer, ended_s))
        assert stands(peer.control.items[-1][1])
        assert summary["signal"] == "SIGINT"


def test_a_reliable_camera_is_heard_and_embeddings_name_their_picture(domain_id):
    words = stand_in(domain_id, "enable_stamped_cmd_vel=true", 'instructions=["red","blue"]')
    with (
        Peer(
            domain_id, camera_qos="DEFAULT", control_type="geometry_msgs/msg/TwistStamped"
        ) as peer,
        robot(words, domain_id=domain_id) as started,
    ):
        peer.wait_for_robot()
        peer.shot = Shot()
        said_s = peer.say("forward")
        _, stamped = peer.control.wait_for(lambda each: moves(each.twist), since_s=said_s)
        assert stamped.header.frame_id == "base_link"
        assert abs(stamped.header.stamp.sec - time.time()) < 60

        _, row = peer.embeddings.wait_for(lambda _: True, since_s=0)
        labels = [axis.label for axis in row.layout.dim]
        assert labels[:2] == ["model=stand-in", "modality=vision"]
        assert labels[3:] == ["frame_id=front", "embedding"]
        assert np.linalg.norm(row.data) == pytest.approx(1, abs=1e-5)
        _, similarity = peer.similarity.wait_for(lambda _: True, since_s=0)
        assert similarity.data > 0.9
        _, told_now = peer.diagnostics.wait_for(
            lambda each: each.status[0].message.startswith("acting"), since_s=said_s
        )
        (status,) = told_now.status
        numbers = {pair.key: pair.value for pair in status.values}
        assert (status.name, status.level) == ("/jointspace", 0)
        assert numbers["best_instruction"] == "red"
        assert float(numbers["fps"]) > 5
        assert numbers["publishers of /camera/image_rect_color"] == "1"
        assert numbers["subscribers of /robot_velocity"] == "1"
        started.end()


def test_a_reliable_subscription_says_that_it_keeps_a_best_effort_camera_out(domain_id):
    words = stand_in(domain_id, "image_qos=DEFAULT")
    with Peer(domain_id) as peer, robot(words, domain_id=domain_id) as started:
        peer.wait_for_robot()
        peer.shot = Shot()
        peer.say("forward")
        _, told_now = peer.diagnostics.wait_for(
            lambda each: "image_qos" in each.status[0].message, since_s=0
        )
        (status,) = told_now.status
        assert status.level == 1
        assert "set it to SENSOR_DATA" in status.message
        assert all(stands(twist) for _, twist in peer.control.items)
        started.end()


def test_an_arm_goes_from_where_it_stands_and_holds_where_it_is_stopped(domain_id):
    words = stand_in(
        domain_id,
        "--reach",
        *("image_transport=compressed", "output=joint_trajectory", "state_topic=joint_states"),
        *('channels=["lift","turn"]', 'channel_kinds=["position","position"]'),
        *('state_names=["lift","turn"]', "state_indices=[0,1]"),
        *("max_speeds=[0.4,0.4]", "max_accelerations=[1.0,1.0]"),
    )
    peer_of_arm = Peer(
        domain_id,
        image_type="CompressedImage",
        control_type="trajectory_msgs/msg/JointTrajectory",
    )
    with peer_of_arm as peer, robot(words, domain_id=domain_id) as started:
        peer.wait_for_robot()
        peer.shot = JpegShot()
        peer.joints = {"turn": 0.3, "gripper": 9.0, "lift": -0.2}
        said_s = peer.say("reach it")
        _, first = peer.control.wait_for(lambda _: True, since_s=said_s)
        assert first.joint_names == ["lift", "turn"]
        assert first.points[0].time_from_start.nanosec == 50_000_000
        peer.control.wait_for(lambda sent: sent.points[0].positions[0] > 0.1, since_s=said_s)
        stopped_s = peer.say("stop")
        time.sleep(0.8)
        lift = [sent.points[0].positions[0] for _, sent in peer.control.since(said_s)]
        held = [sent.points[0].positions[0] for _, sent in peer.control.since(stopped_s + 0.5)]
        assert -0.2 <= lift[0] < -0.1  # from where it stood
        assert np.abs(np.diff(lift)).max() <= 0.4 * 2 * CONTROL_PERIOD_S
        assert lift[-1] < 0.5
        assert held == []
        started.end()
        assert peer.control.items[-1][1].points[0].positions[0] == lift[-1]  # held, not zero


def test_numbers_are_sent_to_a_controller_of_velocities(domain_id):
    words = stand_in(
        domain_id,
        "output=float64_multi_array",
        *('channels=["lift"]', "max_speeds=[0.4]", "max_accelerations=[1.0]"),
        "velocity_values=[0.2,0,0,0]",
    )
    with (
        Peer(domain_id, control_type="std_msgs/msg/Float64MultiArray") as peer,
        robot(words, domain_id=domain_id) as started,
    ):
        peer.wait_for_robot()
        peer.shot = Shot()
        said_s = peer.say("forward")
        _, sent = peer.control.wait_for(lambda each: each.data[0] == 0.2, since_s=said_s)
        assert [axis.label for axis in sent.layout.dim] == ["lift"]
        started.end()
        assert peer.control.items[-1][1].data.tolist() == [0]


def test_the_command_drives_a_robot_with_a_bundle(domain_id, told, tmp_path):
    made = preprocessor(cameras=("front",), window_frames=1)
    bundle = make_bundle(tmp_path / "bundle", preprocessor=made)
    config = tmp_path / "robot.toml"
    config.write_text(
        'decoder = "velocity"\nuse_bundle_threshold = false\naccept_similarity = -1\n'
        "reject_similarity = -1\n",
        encoding="utf-8",
    )
    words = [
        *("-m", "jointspace", "robot", "run", str(bundle), "--json", "--config", str(config)),
        *("--namespace", "/rover", "--set", "image_topics=['picture']"),
        *("--remap", "picture:=/camera/image_rect_color", "robot_velocity:=/robot_velocity"),
        *("natural_language_command:=/natural_language_command", "embedding:=/embedding"),
    ]
    # The domain comes from ROS_DOMAIN_ID, the loopback from ROS_LOCALHOST_ONLY.
    with Peer(domain_id) as peer, robot(words, domain_id=domain_id) as started:
        peer.wait_for_robot()
        told("first motion of a bundle after a command", go(peer, text="drive forward"))
        _, row = peer.embeddings.wait_for(lambda _: True, since_s=0)
        assert row.layout.dim[0].label == "model=0123abcd"
        ended_s = time.monotonic()
        _, summary = started.end(signal.SIGINT)
        told("SIGINT to zero", time_to_stand(peer, ended_s))
        assert stands(peer.control.items[-1][1])
        assert summary["signal"] == "SIGINT"
        assert summary["diagnostics"]["state"] == "shut down"
