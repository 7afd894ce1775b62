"""One training with its evaluation, written as JSON: what `ablation.py` starts for every arm.

python benchmarks/measured_run.py --data DATASET --config FILE --seed 0 --json FILE
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from measures import measure_splits

from jointspace.commands.opened_run import open_run
from jointspace.config import RunConfig, read_config
from jointspace.errors import JointspaceError
from jointspace.models.run_folder import LOG_FILE
from jointspace.train.logs import read_log
from jointspace.train.loop import train


def seeded(config: RunConfig, seed: int) -> RunConfig:
    """Returns the configuration with one seed for weights, rows and the split."""
    return dataclasses.replace(
        config, seed=seed, data=dataclasses.replace(config.data, split_seed=seed)
    )


def training_seconds(run_folder: Path) -> float:
    """Returns the seconds from the first step to the last, without decoding and set-up."""
    return next(
        r["elapsed_s"] for r in reversed(read_log(run_folder / LOG_FILE)) if r["kind"] == "train"
    )


def measure_run(
    config: RunConfig, *, data: Path, folder: Path, candidates: int
) -> dict[str, object]:
    """Trains into an empty folder and measures what came out."""
    cpu_s = time.process_time()
    result = train(config, data=data, out=folder, show_progress=False)
    cpu_s = time.process_time() - cpu_s
    measures = measure_splits(open_run(folder, data=data), candidates=candidates)
    return {
        "train_s": training_seconds(folder),
        "cpu_s": round(cpu_s, 2),
        "best_step": result.best_step,
        "metrics": {name: measure.to_json() for name, measure in measures.items()},
    }


def main() -> None:
    """Trains, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--candidates", type=int, default=400)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        config = seeded(
            read_config(arguments.config, overrides=arguments.overrides), arguments.seed
        )
        with tempfile.TemporaryDirectory(dir=arguments.json.parent) as folder:
            found = measure_run(
                config,
                data=arguments.data,
                folder=Path(folder) / "run",
                candidates=arguments.candidates,
            )
    except JointspaceError as error:
        sys.exit(f"error: {error}")
    arguments.json.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
