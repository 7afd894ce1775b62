"""A real robot's data: does the trained space beat a linear map on episodes it never saw?

For every seed the episodes are split anew, a space is trained, and both it and the linear floor
(`linear_cca`) retrieve among the same 200 windows of the same unseen episodes. The floor is given
the best of its settings on the test rows; the defaults of the space were chosen with CR5 in view.
Then: which instruction applies, from
the pictures and from the whole trajectory.

    python benchmarks/real_robot.py --data DATASET [--seeds 0 1 2] [--set data.window_frames=1]
        [--json FILE]
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from linear_cca import candidates, thumbnails
from rich.console import Console
from rich.table import Table

from jointspace.batch import ACTION, STATE, VISION, Direction, Embeddings, fused_name
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.config import RunConfig, read_config
from jointspace.data.samples import SampleSet
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.train.loop import train

NUM_CANDIDATES = 200
NUM_DRAWS = 50
NUM_RESAMPLES = 1000
PAIRS = ((VISION, STATE), (VISION, ACTION))


def recall_at_5(
    query: Float[np.ndarray, "row dim"],
    target: Float[np.ndarray, "row dim"],
    *,
    draws: Sequence[Int[np.ndarray, " candidate"]],
) -> Float[np.ndarray, " row"]:
    """Returns how often each row is among its first five, over its draws; ties count half."""
    hits, tries = np.zeros(len(query)), np.zeros(len(query))
    for rows in draws:
        cosine = query[rows] @ target[rows].T
        own = np.diag(cosine)[:, None]
        rank = 1 + (cosine > own).sum(1) + ((cosine == own).sum(1) - 1) / 2
        np.add.at(hits, rows, rank <= 5)
        np.add.at(tries, rows, 1)
    return hits / np.maximum(tries, 1)


def interval(
    values: Float[np.ndarray, " row"], episodes: Int[np.ndarray, " row"], *, seed: int
) -> tuple[float, float]:
    """Returns the 95 % interval of the mean, by drawing whole episodes with replacement."""
    rng = np.random.default_rng(seed)
    groups = [values[episodes == episode] for episode in np.unique(episodes)]
    sums = np.array([group.sum() for group in groups])
    counts = np.array([len(group) for group in groups])
    drawn = rng.integers(0, len(groups), size=(NUM_RESAMPLES, len(groups)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def measure_floor(
    opened: OpenedRun, test: SampleSet, *, draws: Sequence[Int[np.ndarray, " candidate"]]
) -> dict[str, tuple[float, str]]:
    """Returns direction -> the floor's R@5 and the settings that reached it."""
    splits = opened.splits
    fitted = SampleSet.of_windows(
        opened.dataset,
        opened.store,
        opened.preprocessor,
        episodes=(*splits.train, *splits.validation),
        stride_s=2 / opened.dataset.info.fps,
    )
    known, unseen = fitted.batch(range(len(fitted))), test.batch(range(len(test)))
    pictures, new_pictures = (
        thumbnails(batch[VISION].values[:, 0, 0]) for batch in (known, unseen)
    )
    best: dict[str, tuple[float, str]] = {}
    for vision, steps in PAIRS:
        flat, new_flat = (batch[steps].values.reshape(len(batch), -1) for batch in (known, unseen))
        for settings, picture_map, step_map in candidates(pictures, flat):
            x, y = picture_map(new_pictures), step_map(new_flat)
            for direction, a, b in (
                (Direction(vision, steps), x, y),
                (Direction(steps, vision), y, x),
            ):
                score = float(recall_at_5(a, b, draws=draws).mean())
                best[str(direction)] = max(best.get(str(direction), (0.0, "")), (score, settings))
    return best


def instruction_accuracy(windows: Embeddings, episodes: Embeddings) -> dict[str, object]:
    """Returns which of the instructions applies, by what is asked."""
    from_windows, from_episodes = evaluate_embeddings(windows), evaluate_embeddings(episodes)
    whole = fused_name((ACTION, STATE))
    asked = {
        "pictures of a window": from_windows.accuracy[VISION],
        "pictures of the whole episode": from_episodes.accuracy[VISION],
        "whole action trajectory": from_episodes.accuracy[ACTION],
        "whole state trajectory": from_episodes.accuracy[STATE],
        "whole trajectory (action+state)": from_episodes.accuracy[whole],
    }
    return {name: dataclasses.asdict(accuracy) for name, accuracy in asked.items()}


def measure_seed(config: RunConfig, *, data: Path, folder: Path, seed: int) -> dict[str, object]:
    """Trains with one seed and measures; the seed also chooses the unseen episodes."""
    config = dataclasses.replace(
        config, seed=seed, data=dataclasses.replace(config.data, split_seed=seed)
    )
    started = time.monotonic()
    result = train(config, data=data, out=folder)
    train_s = time.monotonic() - started
    opened = open_run(folder, data=data)
    arguments = (opened.dataset, opened.store, opened.preprocessor)
    test_episodes = opened.splits.test
    test = SampleSet.of_windows(*arguments, episodes=test_episodes)
    windows = embed_samples(opened.embedder, test)
    episodes = embed_samples(
        opened.embedder, SampleSet.of_episodes(*arguments, episodes=test_episodes)
    )
    rng = np.random.default_rng(0)
    count = min(NUM_CANDIDATES, len(test))
    draws = [rng.permutation(len(test))[:count] for _ in range(NUM_DRAWS)]
    floor = measure_floor(opened, test, draws=draws)
    directions: dict[str, object] = {}
    for pair in PAIRS:
        for query, target in (pair, pair[::-1]):
            hits = recall_at_5(*windows.pair_rows(query, target), draws=draws)
            name = str(Direction(query, target))
            directions[name] = {
                "floor": floor[name][0],
                "floor_settings": floor[name][1],
                "ours": float(hits.mean()),
                "interval": interval(hits, windows.rows.episode, seed=seed),
            }
    return {
        "seed": seed,
        "train_s": train_s,
        "best_step": result.best_step,
        "num_test_episodes": len(test_episodes),
        "num_test_windows": len(test),
        "num_candidates": count,
        "num_texts": len(np.unique(windows.rows.instruction)),
        "recall_at_5": directions,
        "instruction_accuracy": instruction_accuracy(windows, episodes),
    }


def print_tables(results: Sequence[Mapping[str, dict]]) -> None:
    """Prints means over the seeds, and each seed's interval."""
    console = Console()
    first = results[0]
    table = Table(
        title=f"R@5 among {first['num_candidates']} windows of unseen episodes, "
        f"chance {5 / first['num_candidates']:.3f}, mean of {len(results)} seeds"
    )
    for column in ("direction", "linear floor", "jointspace", "ratio", "95 % intervals by seed"):
        table.add_column(column)
    for name in first["recall_at_5"]:
        rows = [result["recall_at_5"][name] for result in results]
        floor, ours = (float(np.mean([row[key] for row in rows])) for key in ("floor", "ours"))
        spans = "  ".join("{:.2f}-{:.2f}".format(*row["interval"]) for row in rows)
        table.add_row(name, f"{floor:.3f}", f"{ours:.3f}", f"{ours / floor:.2f}x", spans)
    console.print(table)
    table = Table(title=f"Which of the {first['num_texts']} instructions applies, unseen episodes")
    for column in ("asked of", "accuracy", "always the commonest", "95 % intervals by seed"):
        table.add_column(column)
    for name in first["instruction_accuracy"]:
        rows = [result["instruction_accuracy"][name] for result in results]
        values = [row["accuracy"] for row in rows]
        commonest = np.mean([row["majority"] for row in rows])
        table.add_row(
            name,
            f"{np.mean([v['value'] for v in values]):.3f}",
            f"{commonest:.3f}",
            "  ".join(f"{v['low']:.2f}-{v['high']:.2f}" for v in values),
        )
    console.print(table)
    console.print(f"training: {np.median([r['train_s'] for r in results]):.0f} s a seed (median)")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/lerobot.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = read_config(arguments.config, overrides=arguments.overrides)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            results.append(
                measure_seed(
                    config, data=arguments.data, folder=Path(folder) / str(seed), seed=seed
                )
            )
            sys.stderr.write(json.dumps(results[-1]) + "\n")
    print_tables(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
