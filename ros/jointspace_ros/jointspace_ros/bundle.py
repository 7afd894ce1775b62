"""A robot's mind from a bundle."""

from dataclasses import dataclass

from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.build import load_bundle, runtime_of_bundle
from jointspace.robot.core.runtime import RobotRuntime


@dataclass(frozen=True)
class LoadedRobot:
    """A bundle that is ready to run a robot.

    Attributes:
        runtime: the robot's mind.
        model_id: of the bundle, told with each embedding.
    """

    runtime: RobotRuntime
    model_id: str


def load_robot(config: RobotConfig) -> LoadedRobot:
    """Loads the bundle that a configuration names.

    Args:
        config: of the robot.

    Returns:
        The runtime and the id of the model.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: no bundle is named, or what is configured cannot be with it.
        InputError: the bundle sees no pictures.
        MissingExtraError: a package that runs it is not installed.
    """
    embedder = load_bundle(config)
    return LoadedRobot(runtime_of_bundle(config, embedder), embedder.manifest.model_id)
