"""What can act on the tabletop: the protocol, floors and ceiling to compare with, and your own."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float64

from jointspace.errors import InputError, did_you_mean
from jointspace.sim.environment import Observation, TabletopEnv
from jointspace.sim.experts import Expert
from jointspace.sim.goals import Goal, possible_goals
from jointspace.sim.scene import ACTION_NAMES

STAY = np.array((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
"""The action that changes nothing at the start: no motion, gripper open."""

_RANDOM_STEPS = 8
_RANDOM_MOVE_M = 0.02
_RANDOM_TURN_RAD = 0.05


@runtime_checkable
class Policy(Protocol):
    """Anything that turns observation and instruction into an action, ten times a second."""

    def reset(self, observation: Observation, instruction: str) -> None:
        """Starts an episode; forgets the one before."""
        ...

    def act(self, observation: Observation, instruction: str) -> npt.ArrayLike:
        """Returns seven numbers, as `jointspace.sim.scene.ACTION_NAMES` names them."""
        ...


@runtime_checkable
class Privileged(Protocol):
    """A policy that looks into the simulation: a reference, never a competitor."""

    def watch(self, env: TabletopEnv) -> None:
        """Is called before each episode's `reset`, with the episode's scene in place."""
        ...


class NoOpPolicy:
    """Does nothing: what it reaches held by itself."""

    def reset(self, observation: Observation, instruction: str) -> None:
        """Has nothing to forget."""

    def act(self, observation: Observation, instruction: str) -> Float64[np.ndarray, "7"]:  # noqa: ARG002
        """Stays."""
        return STAY


class RandomPolicy:
    """Wanders about smoothly, opening and closing the gripper.

    Args:
        seed: of the motions; the same seed wanders alike.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._num_steps = 0

    def reset(self, observation: Observation, instruction: str) -> None:  # noqa: ARG002
        """Starts with a new heading."""
        self._num_steps = 0

    def act(self, observation: Observation, instruction: str) -> Float64[np.ndarray, "7"]:  # noqa: ARG002
        """Keeps a heading for some steps, then draws another."""
        if self._num_steps % _RANDOM_STEPS == 0:
            self._move_m = self._rng.normal(0.0, _RANDOM_MOVE_M, 3)
            self._gripper = float(self._rng.random() < 0.5)
        self._num_steps += 1
        turn_rad = self._rng.normal(0.0, _RANDOM_TURN_RAD)
        return np.array((*self._move_m, 0.0, 0.0, turn_rad, self._gripper))


class ExpertPolicy:
    """The scripted expert, which sees the true scene: the ceiling.

    Args:
        seed: of its speed, heights and noise.
        noise_std_m: how much its hand shakes; see `ActionNoise`.
    """

    def __init__(self, seed: int = 0, *, noise_std_m: float = 0.0) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise_std_m = noise_std_m
        self._env: TabletopEnv | None = None

    def watch(self, env: TabletopEnv) -> None:
        """Looks at the scene and its goal."""
        self._env = env

    def reset(self, observation: Observation, instruction: str) -> None:  # noqa: ARG002
        """Plans the episode.

        Raises:
            InputError: `watch` was not called before.
        """
        if self._env is None:
            raise InputError(f"{type(self).__name__} sees no scene: call watch(env) first")
        goal = self._choose(self._env)
        self._last = STAY
        self._expert = Expert(self._env.world, goal, rng=self._rng, noise_std_m=self._noise_std_m)

    def act(self, observation: Observation, instruction: str) -> Float64[np.ndarray, "7"]:  # noqa: ARG002
        """Follows the plan, and stays where it ends."""
        action = self._expert.act()
        if action is None:
            return np.array((*STAY[:6], self._last[6]))
        self._last = action
        return action

    def _choose(self, env: TabletopEnv) -> Goal:
        return env.goal


class OtherGoalExpert(ExpertPolicy):
    """The expert at another goal of the same scene, of the same skill where there is one.

    A policy that moves well but does not listen reaches this.

    Args:
        seed: of its choice, speed and heights.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)

    def _choose(self, env: TabletopEnv) -> Goal:
        others = [goal for goal in possible_goals(env.world) if goal != env.goal]
        alike = [goal for goal in others if goal.skill == env.goal.skill]
        chosen = alike or others
        return chosen[self._rng.integers(len(chosen))]


def reference_policies() -> dict[str, Policy]:
    """Returns floors and ceiling by name: what every policy is to be compared with."""
    return {
        "no-op": NoOpPolicy(),
        "random": RandomPolicy(),
        "other-goal": OtherGoalExpert(),
        "expert": ExpertPolicy(),
    }


def load_policy(spec: str) -> Policy:
    """Makes the policy that a command line names.

    Args:
        spec: a name of `reference_policies`, or `module:factory` or `path/to/file.py:factory`,
            where `factory()` returns an object with `reset` and `act`: a class, or a function
            that loads weights first.

    Returns:
        The policy.

    Raises:
        InputError: nothing has that name, it cannot be imported or made, or it is no policy.
    """
    references = reference_policies()
    if spec in references:
        return references[spec]
    source, _, factory_name = spec.rpartition(":")
    if not source or not factory_name:
        raise InputError(
            f"policy '{spec}': expected one of {', '.join(references)}, or your own as "
            f"module:factory or path/to/file.py:factory.{did_you_mean(spec, references)}"
        )
    module = _load_module(source, spec)
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise InputError(
            f"policy '{spec}': {source} has nothing to call named '{factory_name}'."
            f"{did_you_mean(factory_name, [name for name in names if name[0] != '_'])}"
        )
    try:
        policy = factory()
    except Exception as error:
        raise InputError(
            f"policy '{spec}': {factory_name}() raised {type(error).__name__}: {error}"
        ) from error
    return _checked(policy, spec)


def _load_module(source: str, spec: str) -> ModuleType:
    try:
        if source.endswith(".py"):
            return _load_file(Path(source))
        return importlib.import_module(source)
    except InputError as error:
        raise InputError(f"policy '{spec}': {error}") from error
    except Exception as error:
        raise InputError(
            f"policy '{spec}': importing {source} raised {type(error).__name__}: {error}"
        ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected path/to/file.py:factory")
    name = f"jointspace_policy_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise InputError(f"{path} is no Python file; expected path/to/file.py:factory")
    module = importlib.util.module_from_spec(found)
    # Dataclasses and pickles look their module up by its name.
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


def _checked(policy: Any, spec: str) -> Policy:
    missing = [name for name in ("reset", "act") if not callable(getattr(policy, name, None))]
    if missing or inspect.isclass(policy):
        raise InputError(
            f"policy '{spec}': the factory returned {type(policy).__name__}, expected an object "
            "with reset(observation, instruction) and act(observation, instruction) -> "
            f"{len(ACTION_NAMES)} numbers"
        )
    return policy
