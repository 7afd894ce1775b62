"""From a camera's frame to a match decision: eager torch against bundles on one thread.

A 640 x 480 rgb frame, a trajectory of 100 x 7, and an instruction whose row is cached. The vision
tower is MobileNetV2 at 224 px, frozen, with an adapter behind it (`--tower mobilenet`), or the
separable one of our own efficient model (`--tower separable`); the trajectory is read by our
default tower or by a transformer (`--trajectory`). Weights are untrained, and int8 is calibrated on
made-up pictures: only the time is measured here.

- alone: all pipelines by turns in one process, one thread each. `torch eager` is the plain
  pipeline, `Preprocessor.batch` and then the model.
  `cpu ms` is the processor's time of all threads, which other load on the machine hardly distorts.
  `each graph's engine` runs every graph on the engine that is faster for it, as `jointspace export`
  chooses it.
- stages: the same pipelines, stage by stage, in milliseconds of the processor.
- under load: each in a process of its own beside busy ones, by turns. Eager torch has its default
  threads there, as it comes; the others one.

Run: python benchmarks/end_to_end.py --json end_to_end.json
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from end_to_end_model import (
    TOWERS,
    TRAJECTORIES,
    Case,
    bundle_names,
    faster_engines,
    make_model,
    make_preprocessor,
    write_bundles,
)
from machine import processor
from rich.console import Console
from rich.table import Table

from jointspace.deploy.bundle import read_bundle
from jointspace.deploy.latency import Latency, measure_by_turns
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.session import installed_engines
from jointspace.deploy.stages import END_TO_END, BundleStages
from jointspace.deploy.towers import Towers
from jointspace.deploy.workload import make_workload

EAGER = "torch eager"
MIXED = "each graph's engine"


def main() -> None:
    """Measures, prints tables, and writes JSON if asked to."""
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.tower, arguments.trajectory) == ("separable", "transformer"):
        parser.error("the efficient model, which has the separable tower, reads frequencies alone")
    if arguments.child:
        _child(arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = (arguments.bundles or Path(name)) / f"{arguments.tower}, {arguments.trajectory}"
        folder.mkdir(parents=True, exist_ok=True)
        case = Case(arguments.tower, arguments.trajectory, folder)
        facts = write_bundles(case)
        alone = measure_alone(case, arguments) if arguments.seconds else {}
        stages = measure_stages(case, arguments) if arguments.seconds else {}
        loaded = measure_loaded(case, arguments) if arguments.load_s else {}
    Console().print(f"the model: {facts}")
    if alone:
        _print("alone, one thread each, by turns", alone)
        _print_stages(stages)
    if loaded:
        _print(f"beside {arguments.busy} busy processes on {os.cpu_count()} cores", loaded)
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "model": facts,
            "busy_processes": arguments.busy,
            "alone": {name: asdict(each) for name, each in alone.items()},
            "stages_cpu_ms": stages,
            "under_load": {name: asdict(each) for name, each in loaded.items()},
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tower", choices=TOWERS, default=TOWERS[0], help="of pictures")
    parser.add_argument("--trajectory", choices=TRAJECTORIES, default=TRAJECTORIES[0])
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of the part alone, and of the stages; 0: none"
    )
    parser.add_argument("--load-s", type=float, default=10.0, help="of each turn under load")
    parser.add_argument(
        "--load-calls", type=int, default=40, help="of each turn under load, at least"
    )
    parser.add_argument(
        "--load-only", default="", help="under load, bundles whose name has this in it"
    )
    parser.add_argument("--repeats", type=int, default=3, help="turns under load")
    parser.add_argument("--busy", type=int, default=1, help="busy processes beside")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument(
        "--bundles", type=Path, help="keep the bundles here, and use those that are"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def measure_alone(case: Case, arguments: argparse.Namespace) -> dict[str, Latency]:
    """Times all pipelines by turns, one thread each."""
    import torch  # noqa: PLC0415 - bundles are measured without it in the other part

    torch.set_num_threads(1)
    calls = {EAGER: _torch_call(case, compiled=False)}
    if arguments.compile:
        calls["torch compile"] = _torch_call(case, compiled=True)
    calls |= {name: _bundle_call(case.folder, name) for name in _bundle_pipelines(case.folder)}
    return measure_by_turns(calls, budget_s=arguments.seconds, fewest=30, most=5000)


def measure_stages(case: Case, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Times the stages of all pipelines by turns: pipeline -> stage -> ms of the processor."""
    import torch  # noqa: PLC0415 - bundles are measured without it in the other part

    torch.set_num_threads(1)
    calls = {(EAGER, stage): call for stage, call in _torch_calls(case, compiled=False).items()}
    for name in _bundle_pipelines(case.folder):
        calls |= {(name, stage): call for stage, call in _bundle_calls(case.folder, name).items()}
    spent = measure_by_turns(calls, budget_s=arguments.seconds, fewest=30, most=5000)
    found: dict[str, dict[str, float]] = {}
    for (name, stage), each in spent.items():
        found.setdefault(name, {})[stage] = each.cpu_ms or math.nan
    return found


def measure_loaded(case: Case, arguments: argparse.Namespace) -> dict[str, Latency]:
    """Times each pipeline in a process of its own, by turns, beside busy processes."""
    names = [EAGER, *(n for n in _bundle_pipelines(case.folder) if arguments.load_only in n)]
    spent_ms: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with _busy(arguments.busy):
        for _ in range(arguments.repeats):
            for name in names:
                spent_ms[name] += _run_child(
                    case, name, seconds=arguments.load_s, fewest=arguments.load_calls
                )
    return {name: Latency.of(*np.asarray(each).T) for name, each in spent_ms.items()}


def _bundle_pipelines(folder: Path) -> list[str]:
    engines = installed_engines()
    names = [*engines, MIXED] if len(engines) > 1 else engines
    return [f"{engine}, {each}" for engine in names for each in bundle_names(folder)]


def _bundle_call(folder: Path, name: str) -> Callable[[], object]:
    return _bundle_calls(folder, name)[END_TO_END]


def _bundle_calls(folder: Path, name: str) -> dict[str, Callable[[], object]]:
    engine, precision = name.split(", ")
    bundle = read_bundle(folder / precision)
    # Without the self-test, which is for trained networks: of one with random weights, engines that
    # round differently in int8 return rows far from each other.
    graphs = bundle.manifest.graphs
    if engine == MIXED:
        engines = faster_engines(folder / precision, bundle.preprocessor)
    else:
        chosen = next(each for each in installed_engines() if each == engine)
        engines = dict.fromkeys((graph.name for graph in graphs), chosen)
    towers = Towers(
        folder / precision,
        graphs=graphs,
        preprocessor=bundle.preprocessor,
        engine=engines,
    )
    embedder = BundleEmbedder(bundle, towers)
    return BundleStages(embedder, make_workload(embedder.preprocessor, batch=1)).calls()


def _torch_call(case: Case, *, compiled: bool) -> Callable[[], object]:
    return _torch_calls(case, compiled=compiled)[END_TO_END]


def _torch_calls(case: Case, *, compiled: bool) -> dict[str, Callable[[], object]]:
    from jointspace.export.torch_stages import TorchStages  # noqa: PLC0415

    preprocessor = make_preprocessor()
    work = make_workload(preprocessor, batch=1)
    model = make_model(case, preprocessor)
    return TorchStages(model, preprocessor, work, compiled=compiled).calls()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    burn = [sys.executable, "-c", "while True: pass"]
    burning = [subprocess.Popen(burn) for _ in range(count)]  # noqa: S603 - the line above
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def _run_child(case: Case, name: str, *, seconds: float, fewest: int) -> list[tuple[float, float]]:
    # As each comes: torch with the threads and the waiting that are its defaults.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    which = ["--tower", case.tower, "--trajectory", case.trajectory, "--bundles", str(case.folder)]
    command = [sys.executable, __file__, "--child", name, *which]
    command += ["--seconds", str(seconds), "--load-calls", str(fewest)]
    done = subprocess.run(  # noqa: S603 - starts this very file
        command, env=kept, stdout=subprocess.PIPE, check=True
    )
    spent_ms: list[tuple[float, float]] = json.loads(done.stdout)
    return spent_ms


def _child(arguments: argparse.Namespace) -> None:
    """Times one pipeline and prints what its calls took, by the clock and of the processor."""
    name = arguments.child
    case = Case(arguments.tower, arguments.trajectory, arguments.bundles)
    is_eager = name == EAGER
    call = _torch_call(case, compiled=False) if is_eager else _bundle_call(case.folder, name)
    for _ in range(5):
        call()
    spent_ms = []
    end = time.perf_counter() + arguments.seconds
    while (start := time.perf_counter()) < end or len(spent_ms) < arguments.load_calls:
        cpu = time.process_time()
        call()
        spent = time.perf_counter() - start
        spent_ms.append((spent * 1e3, (time.process_time() - cpu) * 1e3))
    print(json.dumps(spent_ms))


def _print_stages(stages: dict[str, dict[str, float]]) -> None:
    table = Table(title="stages alone, cpu ms", title_justify="left")
    table.add_column("pipeline")
    names = list(dict.fromkeys(stage for each in stages.values() for stage in each))
    for name in names:
        table.add_column(name, justify="right")
    for pipeline, each in stages.items():
        table.add_row(pipeline, *(f"{each[name]:.2f}" if name in each else "" for name in names))
    _wide_console().print(table)


def _print(title: str, found: dict[str, Latency]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("pipeline")
    headings = ("p50 ms", "p95 ms", "p99 ms", "cpu ms", "calls")
    for heading in (*headings, "p50, x eager", "p99, x eager", "cpu, x eager"):
        table.add_column(heading, justify="right")
    base = found[EAGER]
    for name, each in found.items():
        table.add_row(
            name,
            *(f"{ms:.2f}" for ms in (each.p50_ms, each.p95_ms, each.p99_ms)),
            f"{each.cpu_ms or math.nan:.2f}",
            str(each.num_calls),
            f"{base.p50_ms / each.p50_ms:.1f}",
            f"{base.p99_ms / each.p99_ms:.1f}",
            f"{(base.cpu_ms or math.nan) / (each.cpu_ms or math.nan):.1f}",
        )
    _wide_console().print(table)


def _wide_console() -> Console:
    """A console on which names of pipelines fit, in a pipe too."""
    return Console(width=max(Console().width, 160))


if __name__ == "__main__":
    main()
