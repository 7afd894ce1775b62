"""`jointspace robot rollout`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from jointspace.commands.arguments import RobotRollout
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.progress import progress_bar
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.core.build import load_bundle, runtime_of_bundle
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from jointspace.robot.simulated import SimulatedRobot
from jointspace.sim.closed_loop import ClosedLoopResult, run_closed_loop
from jointspace.sim.goals import SKILLS
from jointspace.sim.policies import Policy, reference_policies
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ

ROBOT, UNBOUND = "robot", "policy alone"


@dataclass(frozen=True)
class RobotRolloutResult:
    """What a robot reached in the simulator, and what it was doing meanwhile.

    Attributes:
        closed_loop: success of the robot, and of what stands beside it.
        states: state of the safety gate -> the robot's decisions.
    """

    closed_loop: ClosedLoopResult
    states: Mapping[str, int]

    def render(self) -> Group:
        """Returns the table of success, and a line of states."""
        total = sum(self.states.values())
        states = ", ".join(
            f"{state} {count} ({count / total:.0%})" for state, count in self.states.items()
        )
        return Group(self.closed_loop.render(), Text(f"{total} decisions of the robot: {states}"))

    def to_json(self) -> dict[str, Any]:
        """Returns the same for a program."""
        return {**self.closed_loop.to_json(), "states": dict(self.states)}


def run(arguments: RobotRollout) -> RobotRolloutResult:
    """Runs a configured robot in the simulator, in closed loop.

    Returns:
        Success per skill, and the states of its safety gate.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the configuration has an unknown key or an impossible value, or does not fit
            simulator, bundle or policy.
        InputError: an argument is out of range.
        MissingExtraError: a package is not installed.
        RunFolderError: the policy cannot be read.
    """
    config = replace(
        read_robot_config(arguments.config, overrides=arguments.overrides),
        bundle=str(arguments.bundle),
    )
    embedder = load_bundle(config)
    robot = simulated_robot(
        config,
        embedder,
        latency_s=arguments.latency_ms / 1e3,
        picture_delay_s=arguments.picture_delay_ms / 1e3,
    )
    policies: dict[str, Policy] = reference_policies() if arguments.references else {}
    if arguments.references and config.decoder == "retrieval":
        policies[UNBOUND] = RetrievalPolicy(
            load_demonstrations(Path(config.policy)), embed_texts=embedder.embed_texts
        )
    policies[ROBOT] = robot
    with progress_bar("rolling out") as report:
        result = run_closed_loop(
            policies,
            episodes_per_skill=arguments.episodes,
            seed=arguments.seed,
            skills=arguments.skills.split(",") if arguments.skills else SKILLS,
            cameras=camera_names_of(embedder),
            image_px=arguments.px or embedder.preprocessor.image_px,
            samples=arguments.samples,
            held_out_wording=arguments.unseen_wording,
            progress=report,
        )
    return RobotRolloutResult(result, {str(state): n for state, n in robot.states.items()})


def simulated_robot(
    config: RobotConfig,
    embedder: BundleEmbedder,
    *,
    latency_s: float = 0.0,
    picture_delay_s: float = 0.0,
) -> SimulatedRobot:
    """Makes a configured robot for the simulated tabletop.

    Args:
        config: everything that can be set; `bundle` is not read.
        embedder: the bundle.
        latency_s: how long perception takes.
        picture_delay_s: how long pictures travel.

    Raises:
        ConfigError: the configuration does not fit simulator, bundle or policy.
        InputError: the bundle sees no pictures, or a delay is out of range.
        RunFolderError: the policy cannot be read.
    """
    return SimulatedRobot(
        runtime_of_bundle(config, embedder),
        fps=CONTROL_HZ,
        action_names=ACTION_NAMES,
        latency_s=latency_s,
        picture_delay_s=picture_delay_s,
    )


def camera_names_of(embedder: BundleEmbedder) -> tuple[str, ...]:
    """Returns the bundle's cameras by the names that the simulator gives them."""
    return tuple(name.rsplit(".", maxsplit=1)[-1] for name in embedder.preprocessor.cameras)
