"""What limits the retrieval policy: each of its parts alone, and the rest with that part given.

- `told the places`: success of a network of the policy's kind that is told the true places of item
  and target: by cloning, by retrieval in its rows, and by local ridge regression and the nearest
  demonstration in those features as they are. Its demonstrations are made on the spot.
- `finding`: in the first pictures of unseen scenes, how far what the policy takes for the item, or
  for the target, lies from the true one.
- `language`: what a linear probe of the instruction's row names, in new sentences of trained
  wordings, and in wordings that are never trained on.

Run: python benchmarks/closed_loop_limits.py RUN POLICY --episodes 10 [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from told_policy import demonstrate, told_policies

from jointspace.commands.learn import text_embedder
from jointspace.evaluation.wilson import Proportion, proportion
from jointspace.models.run_folder import load_run
from jointspace.progress import progress_bar
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import Demonstrations, EmbedTexts
from jointspace.sim.closed_loop import run_closed_loop
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.goals import SKILLS, Goal
from jointspace.sim.language import sentences
from jointspace.sim.plan import is_unseen_combination

EXPERIMENTS = ("told", "finding", "language")
_NEAR_M = 0.04
_RIDGE = 0.05
_TARGETED = ("put", "stack", "beside")


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
        experiment: which part is looked at.
        what: of it.
        share: of trials in which it went well, with its interval.
        note: what goes beside the share.
    """

    experiment: str
    what: str
    share: Proportion
    note: str = ""


def told_the_places(
    num_demonstrations: int, *, num_steps: int, episodes: int, seed: int
) -> Iterator[Finding]:
    """Measures success where finding and language are given."""
    with progress_bar("demonstrating", show=sys.stderr.isatty()) as report:
        # Other scenes than those that are measured, whatever the seed.
        told = demonstrate(num_demonstrations, seed=seed + 1_000_000, progress=report)
    policies = told_policies(told, num_steps=num_steps, seed=0)
    with progress_bar("episodes", show=sys.stderr.isatty()) as report:
        result = run_closed_loop(policies, episodes_per_skill=episodes, seed=seed, progress=report)
    for name, overall in result.overall.items():
        skills = result.success[name].items()
        note = ", ".join(f"{skill} {100 * each.rate:.0f}" for skill, each in skills)
        yield Finding("told the places", name, overall, note)


def finding(
    known: Demonstrations, embed: EmbedTexts, *, episodes: int, seed: int
) -> Iterator[Finding]:
    """Measures how far what the policy finds in first pictures is from the truth."""
    env = TabletopEnv(cameras=known.cameras[:1], image_px=known.image_px, samples=1)
    away_m: dict[tuple[str, str], list[float]] = {}
    for skill, goal in _goals(env, episodes, seed=seed):
        picture = env.world.pictures()[known.cameras[0]]
        words = known.observer.palette.words(picture)
        relevance = known.observer.grounding.relevance(embed([env.instruction])[0])
        things = (("item", goal.item), ("target", goal.target))
        for (part, item), relevant in zip(things, relevance, strict=True):
            if item is not None:
                off = known.observer.find(words, relevant) - env.world.position(item)[:2]
                away_m.setdefault((part, skill), []).append(float(np.linalg.norm(off)))
    for part, chosen in (("item", SKILLS), *(("target", (skill,)) for skill in _TARGETED)):
        errors_m = np.array([each for skill in chosen for each in away_m[part, skill]])
        # What is not found is as far away as can be.
        errors_m[np.isnan(errors_m)] = np.inf
        near = proportion(int((errors_m < _NEAR_M).sum()), len(errors_m))
        where = "every skill" if chosen is SKILLS else chosen[0]
        note = f"median {100 * np.median(errors_m):.1f} cm"
        yield Finding("finding", f"{part} of {where}, within {100 * _NEAR_M:.0f} cm", near, note)


def language(embed: EmbedTexts, *, num_goals: int, seed: int) -> Iterator[Finding]:
    """Measures what a linear probe of rows names."""
    env = TabletopEnv(cameras=())
    train, test = ([g for _, g in _goals(env, num_goals, seed=s)] for s in (seed + 1, seed))
    trained = [(text, goal) for goal in train for text in sentences(goal)]
    known = {text for text, _ in trained}
    new = [(text, goal) for goal in test for text in sentences(goal) if text not in known]
    unseen = [(text, goal) for goal in test for text in sentences(goal, held_out=True)]
    rows = {
        name: np.column_stack([embed([text for text, _ in pairs]), np.ones(len(pairs))])
        for name, pairs in (("trained", trained), ("new", new), ("unseen", unseen))
    }
    for factor in ("skill", "colour", "target's colour"):
        names = sorted({_factor(goal, factor) for _, goal in trained} - {""})
        labels = np.array([_factor(goal, factor) for _, goal in trained])
        own = rows["trained"][labels != ""]
        wanted = labels[labels != "", None] == np.array(names)
        gram = own.T @ own + _RIDGE * np.eye(own.shape[1])
        probe = np.linalg.solve(gram, own.T @ wanted)
        for name, pairs in (("new", new), ("unseen", unseen)):
            truth = np.array([_factor(goal, factor) for _, goal in pairs])
            found = np.array(names)[(rows[name] @ probe).argmax(1)]
            right = int((found == truth)[truth != ""].sum())
            sentences_of = "trained" if name == "new" else "unseen"
            what = f"{factor}, {sentences_of} wordings"
            yield Finding("language", what, proportion(right, int((truth != "").sum())))


def _goals(env: TabletopEnv, episodes: int, *, seed: int) -> Iterator[tuple[str, Goal]]:
    """Yields goals of seeded scenes, each skill's as often; the scene is in place."""
    for number in range(episodes):
        for place, skill in enumerate(SKILLS):
            entropy = np.random.SeedSequence([seed, number, place])
            env.reset(
                seed=int(entropy.generate_state(1)[0]),
                skill=skill,
                allows=lambda goal: not is_unseen_combination(goal),
            )
            yield skill, env.goal


def _factor(goal: Goal, factor: str) -> str:
    if factor == "skill":
        return goal.skill
    if factor == "colour":
        return goal.item.colour
    return goal.target.colour if goal.target else ""


def main() -> int:
    """Measures, prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--demonstrations", type=int, default=900, help="of the told network")
    parser.add_argument("--steps", type=int, default=4500, help="of its training")
    parser.add_argument("--episodes", type=int, default=10, help="of the told policies, per skill")
    parser.add_argument("--scenes", type=int, default=40, help="to find things in, per skill")
    parser.add_argument("--goals", type=int, default=80, help="to be named, per skill")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    known, embed = load_demonstrations(arguments.policy), text_embedder(load_run(arguments.run))
    seed = arguments.seed
    findings: list[Finding] = []
    if "told" in arguments.only:
        findings += told_the_places(
            arguments.demonstrations,
            num_steps=arguments.steps,
            episodes=arguments.episodes,
            seed=seed,
        )
    if "finding" in arguments.only:
        findings += finding(known, embed, episodes=arguments.scenes, seed=seed)
    if "language" in arguments.only:
        findings += language(embed, num_goals=arguments.goals, seed=seed)
    table = Table(caption="shares in %, with their 95 % Wilson intervals")
    for name in ("experiment", "what", "share", "of", ""):
        table.add_column(name, justify="right" if name in ("share", "of") else "left")
    for each in findings:
        share = each.share
        text = f"{100 * share.rate:.0f} ({100 * share.low:.0f}-{100 * share.high:.0f})"
        table.add_row(each.experiment, each.what, text, str(share.num_trials), each.note)
    Console(width=180).print(table)
    if arguments.json:
        payload = {"version": 1, "findings": [asdict(each) for each in findings]}
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
