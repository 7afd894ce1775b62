"""`jointspace robot replay`."""

from dataclasses import replace

from jointspace.commands.arguments import RobotReplay
from jointspace.robot.configuration_file import read_robot_config
from jointspace.robot.core.build import load_bundle, runtime_of_bundle
from jointspace.robot.replay import replay
from jointspace.robot.replay_summary import ReplaySummary
from jointspace.robot.replay_topics import config_for_bag


def run(arguments: RobotReplay) -> ReplaySummary:
    """Runs a robot on a bag.

    Returns:
        What it did.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the configuration has an unknown key or an impossible value, or names a topic
            that the bag does not have.
        DataError: the bag cannot be read.
        InputError: an argument is out of range, or the output is there already.
        MissingExtraError: a package is not installed.
        StorageError: the output could not be written.
    """
    config = replace(
        read_robot_config(arguments.config, overrides=arguments.overrides),
        bundle=str(arguments.bundle),
    )
    embedder = load_bundle(config)
    config = config_for_bag(
        config,
        arguments.bag,
        cameras=embedder.preprocessor.cameras,
        needs_command=not arguments.say,
    )
    return replay(
        arguments.bag,
        runtime_of_bundle(config, embedder),
        model_id=embedder.manifest.model_id,
        latency_s=arguments.latency_ms / 1e3,
        say=arguments.say,
        out=arguments.out,
    )
