"""Names of nodes and topics."""

import pytest

from jointspace.errors import ConfigError
from jointspace.robot.dds.names import NodeName, dds_topic


@pytest.mark.parametrize(
    ("namespace", "topic", "full"),
    [
        ("/", "camera/image_raw", "/camera/image_raw"),
        ("/arm", "camera/image_raw", "/arm/camera/image_raw"),
        ("arm/left", "image", "/arm/left/image"),
        ("/arm", "/camera/image_raw", "/camera/image_raw"),
        ("/arm", "~/embedding", "/arm/jointspace/embedding"),
        ("/", "~/embedding", "/jointspace/embedding"),
    ],
)
def test_a_topic_is_resolved_by_namespace_and_node(namespace, topic, full):
    assert NodeName("jointspace", namespace).topic(topic) == full


def test_the_first_remapping_that_fits_the_full_name_applies():
    rules = ["/arm/image:=/front/image", "image:=never", "speed:=~/speed"]
    name = NodeName("jointspace", "/arm", remap=rules)
    assert name.topic("image") == "/front/image"
    assert name.topic("/arm/image") == "/front/image"
    assert name.topic("speed") == "/arm/jointspace/speed"
    assert name.topic("/image") == "/image"


def test_a_topic_has_its_prefix_on_the_wire():
    assert dds_topic("/a/b") == "rt/a/b"


@pytest.mark.parametrize("topic", ["", "a//b", "a/", "1a", "a b", "a/2", "~a", "a__b", "rt-a", "/"])
def test_a_name_that_ros_does_not_take_is_refused(topic):
    with pytest.raises(ConfigError, match=f"topic: got '{topic}', expected words of letters"):
        NodeName("jointspace").topic(topic)


def test_nodes_namespaces_and_remappings_are_checked_when_they_are_named():
    with pytest.raises(ConfigError, match="node name: got 'a b'"):
        NodeName("a b")
    with pytest.raises(ConfigError, match="namespace: got 'left-arm', expected one such as /left"):
        NodeName("jointspace", "left-arm")
    with pytest.raises(ConfigError, match="remap: got 'a=b', expected from:=to"):
        NodeName("jointspace", remap=["a=b"])
    with pytest.raises(ConfigError, match="topic: got '4b'"):
        NodeName("jointspace", remap=["a:=4b"])
