"""What an open bag says of its topics and types."""

import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from jointspace.data.ros_types import STRING, ros_types
from jointspace.data.rosbag_read import OpenBag, bag_files, find_bags, open_bag
from jointspace.errors import DataError
from tests.data.bag_factory import record, write_bags

WHEELS = "my_robot/msg/Wheels"
IDL = """IDL: my_robot/msg/Wheels
module my_robot { module msg { struct Wheels { my_robot::msg::Side left; float right; }; }; };
================================================================================
IDL: my_robot/msg/Side
module my_robot { module msg { struct Side { float speed; }; }; };
"""


class Reader:
    """Of rosbags, as far as a bag's topics go."""

    def __init__(self, *connections):
        self.connections = connections
        self.storage = SimpleNamespace(metadata=SimpleNamespace(custom=None))


def connection(topic, kind=WHEELS, *, text="", syntax="MSG", count=1):
    definition = SimpleNamespace(format=SimpleNamespace(name=syntax), data=text)
    return SimpleNamespace(topic=topic, msgtype=kind, msgcount=count, msgdef=definition)


def opened(*connections):
    return OpenBag(Path("somewhere"), Reader(*connections))


def test_messages_of_all_nodes_that_published_a_topic_are_counted():
    bag = opened(connection("/b", count=2), connection("/a", STRING), connection("/b", count=3))
    assert [(each.name, each.kind, each.count) for each in bag.topics] == [
        ("/a", STRING, 1),
        ("/b", WHEELS, 5),
    ]
    assert bag.custom_data == {}


def test_a_type_that_ros_ships_is_read_as_ros_has_it():
    store, kind = opened(connection("/a", STRING)).types_of("/a")
    assert store is ros_types()
    assert kind == STRING


def test_a_type_is_read_by_its_definition_in_idl():
    store, kind = opened(connection("/wheels", text=IDL, syntax="IDL")).types_of("/wheels")
    found = store.deserialize_cdr(b"\0\1\0\0" + struct.pack("<ff", 1.5, -2.0), kind)
    assert (found.left.speed, found.right) == (1.5, -2.0)


def test_a_type_that_nobody_knows_or_understands_is_named():
    with pytest.raises(DataError, match=rf"/wheels: type {WHEELS} is not known, nor does the bag"):
        opened(connection("/wheels")).types_of("/wheels")
    with pytest.raises(DataError, match=rf"/wheels: type {WHEELS} is not understood"):
        opened(connection("/wheels", text="float32 = left = right\n")).types_of("/wheels")


def test_a_topic_that_is_not_there_has_no_messages(tmp_path):
    (bag,) = find_bags(write_bags(tmp_path, [record()]))
    with open_bag(bag) as found:
        assert list(found.messages(["/nowhere"])) == []
        assert len(list(found.messages(["/joint_states"]))) == len(record().action)


def test_the_files_of_a_bag_are_found_whether_it_is_a_folder_or_one_of_them(tmp_path):
    write_bags(tmp_path, [record()])
    (file,) = bag_files(tmp_path / "bag_0")
    assert file.suffix == ".mcap"
    assert bag_files(file) == (file,)
