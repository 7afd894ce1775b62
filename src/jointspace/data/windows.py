"""Cuts episodes into rows, windows of one length or whole episodes, and picks their pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from jointspace.errors import InputError


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive steps of one episode.

    Attributes:
        episode: position of the episode in the data set (not its index).
        start: first step.
        stop: step after the last one.
    """

    episode: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def sliding_windows(
    num_frames: Sequence[int],
    *,
    fps: float,
    window_s: float,
    stride_s: float,
    episodes: Iterable[int] | None = None,
) -> tuple[Window, ...]:
    """Cuts episodes into windows of one length, at regular starts.

    Length and stride are rounded to whole steps once, so that equal seconds give windows that touch
    without overlap at any rate. An episode shorter than a window gives none: see
    `num_short_episodes`.

    Args:
        num_frames: steps of every episode of the data set.
        fps: steps per second.
        window_s: length of a window.
        stride_s: distance between the starts of consecutive windows.
        episodes: positions of the episodes to cut; None cuts all.

    Returns:
        Windows in order of episode, then start.

    Raises:
        InputError: a rate, length or stride that is not positive, or an episode that does not
            exist.
    """
    length = window_steps(window_s, fps=fps, name="window_s")
    stride = window_steps(stride_s, fps=fps, name="stride_s")
    return tuple(
        Window(episode, start, start + length)
        for episode in _positions(num_frames, episodes)
        for start in range(0, num_frames[episode] - length + 1, stride)
    )


def whole_episodes(
    num_frames: Sequence[int], *, episodes: Iterable[int] | None = None
) -> tuple[Window, ...]:
    """Makes one row of each episode, from its first step to its last.

    Args:
        num_frames: steps of every episode of the data set.
        episodes: positions of the episodes to use; None uses all.

    Returns:
        One window per episode, in order; an episode without steps gives none.

    Raises:
        InputError: an episode that does not exist.
    """
    return tuple(
        Window(episode, 0, num_frames[episode])
        for episode in _positions(num_frames, episodes)
        if num_frames[episode] > 0
    )


def num_short_episodes(
    num_frames: Sequence[int],
    *,
    fps: float,
    window_s: float,
    episodes: Iterable[int] | None = None,
) -> int:
    """Counts the episodes that are too short to hold one window, for the report.

    Args:
        num_frames: steps of every episode of the data set.
        fps: steps per second.
        window_s: length of a window.
        episodes: positions of the episodes to look at; None looks at all.

    Returns:
        How many of them `sliding_windows` leaves without a window.

    Raises:
        InputError: a rate or length that is not positive, or an episode that does not exist.
    """
    length = window_steps(window_s, fps=fps, name="window_s")
    return sum(num_frames[episode] < length for episode in _positions(num_frames, episodes))


def window_steps(seconds: float, *, fps: float, name: str = "window_s") -> int:
    """Converts a length in seconds to whole steps, at least one.

    Args:
        seconds: the length.
        fps: steps per second.
        name: what the length is called in the error.

    Returns:
        The nearest number of steps.

    Raises:
        InputError: the length or the rate is not positive and finite.
    """
    if not 0 < fps < float("inf"):
        raise InputError(f"fps must be positive, got {fps}")
    if not 0 < seconds < float("inf"):
        raise InputError(f"{name} must be a positive number of seconds, got {seconds}")
    return max(1, round(seconds * fps))


def clip_positions(
    num_steps: int, num_pictures: int, *, phase: Float[np.ndarray, " picture"] | None = None
) -> Int64[np.ndarray, " picture_out"]:
    """Chooses the steps of a span whose pictures make the clip.

    Args:
        num_steps: steps of the span.
        num_pictures: 1 takes the first step; more are spread evenly from the first step to the
            last. A span with fewer steps gives each of them once.
        phase: moves each picture by this share of the distance between two; None moves none. The
            single picture of a window stays at its start.

    Returns:
        Steps in increasing order, counted from the start of the span.
    """
    if num_pictures == 1:
        return np.zeros(1, dtype=np.int64)
    if num_steps <= num_pictures:
        return np.arange(num_steps)
    spread: Float64[np.ndarray, " picture"] = np.linspace(0, num_steps - 1, num_pictures)
    if phase is not None:
        spread += phase * ((num_steps - 1) / (num_pictures - 1))
    return np.clip(np.rint(spread), 0, num_steps - 1).astype(np.int64)


def _positions(num_frames: Sequence[int], episodes: Iterable[int] | None) -> list[int]:
    positions = list(range(len(num_frames))) if episodes is None else list(episodes)
    for position in positions:
        if not 0 <= position < len(num_frames):
            raise InputError(
                f"episode position {position} does not exist: there are {len(num_frames)} episodes"
            )
    return positions
