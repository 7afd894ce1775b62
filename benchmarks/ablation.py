"""Which choices matter? Every arm is the base configuration with a few keys changed.

Each arm and seed is one training with its evaluation in a process of its own, all with the same
steps and batch size; the seed is that of weights, rows and split. Results are added to
OUT/results.jsonl as they come: an ablation that was interrupted continues, runs that failed are
tried again, and whatever has another configuration or data set is run anew. The arms stand in
`ablation_arms.py`.

    python benchmarks/ablation.py --data DATASET [--arms loss text ...] [--seeds 0 1 2] [--jobs 2]
    python benchmarks/ablation.py --report [--docs docs/concepts/evidence.md]
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation_arms import ARMS, BASE, BUDGET, QUESTIONS, SENTENCE_ENCODER, Arm, choose_arms
from ablation_tables import (
    ArmRuns,
    heading,
    metric_columns,
    overrides_list,
    question_table,
    summary,
)
from budget import with_budget
from measured_run import seeded
from page_blocks import rewrite_blocks
from results_file import ResultsFile, data_identity, flat_config, is_same_run

import jointspace
from jointspace.config import RunConfig, read_config, write_config
from jointspace.errors import ConfigError, InputError, JointspaceError
from jointspace.storage import write_whole

RESULTS_FILE = "results.jsonl"
BASE_FILE = "base.toml"
WORKER = Path(__file__).with_name("measured_run.py")
DEFAULT_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Plan:
    """What is compared, and with what.

    Attributes:
        base: configuration of the base arm.
        arms: beside the base.
        data: identity of the data set.
        candidates: windows that retrieval is measured among.
    """

    base: RunConfig
    arms: tuple[Arm, ...]
    data: str
    candidates: int


@dataclass(frozen=True)
class Task:
    """One run: an arm with a seed."""

    arm: Arm
    seed: int
    config: Mapping[str, Any]

    def key(self, plan: Plan) -> dict[str, Any]:
        """Returns what a record must agree with to be of this run."""
        return {"data": plan.data, "candidates": plan.candidates, "seed": self.seed}


def arm_config(base_file: Path, base: RunConfig, arm: Arm) -> RunConfig:
    """Returns the configuration of an arm.

    Raises:
        InputError: this version does not know one of its keys, or the arm changes the budget.
    """
    try:
        config = read_config(base_file, overrides=arm.overrides)
    except ConfigError as error:
        raise InputError(f"arm '{arm.name}': {error}") from error
    own, other = flat_config(config), flat_config(base)
    for key in BUDGET:
        if own[key] != other[key]:
            raise InputError(
                f"arm '{arm.name}': {key} is {own[key]}, but {other[key]} in the base; arms are "
                "compared with the same budget"
            )
    return config


def tasks_of(plan: Plan, *, base_file: Path, seeds: Sequence[int]) -> list[Task]:
    """Returns every run that is wanted, each configuration once, a seed after the other."""
    arms = (Arm(BASE, BASE, ()), *plan.arms)
    configs = [arm_config(base_file, plan.base, arm) for arm in arms]
    tasks: list[Task] = []
    for seed in seeds:
        for arm, config in zip(arms, configs, strict=True):
            flat = flat_config(seeded(config, seed))
            if not any(task.seed == seed and task.config == flat for task in tasks):
                tasks.append(Task(arm, seed, flat))
    return tasks


def is_of(record: Mapping[str, Any], task: Task, plan: Plan) -> bool:
    """Tells whether a record is of a task."""
    return all(record.get(key) == value for key, value in task.key(plan).items()) and is_same_run(
        record["config"], task.config
    )


def run_task(
    task: Task, plan: Plan, *, data: Path, base_file: Path, threads: int, running: "Running"
) -> dict[str, Any]:
    """Trains and measures in a process of its own; returns the record, with `error` if it fails."""
    environment = dict(os.environ)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    record: dict[str, Any] = {
        "arm": task.arm.name,
        "overrides": list(task.arm.overrides),
        **task.key(plan),
        "jointspace": jointspace.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=base_file.parent) as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, str(WORKER), "--data", str(data), "--config", str(base_file)]
        command += [word for each in task.arm.overrides for word in ("--set", each)]
        command += ["--seed", str(task.seed), "--candidates", str(plan.candidates)]
        code, said = running.run([*command, "--json", str(result)], environment)
        if code == 0:
            record |= json.loads(result.read_text(encoding="utf-8"))
        else:
            lines = [line for line in said.splitlines() if line.strip()]
            record["error"] = lines[-1] if lines else f"ended with code {code}"
    return record | {"wall_s": round(time.monotonic() - started, 1), "config": dict(task.config)}


class Running:
    """The processes that run now, so that an interruption ends them all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self.stopped = False

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Runs a command; returns its code and what it wrote to standard error."""
        with self._lock:
            if self.stopped:
                return -1, "interrupted"
            process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                env=dict(environment),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._processes.append(process)
        said = process.communicate()[1]
        return process.returncode, said

    def stop(self) -> None:
        """Ends every process, and starts none any more."""
        with self._lock:
            self.stopped = True
            for process in self._processes:
                if process.poll() is None:
                    process.terminate()


def run_all(tasks: Sequence[Task], plan: Plan, arguments: argparse.Namespace) -> None:
    """Runs what no record is there for, some at a time; records whatever ends."""
    results, running = ResultsFile(arguments.out / RESULTS_FILE), Running()
    done = [record for record in results.read() if "error" not in record]
    left = [task for task in tasks if not any(is_of(record, task, plan) for record in done)]
    print(f"{len(tasks)} runs, {len(tasks) - len(left)} of them there", flush=True)
    started, ended = time.monotonic(), 0

    def run(task: Task) -> None:
        nonlocal ended
        record = run_task(
            task,
            plan,
            data=arguments.data,
            base_file=arguments.out / BASE_FILE,
            threads=arguments.threads,
            running=running,
        )
        if running.stopped:
            return
        results.append(record)
        ended += 1
        rest_min = (time.monotonic() - started) / ended * (len(left) - ended) / 60
        outcome = record.get("error") or f"{record['train_s']:.0f} s of training"
        print(
            f"{ended}/{len(left)} {task.arm.name}, seed {task.seed}: {outcome}; "
            f"about {rest_min:.0f} min left",
            flush=True,
        )

    # A kill is like Ctrl-C: the processes end, and what has ended is in the file.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ThreadPoolExecutor(max_workers=arguments.jobs) as pool:
        try:
            for future in [pool.submit(run, task) for task in left]:
                future.result()
        except BaseException:
            running.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def runs_of(arm: Arm, plan: Plan, records: Sequence[Mapping[str, Any]], base_file: Path) -> ArmRuns:
    """Returns the runs of an arm among all records; of several of a seed, the last that is good."""
    config = arm_config(base_file, plan.base, arm)
    by_seed, errors = {}, {}
    for record in records:
        seed = record["seed"]
        if is_of(record, Task(arm, seed, flat_config(seeded(config, seed))), plan):
            if "error" in record:
                errors[seed] = record["error"]
            else:
                by_seed[seed] = record
    errors = {seed: why for seed, why in errors.items() if seed not in by_seed}
    return ArmRuns(arm, config == plan.base, dict(sorted(by_seed.items())), errors)


def report(plan: Plan, out: Path, *, docs: Path | None) -> str:
    """Writes OUT/report.md and OUT/summary.json, and the blocks of a page; returns the report."""
    base_file = out / BASE_FILE
    records = ResultsFile(out / RESULTS_FILE).read()
    base = runs_of(Arm(BASE, BASE, ()), plan, records, base_file)
    all_runs = [runs_of(arm, plan, records, base_file) for arm in plan.arms]
    all_runs = [each for each in all_runs if each.by_seed or each.errors]
    blocks = {"setup": _setup(plan, base)}
    rows = summary([base], columns=metric_columns([base]))
    for question in QUESTIONS:
        asked = [each for each in all_runs if each.arm.question == question]
        others = [each for each in asked if not each.is_base]
        if not others:
            continue
        own = [each for each in asked if each.is_base]
        compared = [*(own[:1] or [base]), *others]
        columns = metric_columns(compared)
        table = question_table(compared, columns=columns)
        blocks[question] = f"{table}\n\n{overrides_list([each.arm for each in asked])}"
        rows += summary(compared, columns=columns)
    text = "\n\n".join(
        blocks["setup"] if name == "setup" else f"## {heading(name)}\n\n{block}"
        for name, block in blocks.items()
    )
    write_whole(out / "report.md", text + "\n")
    write_whole(out / "summary.json", json.dumps(rows, indent=1) + "\n")
    if docs is not None:
        print(f"{docs}: {', '.join(rewrite_blocks(docs, blocks))} rewritten")
    return text


def _setup(plan: Plan, base: ArmRuns) -> str:
    train = plan.base.train
    seeds = ", ".join(map(str, base.by_seed)) or "none yet"
    machines = sorted({str(record.get("machine", "")) for record in base.by_seed.values()})
    return (
        f"Data set `{plan.data}`; every arm {train.num_steps} steps of {train.batch_size} rows; "
        f"R@k of windows among at most {plan.candidates}; seeds of the base: {seeds}; "
        f"{'; '.join(machines) or 'not run yet'}.\n\n"
        "A cell: mean ± standard deviation over the seeds, least … greatest, and in bold the mean "
        "difference from the base (the arm in bold) with the same seeds, ± its standard deviation."
    )


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Returns the plan of the arguments; a report without `--data` takes that of the last run."""
    base_file, results = arguments.out / BASE_FILE, ResultsFile(arguments.out / RESULTS_FILE)
    records = results.read()
    encoder = arguments.sentence_encoder and str(arguments.sentence_encoder)
    if arguments.data is None:
        if not (arguments.report and records):
            raise InputError("--data: name a data set (a --report needs one if OUT holds no run)")
        data, candidates = records[-1]["data"], records[-1]["candidates"]
        sentence = {a.name for a in ARMS if any(SENTENCE_ENCODER in o for o in a.overrides)}
        used = [r["config"]["model.text.pretrained"] for r in records if r["arm"] in sentence]
        encoder = encoder or (used[-1] if used else None)
    else:
        data, candidates = data_identity(arguments.data), arguments.candidates
        overrides = with_budget(
            arguments.config,
            arguments.overrides,
            num_steps=arguments.steps,
            num_threads=arguments.threads,
        )
        base = read_config(arguments.config, overrides=overrides)
        write_whole(base_file, write_config(base))
    arms = choose_arms(arguments.arms, sentence_encoder=encoder)
    return Plan(read_config(base_file), arms, data, candidates)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.toml"))
    parser.add_argument(
        "--arms", nargs="+", metavar="NAME", help="arms or whole questions; all by default"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(DEFAULT_SEEDS))
    parser.add_argument("--steps", type=int, help="of every arm, instead of the configuration's")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--threads", type=int, default=0, help="of a run; 0 leaves torch's default")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides"
    )
    parser.add_argument("--candidates", type=int, default=400, help="windows drawn at a time")
    parser.add_argument("--sentence-encoder", type=Path, metavar="FOLDER")
    parser.add_argument("--report", action="store_true", help="run nothing, report what is there")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="page whose tables to rewrite")
    parser.add_argument("--list", action="store_true", help="list the arms")
    arguments = parser.parse_args()
    if arguments.list:
        for arm in ARMS:
            print(f"{arm.question:14}{arm.name:26}{' '.join(arm.overrides)}")
        return
    try:
        plan = make_plan(arguments)
        tasks = tasks_of(plan, base_file=arguments.out / BASE_FILE, seeds=arguments.seeds)
        if not arguments.report:
            run_all(tasks, plan, arguments)
        print(report(plan, arguments.out, docs=arguments.docs))
    except JointspaceError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command continues")


if __name__ == "__main__":
    main()
