"""From a camera's frame to a match decision: eager torch against bundles on one thread.

The model is our own efficient one with a separable vision tower of MobileNet's size at 224 px: a
640 x 480 rgb frame, a trajectory of 100 x 7, and an instruction whose row is cached. Its weights
are untrained, and int8 is calibrated on made-up pictures: only the time is measured here.

- alone: all pipelines by turns in one process, one thread each. `torch eager` is the plain
  pipeline, `Preprocessor.batch` and then the model.
  `cpu ms` is the processor's time of all threads, which other load on the machine hardly distorts.
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import processor
from rich.console import Console
from rich.table import Table

from jointspace.batch import ACTION
from jointspace.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from jointspace.data.normalise import Normaliser
from jointspace.data.preprocess import Preprocessor
from jointspace.data.tokenizer import Tokenizer
from jointspace.deploy.latency import Latency, measure_by_turns
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stages import END_TO_END, BundleStages
from jointspace.deploy.workload import make_workload

EAGER = "torch eager"
PX, STEPS, CHANNELS = 224, 100, 7
VISION_CHANNELS = (128, 256, 512, 1024, 2048)
"""The efficient model takes half of each."""

INSTRUCTIONS = ("pick up the red cube", "put the blue bowl on the plate", "open the drawer")
TIMED_CALIBRATION = 16


def main() -> None:
    """Measures, prints tables, and writes JSON if asked to."""
    arguments = _parser().parse_args()
    if arguments.child:
        _child(arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.bundles or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        facts = write_bundles(folder)
        alone = measure_alone(folder, arguments)
        loaded = measure_loaded(folder, arguments) if arguments.load_s else {}
    Console().print(f"the model: {facts}")
    _print("alone, one thread each, by turns", alone)
    if loaded:
        _print(f"beside {arguments.busy} busy processes on {os.cpu_count()} cores", loaded)
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "model": facts,
            "busy_processes": arguments.busy,
            "alone": {name: asdict(each) for name, each in alone.items()},
            "under_load": {name: asdict(each) for name, each in loaded.items()},
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="of the part alone")
    parser.add_argument("--load-s", type=float, default=10.0, help="of each turn under load")
    parser.add_argument("--repeats", type=int, default=3, help="turns under load")
    parser.add_argument("--busy", type=int, default=1, help="busy processes beside")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument(
        "--bundles", type=Path, help="keep the bundles here, and use those that are"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def measure_alone(folder: Path, arguments: argparse.Namespace) -> dict[str, Latency]:
    """Times all pipelines by turns, one thread each."""
    import torch  # noqa: PLC0415 - bundles are measured without it in the other part

    torch.set_num_threads(1)
    calls = {EAGER: _torch_call(compiled=False)}
    if arguments.compile:
        calls["torch compile"] = _torch_call(compiled=True)
    calls |= {name: _bundle_call(folder, name) for name in _bundle_pipelines(folder)}
    return measure_by_turns(calls, budget_s=arguments.seconds, fewest=30, most=5000)


def measure_loaded(folder: Path, arguments: argparse.Namespace) -> dict[str, Latency]:
    """Times each pipeline in a process of its own, by turns, beside busy processes."""
    names = [EAGER, *_bundle_pipelines(folder)]
    spent_ms: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with _busy(arguments.busy):
        for _ in range(arguments.repeats):
            for name in names:
                spent_ms[name] += _run_child(folder, name, seconds=arguments.load_s)
    return {name: Latency.of(*np.asarray(each).T) for name, each in spent_ms.items()}


def make_preprocessor() -> Preprocessor:
    """Returns preprocessing of one camera at 224 px and windows of 100 x 7."""
    rng = np.random.default_rng(0)
    known = rng.normal(size=(1000, CHANNELS)).astype(np.float32)
    return Preprocessor(
        image_px=PX,
        cameras=("front",),
        fps=10.0,
        window_s=STEPS / 10,
        window_frames=1,
        episode_frames=8,
        max_tokens=32,
        tokenizer=Tokenizer.fit(INSTRUCTIONS, max_tokens=32),
        normalisers={ACTION: Normaliser.fit([known], name=ACTION)},
    )


def make_model(preprocessor: Preprocessor) -> Any:
    """Returns the efficient model with fresh weights, the same ones each time."""
    import torch  # noqa: PLC0415

    from jointspace.models.build import build_model  # noqa: PLC0415

    torch.manual_seed(0)
    return build_model(
        ModelConfig(
            name="efficient",
            embed_dim=256,
            sensors=(),
            fusion="none",
            vision=VisionConfig(channels=VISION_CHANNELS, width=512),
        ),
        LossConfig(),
        DataConfig(image_px=PX, max_tokens=preprocessor.max_tokens),
        vocab_size=preprocessor.tokenizer.vocab_size,
        channels=preprocessor.channels,
        num_cameras=1,
    ).eval()


def write_bundles(folder: Path) -> dict[str, Any]:
    """Writes the model in float32 and in every form of int8 that its graphs allow.

    Args:
        folder: for the bundles; the name of each says its precision.

    Returns:
        Facts of the model.
    """
    from jointspace.export.plain import export_plain  # noqa: PLC0415

    preprocessor = make_preprocessor()
    model = make_model(preprocessor)
    if not (folder / "fp32").exists():
        export_plain(model, preprocessor, folder / "fp32")
    for scheme in ("static", "static-all"):
        if not (folder / f"int8 {scheme}").exists():
            _write_int8(folder / "fp32", folder / f"int8 {scheme}", scheme)
    tower = model.tower("vision")
    sizes = {
        each.name: sum(file.stat().st_size for file in each.rglob("*") if file.is_file()) / 2**20
        for each in sorted(folder.iterdir())
    }
    return {
        "vision tower, million parameters": round(
            sum(each.numel() for each in tower.parameters()) / 1e6, 2
        ),
        "frame encoder, million multiply-adds": round(_multiply_adds(tower.frame) / 1e6),
        "bundle, MiB": {name: round(size, 1) for name, size in sizes.items()},
    }


def _write_int8(plain: Path, out: Path, scheme: str) -> None:
    """Quantises convolutions by the scheme, all else dynamically."""
    from jointspace.deploy.bundle import read_bundle, staged_bundle, write_bundle  # noqa: PLC0415
    from jointspace.deploy.graph import FRAME_GRAPH, IMAGE_GRAPH  # noqa: PLC0415
    from jointspace.export.quantise import quantise, schemes_of  # noqa: PLC0415

    bundle = read_bundle(plain)
    rng = np.random.default_rng(0)
    pictures = [
        {"images": rng.integers(0, 256, (1, 3, PX, PX)).astype(np.float32)}
        for _ in range(TIMED_CALIBRATION)
    ]
    graphs = []
    with staged_bundle(out) as aside:
        for graph in bundle.manifest.graphs:
            if graph.name == IMAGE_GRAPH:
                continue  # the runtime does not use it
            target = aside / graph.file
            target.parent.mkdir(parents=True, exist_ok=True)
            known = schemes_of(plain / graph.file)
            chosen = scheme if graph.name == FRAME_GRAPH else next(iter(known), None)
            if chosen is None:
                target.write_bytes((plain / graph.file).read_bytes())
                graphs.append(graph)
                continue
            feeds = pictures if graph.name == FRAME_GRAPH else []
            quantise(plain / graph.file, target, scheme=chosen, calibration=feeds)
            graphs.append(replace(graph, precision="int8"))
        write_bundle(
            aside,
            graphs=graphs,
            preprocessor=bundle.preprocessor,
            model_id=bundle.manifest.model_id,
            gates=bundle.gates,
            card="# For timing alone\n",
        )


def _multiply_adds(frame: Any) -> int:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    counted = []

    def count(module: Any, _: Any, output: Any) -> None:
        places = output[0].numel() // output.shape[1] if output.ndim == 4 else 1
        counted.append(module.weight.numel() * places)

    hooks = [
        each.register_forward_hook(count)
        for name, each in frame.named_modules()
        # The map of coordinates is the same for all pictures, and constant once exported.
        if isinstance(each, nn.Conv2d | nn.Linear) and name != "coordinate_stem"
    ]
    with torch.inference_mode():
        frame(torch.zeros(1, PX, PX, 3, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def _bundle_pipelines(folder: Path) -> list[str]:
    from importlib.util import find_spec  # noqa: PLC0415

    engines = [each for each in ("onnxruntime", "openvino") if find_spec(each) is not None]
    return [f"{engine}, {each.name}" for engine in engines for each in sorted(folder.iterdir())]


def _bundle_call(folder: Path, name: str) -> Callable[[], object]:
    engine, precision = name.split(", ")
    embedder = BundleEmbedder.load(folder / precision, engine=engine, num_threads=1)
    return BundleStages(embedder, make_workload(embedder.preprocessor, batch=1)).calls()[END_TO_END]


def _torch_call(*, compiled: bool) -> Callable[[], object]:
    from jointspace.export.torch_stages import TorchStages  # noqa: PLC0415

    preprocessor = make_preprocessor()
    work = make_workload(preprocessor, batch=1)
    model = make_model(preprocessor)
    return TorchStages(model, preprocessor, work, compiled=compiled).calls()[END_TO_END]


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


def _run_child(folder: Path, name: str, *, seconds: float) -> list[tuple[float, float]]:
    # As each comes: torch with the threads and the waiting that are its defaults.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    command = [sys.executable, __file__, "--child", name, "--bundles", str(folder)]
    done = subprocess.run(  # noqa: S603 - starts this very file
        [*command, "--seconds", str(seconds)], env=kept, stdout=subprocess.PIPE, check=True
    )
    spent_ms: list[tuple[float, float]] = json.loads(done.stdout)
    return spent_ms


def _child(arguments: argparse.Namespace) -> None:
    """Times one pipeline and prints what its calls took, by the clock and of the processor."""
    name = arguments.child
    call = _torch_call(compiled=False) if name == EAGER else _bundle_call(arguments.bundles, name)
    for _ in range(5):
        call()
    spent_ms = []
    end = time.perf_counter() + arguments.seconds
    while (start := time.perf_counter()) < end:
        cpu = time.process_time()
        call()
        spent = time.perf_counter() - start
        spent_ms.append((spent * 1e3, (time.process_time() - cpu) * 1e3))
    print(json.dumps(spent_ms))


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
    Console().print(table)


if __name__ == "__main__":
    main()
