"""How good is the default space on the simulated tabletop, beside the chapter's recipe?

Both get the same budget: the same rows at every step, in batches of one size, from the same
episodes and pictures. The chapter's model is given every picture of a row where it would take
one (`--first-picture` gives it that one), and its instruction + picture query is the sum of its
unit rows of both. Beside them stands a control that knows the robot's pose alone (`pose_only.py`):
a query made of the state at the row's start, from which regressions fitted on the training rows
predict the action, and the candidates are ranked by their distance from it.

What an unseen wording or combination costs is the mAP of text -> vision on that split over the mAP
on as many test episodes, drawn several times, since mAP depends on the number of candidates.

Results are added to OUT/results.jsonl seed by seed: the same command continues.

    python benchmarks/tabletop_quality.py --data DATASET [--seeds 0 1 2] [--steps N]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ablation_tables import number
from budget import with_budget
from jaxtyping import Int
from measured_run import seeded, training_seconds
from measures import (
    SPLITS,
    Measure,
    SplitEmbeddings,
    candidate_draws,
    embed_split,
    episodes_of,
    measure_rows,
    only,
    windows_of,
)
from page_blocks import rewrite_blocks
from pose_only import pose_only
from results_file import ResultsFile, data_identity, flat_config, is_same_run
from textbook_model import TextbookModel, text_vectors
from textbook_training import embed_textbook, our_rows, train_textbook

from jointspace.batch import ACTION, SIX_DIRECTIONS, TEXT, VISION, Direction, Embeddings
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.config import RunConfig, read_config
from jointspace.data.samples import SampleSet
from jointspace.errors import JointspaceError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.scene import SceneAlternatives
from jointspace.storage import write_whole
from jointspace.train.loop import train

TEXTBOOK, OURS, POSE = "textbook", "jointspace", "pose only"
NUM_EPISODE_DRAWS = 50
UNSEEN = SPLITS[1:]
QUERY = f"{VISION}+{TEXT}->{ACTION}"

Metrics = dict[str, dict[str, float | None]]


def equal_candidates(test: Embeddings, unseen: Embeddings) -> dict[str, Measure]:
    """Returns the mAP of text -> vision on both splits, with equally many episodes, and the ratio.

    Args:
        test: whole episodes of the test split.
        unseen: whole episodes of another one.
    """
    count = min(len(test), len(unseen))
    found = {}
    for name, rows in (("unseen", unseen), ("seen", test)):
        draws = candidate_draws(len(rows), candidates=count, num_draws=NUM_EPISODE_DRAWS)
        found[name] = _mean_map(rows, draws)
    ratio = found["unseen"].value / found["seen"].value
    return {**found, "ratio": Measure(ratio, float("nan"))}


def _mean_map(rows: Embeddings, draws: Iterable[Int[np.ndarray, " row"]]) -> Measure:
    values, chances = [], []
    for draw in draws:
        some = only(rows, (TEXT, VISION)).take(draw)
        found = evaluate_embeddings(some, resampling=Resampling(num_resamples=0))
        # A draw whose episodes all have one goal asks nothing.
        if metrics := found.retrieval.get(Direction(TEXT, VISION)):
            values.append(metrics.mean_average_precision.value)
            chances.append(metrics.mean_average_precision.chance)
    if not values:
        return Measure(float("nan"), float("nan"))
    return Measure(float(np.mean(values)), float(np.mean(chances)))


def measure_model(splits: Mapping[str, SplitEmbeddings], *, candidates: int) -> Metrics:
    """Measures everything on the test split, and what the unseen ones cost."""
    found = measure_rows(splits["test"], candidates=candidates)
    for split in UNSEEN:
        if split in splits:
            compared = equal_candidates(splits["test"].episodes, splits[split].episodes)
            found |= {f"{split}: {name}": measure for name, measure in compared.items()}
    return {name: measure.to_json() for name, measure in found.items()}


def embed_textbook_split(
    model: TextbookModel,
    opened: OpenedRun,
    positions: Sequence[int],
    *,
    alternatives: SceneAlternatives | None,
    first_picture_only: bool,
) -> SplitEmbeddings:
    """Embeds a split with the chapter's model; `alternatives` are ours, of which it takes words."""
    windows = windows_of(opened, positions)
    if alternatives is not None:
        texts = list(alternatives.vectors)
        with torch.inference_mode():
            vectors = model.encode_text(text_vectors(texts)).numpy()
        alternatives = SceneAlternatives(alternatives.texts, dict(zip(texts, vectors, strict=True)))
    return SplitEmbeddings(
        None
        if windows is None
        else embed_textbook(model, windows, first_picture_only=first_picture_only),
        embed_textbook(
            model, episodes_of(opened, positions), first_picture_only=first_picture_only
        ),
        alternatives,
    )


def training_rows(opened: OpenedRun, config: RunConfig) -> tuple[SampleSet, SampleSet]:
    """Returns the windows and the whole episodes that training draws from."""
    arguments = (opened.dataset, opened.seen, opened.preprocessor)
    train_episodes = opened.splits.train
    return (
        SampleSet.of_windows(*arguments, episodes=train_episodes, stride_s=config.data.stride_s),
        SampleSet.of_episodes(*arguments, episodes=train_episodes),
    )


def measure_seed(
    config: RunConfig, *, data: Path, folder: Path, candidates: int, first_picture_only: bool
) -> dict[str, Any]:
    """Trains both models with one seed, and measures them and the control."""
    say(f"seed {config.seed}: training ours")
    train(config, data=data, out=folder, show_progress=False)
    opened = open_run(folder, data=data)
    positions = {
        name: opened.splits.positions(name) for name in SPLITS if name in opened.splits.names
    }
    positions = {name: each for name, each in positions.items() if each}
    ours = {name: embed_split(opened, each) for name, each in positions.items()}
    windows, episodes = training_rows(opened, config)
    say(f"seed {config.seed}: training the chapter's")
    started = time.monotonic()
    model = train_textbook(
        our_rows(windows, episodes, config),
        config=config,
        action_dim=opened.dataset.episodes[0].action.shape[1],
        first_picture_only=first_picture_only,
    )
    textbook_s = time.monotonic() - started
    theirs = {
        name: embed_textbook_split(
            model,
            opened,
            each,
            alternatives=ours[name].alternatives,
            first_picture_only=first_picture_only,
        )
        for name, each in positions.items()
    }
    say(f"seed {config.seed}: measuring")
    control: dict[str, Measure] = {}
    test_windows = windows_of(opened, positions["test"])
    if test_windows is not None:
        control |= pose_only(windows, test_windows, candidates=candidates, name=f"{QUERY} R@1")
    control |= pose_only(
        episodes,
        episodes_of(opened, positions["test"]),
        candidates=candidates,
        name=f"{QUERY} R@1 of episodes",
    )
    return {
        "sizes": {
            "windows": 0 if test_windows is None else len(test_windows),
            **{name: len(each) for name, each in positions.items()},
        },
        "train_s": {TEXTBOOK: round(textbook_s, 1), OURS: training_seconds(folder)},
        "metrics": {
            TEXTBOOK: measure_model(theirs, candidates=candidates),
            OURS: measure_model(ours, candidates=candidates),
            POSE: {name: measure.to_json() for name, measure in control.items()},
        },
    }


def say(message: str) -> None:
    """Tells on standard error how far it is."""
    sys.stderr.write(f"{message}\n")


def report(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns the tables: mean and standard deviation over the seeds, least to greatest."""
    config, sizes = records[0]["config"], records[0]["sizes"]
    seeds = ", ".join(str(record["seed"]) for record in records)
    pictures = "the first picture" if records[0]["first_picture_only"] else "every picture"
    setup = (
        f"Data set `{records[0]['data']}`; {config['train.num_steps']} steps of "
        f"{config['train.batch_size']} rows each; seeds {seeds}; R@1 among at most "
        f"{records[0]['candidates']} of {sizes['windows']} windows or {sizes['test']} episodes; "
        f"the chapter's model sees {pictures} of a row; "
        "mean ± standard deviation over the seeds, least … greatest."
    )
    lines = [
        setup,
        "",
        "| unseen episodes | chapter | jointspace | ours / chapter's | pose only | chance |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    names = [
        *(
            f"{direction} mAP"
            for direction in SIX_DIRECTIONS
            if TEXT in (direction.query, direction.target)
        ),
        *(f"{VISION}->{ACTION} R@1", f"{ACTION}->{VISION} R@1"),
        *(f"{QUERY} R@1", f"fused {QUERY} R@1"),
        *(f"{QUERY} R@1 of episodes", f"fused {QUERY} R@1 of episodes"),
        *("same-scene AUROC", "same-scene TPR at 1 % FP"),
    ]
    for name in names:
        ours = _values(records, OURS, name)
        if not ours:
            continue
        # The chapter has no fused query: beside ours stands its sum.
        plain = name.removeprefix("fused ")
        theirs = _values(records, TEXTBOOK, plain)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True) if b] if theirs else []
        columns = [theirs, ours, ratios, _values(records, POSE, plain)]
        chance = _values(records, OURS, name, "chance")
        spread = [_spread(c, decimals=2 if c is ratios else 3) for c in columns]
        lines.append(f"| {_label(name)} | {' | '.join(spread)} | {_mean(chance)} |")
    seconds = [[r["train_s"][name] for r in records] for name in (TEXTBOOK, OURS)]
    cells = [_spread(each, decimals=0) for each in seconds]
    lines.append(f"| seconds of training | {' | '.join(cells)} | - | - | - |")
    lines += [
        "",
        "| text → vision mAP | episodes | model | unseen | as many of test | ratio | chance |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for split in UNSEEN:
        for label, model in (("chapter", TEXTBOOK), ("jointspace", OURS)):
            parts = [_values(records, model, f"{split}: {n}") for n in ("unseen", "seen", "ratio")]
            chance = _values(records, model, f"{split}: unseen", "chance")
            if parts[0]:
                cells = [split.replace("_", " "), str(min(sizes[split], sizes["test"])), label]
                cells += [*map(_spread, parts), _mean(chance)]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _label(name: str) -> str:
    label = name.replace("->", " → ").replace(f"{VISION}+{TEXT}", "instruction + picture")
    return label.removeprefix("fused ") + (", fused" if name.startswith("fused ") else "")


def _values(
    records: Sequence[Mapping[str, Any]], model: str, name: str, part: str = "value"
) -> list[float]:
    """The values of all seeds, or none where a seed lacks it."""
    found = [record["metrics"][model].get(name, {}).get(part) for record in records]
    return [] if None in found else found


def _mean(values: Sequence[float]) -> str:
    return number(float(np.mean(values))) if values else "-"


def _spread(values: Sequence[float], *, decimals: int = 3) -> str:
    if not values:
        return "-"
    text = number(float(np.mean(values)), decimals=decimals)
    if len(values) > 1:
        low, high = (number(each, decimals=decimals) for each in (min(values), max(values)))
        std = number(float(np.std(values, ddof=1)), decimals=decimals)
        text += f" ± {std}<br>{low} … {high}"
    return text


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.toml"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="instead of the configuration's")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's default")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides"
    )
    parser.add_argument(
        "--first-picture",
        action="store_true",
        help="give the chapter's model the first picture of a row alone, which is faster",
    )
    parser.add_argument("--candidates", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("runs/quality"))
    parser.add_argument("--docs", type=Path, metavar="FILE", help="page whose table to rewrite")
    arguments = parser.parse_args()
    try:
        records = run_seeds(arguments)
        text = report(records)
        write_whole(arguments.out / "report.md", text + "\n")
        write_whole(arguments.out / "results.json", json.dumps(records, indent=1) + "\n")
        if arguments.docs:
            rewrite_blocks(arguments.docs, {"quality": text})
    except JointspaceError as error:
        sys.exit(f"error: {error}")
    print(text)


def run_seeds(arguments: argparse.Namespace) -> list[Mapping[str, Any]]:
    """Returns the record of every seed, from the file where it is there."""
    overrides = with_budget(
        arguments.config,
        arguments.overrides,
        num_steps=arguments.steps,
        num_threads=arguments.threads,
    )
    base = read_config(arguments.config, overrides=overrides)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results = ResultsFile(arguments.out / "results.jsonl")
    data, chosen = data_identity(arguments.data), list[Mapping[str, Any]]()
    for seed in arguments.seeds:
        config = seeded(base, seed)
        key = {
            "data": data,
            "candidates": arguments.candidates,
            "first_picture_only": arguments.first_picture,
            "seed": seed,
        }
        found = [
            record
            for record in results.read()
            if all(record[name] == value for name, value in key.items())
            and is_same_run(record["config"], flat_config(config))
        ]
        if not found:
            arguments.out.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
                measured = measure_seed(
                    config,
                    data=arguments.data,
                    folder=Path(folder) / "run",
                    candidates=arguments.candidates,
                    first_picture_only=arguments.first_picture,
                )
            found = [key | measured | {"config": flat_config(config)}]
            results.append(found[0])
        chosen.append(found[-1])
    return chosen


if __name__ == "__main__":
    main()
