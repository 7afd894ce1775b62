"""Qualities of service by name."""

import pytest
from cyclonedds.core import Policy

from jointspace.errors import ConfigError
from jointspace.robot.dds.qos import QosProfile, qos_profile


def test_the_profiles_are_those_of_ros():
    assert qos_profile("SENSOR_DATA") == QosProfile(reliable=False, depth=5, latched=False)
    assert qos_profile("default") == QosProfile(reliable=True, depth=10, latched=False)
    assert qos_profile("SENSOR_DATA", depth=1) == QosProfile(reliable=False, depth=1)


def test_an_unknown_profile_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match=r"got 'SENSOR', expected .* Did you mean 'SENSOR_DATA'"):
        qos_profile("SENSOR")
    with pytest.raises(
        ConfigError, match=r"got 'x', expected one of SENSOR_DATA, DEFAULT, SYSTEM_DEFAULT"
    ):
        qos_profile("x")


def test_policies_say_what_ros_says_of_a_topic():
    policies = qos_profile("SENSOR_DATA", depth=1).policies("sensor_msgs/msg/Image")
    assert Policy.Reliability.BestEffort in policies
    assert Policy.Durability.Volatile in policies
    assert Policy.History.KeepLast(1) in policies
    assert Policy.DataRepresentation(use_cdrv0_representation=True) in policies
    # The hash that the Jazzy binaries of sensor_msgs carry.
    assert (
        Policy.Userdata(
            b"typehash=RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47;"
        )
        in policies
    )
    latched = QosProfile(reliable=True, depth=2, latched=True).policies("std_msgs/msg/String")
    assert Policy.Durability.TransientLocal in latched
