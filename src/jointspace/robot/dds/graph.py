"""What makes `ros2 node list` and `ros2 node info` show a node: its entry in ROS 2's graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cyclonedds.pub import DataWriter
from cyclonedds.topic import Topic

from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.qos import QosProfile
from jointspace.robot.dds.types import dds_type, encode, message

GRAPH_TYPE = "rmw_dds_common/msg/ParticipantEntitiesInfo"
GRAPH_TOPIC = "ros_discovery_info"
GRAPH_QOS = QosProfile(reliable=True, depth=1, latched=True)


def announce(
    participant: Any, name: NodeName, *, readers: Sequence[Any], writers: Sequence[Any]
) -> Any:
    """Tells ROS 2 which node the readers and writers of a participant belong to.

    Args:
        participant: whose they are.
        name: the node's.
        readers: what it subscribes with.
        writers: what it publishes with.

    Returns:
        The writer of the entry, which lasts as long as this object.
    """
    topic = Topic(participant, GRAPH_TOPIC, dds_type(GRAPH_TYPE))
    writer = DataWriter(participant, topic, qos=GRAPH_QOS.policies(GRAPH_TYPE))
    entry = message(
        "rmw_dds_common/msg/NodeEntitiesInfo",
        node_namespace=name.namespace,
        node_name=name.name,
        reader_gid_seq=[_gid(each) for each in readers],
        writer_gid_seq=[_gid(each) for each in writers],
    )
    info = message(GRAPH_TYPE, gid=_gid(participant), node_entities_info_seq=[entry])
    writer.write(dds_type(GRAPH_TYPE)(encode(info)))
    return writer


def _gid(entity: Any) -> Any:
    identity = np.frombuffer(entity.guid.bytes, dtype=np.uint8)
    return message("rmw_dds_common/msg/Gid", data=identity)
