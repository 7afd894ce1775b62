"""An episode as a bag: what each topic carries, and how its labels are kept."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jointspace.data.lerobot_write_record import EpisodeRecord, WriteLayout, check_record
from jointspace.data.ros_types import NS_PER_S
from jointspace.data.rosbag_messages import (
    BagMessage,
    array_message,
    image_message,
    joint_state_message,
    text_message,
)
from jointspace.data.rosbag_write import Storage, write_bag

ACTION_TOPIC = "/action"
STATE_TOPIC = "/joint_states"
INSTRUCTION_TOPIC = "/natural_language_command"

START_S = 1_760_000_000
"""When the first episode begins: a date of our time, since a stamp of 0 means "not set"."""

_BETWEEN_STARTS_S = 1000
_INSTRUCTION_EVERY_S = 1


def camera_topic(camera: str) -> str:
    """Returns the topic of a camera's pictures."""
    return f"/{camera}/image_rect_color"


def write_episode_bag(
    folder: Path,
    record: EpisodeRecord,
    *,
    layout: WriteLayout,
    episode: int,
    storage: Storage = "mcap",
) -> None:
    """Writes an episode as a bag: pictures, state, instruction, and the action of every step.

    Step i lies at i / fps seconds exactly, and the instruction is repeated every second, for who
    comes late. The same episode gives the same bytes (mcap). Labels are kept as `custom_data`.

    Args:
        folder: to make.
        record: the episode.
        layout: names its channels and cameras.
        episode: its number, from 0 on; the bags of several episodes do not overlap in time.
        storage: of the bag.

    Raises:
        InputError: the folder is there already, or an array does not agree with the layout.
        MissingExtraError: rosbags is not installed.
        StorageError: a file could not be written.
    """
    check_record(record, layout=layout, episode=episode)
    write_bag(
        folder,
        _messages(record, layout, start_ns=(START_S + episode * _BETWEEN_STARTS_S) * NS_PER_S),
        custom_data=_labels(record, layout, episode),
        latched=(INSTRUCTION_TOPIC,),
        storage=storage,
    )


def _messages(record: EpisodeRecord, layout: WriteLayout, *, start_ns: int) -> Iterator[BagMessage]:
    for step, (state, action) in enumerate(zip(record.state, record.action, strict=True)):
        time_ns = start_ns + step * NS_PER_S // layout.fps
        if step % (layout.fps * _INSTRUCTION_EVERY_S) == 0:
            yield text_message(INSTRUCTION_TOPIC, record.instruction, time_ns=time_ns)
        yield joint_state_message(STATE_TOPIC, state, names=layout.state_names, time_ns=time_ns)
        for camera in layout.cameras:
            yield image_message(
                camera_topic(camera),
                record.pictures[camera][step],
                time_ns=time_ns,
                frame_id=camera,
            )
        yield array_message(ACTION_TOPIC, action, names=layout.action_names, time_ns=time_ns)


def _labels(record: EpisodeRecord, layout: WriteLayout, episode: int) -> Mapping[str, str]:
    """What `ros2 bag record --custom-data key=value` could have written, too."""
    labels: dict[str, Any] = {
        "episode": episode,
        "robot_type": layout.robot_type,
        "goal": record.goal,
        "split": record.split,
        "factors": dict(record.factors) or "",
        "other_instructions": list(record.other_instructions) or "",
    }
    if record.success is not None:
        labels["success"] = record.success
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in labels.items()
        if value != ""
    }
