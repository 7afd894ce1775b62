"""Closed loop from pictures, state and a sentence: the retrieval policy, beside what it is made of.

All meet the same seeded, unseen scenes:

- `retrieval`: local ridge regression over the nearest demonstrations; `mean` and `nearest` of them.
- `cloning`: what the same network, trained on the same episodes, predicts by itself.
- `chapter`: the textbook's rule: if similarity of picture and sentence is above .8, go forward.
- floors and the expert, of `jointspace.sim.policies`.

Run: python benchmarks/closed_loop.py RUN POLICY --episodes 20 [--unseen-wording] [--json FILE]
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from jointspace.batch import VISION
from jointspace.commands.learn import text_embedder
from jointspace.data.collate import Sample
from jointspace.models.embed import TorchEmbedder
from jointspace.models.run_folder import Run, load_run
from jointspace.progress import progress_bar
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from jointspace.sim.closed_loop import run_closed_loop
from jointspace.sim.environment import Observation
from jointspace.sim.goals import SKILLS
from jointspace.sim.policies import STAY, Policy, reference_policies

_SIMILAR = 0.8
_FORWARD_M = 0.02
_REPLAN_STEPS = 5


class Timed:
    """A policy whose decisions are timed.

    Args:
        policy: to be timed.
        every: steps from one look to the next; the steps between only go on.
    """

    def __init__(self, policy: Policy, *, every: int) -> None:
        self._policy = policy
        self._every = every
        self.decision_ms: list[float] = []

    def reset(self, observation: Observation, instruction: str) -> None:
        """Starts an episode."""
        self._step = 0
        self._policy.reset(observation, instruction)

    def act(self, observation: Observation, instruction: str) -> np.ndarray:
        """Acts, and keeps the time that it took."""
        start_s = time.perf_counter()
        action = np.asarray(self._policy.act(observation, instruction))
        if self._step % self._every == 0:
            self.decision_ms.append(1e3 * (time.perf_counter() - start_s))
        self._step += 1
        return action


class ChapterRule:
    """The textbook's policy: similarity above .8 means forward, anything else means stop.

    Args:
        run: of a training.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._embedder = TorchEmbedder(run.model)
        self._texts = text_embedder(run)

    def reset(self, observation: Observation, instruction: str) -> None:  # noqa: ARG002
        """Embeds the sentence."""
        self._text = self._texts([instruction])[0]

    def act(self, observation: Observation, instruction: str) -> np.ndarray:  # noqa: ARG002
        """Goes forward or stays."""
        pictures = observation["pictures"]
        names = [name.split(".")[-1] for name in self._run.preprocessor.cameras]
        frames = np.stack([pictures[name] for name in names])[None]
        sample = Sample(frames=frames, frames_time_s=np.zeros(1))
        row = self._embedder.embed(VISION, self._run.preprocessor.batch([sample]))[0]
        action = STAY.copy()
        action[0] = _FORWARD_M * (float(row @ self._text) > _SIMILAR)
        return action


def main() -> int:
    """Measures, prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--episodes", type=int, default=20, help="per skill and policy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skills", nargs="*", default=list(SKILLS))
    parser.add_argument("--policies", nargs="*", help="only these; all by default")
    parser.add_argument("--unseen-wording", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    joint, known = load_run(arguments.run), load_demonstrations(arguments.policy)
    embed = text_embedder(joint)
    policies: dict[str, Policy] = {
        "retrieval": RetrievalPolicy(known, embed_texts=embed),
        "mean": RetrievalPolicy(known, embed_texts=embed, answer="mean"),
        "nearest": RetrievalPolicy(known, embed_texts=embed, answer="nearest"),
        "cloning": RetrievalPolicy(known, embed_texts=embed, answer="cloning"),
        "chapter": ChapterRule(joint),
        **reference_policies(),
    }
    chosen = arguments.policies or list(policies)
    timed = {
        name: each
        if name in reference_policies()
        else Timed(each, every=1 if name == "chapter" else _REPLAN_STEPS)
        for name, each in policies.items()
        if name in chosen
    }
    with progress_bar("episodes", show=sys.stderr.isatty()) as report:
        result = run_closed_loop(
            timed,
            episodes_per_skill=arguments.episodes,
            seed=arguments.seed,
            skills=arguments.skills,
            cameras=known.cameras,
            image_px=known.image_px,
            samples=1,
            held_out_wording=arguments.unseen_wording,
            progress=report,
        )
    Console(width=180).print(result.render())
    latency_ms = {
        name: dict(zip(("p50", "p99"), np.quantile(each.decision_ms, (0.5, 0.99)), strict=True))
        for name, each in timed.items()
        if isinstance(each, Timed)
    }
    for name, each in latency_ms.items():
        print(f"{name}: decision p50 {each['p50']:.2f} ms, p99 {each['p99']:.2f} ms")
    if arguments.json:
        payload = {"version": 1, "latency_ms": latency_ms, **result.to_json()}
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
