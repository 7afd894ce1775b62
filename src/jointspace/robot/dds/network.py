"""Which network and domain a node joins: what ROS 2's environment variables say, and arguments."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary
from xml.sax.saxutils import quoteattr

from cyclonedds.core import DDSException, Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant

from jointspace.errors import ConfigError, WireError

# RTPS computes ports from the domain; those of higher ones lie beyond 65535.
MAX_DOMAIN_ID = 232

# Beyond one machine's usual number of nodes, and what rmw_cyclonedds_cpp sets.
_MAX_PARTICIPANTS = 32

# Cyclone DDS takes the configuration of a domain once in a process.
_JOINING = threading.Lock()
_JOINED: WeakValueDictionary[tuple[int, str], Domain] = WeakValueDictionary()


@dataclass(frozen=True)
class Network:
    """Where a node looks for others.

    Args:
        domain_id: nodes of other domains are not seen.
        loopback: stay on this machine, and use no multicast.
        peers: hosts that are asked by address, where multicast does not reach.
        uri: Cyclone DDS's own configuration (a file or XML); then `loopback` and `peers` are
            its business.

    Raises:
        ConfigError: the domain is out of range.
    """

    domain_id: int = 0
    loopback: bool = False
    peers: tuple[str, ...] = ()
    uri: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.domain_id <= MAX_DOMAIN_ID:
            raise ConfigError(
                f"domain: got {self.domain_id}, expected a number in [0, {MAX_DOMAIN_ID}]"
            )

    @staticmethod
    def from_environment(
        environment: Mapping[str, str], *, domain_id: int | None = None, loopback: bool = False
    ) -> "Network":
        """Reads what ROS 2 reads.

        Args:
            environment: variables by name: `ROS_DOMAIN_ID`, `ROS_LOCALHOST_ONLY`,
                `ROS_AUTOMATIC_DISCOVERY_RANGE`, `ROS_STATIC_PEERS`, `CYCLONEDDS_URI`.
            domain_id: instead of `ROS_DOMAIN_ID`.
            loopback: stay on this machine, whatever the variables say.

        Raises:
            ConfigError: a variable has a value that ROS 2 does not know.
        """
        if domain_id is None:
            text = environment.get("ROS_DOMAIN_ID") or "0"
            if not text.strip().isdecimal():
                raise ConfigError(f"ROS_DOMAIN_ID: got '{text}', expected a whole number")
            domain_id = int(text)
        reach = (environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET").upper()
        if reach not in {"SUBNET", "LOCALHOST", "SYSTEM_DEFAULT"}:
            raise ConfigError(
                f"ROS_AUTOMATIC_DISCOVERY_RANGE: got '{reach}', expected SUBNET, LOCALHOST or "
                "SYSTEM_DEFAULT, since a robot that finds nobody can do nothing"
            )
        stays = environment.get("ROS_LOCALHOST_ONLY") == "1" or reach == "LOCALHOST"
        peers = environment.get("ROS_STATIC_PEERS", "").split(";")
        return Network(
            domain_id=domain_id,
            loopback=loopback or stays,
            peers=tuple(peer.strip() for peer in peers if peer.strip()),
            uri="" if loopback else environment.get("CYCLONEDDS_URI", ""),
        )

    def to_xml(self) -> str:
        """Returns the network as a configuration of Cyclone DDS's; nothing where all is default."""
        if self.uri:
            return self.uri
        peers = (*self.peers, "127.0.0.1") if self.loopback else self.peers
        if not peers:
            return ""
        general = (
            '<General><Interfaces><NetworkInterface address="127.0.0.1" multicast="false"/>'
            "</Interfaces><AllowMulticast>false</AllowMulticast></General>"
            if self.loopback
            else ""
        )
        named = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in peers)
        return (
            f'<CycloneDDS><Domain Id="any">{general}<Discovery>'
            "<ParticipantIndex>auto</ParticipantIndex>"
            f"<MaxAutoParticipantIndex>{_MAX_PARTICIPANTS}</MaxAutoParticipantIndex>"
            f"<Peers>{named}</Peers></Discovery></Domain></CycloneDDS>"
        )

    def join(self) -> tuple[Domain | None, DomainParticipant]:
        """Joins the network; several nodes of a process join it together.

        Returns:
            The domain, to be kept as long as the participant, and the participant.

        Raises:
            WireError: the network cannot be used, or this process has joined the domain over
                another one.
        """
        xml = self.to_xml()
        try:
            with _JOINING:
                domain = _JOINED.get((self.domain_id, xml))
                if domain is None and xml:
                    domain = _JOINED[self.domain_id, xml] = Domain(self.domain_id, xml)
            # By this ROS 2 knows a participant as one of its own.
            return domain, DomainParticipant(self.domain_id, Qos(Policy.Userdata(b"enclave=/;")))
        except DDSException as error:
            raise WireError(
                f"domain {self.domain_id} cannot be joined ({error.msg}). Is the network up, the "
                "CYCLONEDDS_URI readable, and are its ports free? --loopback stays on this machine"
            ) from error
