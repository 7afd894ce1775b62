"""Which network a node joins."""

import pytest

from jointspace.errors import ConfigError, WireError
from jointspace.robot.dds.network import Network


def test_the_domain_is_an_argument_then_the_environment_then_0():
    environment = {"ROS_DOMAIN_ID": "42"}
    assert Network.from_environment(environment, domain_id=7).domain_id == 7
    assert Network.from_environment(environment).domain_id == 42
    assert Network.from_environment({"ROS_DOMAIN_ID": ""}).domain_id == 0
    assert Network.from_environment({}) == Network(domain_id=0)


@pytest.mark.parametrize(
    "environment",
    [{"ROS_LOCALHOST_ONLY": "1"}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"}],
)
def test_loopback_uses_no_multicast_and_asks_this_machine(environment):
    network = Network.from_environment(environment)
    assert network == Network.from_environment({}, loopback=True)
    xml = network.to_xml()
    assert "<AllowMulticast>false</AllowMulticast>" in xml
    assert '<NetworkInterface address="127.0.0.1" multicast="false"/>' in xml
    assert '<Peer address="127.0.0.1"/>' in xml
    assert "<ParticipantIndex>auto</ParticipantIndex>" in xml


def test_peers_are_asked_by_address_on_every_interface():
    xml = Network.from_environment({"ROS_STATIC_PEERS": "10.0.0.2; robot.local;"}).to_xml()
    assert '<Peer address="10.0.0.2"/><Peer address="robot.local"/>' in xml
    assert "NetworkInterface" not in xml


def test_by_default_the_network_is_left_to_cyclone_dds_and_its_variable():
    assert Network.from_environment({}).to_xml() == ""
    uri = {"CYCLONEDDS_URI": "file:///etc/cyclone.xml", "ROS_LOCALHOST_ONLY": "1"}
    assert Network.from_environment(uri).to_xml() == "file:///etc/cyclone.xml"
    assert "127.0.0.1" in Network.from_environment(uri, loopback=True).to_xml()


@pytest.mark.parametrize(
    ("environment", "wrong"),
    [
        ({"ROS_DOMAIN_ID": "seven"}, "ROS_DOMAIN_ID: got 'seven', expected a whole number"),
        ({"ROS_DOMAIN_ID": "-1"}, "ROS_DOMAIN_ID: got '-1'"),
        ({"ROS_DOMAIN_ID": "233"}, r"domain: got 233, expected a number in \[0, 232\]"),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"},
            "ROS_AUTOMATIC_DISCOVERY_RANGE: got 'OFF', expected SUBNET, LOCALHOST",
        ),
    ],
)
def test_a_variable_that_ros_would_not_take_is_refused(environment, wrong):
    with pytest.raises(ConfigError, match=wrong):
        Network.from_environment(environment)


def test_a_network_that_cannot_be_joined_is_one_clear_error(domain_id):
    nowhere = Network(
        domain_id=domain_id,
        uri='<CycloneDDS><Domain Id="any"><General><Interfaces><NetworkInterface '
        'name="none0"/></Interfaces></General></Domain></CycloneDDS>',
    )
    with pytest.raises(WireError, match=f"domain {domain_id} cannot be joined .* --loopback"):
        nowhere.join()


def test_two_nodes_of_a_process_may_join_a_domain_together_and_again(domain_id):
    network = Network(domain_id=domain_id, loopback=True)
    first, second = network.join(), network.join()
    assert first[0] is second[0]
    assert first[1].guid != second[1].guid
    other = Network(domain_id=domain_id, peers=("10.0.0.2",))
    with pytest.raises(WireError, match="cannot be joined"):
        other.join()
    del first, second
    joined = other.join()
    assert joined[1].guid
