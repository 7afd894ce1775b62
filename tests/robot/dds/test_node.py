"""A node on the wire, heard by itself: what is written is read, whatever comes."""

import queue
import struct
import threading
import time

import pytest
from cyclonedds.builtin import BuiltinDataReader, BuiltinTopicDcpsPublication
from cyclonedds.core import DDSException, Policy
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from jointspace.errors import WireError
from jointspace.robot.dds.graph import GRAPH_QOS, GRAPH_TOPIC, GRAPH_TYPE
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.node import Node, Publisher
from jointspace.robot.dds.qos import qos_profile
from jointspace.robot.dds.types import dds_type, decode, message

STRING = "std_msgs/msg/String"
WAIT_S = 10.0


@pytest.fixture
def node(domain_id):
    network = Network(domain_id=domain_id, loopback=True)
    with Node(network, NodeName("tester", "/arm")) as node:
        yield node


def text(data):
    return message(STRING, data=data)


def subscribe(node, topic="words", qos="DEFAULT"):
    received, broken = queue.Queue(), queue.Queue()
    subscription = node.subscribe(
        topic, STRING, qos_profile(qos), on_message=received.put, on_broken=broken.put
    )
    return subscription, received, broken


def test_what_is_published_is_received_in_order(node):
    subscription, received, _ = subscribe(node)
    publisher = node.publisher("words", STRING, qos_profile("DEFAULT"))
    node.start()
    for word in ("pick", "place", "stop"):
        publisher.publish(text(word))
    assert [received.get(timeout=WAIT_S).data for _ in range(3)] == ["pick", "place", "stop"]
    assert (publisher.num_readers, subscription.num_writers, subscription.num_refused) == (1, 1, 0)
    assert publisher.flush(timeout_s=WAIT_S)


def test_a_message_that_cannot_be_read_is_told_and_the_next_one_arrives(node):
    _, received, broken = subscribe(node)
    publisher = node.publisher("words", STRING, qos_profile("DEFAULT"))
    node.start()
    # Cyclone DDS lets nothing pass that is cut off, but takes any bytes for text.
    not_utf8 = b"\x00\x01\x00\x00" + struct.pack("<I", 4) + b"\xff\xfe\xfd\x00"
    publisher.writer.write(dds_type(STRING)(not_utf8))
    publisher.publish(text("stop"))
    assert received.get(timeout=WAIT_S).data == "stop"
    assert isinstance(broken.get(timeout=WAIT_S), WireError)
    assert received.empty()


def test_a_listener_that_fails_does_not_make_the_node_deaf(node, caplog):
    received, broken = queue.Queue(), queue.Queue()

    def fail_first(message):
        if message.data == "fail":
            raise ZeroDivisionError("a defect")
        received.put(message)

    node.subscribe(
        "words", STRING, qos_profile("DEFAULT"), on_message=fail_first, on_broken=broken.put
    )
    publisher = node.publisher("words", STRING, qos_profile("DEFAULT"))
    node.start()
    publisher.publish(text("fail"))
    assert "/arm/words: a defect" in str(broken.get(timeout=WAIT_S))
    publisher.publish(text("stop"))
    assert received.get(timeout=WAIT_S).data == "stop"
    assert "a message was lost" in caplog.text


def test_a_reliable_subscription_refuses_a_best_effort_publisher_and_counts_it(node):
    reliable, received, _ = subscribe(node, qos="DEFAULT")
    best_effort, also, _ = subscribe(node, qos="SENSOR_DATA")
    publisher = node.publisher("words", STRING, qos_profile("SENSOR_DATA"))
    node.start()
    publisher.publish(text("pick"))
    assert also.get(timeout=WAIT_S).data == "pick"
    assert received.empty()
    assert (reliable.num_writers, reliable.num_refused) == (0, 1)
    assert (best_effort.num_writers, best_effort.num_refused) == (1, 0)


def test_endpoints_have_the_names_and_the_hash_that_ros_looks_for(node):
    publisher = node.publisher("words", STRING, qos_profile("DEFAULT"))
    node.start()
    endpoints = BuiltinDataReader(node._participant, BuiltinTopicDcpsPublication).take(N=10)
    told = {each.topic_name: each for each in endpoints}["rt/arm/words"]
    assert told.type_name == "std_msgs::msg::dds_::String_"
    userdata = next(each for each in told.qos if isinstance(each, Policy.Userdata))
    assert userdata.data.startswith(b"typehash=RIHS01_df668c74")
    assert publisher.writer.topic.name == "rt/arm/words"


def test_the_graph_says_which_node_the_endpoints_belong_to(node):
    subscription, _, _ = subscribe(node)
    publisher = node.publisher("~/out", STRING, qos_profile("DEFAULT"))
    node.start()
    topic = Topic(node._participant, GRAPH_TOPIC, dds_type(GRAPH_TYPE))
    late = DataReader(node._participant, topic, qos=GRAPH_QOS.policies(GRAPH_TYPE))
    (sample,) = late.take(N=2)
    (entry,) = decode(sample.cdr, GRAPH_TYPE).node_entities_info_seq
    assert (entry.node_namespace, entry.node_name) == ("/arm", "tester")
    assert bytes(entry.reader_gid_seq[0].data) == subscription.reader.guid.bytes
    assert bytes(entry.writer_gid_seq[0].data) == publisher.writer.guid.bytes


def test_a_publisher_that_leaves_sends_no_message(node, domain_id):
    subscription, received, broken = subscribe(node)
    node.start()
    with Node(Network(domain_id=domain_id, loopback=True), NodeName("other", "/arm")) as other:
        publisher = other.publisher("words", STRING, qos_profile("DEFAULT"))
        publisher.publish(text("pick"))
        assert received.get(timeout=WAIT_S).data == "pick"
        del publisher
    ends_s = time.monotonic() + WAIT_S
    while subscription.num_writers and time.monotonic() < ends_s:
        time.sleep(0.01)
    time.sleep(0.1)
    assert received.empty()
    assert broken.empty()


class Refusing:
    """A writer of a network that is full; as that of cyclonedds, it stumbles over its timeout."""

    def write(self, sample):
        raise DDSException(DDSException.DDS_RETCODE_TIMEOUT, "full")

    def wait_for_acks(self, timeout):
        raise AttributeError("type object 'Exception' has no attribute 'DDS_RETCODE_TIMEOUT'")


def test_a_network_that_takes_nothing_is_an_error_and_waiting_for_it_ends():
    publisher = Publisher(Refusing(), "/words", STRING)
    with pytest.raises(WireError, match="a message could not be sent: full"):
        publisher.publish(text("pick"))
    assert not publisher.flush(timeout_s=0.1)


def test_a_node_that_is_closed_listens_no_longer(domain_id):
    with Node(Network(domain_id=domain_id, loopback=True), NodeName("tester")) as node:
        subscribe(node)
        node.start()
        assert "listening" in {thread.name for thread in threading.enumerate()}
    assert "listening" not in {thread.name for thread in threading.enumerate()}
