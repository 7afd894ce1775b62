"""A policy that is told what pictures and words would have to say: true places, and the goal."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointspace.robot.policy.head import TEXT_SCALE, ControlHead
from jointspace.robot.policy.index import DemonstrationIndex
from jointspace.robot.policy.motion import (
    MotionLayout,
    MotionMemory,
    action_chunks,
    actions_of,
)
from jointspace.robot.policy.regression import local_ridge
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.experts import Expert
from jointspace.sim.goals import SKILLS, Goal
from jointspace.sim.layout import Item
from jointspace.sim.plan import is_unseen_combination
from jointspace.sim.scene import ACTION_NAMES, STATE_NAMES
from jointspace.sim.world import World
from jointspace.train.control import train_control

LAYOUT = MotionLayout.of(STATE_NAMES, ACTION_NAMES)
_DIRECTIONS = ("left", "right", "away", "toward", "clockwise", "counterclockwise")
_KINDS = ("block", "cylinder", "ball", "bowl", "plate", "tray", "button")
_NEIGHBOURS, _REPLAN_STEPS = 100, 5
_REACH_M, _HALF_M = 0.1, 0.02
_OTHER_GOAL = 60.0
"""So far apart are moments of different goals where features are compared as they are."""


@dataclass(frozen=True)
class Told:
    """Demonstrations of experts, described by true places.

    Attributes:
        seen: "moment feature".
        goals: "episode entry".
        episodes: of each moment.
        chunks: "moment target", the actions that followed.
    """

    seen: np.ndarray
    goals: np.ndarray
    episodes: np.ndarray
    chunks: np.ndarray


def goal_row(goal: Goal) -> np.ndarray:
    """Returns skill, direction and kinds, one entry each; of a size that the head scales to 1."""
    target = goal.target.kind if goal.target else ""
    chosen = ((SKILLS, goal.skill), (_DIRECTIONS, goal.direction), (_KINDS, goal.item.kind))
    entries = [name == value for names, value in (*chosen, (_KINDS, target)) for name in names]
    return np.array(entries, np.float32) / TEXT_SCALE


def scene_row(world: World, goal: Goal, motion: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Returns how item and target truly lie and are turned, seen from the tool, and the motion."""

    def part(item: Item | None) -> list[float]:
        if item is None:
            return [0.0] * 7
        away = (world.position(item) - pose[:3]) / _REACH_M
        # Of the four turns that look alike the nearest one.
        turn_rad = np.remainder(world.yaw_rad(item) - pose[3] + np.pi / 4, np.pi / 2) - np.pi / 4
        half = item.half_m / _HALF_M
        return [*away, 2 * turn_rad, np.cos(4 * turn_rad), np.sin(4 * turn_rad), half]

    return np.array([*part(goal.item), *part(goal.target), *motion], np.float32)


def demonstrate(
    num_episodes: int, *, seed: int, progress: Callable[[int, int], None] | None = None
) -> Told:
    """Lets the expert act in scenes of its own, without pictures; failures are left out."""
    env = TabletopEnv(cameras=())
    seen, goals, episodes, chunks = [], [], [], []
    for number in range(num_episodes):
        scene, motion = np.random.SeedSequence([seed, number]).generate_state(2).tolist()
        observation, _ = env.reset(seed=scene, allows=lambda goal: not is_unseen_combination(goal))
        expert = Expert(env.world, env.goal, rng=np.random.default_rng(motion))
        memory, rows, actions, ended = MotionMemory(LAYOUT), [], [], False
        while not ended and (action := expert.act()) is not None:
            state = observation["state"]
            rows.append(scene_row(env.world, env.goal, memory.add(state), LAYOUT.pose(state)))
            actions.append(action)
            observation, _, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
        if env.success:
            seen += rows
            episodes += [len(goals)] * len(rows)
            chunks.append(action_chunks(np.stack(actions), LAYOUT))
            goals.append(goal_row(env.goal))
        if progress is not None:
            progress(number + 1, num_episodes)
    return Told(np.stack(seen), np.stack(goals), np.array(episodes), np.concatenate(chunks))


class ToldPolicy:
    """Acts from true places. Privileged: it looks into the simulation.

    Args:
        answer: from a scene's row and a goal's to the next actions, scaled.
    """

    def __init__(self, answer: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self._answer = answer

    def watch(self, env: TabletopEnv) -> None:
        """Looks at the scene."""
        self._env = env

    def reset(self, observation: Mapping[str, Any], instruction: str) -> None:  # noqa: ARG002
        """Starts an episode."""
        self._memory = MotionMemory(LAYOUT)
        self._goal_row = goal_row(self._env.goal)
        self._step = 0

    def act(self, observation: Mapping[str, Any], instruction: str) -> np.ndarray:  # noqa: ARG002
        """Goes on, or looks again."""
        state = observation["state"].astype(np.float64)
        motion = self._memory.add(state)
        if self._step % _REPLAN_STEPS == 0:
            row = scene_row(self._env.world, self._env.goal, motion, LAYOUT.pose(state))
            self._chunk = actions_of(self._answer(row, self._goal_row), LAYOUT)
        self._step += 1
        return self._chunk[(self._step - 1) % _REPLAN_STEPS]


def told_policies(told: Told, *, num_steps: int, seed: int) -> dict[str, ToldPolicy]:
    """Trains a network of the policy's kind on true places, and makes policies with and without it.

    Args:
        told: from `demonstrate`.
        num_steps: of the training.
        seed: of the training.

    Returns:
        `cloning` and `retrieval` of the network, and in the features as they are `plain retrieval`
        and `plain nearest`.
    """
    head = ControlHead(
        train_control(
            told.seen,
            told.goals,
            told.episodes,
            told.chunks,
            text_scale=TEXT_SCALE,
            num_steps=num_steps,
            seed=seed,
        )
    )
    goals = told.goals[told.episodes]
    learned = DemonstrationIndex(head.rows(told.seen, goals), told.chunks, told.episodes)

    def plain_rows(seen: np.ndarray, goals: np.ndarray) -> np.ndarray:
        num_named = len(SKILLS) + len(_DIRECTIONS)
        return np.concatenate(
            [seen, _OTHER_GOAL * goals[:, :num_named], TEXT_SCALE * goals[:, num_named:]], axis=1
        )

    plain = DemonstrationIndex(plain_rows(told.seen, goals), told.chunks, told.episodes)

    def blended(index: DemonstrationIndex, row: np.ndarray) -> np.ndarray:
        found = index.nearest(row, count=_NEIGHBOURS)
        rows, chunks = index.rows[found.places], index.chunks[found.places]
        return local_ridge(row, rows, chunks, distances=found.distances)

    def rows_of(seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return head.rows(seen[None], goal[None])

    def plain_row(seen: np.ndarray, goal: np.ndarray) -> np.ndarray:
        return plain_rows(seen[None], goal[None])[0]

    return {
        "cloning": ToldPolicy(lambda seen, goal: head.chunks(rows_of(seen, goal))[0]),
        "retrieval": ToldPolicy(lambda seen, goal: blended(learned, rows_of(seen, goal)[0])),
        "plain retrieval": ToldPolicy(lambda seen, goal: blended(plain, plain_row(seen, goal))),
        "plain nearest": ToldPolicy(
            lambda seen, goal: plain.chunks[plain.nearest(plain_row(seen, goal), count=1).places[0]]
        ),
    }
