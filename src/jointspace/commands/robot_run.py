"""`jointspace robot run`."""

import os
import platform
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from jointspace.commands.arguments import RobotRun
from jointspace.errors import MissingExtraError
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.core.build import load_bundle, runtime_of_bundle

try:
    from jointspace.robot.dds.names import NodeName
    from jointspace.robot.dds.network import Network
    from jointspace.robot.dds.run import run_node
except ModuleNotFoundError as error:
    if error.name != "cyclonedds" or platform.machine() in ("x86_64", "AMD64"):
        raise  # the command line knows which extra is missing
    hint = (
        f"; cyclonedds has no wheel for {platform.machine()}: there ROS 2 itself is the way, and "
        "ros/jointspace_ros is the same node for it"
    )
    raise MissingExtraError("cyclonedds", "robot", hint=hint) from error

if TYPE_CHECKING:
    from jointspace.robot.dds.run import RunSummary


def run(arguments: RobotRun) -> "RunSummary":
    """Runs a robot until it is told to end by SIGINT or SIGTERM.

    Returns:
        What it did.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the configuration has an unknown key or an impossible value, a topic or a name
            is none of ROS 2's, or the domain is out of range.
        MissingExtraError: a package is not installed.
        WireError: the network cannot be joined, or fails.
    """
    config = replace(
        read_robot_config(arguments.config, overrides=arguments.overrides),
        bundle=str(arguments.bundle),
    )
    # Before the bundle is read: who mistypes a topic learns it at once.
    name = NodeName(arguments.name, arguments.namespace, remap=arguments.remappings)
    network = Network.from_environment(
        os.environ,
        # 0 in the configuration is its default, and leaves the choice to ROS_DOMAIN_ID.
        domain_id=arguments.domain_id
        if arguments.domain_id is not None
        else config.domain_id or None,
        loopback=arguments.loopback,
    )
    embedder = load_bundle(config)
    return run_node(
        runtime_of_bundle(config, embedder),
        network=network,
        name=name,
        model_id=embedder.manifest.model_id,
        report=_report,
    )


def _report(line: str) -> None:
    sys.stderr.write(f"jointspace: {line}\n")
    sys.stderr.flush()
