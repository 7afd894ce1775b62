"""Which topics of a bag a robot hears: those that are configured, or those that are found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jointspace.data.ros_types import COMPRESSED_IMAGE
from jointspace.data.rosbag_read import BagTopic, open_bag
from jointspace.data.rosbag_roles import find_cameras, find_instruction, find_state
from jointspace.errors import ConfigError
from jointspace.robot.configuration import RobotConfig
from jointspace.robot.replay_wire import full_topic

_DEFAULT = RobotConfig()


def config_for_bag(
    config: RobotConfig, bag: Path, *, cameras: Sequence[str], needs_command: bool = True
) -> RobotConfig:
    """Adapts a configuration to what a bag holds.

    Topics that were set are taken as they are. Those at their default are, where the bag has no
    messages on them, found as the data reader finds them: cameras by the name that the bundle has,
    the command and the state by type and name.

    Args:
        config: of the robot.
        bag: the recording.
        cameras: of the bundle.
        needs_command: whether the command comes from the bag.

    Returns:
        The configuration with topics of the bag.

    Raises:
        ConfigError: a camera or the command is on no topic, or cameras are both raw and compressed.
        DataError: the bag cannot be read.
    """
    with open_bag(bag) as opened:
        kinds = _kinds(opened.topics)
    if config.visual_input == "image":
        config = _with_cameras(config, kinds, bag, cameras=config.cameras or tuple(cameras))
    command = config.command_topic
    if needs_command and command == _DEFAULT.command_topic and not _has(kinds, [command]):
        command = find_instruction(kinds)
        if not command:
            raise ConfigError(
                f"command_topic: {bag} has no topic of commands that is known; name it, or say one "
                f"with --say. Topics: {', '.join(kinds)}"
            )
    state = config.state_topic or find_state(kinds)
    return replace(config, command_topic=command, state_topic=state)


def _kinds(topics: Collection[BagTopic]) -> dict[str, str]:
    return {topic.name: topic.kind for topic in topics if topic.count}


def _with_cameras(
    config: RobotConfig, kinds: Mapping[str, str], bag: Path, *, cameras: tuple[str, ...]
) -> RobotConfig:
    topics = config.image_topics
    if topics == _DEFAULT.image_topics and not _has(kinds, topics):
        topics = _camera_topics(kinds, cameras, bag)
    compressed = {kinds.get(full_topic(topic)) == COMPRESSED_IMAGE for topic in topics}
    if len(compressed) > 1:
        raise ConfigError(
            f"image_topics: {', '.join(topics)} are in part raw and in part compressed in {bag}; "
            "expected one image_transport"
        )
    return replace(
        config,
        image_topics=topics,
        cameras=cameras,
        image_transport="compressed" if True in compressed else "raw",
    )


def _camera_topics(kinds: Mapping[str, str], cameras: Sequence[str], bag: Path) -> tuple[str, ...]:
    found = find_cameras(kinds)
    if len(cameras) == len(found) == 1:
        return tuple(found.values())
    short = {camera: camera.rsplit(".", 1)[-1] for camera in cameras}
    missing = [camera for camera in cameras if short[camera] not in found]
    if missing:
        raise ConfigError(
            f"image_topics: {bag} has no camera '{short[missing[0]]}', but "
            f"{', '.join(f'{name} ({topic})' for name, topic in found.items()) or 'none'}; name a "
            "topic for each camera of the bundle"
        )
    return tuple(found[short[camera]] for camera in cameras)


def _has(kinds: Mapping[str, str], topics: Sequence[str]) -> bool:
    return all(full_topic(topic) in kinds for topic in topics)
