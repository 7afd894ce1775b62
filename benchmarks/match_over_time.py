"""What a robot accepts while it moves: its last window, beside all that it saw since it was told.

Test episodes are shown picture by picture to the stream of a robot, as if each had just been told
its instruction. With every picture both rows are compared with every instruction, as on the robot:
the row of the last window by the bundle's threshold of windows, the row of all since the start by
its threshold over time. A decision holds: taken up above the band, let go below it.

Run: python benchmarks/match_over_time.py RUN BUNDLE --data DATASET
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.data.recording import Recording
from jointspace.data.samples import SampleSet
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.evaluation.decision import Decision
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.matching import match_scores
from jointspace.export.growth import shares

WINDOW, SINCE = "last window", "since it was told"


@dataclass(frozen=True)
class Moment:
    """Shares of pairs at a time, every episode weighing alike.

    Attributes:
        time_s: since the robot was told.
        right_held: right instructions that are accepted then.
        right_ever: right instructions that were accepted at any time until then.
        wrong_held: wrong instructions that are accepted then.
        wrong_ever: wrong instructions that were accepted at any time until then.
        wrong_rejected: wrong instructions that are rejected then.
    """

    time_s: float
    right_held: float
    right_ever: float
    wrong_held: float
    wrong_ever: float
    wrong_rejected: float


def main() -> None:
    """Measures, prints a table, and writes JSON if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every-s", type=float, default=0.5, help="seconds from line to line")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    opened = open_run(arguments.run, data=arguments.data)
    embedder = BundleEmbedder.load(arguments.bundle)
    window, growth = embedder.thresholds[VISION], embedder.growth[VISION]
    fps = opened.preprocessor.fps
    stride = max(1, round(arguments.every_s * fps))
    times_s = np.arange(1, (growth.longest_s + 1.5) * fps + 1) / fps
    rows = stream_rows(opened, embedder, times_s, longest_s=growth.longest_s)
    whole = embed_samples(
        embedder,
        SampleSet.of_episodes(
            opened.dataset, opened.store, opened.preprocessor, episodes=opened.splits.test
        ),
        modalities=(VISION, TEXT),
    )

    def by_time(similarity: float, time_s: float) -> Decision:
        return growth.decide(similarity, elapsed_s=min(time_s, growth.longest_s))

    found = {
        WINDOW: moments(whole, rows[WINDOW], times_s, lambda s, _: window.decide(s)),
        SINCE: moments(whole, rows[SINCE], times_s, by_time),
    }
    shown = {name: each[stride - 1 :: stride] for name, each in found.items()}
    for name, each in shown.items():
        _print(name, each)
    if arguments.json:
        payload = {"version": 1, "num_episodes": len(opened.splits.test)}
        payload |= {name: [vars(m) for m in each] for name, each in shown.items()}
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def stream_rows(
    opened: OpenedRun, embedder: BundleEmbedder, times_s: np.ndarray, *, longest_s: float
) -> dict[str, np.ndarray]:
    """Shows test episodes to a stream; after its end an episode stays as it was."""
    episodes = opened.splits.test
    shape = (len(times_s), len(episodes), embedder.embed_dim)
    rows = {name: np.zeros(shape, np.float32) for name in (WINDOW, SINCE)}
    for row, position in enumerate(episodes):
        episode = opened.dataset.episodes[position]
        made = opened.preprocessor
        cameras = Recording.of_episode(episode, position, opened.store, made).cameras
        stream = VisionStream(embedder, longest_s=longest_s)
        taken_s = episode.time_s - episode.time_s[0]
        last = np.searchsorted(taken_s, times_s + 0.5 / made.fps) - 1
        for step in range(int(last[-1]) + 1):
            for camera, pictures in zip(made.cameras, cameras, strict=True):
                if pictures is not None:
                    stream.add(camera, pictures[step], float(taken_s[step]))
            if (last == step).any():
                rows[WINDOW][last == step, row] = stream.embedding(float(taken_s[step])).row
                rows[SINCE][last == step, row] = stream.grown(0.0).row
    return rows


def moments(
    whole: Embeddings,
    rows: np.ndarray,
    times_s: np.ndarray,
    decide: Callable[[float, float], Decision],
) -> list[Moment]:
    """Judges every pair at every time, which are those of the pictures."""
    texts = whole.vectors[TEXT]
    scores = [
        match_scores(replace(whole, vectors={VISION: each, TEXT: texts}), VISION) for each in rows
    ]
    right = scores[0].right
    held, ever = np.zeros((2, len(right)), dtype=np.bool_)
    found = []
    for time_s, each in zip(times_s.tolist(), scores, strict=True):
        said = np.array([decide(float(similarity), time_s) for similarity in each.similarity])
        held = (said == "accept") | (held & (said == "abstain"))
        ever = ever | held
        found.append(
            Moment(
                time_s,
                right_held=shares(each, held, right),
                right_ever=shares(each, ever, right),
                wrong_held=shares(each, held, ~right),
                wrong_ever=shares(each, ever, ~right),
                wrong_rejected=shares(each, said == "reject", ~right),
            )
        )
    return found


def _print(name: str, found: list[Moment]) -> None:
    table = Table(title=name, title_justify="left")
    headings = ("right, then", "right, ever", "wrong, then", "wrong, ever", "wrong rejected")
    for heading in ("seconds", *headings):
        table.add_column(heading, justify="right")
    for each in found:
        seconds, *rates = vars(each).values()
        table.add_row(f"{seconds:.1f}", *(f"{rate:.3f}" for rate in rates))
    Console().print(table)


if __name__ == "__main__":
    main()
