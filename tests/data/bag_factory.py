"""Small bags, written on the spot, and what any reader finds in them."""

import numpy as np
from rosbags.rosbag2 import Reader

from jointspace.data.lerobot_write_record import EpisodeRecord, WriteLayout
from jointspace.data.ros_types import ros_types
from jointspace.data.rosbag_episode import write_episode_bag

LAYOUT = WriteLayout(
    fps=10,
    robot_type="arm",
    action_names=("dx", "dy", "grip"),
    state_names=("x", "y"),
    cameras=("front", "wrist"),
    height_px=16,
    width_px=24,
)


def record(number=0, *, length=23, **changes):
    """An episode whose picture of step i is filled with 7 i + its camera's number."""
    rng = np.random.default_rng(number)
    shades = (7 * np.arange(length)) % 250
    values = {
        "instruction": f"push the red block to the {('left', 'right', 'back')[number % 3]}",
        "action": rng.normal(size=(length, 3)).astype(np.float32),
        "state": rng.normal(size=(length, 2)).astype(np.float32),
        "pictures": {
            camera: np.broadcast_to(
                (shades + i).astype(np.uint8)[:, None, None, None], (length, 16, 24, 3)
            ).copy()
            for i, camera in enumerate(LAYOUT.cameras)
        },
        "goal": "push red block",
        "success": True,
        "split": "train",
        "factors": {"skill": "push", "colour": "red", "target": ""},
        "other_instructions": ("lift the blue ball",),
    }
    return EpisodeRecord(**values | changes)


def write_bags(folder, records, **options):
    """One bag for each record, in the folder."""
    for number, each in enumerate(records):
        write_episode_bag(folder / f"bag_{number}", each, layout=LAYOUT, episode=number, **options)
    return folder


def messages(bag):
    """Topic -> (nanoseconds, message), as rosbags reads them."""
    found = {}
    with Reader(bag) as reader:
        for connection, time_ns, data in reader.messages():
            message = ros_types().deserialize_cdr(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((time_ns, message))
    return found
