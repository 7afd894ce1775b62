"""One episode of a simulated data set: an expert at work, recorded step by step."""

import numpy as np

from jointspace.data.lerobot_write import EpisodeRecord
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.experts import Expert
from jointspace.sim.goals import Goal, possible_goals
from jointspace.sim.language import factors, goal_name, say
from jointspace.sim.plan import (
    UNSEEN_COMBINATIONS,
    UNSEEN_PARAPHRASES,
    SimulationPlan,
    is_unseen_combination,
)

MAX_OTHER_INSTRUCTIONS = 8
"""Of all that the robot could have been told in a scene, so many are recorded."""


def simulate_episode(env: TabletopEnv, plan: SimulationPlan, number: int) -> EpisodeRecord:
    """Simulates one episode of a plan; it depends on the plan and its number alone.

    The picture and the state of a step are those before its action. Goals of a held-out
    combination, and wordings that are held out, occur in their own splits only, also among the
    other instructions: a combination that is always a wrong answer would be no unseen one.

    Args:
        env: with the cameras of the plan.
        plan: what the data set is to hold.
        number: of the episode.

    Returns:
        The recording; `success` tells whether the goal was reached.
    """
    split = plan.split_of(number)
    unseen = split == UNSEEN_COMBINATIONS
    held_out_wording = split == UNSEEN_PARAPHRASES
    scene_seed, motion_seed = np.random.SeedSequence([plan.seed, number]).generate_state(2).tolist()
    rng = np.random.default_rng(motion_seed)
    observation, _ = env.reset(
        seed=scene_seed,
        allows=lambda goal: is_unseen_combination(goal) == unseen,
        held_out_wording=held_out_wording,
    )
    goal = env.goal
    others = _other_goals(env, goal, unseen=unseen, rng=rng)
    noise_std_m = plan.noise_std_m if rng.random() < plan.noisy_fraction else 0.0
    expert = Expert(env.world, goal, rng=rng, noise_std_m=noise_std_m)
    states, actions = [], []
    pictures: dict[str, list[np.ndarray]] = {camera: [] for camera in plan.cameras}
    success = False
    while (action := expert.act()) is not None:
        states.append(observation["state"])
        actions.append(np.asarray(action, dtype=np.float32))
        for camera, picture in observation["pictures"].items():
            pictures[camera].append(picture)
        observation, _, terminated, truncated, info = env.step(action)
        success = bool(info["success"])
        if terminated or truncated:
            break
    return EpisodeRecord(
        instruction=env.instruction,
        action=np.stack(actions),
        state=np.stack(states),
        pictures={camera: np.stack(each) for camera, each in pictures.items()},
        goal=goal_name(goal),
        success=success,
        split=split,
        factors=factors(goal),
        other_instructions=tuple(say(other, rng, held_out=held_out_wording) for other in others),
    )


def _other_goals(
    env: TabletopEnv, goal: Goal, *, unseen: bool, rng: np.random.Generator
) -> list[Goal]:
    """Draws other goals of the scene, up to half of them of the same skill: the hardest."""
    allowed = [
        other
        for other in possible_goals(env.world)
        if other != goal and (unseen or not is_unseen_combination(other))
    ]
    shuffled = [allowed[place] for place in rng.permutation(len(allowed))]
    alike = [other for other in shuffled if other.skill == goal.skill]
    chosen = alike[: MAX_OTHER_INSTRUCTIONS // 2]
    rest = [other for other in shuffled if other not in chosen]
    return chosen + rest[: MAX_OTHER_INSTRUCTIONS - len(chosen)]
