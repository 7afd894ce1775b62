"""What a policy reads of its own motion, and the actions that it learns: the arm's own senses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from jointspace.errors import InputError, did_you_mean

CHUNK_STEPS = 8
"""Actions that are learned from each moment on."""

MOTION_DIM = 13
_OPEN = 0.93
"""A gripper that measures less holds something, or is on its way."""
_SHUT = 0.2
_MOST_STEPS = 10
_MEAN = np.array((0.6, 0.5, 0, 0.15, 0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.3), np.float32)
_SCALE = np.array((1, 0.1, 0.15, 0.1, 0.5, 0.05, 0.05, 0.05, 0.5, 1, 1, 1, 1), np.float32)
_ACTION_MEAN = np.array((0, 0, 0, 0, 0.5), np.float32)
_ACTION_SCALE = np.array((0.02, 0.02, 0.02, 0.1, 0.4), np.float32)

_STATE = ("gripper_opening", "tool_x_m", "tool_y_m", "tool_z_m", "tool_rz_rad")
_ACTION = ("delta_x_m", "delta_y_m", "delta_z_m", "delta_rz_rad", "gripper")


@dataclass(frozen=True)
class MotionLayout:
    """Where a robot's state and action hold what the policy reads and moves.

    Attributes:
        state: places of gripper opening (1 open), tool x, y, z in metres and yaw in radians.
        action: places of the tool's displacement along x, y, z, its turn, and the gripper.
        action_dim: length of an action; what is not named stays zero.
    """

    state: tuple[int, ...]
    action: tuple[int, ...]
    action_dim: int

    @staticmethod
    def of(state_names: Sequence[str], action_names: Sequence[str]) -> "MotionLayout":
        """Finds the channels by the names of the simulated tabletop.

        Raises:
            InputError: a channel is missing.
        """
        for wanted, names in ((_STATE, state_names), (_ACTION, action_names)):
            for name in wanted:
                if name not in names:
                    raise InputError(
                        f"retrieval policy: no channel '{name}'.{did_you_mean(name, names)}"
                    )
        return MotionLayout(
            state=tuple(list(state_names).index(name) for name in _STATE),
            action=tuple(list(action_names).index(name) for name in _ACTION),
            action_dim=len(action_names),
        )

    def pose(self, state: Float[np.ndarray, " channel"]) -> Float[np.ndarray, "4"]:
        """Returns the tool's x, y, z and yaw."""
        return state[list(self.state[1:])]


class MotionMemory:
    """Describes an arm's state, with where it was when the gripper last left, or reached, open.

    How far a grasped thing has been moved or turned is in no single state. The measured gripper
    tells when the grasp was; nothing that the policy commanded is read, so that it cannot learn to
    go on with whatever it did before.

    Args:
        layout: of the state.
    """

    def __init__(self, layout: MotionLayout) -> None:
        self._layout = layout
        self._opening: float | None = None

    def add(self, state: Float[np.ndarray, " channel"]) -> Float32[np.ndarray, "13"]:
        """Takes the next state of the episode, and describes it."""
        opening, pose = float(state[self._layout.state[0]]), self._layout.pose(state)
        if self._opening is None:
            self._anchor, self._steps, self._changed = pose.copy(), 0, 0.0
        elif (self._opening > _OPEN) != (opening > _OPEN):
            self._anchor, self._steps, self._changed = pose.copy(), 0, 1.0
        else:
            self._steps += 1
        self._opening = opening
        since = min(self._steps, _MOST_STEPS) / _MOST_STEPS
        flags = (since, self._changed, float(opening > _OPEN), float(opening < _SHUT))
        raw = np.array((opening, *pose, *(pose - self._anchor), *flags), np.float32)
        return (raw - _MEAN) / _SCALE


def episode_motion(
    states: Float[np.ndarray, "time channel"], layout: MotionLayout
) -> Float32[np.ndarray, "time 13"]:
    """Describes every state of an episode."""
    memory = MotionMemory(layout)
    return np.stack([memory.add(state) for state in states])


def action_chunks(
    actions: Float[np.ndarray, "time channel"], layout: MotionLayout
) -> Float32[np.ndarray, "time target"]:
    """Returns the next actions from every step on, scaled; after the end the arm stays."""
    own = np.asarray(actions, np.float32)[:, list(layout.action)]
    last = own[-1:] * np.array((0, 0, 0, 0, 1), np.float32)
    padded = np.concatenate([own, np.repeat(last, CHUNK_STEPS, axis=0)])
    chunks = np.stack([padded[i : i + len(own)] for i in range(CHUNK_STEPS)], axis=1)
    return ((chunks - _ACTION_MEAN) / _ACTION_SCALE).reshape(len(own), -1).astype(np.float32)


def actions_of(
    chunk: Float[np.ndarray, " target"], layout: MotionLayout
) -> Float[np.ndarray, "step channel"]:
    """Brings a scaled chunk back to actions of the robot."""
    own = chunk.reshape(CHUNK_STEPS, -1) * _ACTION_SCALE + _ACTION_MEAN
    actions = np.zeros((CHUNK_STEPS, layout.action_dim))
    actions[:, list(layout.action)] = own
    return actions


def event_steps(
    actions: Float[np.ndarray, "time channel"], layout: MotionLayout
) -> tuple[int, int]:
    """Returns when the gripper is commanded to change for the first and the second time.

    Both are the last step where it never is; the first steps do not count, in which a robot that
    only touches things shuts its gripper.
    """
    gripper = np.asarray(actions)[:, layout.action[4]]
    changes = [int(at) + 1 for at in np.flatnonzero(np.abs(np.diff(gripper)) > 0.3) if at >= 2]
    first, second, *_ = [*changes, len(gripper) - 1, len(gripper) - 1]
    return first, second
