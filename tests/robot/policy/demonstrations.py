"""Demonstrations that teach: squares of their own colours, and a gripper that goes to one of them.

The first camera looks from the other side of the table: right in its picture is smaller y. The
second one hangs at the gripper, and shows the first one's picture moved.
"""

from pathlib import Path

import numpy as np

from jointspace.data.lerobot_write import EpisodeRecord, WriteLayout, finish_dataset, write_block
from jointspace.sim.scene import ACTION_NAMES, STATE_NAMES

COLOURS = {"red": (210, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 210)}
PX, NUM_STEPS = 32, 10
CLOSES, OPENS = 4, 7
"""Steps at which the gripper closes on the first thing, and opens over the second."""
LAYOUT = WriteLayout(
    fps=10,
    robot_type="arm",
    action_names=ACTION_NAMES,
    state_names=STATE_NAMES,
    cameras=("front", "wrist"),
    height_px=PX,
    width_px=PX,
)


def demonstration(seed: int, **changes: object) -> EpisodeRecord:
    """Puts a thing on another one."""
    rng = np.random.default_rng(seed)
    item, target = rng.permutation(list(COLOURS))[:2]
    corners = dict(zip(COLOURS, rng.permutation(4), strict=False))
    front = np.full((PX, PX, 3), 90, np.uint8)
    places_m = {}
    for name, colour in COLOURS.items():
        row, column = divmod(int(corners[name]), 2)
        x, y = 2 + 16 * column + rng.integers(6), 2 + 16 * row + rng.integers(6)
        front[y : y + 6, x : x + 6] = colour
        places_m[name] = np.array((0.3 + 0.01 * (y + 2.5), 0.2 - 0.012 * (x + 2.5)))
    state = np.zeros((NUM_STEPS, len(STATE_NAMES)), np.float32)
    state[:, 7] = np.where((np.arange(NUM_STEPS) > CLOSES) & (np.arange(NUM_STEPS) < OPENS), 0.5, 1)
    start_m = rng.uniform(-0.1, 0.1, 2)
    for step in range(NUM_STEPS):
        # There just in time, and still while it opens.
        on_way = np.clip((step - CLOSES) / (OPENS - CLOSES), 0, 1)
        tool_m = places_m[item] + on_way * (places_m[target] - places_m[item])
        if step < CLOSES:
            tool_m = start_m + step / CLOSES * (places_m[item] - start_m)
        state[step, 8:10] = tool_m
    action = np.zeros((NUM_STEPS, len(ACTION_NAMES)), np.float32)
    action[:-1, :2] = np.diff(state[:, 8:10], axis=0)
    action[:, 6] = 1
    action[CLOSES:OPENS, 6] = 0
    shift_px = (100 * state[:, 8:10]).astype(int)
    values = {
        "instruction": f"put the {item} thing on the {target} one",
        "action": action,
        "state": state,
        "pictures": {
            "front": np.repeat(front[None], NUM_STEPS, axis=0),
            "wrist": np.stack([np.roll(front, (-y, -x), axis=(0, 1)) for x, y in shift_px]),
        },
        "goal": f"{item} on {target}",
        "success": True,
        "split": "",
        "factors": {},
        "other_instructions": (),
    }
    return EpisodeRecord(**values | changes)


def write_demonstrations(
    folder: Path, records: list[EpisodeRecord], *, layout: WriteLayout = LAYOUT
) -> Path:
    """Writes a LeRobot data set."""
    write_block(folder, records, layout=layout, block=0, first_episode=0)
    finish_dataset(folder, layout=layout, num_blocks=1, manifest={})
    return folder
