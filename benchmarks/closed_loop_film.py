"""A short film of the retrieval policy at work: successes and failures, as the policy sees them.

Run: python benchmarks/closed_loop_film.py RUN POLICY docs/assets/closed_loop.gif
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jointspace.commands.learn import text_embedder
from jointspace.models.run_folder import load_run
from jointspace.robot.policy.folder import load_demonstrations
from jointspace.robot.policy.retrieval import RetrievalPolicy
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.goals import SKILLS

_ZOOM = 2
_BAR_PX = 18
_FRAME_MS = 160
_LAST_MS = 900
_MOST_STEPS = 90


def main() -> int:
    """Films one episode a skill, and writes the GIF."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("policy", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--skills", nargs="*", default=list(SKILLS))
    arguments = parser.parse_args()
    known = load_demonstrations(arguments.policy)
    policy = RetrievalPolicy(known, embed_texts=text_embedder(load_run(arguments.run)))
    env = TabletopEnv(
        cameras=known.cameras, image_px=known.image_px, samples=1, max_steps=_MOST_STEPS
    )
    frames: list[Image.Image] = []
    durations_ms: list[int] = []
    for skill in arguments.skills:
        observation, info = env.reset(seed=arguments.seed, skill=skill)
        policy.reset(observation, info["instruction"])
        ended, step = False, 0
        while not ended:
            if step % 4 == 0:
                frames.append(_frame(observation["pictures"], info["instruction"], ""))
                durations_ms.append(_FRAME_MS)
            action = policy.act(observation, info["instruction"])
            observation, _, terminated, truncated, _ = env.step(action)
            ended, step = terminated or truncated, step + 1
        verdict = "done" if env.success else "failed"
        frames.append(_frame(observation["pictures"], info["instruction"], verdict))
        durations_ms.append(_LAST_MS)
        print(f"{skill}: {info['instruction']}: {verdict}")
    frames[0].save(
        arguments.out, save_all=True, append_images=frames[1:], duration=durations_ms, loop=0
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")
    return 0


def _frame(pictures: dict[str, np.ndarray], instruction: str, verdict: str) -> Image.Image:
    side_px = next(iter(pictures.values())).shape[0] * _ZOOM
    frame = Image.new("RGB", (side_px * len(pictures), side_px + _BAR_PX), "white")
    for place, picture in enumerate(pictures.values()):
        zoomed = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BICUBIC)
        frame.paste(zoomed, (place * side_px, _BAR_PX))
    colour = {"": "black", "done": "green", "failed": "red"}[verdict]
    ImageDraw.Draw(frame).text((4, 3), f"{instruction}  {verdict}", fill=colour)
    # Median cut would spend all colours on the table, and leave none for small objects.
    return frame.quantize(160, method=Image.Quantize.MAXCOVERAGE)


if __name__ == "__main__":
    sys.exit(main())
