"""The textbook's training against ours: the same episodes, steps and batch size.

Both are scored on the unseen test episodes by our metrics (relevance from ids) and by the
textbook's own (the diagonal is the only right answer), which says little where instructions repeat.

    python benchmarks/textbook.py --data DATASET [--steps 400] [--seed 0] [--set KEY=VALUE]
        [--json FILE]

`--set data.window_frames=1` gives ours one picture, as the textbook's has.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from textbook_training import embed_textbook, random_rows, train_textbook

from jointspace.batch import CORE_MODALITIES, SIX_DIRECTIONS, Embeddings
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.config import RunConfig, read_config
from jointspace.data.samples import SampleSet
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.retrieval import evaluate_retrieval
from jointspace.train.loop import train


def score(embeddings: Embeddings) -> dict[str, dict[str, float]]:
    """Returns direction -> our metrics and the textbook's R@1."""
    chosen = Embeddings(
        {name: embeddings.vectors[name] for name in CORE_MODALITIES},
        embeddings.rows,
        embeddings.texts,
        embeddings.gates,
    )
    ours = evaluate_embeddings(chosen).retrieval
    scores = {}
    own = np.arange(len(chosen))
    for direction in SIX_DIRECTIONS:
        diagonal = evaluate_retrieval(
            *chosen.pair_rows(direction.query, direction.target),
            query_ids=own,
            target_ids=own,
        )
        metrics = ours[direction]
        scores[str(direction)] = {
            "R@1": metrics.recall_at_1.value,
            "R@1 chance": metrics.recall_at_1.chance,
            "R@5": metrics.recall_at_5.value,
            "mAP": metrics.mean_average_precision.value,
            "mAP chance": metrics.mean_average_precision.chance,
            "diagonal R@1": diagonal.recall_at_1.value,
        }
    return scores


def compare(opened: OpenedRun, config: RunConfig) -> dict[str, Mapping[str, dict[str, float]]]:
    """Trains the chapter's model on the run's training split and scores both on its test split."""
    splits = opened.splits
    arguments = (opened.dataset, opened.store, opened.preprocessor)
    known = SampleSet.of_windows(*arguments, episodes=splits.train, stride_s=config.data.stride_s)
    test = SampleSet.of_windows(*arguments, episodes=splits.test)
    textbook = train_textbook(
        random_rows(known, config),
        config=config,
        action_dim=opened.dataset.episodes[0].action.shape[1],
        first_picture_only=True,
    )
    return {
        "textbook": score(embed_textbook(textbook, test, first_picture_only=True)),
        "jointspace": score(embed_samples(opened.embedder, test, modalities=CORE_MODALITIES)),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/lerobot.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = read_config(arguments.config, overrides=arguments.overrides)
    config = dataclasses.replace(
        config,
        seed=arguments.seed,
        data=dataclasses.replace(config.data, split_seed=arguments.seed),
        train=dataclasses.replace(config.train, num_steps=arguments.steps),
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_folder = Path(folder) / "run"
        train(config, data=arguments.data, out=run_folder)
        results = compare(open_run(run_folder, data=arguments.data), config)
    table = Table(
        title=f"1 s windows of unseen episodes, {arguments.steps} steps, "
        f"batch {config.train.batch_size}, seed {arguments.seed}"
    )
    columns = ("R@1", "R@5", "mAP", "diagonal R@1")
    table.add_column("direction")
    for column in columns:
        table.add_column(f"{column}\ntextbook | ours")
    table.add_column("chance\nR@1 | mAP")
    for direction in results["textbook"]:
        theirs, ours = results["textbook"][direction], results["jointspace"][direction]
        table.add_row(
            direction,
            *(f"{theirs[c]:.3f} | {ours[c]:.3f}" for c in columns),
            f"{ours['R@1 chance']:.3f} | {ours['mAP chance']:.3f}",
        )
    console = Console()
    console.print(table)
    console.print(f"both together: {time.monotonic() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
