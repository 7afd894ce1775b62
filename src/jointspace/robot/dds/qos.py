"""Qualities of service by ROS 2's names.

A best-effort reader takes from any writer; a reliable one gets nothing from a best-effort camera.
So pictures are read under `SENSOR_DATA` unless said otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cyclonedds.core import Policy, Qos
from cyclonedds.util import duration

from jointspace.errors import ConfigError, did_you_mean
from jointspace.robot.dds.types import type_hash


@dataclass(frozen=True)
class QosProfile:
    """How a topic is written or read.

    Args:
        reliable: whether lost messages are sent again.
        depth: how many messages are kept for a reader that is late; older ones are dropped.
        latched: whether a reader that joins later gets the last messages.
    """

    reliable: bool
    depth: int
    latched: bool = False

    def policies(self, type_name: str) -> Any:
        """Returns the profile as cyclonedds has it, with the type's hash for ROS 2.

        Args:
            type_name: what travels on the topic: `sensor_msgs/msg/Image`.
        """
        return Qos(
            Policy.Reliability.Reliable(duration(milliseconds=100))
            if self.reliable
            else Policy.Reliability.BestEffort,
            Policy.History.KeepLast(self.depth),
            Policy.Durability.TransientLocal if self.latched else Policy.Durability.Volatile,
            # ROS 2 speaks the first version of CDR alone.
            Policy.DataRepresentation(use_cdrv0_representation=True),
            Policy.Userdata(f"typehash={type_hash(type_name)};".encode()),
        )


# The profiles of rmw_qos_profiles that a topic can have.
PROFILES: Mapping[str, QosProfile] = {
    "SENSOR_DATA": QosProfile(reliable=False, depth=5),
    "DEFAULT": QosProfile(reliable=True, depth=10),
    # Left to the middleware in ROS 2; those that there are write reliably.
    "SYSTEM_DEFAULT": QosProfile(reliable=True, depth=10),
}


def qos_profile(name: str, *, depth: int | None = None) -> QosProfile:
    """Returns a profile by its name.

    Args:
        name: one of `PROFILES`, in any case.
        depth: instead of the profile's own.

    Raises:
        ConfigError: no profile has that name.
    """
    profile = PROFILES.get(name.upper())
    if profile is None:
        raise ConfigError(
            f"quality of service: got '{name}', expected one of {', '.join(PROFILES)}."
            f"{did_you_mean(name.upper(), PROFILES)}"
        )
    return profile if depth is None else replace(profile, depth=depth)
