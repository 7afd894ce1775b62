"""A runtime on a real bundle: what the shells start with."""

from collections.abc import Mapping, Sequence

from jointspace.batch import VISION
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.errors import ConfigError, did_you_mean
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.core.decoder import ActionDecoder
from jointspace.robot.core.runtime import RobotRuntime


def open_runtime(config: RobotConfig) -> RobotRuntime:
    """Loads the bundle that the configuration names, verified, and makes a runtime on it.

    Args:
        config: everything that can be set.

    Returns:
        The runtime: idle and silent.

    Raises:
        ConfigError: no bundle is named, a camera is not the bundle's, a match is needed and
            there is no threshold, or the policy fits neither.
        RunFolderError: the policy cannot be read.
        BundleError: the bundle is not as it was written, or of another version.
        InputError: the bundle sees no pictures.
        MissingExtraError: the engine is not installed.
    """
    return runtime_of_bundle(config, load_bundle(config))


def load_bundle(config: RobotConfig) -> BundleEmbedder:
    """Loads the bundle that the configuration names, verified, with its threads and engine.

    Raises:
        ConfigError: no bundle is named.
        BundleError: the bundle is not as it was written, or of another version.
        MissingExtraError: the engine is not installed.
    """
    if not config.bundle:
        raise ConfigError("bundle: got '', expected the folder that 'jointspace export' has made")
    return BundleEmbedder.load(config.bundle, num_threads=config.num_threads, engine=config.engine)


def runtime_of_bundle(
    config: RobotConfig, embedder: BundleEmbedder, *, decoder: ActionDecoder | None = None
) -> RobotRuntime:
    """Makes a runtime on a bundle that is loaded.

    Args:
        config: everything that can be set; `bundle` is not read.
        embedder: the bundle.
        decoder: what turns percepts into actions; by default what `config.decoder` names.

    Returns:
        The runtime: idle and silent.

    Raises:
        ConfigError: a camera is not the bundle's, a match is needed and there is no threshold, or
            the policy does not fit bundle or configuration.
        RunFolderError: the policy cannot be read.
        InputError: the bundle sees no pictures.
    """
    known = embedder.preprocessor.cameras
    for camera in config.cameras:
        if camera not in known:
            raise ConfigError(
                f"cameras: the bundle has no '{camera}'.{did_you_mean(camera, known)}"
            )
    growth = embedder.growth.get(VISION)
    return RobotRuntime(
        config,
        embedder,
        cameras=config.cameras or known,
        make_stream=lambda: VisionStream(
            embedder, longest_s=0.0 if growth is None else growth.longest_s
        ),
        judge=embedder.thresholds.get(VISION),
        growth=growth,
        decoder=decoder,
        # From one picture that a motion rests on to the next, no state is lost.
        state_window_s=max(embedder.preprocessor.window_s, 2 * config.image_timeout_s),
    )


def camera_of_topic(config: RobotConfig, cameras: Sequence[str]) -> Mapping[str, str]:
    """Says which camera each image topic is.

    Args:
        config: `image_topics`.
        cameras: the runtime's.

    Returns:
        Topic -> camera.

    Raises:
        ConfigError: there are more topics than cameras or fewer, or a topic is named twice.
    """
    topics = config.image_topics
    if len(topics) != len(cameras) or len(set(topics)) < len(topics):
        raise ConfigError(
            f"image_topics: got {list(topics)}, expected {len(cameras)} distinct ones, one for "
            f"each of the cameras {', '.join(cameras)}; or name fewer cameras"
        )
    return dict(zip(topics, cameras, strict=True))
