"""The tabletop as an environment: a seed gives a scene, a goal and its wording."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, UInt8

from jointspace.errors import InputError, did_you_mean
from jointspace.sim.goals import SKILLS, Goal, current_poses, holds, possible_goals
from jointspace.sim.language import goal_name, say
from jointspace.sim.layout import Layout, draw_layout
from jointspace.sim.scene import ACTION_NAMES, CONTROL_HZ, STATE_NAMES
from jointspace.sim.world import World

SUCCESS_STEPS = 3
"""The goal must hold at the end of so many steps in a row: passing through does not count."""

MAX_STEPS = 120

_MOST_LAYOUTS = 400
"""Scenes drawn before a wish is called impossible; the rarest sensible one needs about ten."""


class Observation(TypedDict):
    """What a policy gets to see.

    Keys:
        state: in the order of `jointspace.sim.scene.STATE_NAMES`.
        pictures: camera -> picture; empty without cameras.
    """

    state: Float32[np.ndarray, " state_dim"]
    pictures: dict[str, UInt8[np.ndarray, "height width 3"]]


class TabletopEnv:
    """A simulated tabletop with one instruction per episode, in the style of Gymnasium.

    Scene, goal and wording follow from the seed of `reset` alone, so equal seeds are equal
    episodes, in every process and whatever ran before.

    Attributes:
        world: the physics, which a scripted expert looks into; a learned policy must not.
        max_steps: after which an episode is truncated.

    Args:
        cameras: of `front` and `wrist`; none renders nothing, which is much faster.
        image_px: side of the square pictures.
        renderer: `ray` needs nothing but a processor; `gl` an OpenGL library.
        samples: rays along each side of a pixel at edges: 1 is fast, 2 smooth.
        max_steps: see the attributes.

    Raises:
        InputError: an unknown camera, a picture without pixels, no OpenGL library, or no steps.
        MissingExtraError: MuJoCo is not installed.

    Example:
        env = TabletopEnv()
        observation, info = env.reset(seed=0)
        print(info["instruction"])
        observation, reward, terminated, truncated, info = env.step(np.zeros(7))
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str] = ("front",),
        image_px: int = 96,
        renderer: Literal["ray", "gl"] = "ray",
        samples: int = 2,
        max_steps: int = MAX_STEPS,
    ) -> None:
        if max_steps < 1:
            raise InputError(f"max_steps: got {max_steps}, expected 1 or more")
        self.world = World(cameras=cameras, image_px=image_px, renderer=renderer, samples=samples)
        self.max_steps = max_steps
        self._goal: Goal | None = None
        self._instruction = ""
        self._ended = True

    @property
    def action_dim(self) -> int:
        """Length of an action."""
        return len(ACTION_NAMES)

    @property
    def state_dim(self) -> int:
        """Length of the observed state."""
        return len(STATE_NAMES)

    @property
    def fps(self) -> int:
        """Steps per second."""
        return CONTROL_HZ

    @property
    def goal(self) -> Goal:
        """What is to be reached.

        Raises:
            InputError: there was no reset yet.
        """
        if self._goal is None:
            raise InputError("the environment has no goal yet: call reset first")
        return self._goal

    @property
    def instruction(self) -> str:
        """The goal as a sentence; empty before the first reset."""
        return self._instruction

    @property
    def success(self) -> bool:
        """Whether the goal held for the last `SUCCESS_STEPS` steps."""
        return self._goal is not None and self._steps_held >= SUCCESS_STEPS

    def reset(
        self,
        *,
        seed: int,
        skill: str | None = None,
        goal: Goal | None = None,
        layout: Layout | None = None,
        allows: Callable[[Goal], bool] | None = None,
        held_out_wording: bool = False,
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode.

        Skills are drawn evenly, then evenly one of the skill's goals in the scene: skills with
        few goals are not drowned. Scenes are drawn until one has such a goal.

        Args:
            seed: decides everything that the other arguments leave open.
            skill: of the goal; any if None.
            goal: a possible goal of the scene, instead of a drawn one.
            layout: the scene, instead of a drawn one.
            allows: tells which goals may be drawn; all if None.
            held_out_wording: whether the wording is one of those that are never trained on.

        Returns:
            The first observation, and `info` with `instruction`, `goal` (its name), `success` and
            `time_s`.

        Raises:
            InputError: an unknown skill, a negative seed, or a wish that no scene fulfils.
        """
        if seed < 0:
            raise InputError(f"seed: got {seed}, expected 0 or more")
        if skill is not None and skill not in SKILLS:
            raise InputError(f"skill '{skill}' is not known.{did_you_mean(skill, SKILLS)}")
        layouts, goals, words = (
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)
        )
        self._goal, self._ended, self._steps_held, self._num_steps = None, True, 0, 0
        wish = _Wish(skill, goal, allows)
        self._goal = self._draw_goal(wish, layout, layouts=layouts, rng=goals)
        self._instruction = say(self._goal, words, held_out=held_out_wording)
        self._start = current_poses(self.world)
        self._ended = False
        return self._observe(), self._info()

    def step(self, action: npt.ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Lets a tenth of a second pass.

        Args:
            action: in the order of `jointspace.sim.scene.ACTION_NAMES`; see `World.step`.

        Returns:
            The observation; a reward of 1 with the step that succeeds, else 0; whether the goal
            was reached, which ends the episode; whether the steps are used up; and `info` as
            from `reset`.

        Raises:
            InputError: no reset came before or the episode has ended, or the action is not seven
                finite numbers.
        """
        if self._ended:
            state = "the episode has ended" if self._goal else "there was no reset yet"
            raise InputError(f"step: {state}; call reset first")
        self.world.step(action)
        self._num_steps += 1
        held = holds(self.goal, self.world, self._start)
        self._steps_held = self._steps_held + 1 if held else 0
        terminated = self.success
        truncated = not terminated and self._num_steps >= self.max_steps
        self._ended = terminated or truncated
        return self._observe(), float(terminated), terminated, truncated, self._info()

    def _draw_goal(
        self,
        wish: "_Wish",
        layout: Layout | None,
        *,
        layouts: np.random.Generator,
        rng: np.random.Generator,
    ) -> Goal:
        if wish.goal is not None:
            return self._checked_goal(wish.goal, layout or draw_layout(layouts))
        skills = SKILLS if wish.skill is None else (wish.skill,)
        for skill in (skills[place] for place in rng.permutation(len(skills))):
            for _ in range(1 if layout else _MOST_LAYOUTS):
                self.world.reset(layout or draw_layout(layouts))
                found = [
                    goal
                    for goal in possible_goals(self.world)
                    if goal.skill == skill and (wish.allows is None or wish.allows(goal))
                ]
                if found:
                    return found[rng.integers(len(found))]
        scenes = "this scene" if layout else f"any of {_MOST_LAYOUTS} scenes"
        wanted = f"of skill '{wish.skill}'" if wish.skill else "at all"
        filtered = " that `allows` lets pass" if wish.allows else ""
        raise InputError(
            f"there is no goal {wanted}{filtered} in {scenes}; "
            "ask for another skill, another layout, or allow more goals"
        )

    def _checked_goal(self, goal: Goal, layout: Layout) -> Goal:
        self.world.reset(layout)
        known = possible_goals(self.world)
        if goal not in known:
            names = [goal_name(each) for each in known]
            raise InputError(
                f"goal '{goal_name(goal)}' is not possible in this scene, or holds already."
                f"{did_you_mean(goal_name(goal), names)}"
            )
        return goal

    def _observe(self) -> Observation:
        pictures = self.world.pictures() if self.world.cameras else {}
        return {"state": self.world.state, "pictures": pictures}

    def _info(self) -> dict[str, Any]:
        return {
            "instruction": self._instruction,
            "goal": goal_name(self.goal),
            "success": self.success,
            "time_s": self.world.time_s,
        }


class _Wish:
    """What the goal of an episode must be."""

    def __init__(
        self, skill: str | None, goal: Goal | None, allows: Callable[[Goal], bool] | None
    ) -> None:
        self.skill = skill
        self.goal = goal
        self.allows = allows
