"""A made-up tabletop: goals of skill, colour and shape, two wordings each, and a good space."""

from itertools import product
from pathlib import Path

import numpy as np

from jointspace.batch import ACTION, TEXT, VISION, Embeddings
from jointspace.data.frames import FrameStore
from jointspace.data.schema import DatasetInfo, Episode, RobotDataset, VideoSpan
from jointspace.evaluation.scene import SceneAlternatives
from tests.evaluation.reference import row_ids, unit

SKILLS = ("lift", "push", "rotate", "touch")
COLOURS = {"red": (214, 60, 50), "green": (60, 160, 80), "blue": (50, 90, 200)}
SHAPES = ("block", "ball")
DIRECTIONS = ("left", "right")
WORDINGS = ("{skill} the {colour} {shape}{way}", "please {skill} that {colour} {shape}{way}")
PX = 32
NUM_FRAMES = 12


def goals():
    """Every goal as (name, factors); only a push has a direction."""
    found = []
    for skill, colour, shape in product(SKILLS, COLOURS, SHAPES):
        for direction in DIRECTIONS if skill == "push" else ("",):
            name = " ".join(filter(None, (skill, colour, shape, direction)))
            found.append((name, dict(skill=skill, colour=colour, shape=shape, direction=direction)))
    return found


def words(factors, wording=0):
    way = f" to the {factors['direction']}" if factors["direction"] else ""
    return WORDINGS[wording].format(**factors, way=way)


def tabletop(*, episodes_each=2, seed=0):
    """A data set of which each goal has as many episodes, in both wordings by turns."""
    generator = np.random.default_rng(seed)
    known, episodes = goals(), []
    for index in range(len(known) * episodes_each):
        name, factors = known[index % len(known)]
        others = [f for n, f in known if n != name]
        chosen = generator.choice(len(others), 4, replace=False)
        episodes.append(
            Episode(
                index=100 + index,
                instruction=words(factors, index // len(known) % 2),
                action=np.zeros((NUM_FRAMES, 2), dtype=np.float32),
                state=None,
                sensors={},
                time_s=np.arange(NUM_FRAMES) / 10,
                videos={"front": VideoSpan(Path(f"{index}"), 0, NUM_FRAMES)},
                goal=name,
                factors=factors,
                other_instructions=tuple(words(others[i]) for i in chosen),
            )
        )
    info = DatasetInfo(Path("tabletop"), "test", "", 10.0, ("front",), ("x", "y"), (), {})
    return RobotDataset(info, tuple(episodes))


def tabletop_space(dataset, *, noise=0.3, seed=0, rows_each=1, dim=24):
    """Unit rows: each the sum of what it shows of its goal, and of its own moment.

    Pictures show all factors, motions the skill and the direction.
    """
    generator = np.random.default_rng(seed)
    point = {}

    def vector(name):
        if name not in point:
            own = np.random.default_rng(sum(map(ord, name)) + 7 * len(name))
            point[name] = unit(own.standard_normal((1, dim)))[0]
        return point[name]

    def shown(episode, names):
        return sum(vector(f"{n} {episode.factors[n]}") for n in names if episode.factors[n])

    everything = ("skill", "colour", "shape", "direction")
    episodes = [e for e in dataset.episodes for _ in range(rows_each)]
    instructions, named = dataset.instructions, dataset.goals
    moment = generator.standard_normal((len(episodes), dim))
    vision = np.stack([shown(e, everything) for e in episodes]) + noise * unit(moment) * 3
    motion = np.stack([shown(e, ("skill", "direction")) for e in episodes])
    motion = motion + noise * unit(moment + generator.standard_normal(moment.shape)) * 3
    rows = row_ids(
        [e.index for e in episodes],
        [instructions.index(e.instruction) for e in episodes],
        [named.index(e.goal) for e in episodes],
    )
    vectors = {
        VISION: unit(vision),
        TEXT: unit(np.stack([shown(e, everything) for e in episodes])),
        ACTION: unit(motion),
    }
    return Embeddings(vectors, rows, dict(enumerate(instructions)))


def tabletop_alternatives(dataset, embeddings):
    """The other instructions of every scene, with the vectors of the same text tower."""
    first = {int(i): row for row, i in reversed(list(enumerate(embeddings.rows.instruction)))}
    by_text = {e: embeddings.vectors[TEXT][first[i]] for i, e in embeddings.texts.items()}
    texts = {
        e.index: tuple(t for t in e.other_instructions if t in by_text) for e in dataset.episodes
    }
    return SceneAlternatives({i: t for i, t in texts.items() if t}, by_text)


def tabletop_store(dataset, folder, *, px=PX):
    """Pictures: a coloured shape that moves its own way over a table."""
    files, x = {}, np.arange(px)
    for episode in dataset.episodes:
        frames = np.full((NUM_FRAMES, px, px, 3), 225, dtype=np.uint8)
        frames[:, px // 2 :] = (186, 168, 140)
        for step in range(NUM_FRAMES):
            across = {"left": -1, "right": 1}.get(episode.factors["direction"], 0) * step / 40
            up = step / 40 if episode.factors["skill"] == "lift" else 0
            dx = (x[None, :] - px * (0.5 + across)) / px
            dy = (x[:, None] - px * (0.6 - up)) / px
            is_ball = episode.factors["shape"] == "ball"
            inside = dx**2 + dy**2 < 0.02 if is_ball else np.maximum(abs(dx), abs(dy)) < 0.13
            frames[step, inside] = COLOURS[episode.factors["colour"]]
        file = folder / f"{episode.index}.npy"
        np.save(file, frames)
        files[episode.videos["front"].path, ""] = file
    spans = [episode.videos for episode in dataset.episodes]
    return FrameStore(spans, files, cameras=("front",), image_px=px)
