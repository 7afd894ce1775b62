"""What can act on the tabletop: the protocol of a policy, floors, the expert, and your own by name."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jointspace.errors import InputError, did_you_mean
from jointspace.sim.environment import Observation, TabletopEnv
from jointspace.sim.experts import Expert
from jointspace.sim.goals import Goal, possible_goals

_RANDOM_STEPS = 8
"""Steps for which the random policy keeps its motion."""


@runtime_checkable
class Policy(Protocol):
    """Acts on what it sees and on what it is told, and knows nothing else."""

    def reset(self, observation: Observation, instruction: str) -> None:
        """Begins an episode."""
        ...

    def act(self, observation: Observation, instruction: str) -> npt.ArrayLike:
        """Returns the next action: seven numbers, as `World.step` takes them."""
        ...


@runtime_checkable
class PrivilegedPolicy(Policy, Protocol):
    """A reference that also sees the simulator; it shows what is possible, not what a robot can."""

    def attach(self, env: TabletopEnv, *, seed: int) -> None:
        """Gets the environment of the episode that begins."""
        ...


class NoOpPolicy:
    """Does nothing: the floor below which no success rate lies."""

    def reset(self, observation: Observation, instruction: str) -> None:
        """Begins an episode."""

    def act(self, observation: Observation, instruction: str) -> npt.ArrayLike:
        """Returns an action that moves nothing, with an open gripper."""
        del observation, instruction
        return _hold(1.0)


class RandomPolicy:
    """Moves at random, in smooth strokes.

    Args:
        seed: of the motions.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def reset(self, observation: Observation, instruction: str) -> None:
        """Begins an episode."""
        del observation, instruction
        self._num_steps = 0

    def act(self, observation: Observation, instruction: str) -> npt.ArrayLike:
        """Returns the next action of the current stroke."""
        del observation, instruction
        if self._num_steps % _RANDOM_STEPS == 0:
            self._stroke = np.zeros(7)
            self._stroke[:3] = self._rng.normal(0.0, 0.02, 3)
            self._stroke[5] = self._rng.normal(0.0, 0.05)
            self._stroke[6] = float(self._rng.random() > 0.5)
        self._num_steps += 1
        return self._stroke.copy()


class ExpertPolicy:
    """The scripted expert: the ceiling."""

    def attach(self, env: TabletopEnv, *, seed: int) -> None:
        """Plans for the environment's own goal."""
        self._begin(env, env.goal, np.random.default_rng(seed))

    def reset(self, observation: Observation, instruction: str) -> None:
        """Begins an episode."""

    def act(self, observation: Observation, instruction: str) -> npt.ArrayLike:
        """Returns the expert's next action; it holds still at the end of its plan."""
        del observation, instruction
        action = self._expert.act()
        if action is None:
            return _hold(self._gripper)
        self._gripper = float(action[6])
        return action

    def _begin(self, env: TabletopEnv, goal: Goal, rng: np.random.Generator) -> None:
        self._expert = Expert(env.world, goal, rng=rng)
        self._gripper = 1.0


class OtherGoalPolicy(ExpertPolicy):
    """The expert at another goal of the same scene: how far skill gets without listening.

    The other goal is of the same skill where the scene has one.
    """

    def attach(self, env: TabletopEnv, *, seed: int) -> None:
        """Plans for another goal than the environment's."""
        rng = np.random.default_rng(seed)
        others = [goal for goal in possible_goals(env.world) if goal != env.goal]
        alike = [goal for goal in others if goal.skill == env.goal.skill]
        chosen = alike or others
        self._begin(env, chosen[rng.integers(len(chosen))], rng)


_BY_NAME: Mapping[str, Callable[[], Policy]] = {
    "no-op": NoOpPolicy,
    "random": RandomPolicy,
    "other-goal": OtherGoalPolicy,
    "expert": ExpertPolicy,
}


def reference_policies() -> dict[str, Policy]:
    """Returns the floors (no-op, random, another goal's expert) and the ceiling (expert)."""
    return {name: make() for name, make in _BY_NAME.items()}


def load_policy(spec: str) -> Policy:
    """Makes the policy that a command line names.

    Args:
        spec: `no-op`, `random`, `other-goal` or `expert`; or a function or class without arguments
            that makes one: `package.module:name` or `path/to/file.py:name`.

    Returns:
        The policy.

    Raises:
        InputError: there is no such policy, module, file or name; making it failed; or what was
            made is no policy.
    """
    if spec in _BY_NAME:
        return _BY_NAME[spec]()
    place, separator, name = spec.rpartition(":")
    if not separator or not place or not name:
        raise InputError(
            f"policy '{spec}' is not known.{did_you_mean(spec, _BY_NAME)} "
            "Name your own as package.module:factory or path/to/file.py:factory"
        )
    module = _load_file(Path(place), spec) if place.endswith(".py") else _load_module(place, spec)
    if not hasattr(module, name):
        known = [each for each in vars(module) if not each.startswith("_")]
        raise InputError(f"policy '{spec}': {place} has no '{name}'.{did_you_mean(name, known)}")
    try:
        policy = getattr(module, name)()
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is named as such
        raise InputError(f"policy '{spec}': {name}() raised {_brief(error)}") from error
    if not isinstance(policy, Policy):
        raise InputError(
            f"policy '{spec}': {name}() gave a {type(policy).__name__}; expected an object with "
            "reset(observation, instruction) and act(observation, instruction)"
        )
    return policy


def _load_file(file: Path, spec: str) -> Any:
    if not file.is_file():
        raise InputError(f"policy '{spec}': no such file {file}")
    found = importlib.util.spec_from_file_location(file.stem, file)
    if found is None or found.loader is None:
        raise InputError(f"policy '{spec}': {file} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[file.stem] = module
    try:
        found.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is named as such
        raise InputError(f"policy '{spec}': {file} raised {_brief(error)}") from error
    return module


def _load_module(name: str, spec: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is named as such
        raise InputError(f"policy '{spec}': importing {name} raised {_brief(error)}") from error


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _hold(gripper: float) -> npt.ArrayLike:
    return np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, gripper])
