"""The robot as a node, in the process of the test: the shell's own lines, one by one."""

import itertools
import os
import signal
import threading
import time

import numpy as np
import pytest

from jointspace.errors import ConfigError, WireError
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.node import Node, Publisher
from jointspace.robot.dds.run import RobotNode, run_node
from jointspace.robot.dds.types import encode
from tests.robot.dds.peer import JpegShot, Peer, Shot
from tests.robot.dds.stand_in import make_runtime

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def network(domain_id):
    return Network(domain_id=domain_id, loopback=True)


def drive(domain_id, runtime, live, **peer):
    """Runs a robot while something lives around it, in another thread; returns what is left."""
    failures, reports = [], []

    def around():
        try:
            with Peer(domain_id, **peer) as there:
                there.wait_for_robot()
                live(there)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.3)
                ends.extend(there.control.items[-1:])
        except BaseException as error:  # noqa: BLE001 - told by the test, in its own thread
            failures.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    ends = []
    thread = threading.Thread(target=around)
    # A signal that comes when the robot has ended must not end the tests.
    before = [signal.signal(each, lambda *_: None) for each in SIGNALS]
    try:
        thread.start()
        summary = run_node(
            runtime,
            network=network(domain_id),
            name=NodeName("jointspace"),
            model_id="stand-in",
            report=reports.append,
        )
        thread.join()
    finally:
        for each, handler in zip(SIGNALS, before, strict=True):
            signal.signal(each, handler)
    assert failures == []
    return summary, reports, ends


def test_a_robot_runs_until_a_signal_and_its_last_message_is_zero(domain_id):
    before = [signal.getsignal(each) for each in SIGNALS]

    def live(peer):
        peer.shot = Shot()
        said_s = peer.say("forward")
        peer.control.wait_for(lambda twist: twist.linear.x > 0, since_s=said_s)
        peer.diagnostics.wait_for(
            lambda told: told.status[0].message.startswith("acting"), since_s=said_s
        )
        _, text = peer.embeddings.wait_for(
            lambda row: row.layout.dim[1].label == "modality=text", since_s=0
        )
        assert text.data.tolist() == [1, 0, 0]

    summary, reports, ends = drive(
        domain_id,
        make_runtime("diagnostics_rate_hz=20", 'instructions=["red","blue"]'),
        live,
    )
    assert ends[0][1].linear.x == 0
    assert summary.signal == "SIGTERM"
    assert summary.num_sent > 1
    assert summary.render().startswith("stopped by SIGTERM after ")
    assert summary.to_json()["diagnostics"]["state"] == "shut down"
    assert reports[0].startswith(f"/jointspace on domain {domain_id}: hears /natural_language")
    assert "acting: 'forward'" in reports
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_pictures_that_cannot_be_read_are_counted_by_cause(domain_id):
    def live(peer):
        for cause, shot in (
            ("malformed", Shot(garbled=True)),
            ("too old", Shot(age_s=5.0)),
            ("future", Shot(age_s=-5.0)),
        ):
            peer.shot = shot
            peer.diagnostics.wait_for(
                lambda told, cause=cause: f"dropped: {cause}" in keys(told), since_s=0
            )

    summary, _, _ = drive(domain_id, make_runtime("diagnostics_rate_hz=20"), live)
    assert summary.num_sent == 3  # the last message, which is zero
    assert int(summary.diagnostics["dropped: too old"]) >= 1


def keys(diagnostics):
    return {pair.key for pair in diagnostics.status[0].values}


def test_an_arm_is_measured_by_name_and_told_trajectories(domain_id):
    runtime = make_runtime(
        *("image_transport=compressed", "output=joint_trajectory", "state_topic=joint_states"),
        *('channels=["lift"]', 'channel_kinds=["position"]', "state_indices=[0]"),
        *('state_names=["lift"]', "max_speeds=[0.4]", "max_accelerations=[1.0]"),
        *("embedding_topic=", "diagnostics_topic="),
        reach=True,
    )

    def live(peer):
        peer.shot = JpegShot()
        peer.joints = {"turn": 0.3}  # lacks the joint
        said_s = peer.say("reach it")
        time.sleep(0.3)
        assert peer.control.items == []
        peer.joints = {"turn": 0.3, "lift": -0.2}
        _, first = peer.control.wait_for(lambda _: True, since_s=said_s)
        assert first.joint_names == ["lift"]
        assert first.points[0].positions[0] == pytest.approx(-0.2, abs=0.05)

    drive(
        domain_id,
        runtime,
        live,
        image_type="CompressedImage",
        control_type="trajectory_msgs/msg/JointTrajectory",
    )


@pytest.mark.parametrize("stamped", ["true", "false"])
@pytest.mark.parametrize("output", ["twist", "float64_multi_array"])
def test_each_output_has_its_message(output, stamped, domain_id):
    runtime = make_runtime(f"output={output}", f"enable_stamped_cmd_vel={stamped}")
    with Node(network(domain_id), NodeName("jointspace")) as node:
        robot = RobotNode(node, runtime, model_id="stand-in")
        sent = []
        robot.voice.control.publish = sent.append
        robot.voice.move(np.array([0.25, 0.5]))
        names = {
            ("twist", "false"): "geometry_msgs/msg/Twist",
            ("twist", "true"): "geometry_msgs/msg/TwistStamped",
        }
        name = names.get((output, stamped), "std_msgs/msg/Float64MultiArray")
        assert sent[0].__msgtype__ == name
        assert encode(sent[0])


def test_a_robot_that_only_watches_has_no_control_topic(domain_id):
    runtime = make_runtime("decoder=none")
    with Node(network(domain_id), NodeName("jointspace")) as node:
        robot = RobotNode(node, runtime, model_id="stand-in")
        assert robot.voice.control is None
        assert "/robot_velocity" not in node.topics
        robot.voice.move(np.empty(0))
        robot.step(1.0)
        robot.end()
        assert robot.num_sent == 0


def test_a_message_that_the_network_does_not_take_is_counted_and_the_robot_goes_on(
    domain_id, monkeypatch, caplog
):
    def refuse(self, message):
        raise WireError("a message could not be sent: full")

    runtime = make_runtime()
    with Node(network(domain_id), NodeName("jointspace")) as node:
        robot = RobotNode(node, runtime, model_id="stand-in")
        runtime.on_command("forward", now_s=1.0)
        monkeypatch.setattr(Publisher, "publish", refuse)
        robot.step(1.1)
        robot.tell_diagnostics(1.1)
        robot.end()
        assert (robot.num_sent, robot.num_failed) == (0, 5)
        assert "could not be sent: full" in caplog.text


def test_what_was_decided_first_is_sent_first(domain_id):
    """Or else a motion that was decided before "stop" could be sent after its zero."""
    runtime = make_runtime()
    with Node(network(domain_id), NodeName("jointspace")) as node:
        robot = RobotNode(node, runtime, model_id="stand-in")
        calls, sent = itertools.count(), []
        sending = threading.Event()

        def send_the_first_slowly(values):
            number = next(calls)
            sending.set()
            time.sleep(0.2 if number == 0 else 0)
            sent.append(number)

        robot.voice.move = send_the_first_slowly
        runtime.on_command("forward", now_s=1.0)
        control = threading.Thread(target=robot.step, args=(1.1,))
        control.start()
        assert sending.wait(10)
        runtime.on_command("stop", now_s=1.1)
        robot.step(1.1)
        control.join()
        assert sent == [0, 1]


def test_a_command_that_cannot_be_read_stops_the_robot(domain_id):
    def live(peer):
        peer.shot = Shot()
        said_s = peer.say("forward")
        peer.control.wait_for(lambda twist: twist.linear.x > 0, since_s=said_s)
        garbled_s = peer.say("forward", garbled=True)
        peer.control.wait_for(lambda twist: twist.linear.x == 0, since_s=garbled_s)
        peer.diagnostics.wait_for(
            lambda told: told.status[0].message.startswith("stopped"), since_s=garbled_s
        )

    drive(domain_id, make_runtime("diagnostics_rate_hz=20"), live)


@pytest.mark.parametrize("age_s", [5.0, -5.0])
def test_a_state_whose_stamp_is_old_or_of_the_future_does_not_count(age_s, domain_id):
    runtime = make_runtime(
        *("output=float64_multi_array", "state_topic=joint_states", 'channels=["lift"]'),
        *('channel_kinds=["position"]', "state_indices=[0]"),
        *("max_speeds=[0.4]", "max_accelerations=[1.0]"),
        reach=True,
    )

    def live(peer):
        peer.shot = Shot()
        peer.joints, peer.joints_age_s = {"lift": -0.2}, age_s
        said_s = peer.say("reach it")
        time.sleep(0.5)
        assert all(sent.data[0] == -0.2 for _, sent in peer.control.since(said_s))
        peer.joints_age_s = 0.0
        peer.control.wait_for(lambda sent: sent.data[0] > -0.2, since_s=said_s)

    drive(domain_id, runtime, live, control_type="std_msgs/msg/Float64MultiArray")


def test_a_stop_does_not_wait_for_the_next_tick(domain_id):
    took_s = []

    def live(peer):
        peer.shot = Shot()
        said_s = peer.say("forward")
        ticked_s, _ = peer.control.wait_for(lambda twist: twist.linear.x > 0, since_s=said_s)
        stopped_s = peer.say("stop")
        at_s, _ = peer.control.wait_for(lambda twist: twist.linear.x == 0, since_s=stopped_s)
        took_s.append(at_s - ticked_s)

    drive(domain_id, make_runtime("control_rate_hz=1", "image_timeout_s=5"), live)
    assert took_s[0] < 0.9


def test_what_cannot_be_subscribed_is_refused(domain_id):
    with Node(network(domain_id), NodeName("jointspace")) as node:
        with pytest.raises(ConfigError, match="expected 1 distinct ones"):
            RobotNode(node, make_runtime('image_topics=["a","b"]'), model_id="x")
        with pytest.raises(ConfigError, match="expected 'image' without ROS"):
            RobotNode(node, make_runtime("visual_input=tensor_list"), model_id="x")
        with pytest.raises(ConfigError, match="there is no lifecycle manager"):
            RobotNode(node, make_runtime("autostart=false"), model_id="x")
