"""Does training on a simulated and a real data set together hurt either of them?

For every seed there are three trainings: one on each data set alone, and one on both, which takes
as many steps on each as they did. All of them thus see the same number of rows of a data set, and
end with the weights of their last step. Each is measured on the unseen episodes of its data sets,
in six directions: those with a text on whole episodes, vision and action on windows. A direction is
hurt where the mean over the seeds falls below the 95 % bootstrap interval of the training alone.

Runs are added to OUT/results.jsonl as they end; the same command continues, or prints its tables.
Three seeds take about 36 minutes of one core, with the tabletop and a small arm data set; smaller
pictures (`--set data.image_px=48`) or fewer of them (`data.window_frames=1`) take less.

    python benchmarks/together.py --simulated DATASET --real DATASET [--steps 200] [--seeds 0 1 2]
"""

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ablation_tables import number
from budget import with_budget
from measured_run import seeded, training_seconds
from measures import episodes_of, only, windows_of
from results_file import ResultsFile, data_identity, flat_config, is_same_run

from jointspace.batch import CORE_MODALITIES, SIX_DIRECTIONS, TEXT, Direction, Embeddings
from jointspace.commands.opened_run import OpenedRun, open_run
from jointspace.config import RunConfig, read_config
from jointspace.data.embodiments import DataSource
from jointspace.errors import InputError, JointspaceError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.retrieval import RetrievalMetrics
from jointspace.train.loop import train

RESULTS_FILE = "results.jsonl"
SETS = ("simulated", "real")
TOGETHER = "together"
ARMS: Mapping[str, tuple[str, ...]] = {**{name: (name,) for name in SETS}, TOGETHER: SETS}
"""Arm -> the data sets that it trains on."""

METRICS = {"mAP": "mean_average_precision", "R@1": "recall_at_1"}

Record = Mapping[str, Any]


def arm_config(base: RunConfig, arm: str, *, steps: int, seed: int) -> RunConfig:
    """Returns the configuration of a run: so many steps for each data set, validated at the end."""
    num_steps = steps * len(ARMS[arm])
    trained = dataclasses.replace(base.train, num_steps=num_steps, evaluate_every=num_steps)
    data = dataclasses.replace(base.data, mixture_weights=())
    return seeded(dataclasses.replace(base, train=trained, data=data), seed)


def six_directions(opened: OpenedRun) -> dict[str, dict[str, dict[str, float]]]:
    """Returns direction -> metric -> value, chance and interval on the unseen episodes.

    Raises:
        InputError: no unseen episode is as long as a window.
    """
    windows = windows_of(opened, opened.splits.test)
    if windows is None:
        raise InputError(
            f"{opened.dataset.info.path}: no unseen episode is as long as data.window_s"
        )
    rows = {
        True: embed_samples(
            opened.embedder, episodes_of(opened, opened.splits.test), modalities=CORE_MODALITIES
        ),
        False: embed_samples(opened.embedder, windows, modalities=CORE_MODALITIES),
    }
    found = {}
    for with_text, embeddings in rows.items():
        measured = _measure(embeddings)
        for direction in SIX_DIRECTIONS:
            if with_text == (TEXT in {direction.query, direction.target}):
                estimates = {n: getattr(measured[direction], key) for n, key in METRICS.items()}
                found[str(direction)] = {n: dataclasses.asdict(e) for n, e in estimates.items()}
    return found


def _measure(embeddings: Embeddings) -> Mapping[Direction, RetrievalMetrics]:
    chosen = only(embeddings, CORE_MODALITIES)
    return evaluate_embeddings(chosen, resampling=Resampling()).retrieval


def run_arm(
    config: RunConfig, arm: str, *, data: Mapping[str, Path], folder: Path
) -> dict[str, object]:
    """Trains one arm into an empty folder and measures it on each of its data sets."""
    paths = [data[name] for name in ARMS[arm]]
    sources = paths[0] if len(paths) == 1 else [DataSource(path) for path in paths]
    train(config, data=sources, out=folder, show_progress=False)
    return {
        "train_s": training_seconds(folder),
        "measures": {name: six_directions(open_run(folder, data=data[name])) for name in ARMS[arm]},
    }


def is_of(record: Record, key: Record, config: RunConfig) -> bool:
    """Tells whether a record is of a run: the same arm, seed, data sets and configuration."""
    same = all(record.get(name) == value for name, value in key.items())
    return same and is_same_run(record["config"], flat_config(config))


def table(records: Sequence[Record], metric: str) -> str:
    """Returns a Markdown table of one metric: every direction of every data set.

    Args:
        records: of every arm with the same seeds.
        metric: one of `METRICS`.
    """
    by_arm = {arm: {r["seed"]: r["measures"] for r in records if r["arm"] == arm} for arm in ARMS}
    seeds = sorted(set.intersection(*(set(each) for each in by_arm.values())))
    lines = [
        "| data set | direction | alone | its 95 % interval | together | difference | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name in SETS:
        for direction in map(str, SIX_DIRECTIONS):
            alone, both = (
                [by_arm[arm][seed][name][direction][metric] for seed in seeds]
                for arm in (name, TOGETHER)
            )
            low, high = (float(np.mean([each[end] for each in alone])) for end in ("low", "high"))
            own, other = ([each["value"] for each in side] for side in (alone, both))
            mean = float(np.mean(other))
            verdict = "hurt" if mean < low else "better" if mean > high else "inside"
            lines.append(
                f"| {name} | {direction} (chance {number(alone[0]['chance'])}) | {_cell(own)} | "
                f"{number(low)} … {number(high)} | {_cell(other)} | "
                f"{_cell(np.subtract(other, own), sign=True)} | {verdict} |"
            )
    return "\n".join(lines)


def _cell(values: Sequence[float] | np.ndarray, *, sign: bool = False) -> str:
    mean = number(float(np.mean(values)), sign=sign)
    return f"{mean} ± {number(float(np.std(values, ddof=1)))}" if len(values) > 1 else mean


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulated", type=Path, required=True)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/lerobot.toml"))
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides"
    )
    parser.add_argument("--steps", type=int, default=200, help="on each data set of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of a run; 0 leaves torch's default")
    parser.add_argument("--out", type=Path, default=Path("runs/together"))
    return parser


def measure_all(arguments: argparse.Namespace) -> list[Record]:
    """Returns a record of every run; those that are there already are not made again."""
    overrides = with_budget(
        arguments.config, arguments.overrides, num_steps=None, num_threads=arguments.threads
    )
    base = read_config(arguments.config, overrides=overrides)
    data = {name: getattr(arguments, name) for name in SETS}
    identities = {name: data_identity(path) for name, path in data.items()}
    results, records = ResultsFile(arguments.out / RESULTS_FILE), []
    for seed in arguments.seeds:
        for arm in ARMS:
            config = arm_config(base, arm, steps=arguments.steps, seed=seed)
            key = {
                "arm": arm,
                "seed": seed,
                "data": {name: identities[name] for name in ARMS[arm]},
            }
            record = next((r for r in results.read() if is_of(r, key, config)), None)
            if record is None:
                started = time.monotonic()
                with tempfile.TemporaryDirectory(dir=arguments.out) as folder:
                    found = run_arm(config, arm, data=data, folder=Path(folder) / "run")
                wall_s = round(time.monotonic() - started, 1)
                record = {**key, **found, "wall_s": wall_s, "config": flat_config(config)}
                results.append(record)
            print(f"{arm}, seed {seed}: {record['wall_s']:.0f} s", file=sys.stderr, flush=True)
            records.append(record)
    return records


def main() -> None:
    """Runs the benchmark."""
    arguments = _parser().parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        records = measure_all(arguments)
    except JointspaceError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command continues")
    print(
        f"{arguments.steps} steps on each data set, {len(arguments.seeds)} seed(s), "
        f"{sum(r['wall_s'] for r in records) / 60:.0f} min in all"
    )
    for metric in METRICS:
        print(f"\n{metric}, mean ± standard deviation over the seeds\n\n{table(records, metric)}")


if __name__ == "__main__":
    main()
