"""Demonstrations as arrays: what a policy is learned from, out of recorded episodes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from jointspace.errors import InputError
from jointspace.robot.policy.grounding import Relevances, fit_grounding
from jointspace.robot.policy.motion import (
    MotionLayout,
    action_chunks,
    episode_motion,
    event_steps,
)
from jointspace.robot.policy.observe import Observer
from jointspace.robot.policy.palette import Palette
from jointspace.robot.policy.places import moments

_NUM_WORDS = 64
_PALETTE_EPISODES = 200


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode.

    Attributes:
        pictures: of every step and camera, in the order of the policy's cameras.
        states: measured, raw units.
        actions: commanded, raw units.
        text_row: of the instruction.
    """

    pictures: UInt8[np.ndarray, "time camera px px 3"]
    states: Float[np.ndarray, "time state"]
    actions: Float[np.ndarray, "time action"]
    text_row: Float32[np.ndarray, " dim"]


@dataclass(frozen=True)
class Moments:
    """Every moment of the demonstrations, as the control head reads it.

    Attributes:
        seen: observations.
        chunks: the actions that followed, scaled.
        episodes: number of each moment's demonstration.
        text_rows: of every demonstration.
    """

    seen: Float32[np.ndarray, "moment feature"]
    chunks: Float32[np.ndarray, "moment target"]
    episodes: Int[np.ndarray, " moment"]
    text_rows: Float32[np.ndarray, "episode dim"]


def fit_palette(
    pictures: Iterable[UInt8[np.ndarray, "time camera px px 3"]], *, seed: int
) -> Palette:
    """Learns the visual words from first and middle pictures of some demonstrations.

    Args:
        pictures: of demonstrations; the first `_PALETTE_EPISODES` are read.
        seed: of the draws.
    """
    pixels = []
    for number, each in enumerate(pictures):
        if number == _PALETTE_EPISODES:
            break
        pixels.append(each[[0, len(each) // 2]].reshape(-1, 3))
    rng = np.random.default_rng(seed)
    return Palette.fit(np.concatenate(pixels), num_words=_NUM_WORDS, rng=rng)


def fit_observer(
    demonstrations: Iterable[Demonstration], palette: Palette, layout: MotionLayout, *, seed: int
) -> tuple[Observer, Relevances]:
    """Learns what the instructions are about, from the first pictures and where grippers went.

    Returns:
        The observer, and what every demonstration's words are worth to what learns from it; see
        `fit_grounding`.

    Raises:
        InputError: there are no demonstrations, or nothing in the pictures tells where they went.
    """
    words, rows, first, second, num_cameras = [], [], [], [], 0
    for each in demonstrations:
        num_cameras = each.pictures.shape[1]
        places = [layout.pose(each.states[at])[:2] for at in event_steps(each.actions, layout)]
        words.append(palette.words(each.pictures[0, 0]))
        rows.append(each.text_row)
        first.append(places[0])
        second.append(places[1])
    if not words:
        raise InputError("retrieval policy: there are no demonstrations to learn from")
    counts, means = moments(np.stack(words), num_words=len(palette))
    grounding, relevances = fit_grounding(
        np.stack(rows),
        counts,
        means,
        first=np.stack(first),
        second=np.stack(second),
        rng=np.random.default_rng(seed),
    )
    return Observer(palette, grounding, num_cameras), relevances


def observe_all(
    demonstrations: Iterable[Demonstration],
    observer: Observer,
    layout: MotionLayout,
    *,
    relevances: Relevances,
    stride: int = 1,
) -> Moments:
    """Turns demonstrations into moments.

    Args:
        demonstrations: the episodes.
        observer: finds what each instruction is about.
        layout: of state and action.
        relevances: of every demonstration, from `fit_observer`.
        stride: steps from one moment to the next.
    """
    seen, chunks, episodes, rows = [], [], [], []
    for number, each in enumerate(demonstrations):
        motion = episode_motion(each.states, layout)
        relevance = (relevances[0][number], relevances[1][number])
        steps = range(number % stride, len(each.actions), stride)
        words = observer.palette.words(each.pictures[steps.start :: stride])
        seen += [
            observer.observe(words[place], motion[step], layout.pose(each.states[step]), relevance)
            for place, step in enumerate(steps)
        ]
        chunks.append(action_chunks(each.actions, layout)[list(steps)])
        episodes.append(np.full(len(steps), number))
        rows.append(each.text_row)
    return Moments(np.stack(seen), np.concatenate(chunks), np.concatenate(episodes), np.stack(rows))
