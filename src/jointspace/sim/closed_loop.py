"""Policies at work: success per skill over seeded episodes, floors and ceiling beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64
from rich.table import Table

from jointspace.errors import InputError
from jointspace.evaluation.wilson import Proportion, proportion
from jointspace.sim.environment import MAX_STEPS, Observation, TabletopEnv
from jointspace.sim.goals import SKILLS
from jointspace.sim.policies import Policy, Privileged

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class ClosedLoopResult:
    """How often each policy reached its goal; all met the same scenes, goals and wordings.

    Attributes:
        success: policy -> skill -> successes, episodes and 95 % Wilson interval.
        overall: policy -> the same over all skills, each with as many episodes.
        mean_steps: policy -> steps of its successful episodes, on average; NaN without any.
        episodes_per_skill: of each policy.
        max_steps: after which an episode failed.
        seed: that gave the episodes.
        held_out_wording: whether the wordings were those that are never trained on.
    """

    success: Mapping[str, Mapping[str, Proportion]]
    overall: Mapping[str, Proportion]
    mean_steps: Mapping[str, float]
    episodes_per_skill: int
    max_steps: int
    seed: int
    held_out_wording: bool

    def render(self) -> Table:
        """Returns a table of skills by policies: success in percent, and its interval."""
        table = Table(
            caption=f"success in %, with its {_CONFIDENCE:.0%} Wilson interval; "
            f"{self.episodes_per_skill} episodes per skill, the same for every policy"
        )
        table.add_column("skill")
        for name in self.success:
            table.add_column(name, justify="right")
        skills = list(next(iter(self.success.values())))
        for skill in skills:
            cells = (_percent(of_skill[skill]) for of_skill in self.success.values())
            table.add_row(skill, *cells, end_section=skill == skills[-1])
        table.add_row("all", *(_percent(each) for each in self.overall.values()), style="bold")
        return table

    def to_json(self) -> dict[str, Any]:
        """Returns everything; a mean over nothing is null."""
        return {
            "episodes_per_skill": self.episodes_per_skill,
            "max_steps": self.max_steps,
            "seed": self.seed,
            "held_out_wording": self.held_out_wording,
            "confidence": _CONFIDENCE,
            "policies": {
                name: {
                    "overall": _plain(self.overall[name]),
                    "skills": {skill: _plain(each) for skill, each in of_skill.items()},
                    "mean_steps": None if np.isnan(steps := self.mean_steps[name]) else steps,
                }
                for name, of_skill in self.success.items()
            },
        }


def run_closed_loop(
    policies: Mapping[str, Policy],
    *,
    episodes_per_skill: int,
    seed: int = 0,
    skills: Sequence[str] = SKILLS,
    cameras: Sequence[str] = (),
    image_px: int = 96,
    renderer: Literal["ray", "gl"] = "ray",
    samples: int = 2,
    max_steps: int = MAX_STEPS,
    held_out_wording: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClosedLoopResult:
    """Lets every policy act in the same seeded episodes.

    A policy sees its observation and the instruction, nothing else; a `Privileged` one, such as
    the expert, also looks into the simulation.

    Args:
        policies: name -> policy.
        episodes_per_skill: of each policy; 100 make an interval of ten points about one half.
        seed: of the episodes; not of what policies draw.
        skills: to be asked for.
        cameras: whose pictures the observation has.
        image_px: side of the square pictures.
        renderer: `ray` needs nothing but a processor; `gl` an OpenGL library.
        samples: rays along each side of a pixel at edges, as in the data that a policy knows.
        max_steps: after which an episode has failed.
        held_out_wording: whether to tell the goals in wordings that are never trained on.
        progress: is called with the episodes done and in all.

    Returns:
        Success of every policy per skill and overall.

    Raises:
        InputError: no policy, no skill or no episode, an unknown skill or camera, or a policy
            that raises or returns no seven finite numbers.
        MissingExtraError: MuJoCo is not installed.
    """
    if not policies or not skills:
        raise InputError("expected at least one policy and one skill, got none")
    if episodes_per_skill < 1:
        raise InputError(f"episodes: got {episodes_per_skill}, expected 1 or more per skill")
    env = TabletopEnv(
        cameras=cameras,
        image_px=image_px,
        renderer=renderer,
        samples=samples,
        max_steps=max_steps,
    )
    reached: dict[str, dict[str, list[bool]]] = {
        name: {skill: [] for skill in skills} for name in policies
    }
    steps: dict[str, list[int]] = {name: [] for name in policies}
    total, done = len(policies) * len(skills) * episodes_per_skill, 0
    for skill, episode_seed in _episodes(skills, episodes_per_skill, seed):
        for name, policy in policies.items():
            observation, info = env.reset(
                seed=episode_seed, skill=skill, held_out_wording=held_out_wording
            )
            actor = _Actor(name, policy, episode_seed)
            num_steps = _run_episode(env, actor, observation, str(info["instruction"]))
            reached[name][skill].append(env.success)
            if env.success:
                steps[name].append(num_steps)
            done += 1
            if progress is not None:
                progress(done, total)
    return ClosedLoopResult(
        success={
            name: {skill: _share(each) for skill, each in of_skill.items()}
            for name, of_skill in reached.items()
        },
        overall={
            name: _share([each for of_one in of_skill.values() for each in of_one])
            for name, of_skill in reached.items()
        },
        mean_steps={
            name: float(np.mean(each)) if each else float("nan") for name, each in steps.items()
        },
        episodes_per_skill=episodes_per_skill,
        max_steps=max_steps,
        seed=seed,
        held_out_wording=held_out_wording,
    )


def _episodes(skills: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, int]]:
    """Yields skill and seed of every episode; a longer run starts with those of a shorter one."""
    if seed < 0:
        raise InputError(f"seed: got {seed}, expected 0 or more")
    for skill in skills:
        for number in range(count):
            # An unknown skill is refused by the environment, with the known ones.
            place = SKILLS.index(skill) if skill in SKILLS else 0
            yield skill, int(np.random.SeedSequence([seed, place, number]).generate_state(1)[0])


@dataclass(frozen=True)
class _Actor:
    """A policy in one episode; what goes wrong in it is told with its circumstances."""

    name: str
    policy: Policy
    seed: int

    def reset(self, env: TabletopEnv, observation: Observation, instruction: str) -> None:
        try:
            if isinstance(self.policy, Privileged):
                self.policy.watch(env)
            self.policy.reset(observation, instruction)
        except Exception as error:
            raise InputError(
                f"policy '{self.name}', episode of seed {self.seed}: reset raised "
                f"{type(error).__name__}: {error}"
            ) from error

    def act(
        self, observation: Observation, instruction: str, *, step: int, action_dim: int
    ) -> Float64[np.ndarray, " action_dim"]:
        where = f"policy '{self.name}', episode of seed {self.seed}, step {step}"
        try:
            action = np.asarray(self.policy.act(observation, instruction), dtype=np.float64)
        except Exception as error:
            raise InputError(f"{where}: act raised {type(error).__name__}: {error}") from error
        if action.shape != (action_dim,) or not np.isfinite(action).all():
            raise InputError(
                f"{where}: act returned {np.array2string(action, threshold=10)}, "
                f"expected {action_dim} finite numbers"
            )
        return action


def _run_episode(
    env: TabletopEnv, actor: _Actor, observation: Observation, instruction: str
) -> int:
    """Acts until the episode ends, and returns its number of steps."""
    actor.reset(env, observation, instruction)
    step, ended = 0, False
    while not ended:
        action = actor.act(observation, instruction, step=step, action_dim=env.action_dim)
        observation, _, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        step += 1
    return step


def _share(reached: Sequence[bool]) -> Proportion:
    return proportion(sum(reached), len(reached), confidence=_CONFIDENCE)


def _percent(share: Proportion) -> str:
    return f"{100 * share.rate:.0f} ({100 * share.low:.0f}-{100 * share.high:.0f})"


def _plain(share: Proportion) -> dict[str, int | float]:
    return asdict(share) | {"rate": share.rate}
