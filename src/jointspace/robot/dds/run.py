"""The robot as a node: listens in one thread, perceives in another, controls in the main one."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jointspace.errors import ConfigError
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.worker import PerceptionWorker
from jointspace.robot.dds.loop import interruption, run_at_rate
from jointspace.robot.dds.names import NodeName
from jointspace.robot.dds.network import Network
from jointspace.robot.dds.node import Node
from jointspace.robot.dds.wire import DdsWire
from jointspace.robot.shell import RobotShell


@dataclass(frozen=True)
class RunSummary:
    """What a robot did until it was stopped.

    Attributes:
        signal: what stopped it.
        ran_s: how long it ran.
        num_decisions: how often it decided.
        num_missed: how many periods of the control rate went by without a decision.
        num_sent: control messages.
        diagnostics: its last numbers, as text.
    """

    signal: str
    ran_s: float
    num_decisions: int
    num_missed: int
    num_sent: int
    diagnostics: dict[str, str]

    def render(self) -> str:
        """Returns it in a sentence."""
        return (
            f"stopped by {self.signal} after {self.ran_s:.1f} s: {self.num_decisions} decisions "
            f"({self.num_missed} missed), {self.num_sent} control messages, the last one zero"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns it as one JSON object."""
        return {
            "signal": self.signal,
            "ran_s": self.ran_s,
            "decisions": self.num_decisions,
            "missed": self.num_missed,
            "sent": self.num_sent,
            "diagnostics": self.diagnostics,
        }


class RobotNode(RobotShell):
    """A robot over DDS.

    Args:
        node: on the wire; started by `run_node`.
        runtime: the robot's mind.
        model_id: of its bundle.

    Raises:
        ConfigError: topics, names or cameras do not fit, or it takes a ROS to do what is set.
    """

    def __init__(self, node: Node, runtime: RobotRuntime, *, model_id: str) -> None:
        config = runtime.config
        if config.visual_input != "image":
            raise ConfigError(
                f"visual_input: got '{config.visual_input}', expected 'image' without ROS; "
                "ros/jointspace_ros takes tensors"
            )
        if not config.autostart:
            raise ConfigError(
                "autostart: got false, expected true without ROS: there is no lifecycle manager; "
                "ros/jointspace_ros heeds one"
            )
        super().__init__(DdsWire(node), runtime, model_id=model_id)


def run_node(
    runtime: RobotRuntime,
    *,
    network: Network,
    name: NodeName,
    model_id: str,
    report: Callable[[str], object] = lambda _: None,
) -> RunSummary:
    """Runs a robot until SIGINT or SIGTERM; its last message stands still. For the main thread.

    Args:
        runtime: the robot's mind.
        network: which domain, over which network.
        name: of the node.
        model_id: of the bundle, told with each embedding.
        report: is told when the node is ready, and each change of its state.

    Returns:
        What it did.

    Raises:
        ConfigError: topics, names or cameras do not fit.
        WireError: the network cannot be joined.
    """
    config = runtime.config
    with interruption() as interrupted, Node(network, name) as node:
        robot = RobotNode(node, runtime, model_id=model_id)
        watch = _Watch(robot, period_s=1 / config.diagnostics_rate_hz, report=report)
        began_s = time.monotonic()

        def control(now_s: float) -> None:
            robot.step(now_s)
            watch.look(now_s)

        with PerceptionWorker(runtime, on_percept=robot.tell_percept):
            node.start()
            report(f"{name.full_name} on domain {network.domain_id}: {node.topics}")
            try:
                num_missed = run_at_rate(
                    control,
                    rate_hz=config.control_rate_hz,
                    until=lambda: bool(interrupted),
                    sleep=interrupted.sleep,
                )
            finally:
                robot.end()
        ended_s = time.monotonic()
        return RunSummary(
            signal=interrupted.name,
            ran_s=ended_s - began_s,
            num_decisions=robot.num_decisions,
            num_missed=num_missed,
            num_sent=robot.num_sent,
            diagnostics=dict(runtime.diagnostics(ended_s).items()),
        )


class _Watch:
    """Tells how a robot is, now and then."""

    def __init__(
        self, robot: RobotNode, *, period_s: float, report: Callable[[str], object]
    ) -> None:
        self._robot = robot
        self._period_s = period_s
        self._report = report
        self._due_s = 0.0
        self._told = ""

    def look(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._period_s
        self._robot.tell_diagnostics(now_s)
        diagnostics = self._robot.runtime.diagnostics(now_s)
        if diagnostics.state != self._told:
            self._told = diagnostics.state
            self._report(f"{diagnostics.state}: {diagnostics.reason}")
