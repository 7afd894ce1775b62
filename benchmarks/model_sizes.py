"""Accuracy against latency: the efficient model among other sizes, each trained on the same budget.

Every size is trained for the same steps on the same rows from the same seed, measured on the test
split, exported in float32, and timed by turns with the others: from one frame of each camera,
trajectory and cached instruction to match decisions, one thread of ONNX Runtime.

    python benchmarks/model_sizes.py --data DATASET --config configs/demo.toml --json sizes.json
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import processor
from measures import measure_splits
from rich.console import Console
from rich.table import Table

from jointspace.commands.opened_run import open_run
from jointspace.config import RunConfig, read_config
from jointspace.deploy.latency import Latency, measure_by_turns
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stages import END_TO_END, BundleStages
from jointspace.deploy.workload import make_workload
from jointspace.evaluation.canvas import COLOURS, GRID, MARKERS, draw_png
from jointspace.export.plain import export_plain
from jointspace.storage import write_whole
from jointspace.train.loop import train

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES: Mapping[str, tuple[str, ...]] = {
    "efficient": ("model.name=efficient", "model.fusion=none"),
    "small": (
        "model.vision.channels=[16,32]",
        "model.vision.width=128",
        "model.text.width=64",
        "model.action.width=128",
    ),
    "as configured": (),
    "large": (
        "model.vision.channels=[64,128]",
        "model.vision.width=384",
        "model.text.width=192",
        "model.action.width=384",
    ),
    "largest": (
        "model.vision.channels=[96,192,384]",
        "model.vision.width=512",
        "model.text.width=256",
        "model.text.layers=2",
        "model.action.width=512",
    ),
}
"""What each changes of the configuration."""

METRICS = ("vision->text mAP", "text->vision mAP", "text->action mAP", "same-scene AUROC")
"""Drawn where the data allows them."""


def main() -> None:
    """Trains, measures, prints a table, and writes JSON and a plot if asked to."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.runs or Path(name)
        found = {size: _trained(size, folder, arguments) for size in arguments.sizes}
        latency = _latency(folder, arguments)
    results = {size: {**found[size], **dataclasses.asdict(latency[size])} for size in found}
    _print(results, steps=arguments.steps)
    if arguments.json:
        payload = {"version": 1, "processor": processor(), "seed": arguments.seed, "sizes": results}
        write_whole(arguments.json, json.dumps(payload, indent=1) + "\n")
    if arguments.plot:
        write_whole(arguments.plot, size_plot(results))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.toml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--steps", type=int, help="of every size; the configuration's by default")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--candidates", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the timing")
    parser.add_argument("--runs", type=Path, help="keep the runs here, and use those that are")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    return parser


def size_config(size: str, arguments: argparse.Namespace) -> RunConfig:
    """Returns the configuration of one size."""
    budget = [] if arguments.steps is None else [f"train.num_steps={arguments.steps}"]
    overrides = (*arguments.overrides, *budget, f"seed={arguments.seed}", *SIZES[size])
    return read_config(arguments.config, overrides=overrides)


def _trained(size: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and exports a size, unless it is there, and measures it on the test split."""
    run_folder = folder / size.replace(" ", "-")
    if not (run_folder / "bundle").exists():
        train(size_config(size, arguments), data=arguments.data, out=run_folder)
    opened = open_run(run_folder, data=arguments.data)
    measures = measure_splits(opened, candidates=arguments.candidates)
    if not (run_folder / "bundle").exists():
        export_plain(opened.run.model.cpu(), opened.preprocessor, run_folder / "bundle")
    return {
        "parameters": sum(each.numel() for each in opened.run.model.parameters()),
        "metrics": {name: measure.to_json() for name, measure in measures.items()},
    }


def _latency(folder: Path, arguments: argparse.Namespace) -> dict[str, Latency]:
    calls = {}
    for size in arguments.sizes:
        bundle = folder / size.replace(" ", "-") / "bundle"
        embedder = BundleEmbedder.load(bundle, engine="onnxruntime", num_threads=1)
        work = make_workload(embedder.preprocessor, batch=1)
        calls[size] = BundleStages(embedder, work).calls()[END_TO_END]
    return measure_by_turns(calls, budget_s=arguments.seconds, fewest=30, most=2000)


def size_plot(results: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Draws a panel for each metric: its value over the processor's time, as PNG.

    Args:
        results: size -> what was measured of it.

    Returns:
        The picture.
    """
    names = [n for n in METRICS if all(n in each["metrics"] for each in results.values())]

    def draw(figure: "Figure") -> None:
        axes = figure.subplots(1, max(len(names), 1), squeeze=False)[0]
        for panel, name in zip(axes, names, strict=False):
            for number, (size, each) in enumerate(results.items()):
                panel.plot(
                    each["cpu_ms"],
                    each["metrics"][name]["value"],
                    MARKERS[number % len(MARKERS)],
                    color=COLOURS[number % len(COLOURS)],
                    label=size if name == names[0] else None,
                )
            panel.set_title(name)
            panel.set_xlabel("ms of the processor, end to end")
            panel.grid(color=GRID)
            panel.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=len(results))

    return draw_png(draw, width=3.4 * max(len(names), 1) + 0.6, height=3.4)


def _print(results: Mapping[str, Mapping[str, Any]], *, steps: int | None) -> None:
    budget = "the configuration's steps" if steps is None else f"{steps} steps"
    table = Table(title=f"test split, {budget} each; one thread", title_justify="left")
    table.add_column("size")
    for heading in ("parameters", "p50 ms", "p99 ms", "cpu ms", *METRICS):
        table.add_column(heading, justify="right")
    for size, each in results.items():
        metrics = (each["metrics"].get(name, {}).get("value") for name in METRICS)
        table.add_row(
            size,
            f"{each['parameters']:,}",
            *(f"{each[name]:.2f}" for name in ("p50_ms", "p99_ms", "cpu_ms")),
            *("" if value is None else f"{value:.3f}" for value in metrics),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
