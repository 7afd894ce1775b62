"""The node over stand-ins for rclpy: what each transition does, and what goes over the wire."""

import array
import importlib
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from jointspace.errors import BundleError
from jointspace.robot.configuration import parameters
from jointspace.robot.core.perception import Band
from jointspace.robot.core.runtime import RobotRuntime
from tests.robot.stand_ins import DIM, FakeEmbedder, FakeStream
from tests.ros import stand_in_rclpy
from tests.ros.pictures import jpeg
from tests.ros.stand_in_messages import message_class

IMAGE = "/camera/image_rect_color"
COMMAND = "/natural_language_command"
TWIST = "/robot_velocity"
SPEEDS = {"decoder": "velocity", "max_accelerations": [100.0, 100.0]}


def load(config):
    """What stands in the place of a bundle: it accepts every picture."""
    embedder = FakeEmbedder()
    runtime = RobotRuntime(
        config,
        embedder,
        cameras=("front",),
        make_stream=lambda: FakeStream(embedder),
        judge=Band(accept=0.5, reject=0.3),
    )
    return SimpleNamespace(runtime=runtime, model_id="model-1")


@pytest.fixture
def make_node(ros, monkeypatch):
    nodes = []

    def make(**overrides):
        monkeypatch.setattr(stand_in_rclpy.Node, "overrides", {**SPEEDS, **overrides})
        module = importlib.import_module("jointspace_ros.node")
        nodes.append(module.JointspaceNode(load=load))
        return nodes[-1]

    yield make
    for node in nodes:
        node.stand_still()


@pytest.fixture
def active(make_node):
    def make(**overrides):
        node = make_node(**overrides)
        assert node.trigger_configure().name == "SUCCESS", node.logger.lines
        assert node.trigger_activate().name == "SUCCESS"
        return node

    return make


def stamp(age_s=0.0):
    now_ns = time.time_ns() - int(age_s * 1e9)
    kind = message_class("builtin_interfaces/msg/Time")
    return kind(sec=now_ns // 10**9, nanosec=now_ns % 10**9)


def header(age_s=0.0):
    return message_class("std_msgs/msg/Header")(stamp=stamp(age_s), frame_id="camera")


def image(age_s=0.0, **changes):
    values = {
        "header": header(age_s),
        "height": 4,
        "width": 4,
        "encoding": "rgb8",
        "step": 12,
        "data": array.array("B", bytes(48)),
    }
    return message_class("sensor_msgs/msg/Image")(**values | changes)


def say(ros, text):
    ros.publish(COMMAND, message_class("std_msgs/msg/String")(data=text))


def speeds(ros):
    return [(twist.linear.x, twist.angular.z) for twist in ros.on(TWIST)]


def wait_for(happened, node=None, seconds=10.0):
    end_s = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end_s, "it did not happen"
        if node is not None:
            node.fire_timers()
        time.sleep(0.01)


def move(ros, node):
    """Tells the node to go forward, and shows it pictures until it does."""
    say(ros, "forward")

    def moves():
        ros.publish(IMAGE, image())
        return speeds(ros) and speeds(ros)[-1][0] > 0

    wait_for(moves, node)


def test_a_robot_moves_when_told_and_its_last_message_is_zero_when_deactivated(ros, active):
    node = active()
    ros.publish(IMAGE, image())
    node.fire_timers()
    assert speeds(ros) == []  # silent without a command
    move(ros, node)
    assert node.trigger_deactivate().name == "SUCCESS"
    assert speeds(ros)[-1] == (0, 0)
    count = len(speeds(ros))
    assert node.timers == []
    ros.publish(IMAGE, image())
    say(ros, "forward")
    time.sleep(0.05)
    assert len(speeds(ros)) == count
    # And again: the thread of perception is another one.
    assert node.trigger_activate().name == "SUCCESS"
    move(ros, node)


def test_an_inactive_node_says_nothing(ros, make_node):
    node = make_node()
    assert node.trigger_configure().name == "SUCCESS"
    ros.publish(IMAGE, image())
    say(ros, "forward")
    say(ros, "stop")
    assert ros.said == []
    assert node.timers == []


def test_stop_is_said_at_once_not_at_the_next_tick(ros, active):
    node = active()
    move(ros, node)
    say(ros, "stop")
    assert speeds(ros)[-1] == (0, 0)


@pytest.mark.parametrize("end", ["trigger_shutdown", "stand_still"])
def test_whatever_ends_the_node_zero_is_its_last_message(ros, active, end):
    node = active()
    move(ros, node)
    getattr(node, end)()
    assert speeds(ros)[-1] == (0, 0)
    node.stand_still()
    zeros = len(speeds(ros)) - max(i for i, each in enumerate(speeds(ros)) if each != (0, 0)) - 1
    assert zeros == node.get_parameter("zero_messages").value  # and not again


def test_clean_up_takes_everything_off_the_network(ros, active):
    node = active()
    assert len(ros.subscriptions) == 2
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert (ros.subscriptions, ros.publishers) == ([], [])
    assert node.trigger_configure().name == "SUCCESS"


def test_control_runs_on_a_steady_clock_and_in_groups_of_their_own(ros, active):
    node = active(control_rate_hz=25.0, diagnostics_rate_hz=2.0)
    assert [timer.period_s for timer in node.timers] == [1 / 25, 1 / 2]
    clocks = {timer.clock.clock_type for timer in node.timers}
    assert clocks == {stand_in_rclpy.ClockType.STEADY_TIME}
    groups = [each.callback_group for each in (*node.timers, *ros.subscriptions)]
    assert len({id(group) for group in groups}) == 4


def test_pictures_are_heard_best_effort_and_only_the_newest(ros, active):
    active()
    qos = {each.topic_name: each.qos for each in ros.subscriptions}
    assert (qos[IMAGE].reliability, qos[IMAGE].depth) == (2, 1)
    assert (qos[COMMAND].reliability, qos[COMMAND].depth) == (1, 10)
    preset = stand_in_rclpy.QoSPresetProfiles.SENSOR_DATA.value
    assert preset.depth == 5  # shared by all of rclpy, and not changed


def test_a_picture_that_cannot_be_read_or_is_old_stops_the_robot(ros, active):
    node = active(image_timeout_s=0.1)
    for bad in (image(5.0), image(encoding="32FC1"), image(data=array.array("B", bytes(5)))):
        move(ros, node)

        def stands(bad=bad):
            ros.publish(IMAGE, bad)
            return speeds(ros)[-1] == (0, 0)

        wait_for(stands, node)


def test_compressed_pictures_are_decoded(ros, active):
    node = active(image_transport="compressed")
    kind = message_class("sensor_msgs/msg/CompressedImage")
    say(ros, "forward")

    def moves():
        ros.publish(IMAGE, kind(header=header(), format="jpeg", data=array.array("B", jpeg())))
        return speeds(ros) and speeds(ros)[-1][0] > 0

    wait_for(moves, node)


def tensors(row, **changes):
    package = "isaac_ros_tensor_list_interfaces/msg"
    shape = message_class(f"{package}/TensorShape")(
        rank=2, dims=array.array("I", changes.pop("dims", [1, len(row)]))
    )
    values = {
        "name": "images_embedding",
        "shape": shape,
        "data_type": 9,
        "data": array.array("B", row.astype(np.float32).tobytes()),
    }
    tensor = message_class(f"{package}/Tensor")(**values | changes)
    return message_class(f"{package}/TensorList")(header=header(), tensors=[tensor])


def test_embeddings_of_isaac_ros_take_the_place_of_pictures(ros, active):
    node = active(visual_input="tensor_list")
    assert IMAGE not in {each.topic_name for each in ros.subscriptions}
    row = np.eye(1, DIM, dtype=np.float32)[0]
    say(ros, "forward")

    def moves():
        ros.publish("/tensor_sub", tensors(row))
        return speeds(ros) and speeds(ros)[-1][0] > 0

    wait_for(moves, node)
    for bad in (
        tensors(row, name="other"),
        tensors(row, data_type=10),
        tensors(row, dims=[2, DIM // 2]),
        tensors(row, dims=[1, DIM + 1]),
    ):
        ros.publish("/tensor_sub", bad)
    node.fire_timers()
    values = {v.key: v.value for v in ros.on("/diagnostics")[-1].status[0].values}
    assert values["dropped: malformed"] == "4"


def test_embeddings_similarity_and_diagnostics_are_published(ros, active):
    node = active()
    move(ros, node)
    node.fire_timers()
    rows = ros.on("/embedding")
    labels = [[dim.label for dim in row.layout.dim] for row in rows]
    assert labels[0][:2] == ["model=model-1", "modality=vision"]
    assert any("modality=text" in each for each in labels)
    assert len(rows[0].data) == DIM
    assert ros.on("/jointspace/similarity")[-1].data == pytest.approx(0.9)
    status = ros.on("/diagnostics")[-1].status[0]
    assert (status.level, status.name) == (b"\0", "/jointspace")
    assert "acting" in status.message


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ({"enable_stamped_cmd_vel": True}, "TwistStamped"),
        ({"output": "float64_multi_array"}, "Float64MultiArray"),
    ],
)
def test_each_output_has_its_message(ros, active, overrides, kind):
    node = active(**overrides)
    say(ros, "forward")

    def moves():
        ros.publish(IMAGE, image())
        node.fire_timers()
        return ros.on(TWIST)

    wait_for(moves)
    assert type(ros.on(TWIST)[-1]).__name__ == kind


def test_publishers_that_cannot_be_heard_are_told_in_the_diagnostics(ros, active):
    node = active(image_qos="DEFAULT")
    camera = next(each for each in ros.subscriptions if each.topic_name == IMAGE)
    camera.events.incompatible_qos(SimpleNamespace(total_count=1))
    node.fire_timers()
    status = ros.on("/diagnostics")[-1].status[0]
    assert "set it to SENSOR_DATA" in status.message
    assert status.level == b"\1"


def test_an_exception_in_a_callback_is_logged_and_the_robot_stands(ros, active, monkeypatch):
    node = active()
    move(ros, node)

    def fall(*_, **__):
        raise ZeroDivisionError("of the test")

    runtime = node._shell.runtime
    monkeypatch.setattr(runtime, "tick", fall)
    node.fire_timers()
    assert any("ZeroDivisionError: of the test" in line for line in node.logger.lines)
    monkeypatch.undo()
    node.fire_timers()
    assert speeds(ros)[-1] == (0, 0)
    monkeypatch.setattr(runtime, "on_command", fall)
    say(ros, "forward")
    assert any("a message was lost: of the test" in line for line in node.logger.lines)


def test_a_command_that_cannot_be_heard_stops_the_robot(ros, active, monkeypatch):
    node = active()
    move(ros, node)
    on_command = node._shell.runtime.on_command
    calls = []

    def fall_once(text, *, now_s):
        calls.append(text)
        if len(calls) == 1:
            raise ZeroDivisionError("of the test")
        return on_command(text, now_s=now_s)

    monkeypatch.setattr(node._shell.runtime, "on_command", fall_once)
    say(ros, "forward")
    assert speeds(ros)[-1] == (0, 0)


def test_parameters_have_descriptions_ranges_and_types(ros, make_node):
    node = make_node()
    for parameter in parameters():
        descriptor = node.descriptors[parameter.name]
        assert descriptor.description == parameter.description
        if parameter.choices:
            assert parameter.choices[-1] in descriptor.additional_constraints
    rate = node.descriptors["control_rate_hz"].floating_point_range[0]
    assert (rate.from_value, rate.to_value, rate.step) == (1.0, 1000.0, 0.0)
    threads = node.descriptors["num_threads"].integer_range[0]
    assert (threads.from_value, threads.to_value) == (1, 1024)
    assert node.descriptors["cameras"].type == stand_in_rclpy.Parameter.Type.STRING_ARRAY
    read = importlib.import_module("jointspace_ros.parameters").read_config(node)
    assert (read.cameras, read.decoder) == ((), "velocity")


def test_parameters_cannot_change_under_a_configured_node(ros, make_node):
    node = make_node()
    change = stand_in_rclpy.Parameter
    assert node.set_parameters([change("image_qos", "DEFAULT")]).successful
    refused = node.set_parameters([change("image_qos", "LOUD")])
    assert "expected one of SENSOR_DATA" in refused.reason
    node.trigger_configure()
    refused = node.set_parameters([change("image_qos", "SENSOR_DATA")])
    assert "clean the node up first" in refused.reason
    assert node.set_parameters([change("use_sim_time", True)]).successful


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"accept_similarity": 0.1, "reject_similarity": 0.5}, "reject_similarity: got 0.5"),
        ({"image_topics": ["a", "b"]}, "image_topics: got ['a', 'b']"),
    ],
)
def test_what_cannot_be_configured_is_logged_and_the_node_stays(ros, make_node, overrides, message):
    node = make_node(**overrides)
    assert node.trigger_configure().name == "FAILURE"
    assert message in node.logger.lines[-1]
    assert node.state == "unconfigured"
    assert (ros.subscriptions, ros.publishers) == ([], [])


@pytest.mark.parametrize("error", [BundleError("no bundle"), RuntimeError("no memory")])
def test_a_bundle_that_cannot_be_loaded_is_logged(ros, make_node, error):
    def fail(config):
        raise error

    node = make_node()
    node._load = fail
    assert node.trigger_configure().name == "FAILURE"
    assert str(error) in node.logger.lines[-1]


def test_a_message_type_that_is_not_installed_is_named(ros, make_node, monkeypatch):
    monkeypatch.setitem(sys.modules, "isaac_ros_tensor_list_interfaces.msg", None)
    node = make_node(visual_input="tensor_list")
    assert node.trigger_configure().name == "FAILURE"
    assert "source the package 'isaac_ros_tensor_list_interfaces'" in node.logger.lines[-1]
