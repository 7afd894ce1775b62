"""What is in the numbers of a data set, and what looks wrong about them, in any format."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from jointspace.data.schema import Episode, Finding, RobotDataset

_SAME_SHARE = 0.99
"""Share of steps in which action and state must agree to be called the same."""


@dataclass(frozen=True)
class DimensionRange:
    """One dimension over all usable episodes, in the data set's units.

    Attributes:
        name: as the data set calls it, or its role and number.
        low: smallest value.
        high: largest value.
        constant: whether it never changes, and so says nothing.
    """

    name: str
    low: float
    high: float
    constant: bool


def dimension_ranges(
    arrays: Sequence[Float32[np.ndarray, "_ dim"]], names: Sequence[str]
) -> tuple[DimensionRange, ...]:
    """Returns the range of every dimension over all episodes.

    Args:
        arrays: one array per episode.
        names: one per dimension.

    Returns:
        One range per dimension; none without arrays.
    """
    if not arrays:
        return ()
    low = np.min([array.min(axis=0) for array in arrays], axis=0)
    high = np.max([array.max(axis=0) for array in arrays], axis=0)
    return tuple(
        DimensionRange(name, float(a), float(b), bool(a == b))
        for name, a, b in zip(names, low, high, strict=True)
    )


def check_content(dataset: RobotDataset) -> tuple[Finding, ...]:
    """Looks for numbers that would teach a model nothing, or the wrong thing.

    Args:
        dataset: the usable episodes.

    Returns:
        Findings about constant dimensions, an action that is the state or the next state,
        motionless and repeated episodes.
    """
    return (*_constant(dataset), *_same(dataset), *_motionless(dataset), *_repeated(dataset))


def _constant(dataset: RobotDataset) -> Iterator[Finding]:
    info = dataset.info
    states = [e.state for e in dataset.episodes if e.state is not None]
    for role, arrays, names in (
        ("action", [e.action for e in dataset.episodes], info.action_names),
        ("state", states, info.state_names),
    ):
        ranges = dimension_ranges(arrays, names)
        constant = [each.name for each in ranges if each.constant]
        if constant:
            message = f"{len(constant)} of {len(ranges)} dimensions never change: {_some(constant)}"
            yield Finding("note", role, message)


def _same(dataset: RobotDataset) -> Iterator[Finding]:
    for ahead, what in ((1, "the next state"), (0, "the state of the same step")):
        pairs = [_aligned(episode, ahead) for episode in dataset.episodes]
        shares = [_equal_share(*pair) for pair in pairs if pair is not None]
        if shares and float(np.mean(shares)) >= _SAME_SHARE:
            message = f"equals {what} in {np.mean(shares):.0%} of the steps: it commands positions"
            yield Finding("warning", "action", message)


def _aligned(
    episode: Episode, ahead: int
) -> tuple[Float32[np.ndarray, "step dim"], Float32[np.ndarray, "step dim"]] | None:
    if episode.state is None or episode.state.shape != episode.action.shape:
        return None
    # An arm that never moves repeats its state: that is not what is looked for here.
    if np.array_equal(episode.state.min(axis=0), episode.state.max(axis=0)):
        return None
    return episode.action[: episode.num_frames - ahead], episode.state[ahead:]


def _equal_share(
    action: Float32[np.ndarray, "step dim"], state: Float32[np.ndarray, "step dim"]
) -> float:
    return float(np.isclose(action, state, rtol=1e-4, atol=1e-6).all(axis=1).mean())


def _motionless(dataset: RobotDataset) -> Iterator[Finding]:
    still = [e.index for e in dataset.episodes if bool((e.action == e.action[0]).all())]
    if still:
        message = f"never changes in {len(still)} episodes: {_some(still)}"
        yield Finding("warning", "action", message)


def _repeated(dataset: RobotDataset) -> Iterator[Finding]:
    by_content: dict[bytes, list[int]] = defaultdict(list)
    for episode in dataset.episodes:
        digest = hashlib.sha256(episode.action.tobytes())
        if episode.state is not None:
            digest.update(episode.state.tobytes())
        by_content[digest.digest()].append(episode.index)
    for indices in by_content.values():
        if len(indices) > 1:
            again = _some(indices[1:])
            message = f"same steps again in {again}: a leak once training and test share them"
            yield Finding("warning", f"episode {indices[0]}", message)


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:6])) + (", ..." if len(items) > 6 else "")
