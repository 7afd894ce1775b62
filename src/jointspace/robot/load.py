"""A robot's mind from a bundle: what every shell starts with."""

from dataclasses import dataclass

from jointspace.batch import VISION
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.runtime import RobotRuntime


@dataclass(frozen=True)
class LoadedRobot:
    """A bundle that is ready to run a robot.

    Attributes:
        runtime: the robot's mind.
        model_id: of the bundle.
    """

    runtime: RobotRuntime
    model_id: str


def load_robot(config: RobotConfig) -> LoadedRobot:
    """Loads the bundle that a configuration names, with the bundle's own threshold and cameras.

    Args:
        config: of the robot.

    Returns:
        The runtime and the id of the model.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: what is configured cannot be with this bundle.
        InputError: the bundle sees no pictures.
        MissingExtraError: a package that runs it is not installed.
    """
    return robot_of(config, load_bundle(config))


def load_bundle(config: RobotConfig) -> BundleEmbedder:
    """Loads the bundle that a configuration names.

    Raises:
        BundleError: the bundle cannot be used.
        MissingExtraError: a package that runs it is not installed.
    """
    return BundleEmbedder.load(config.bundle, num_threads=config.num_threads, engine=config.engine)


def robot_of(config: RobotConfig, embedder: BundleEmbedder) -> LoadedRobot:
    """Makes a robot of a bundle that is loaded.

    Args:
        config: of the robot.
        embedder: the bundle.

    Returns:
        The runtime and the id of the model.

    Raises:
        ConfigError: what is configured cannot be with this bundle.
        InputError: the bundle sees no pictures.
    """
    runtime = RobotRuntime(
        config,
        embedder,
        cameras=VisionStream(embedder).cameras,
        make_stream=lambda: VisionStream(embedder),
        judge=embedder.thresholds.get(VISION),
    )
    return LoadedRobot(runtime, embedder.manifest.model_id)
