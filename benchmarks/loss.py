"""How fast and how small the contrastive loss is, against the textbook's and open_clip's.

Forward and backward over every pair of three modalities (`--pairs 1`: of two) of N unit rows, in
float32. Every measurement is a process of its own, on one thread, its inputs made and everything
warmed up before the clock starts; methods take turns within a repeat, and medians over the repeats
are printed. Times are seconds of the processor, which other load on the machine distorts less than
the clock; the JSON holds both. Beside a median stand the least and the most. Memory is the largest
resident above what the inputs take.

- `plain`: the textbook's: a matrix of logits for each pair, cross-entropy along both axes.
- `clip`: open_clip's `ClipLoss` for each pair, where open_clip is installed; else its formula.
- `tiled`: jointspace, exact, one positive per row.
- `many`: jointspace, exact, with sixteen rows of each goal, all positives of their texts.
- `overlap`: jointspace, exact, with rows of few long episodes, whose overlapping spans are ignored.
- `medium`: `tiled` on torch's reduced-precision float32 product, which gains where the processor
  has matrix units (AMX) and nothing elsewhere.
- `sigmoid`: jointspace's sigmoid loss, exact.

`plain` and `clip` are left out where they would need more than the memory that is free; what they
would need is printed instead: three matrices of N x N numbers for each pair, and four for `clip`.
The sizes that `--large` adds take minutes each, and are measured once.

Run: python benchmarks/loss.py --json loss.json
"""

import argparse
import ctypes
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jointspace.batch import ACTION, TEXT, VISION, RowIds
from jointspace.losses.contrastive import multimodal_contrastive
from jointspace.losses.sigmoid import multimodal_sigmoid

METHODS = ("plain", "clip", "tiled", "many", "overlap", "medium", "sigmoid")
MATRICES = {"plain": 3, "clip": 4}
"""Matrices of N x N numbers that are alive at once for each pair: logits (twice for `clip`) and the
log-likelihoods of both directions."""
NUM_ROWS = (256, 1024, 4096, 8192)
LARGE_NUM_ROWS = (16_384, 32_768, 65_536)
ROWS_PER_GOAL = 16
NUM_EPISODES = 40
ROW_COSINE = 0.3
"""Of the vectors of a row: the loss is then neither 0 nor that of chance."""
SCALE = 1 / 0.07


@dataclass(frozen=True)
class Measurement:
    """One method at one size.

    Attributes:
        method: what was measured.
        num_rows: N.
        seconds: of the processor, median over the repeats; None where it did not run.
        all_seconds: of each repeat.
        clock_seconds: by the clock, median.
        forward_seconds: of the processor, the part before backward.
        peak_mib: largest resident memory above that of the inputs; where it did not run, what its
            matrices alone would need.
        loss: the mean over all directions.
    """

    method: str
    num_rows: int
    seconds: float | None
    all_seconds: tuple[float, ...]
    clock_seconds: float | None
    forward_seconds: float | None
    peak_mib: float
    loss: float | None


def main() -> None:
    """Measures, prints a table, and writes JSON if asked to."""
    arguments = _parser().parse_args()
    if arguments.child:
        _child(arguments)
        return
    sizes = arguments.num_rows + (list(LARGE_NUM_ROWS) if arguments.large else [])
    results, errors = [], []
    print(f"open_clip: {_clip_source()}")
    if "medium" in arguments.methods and not _has_matrix_units():
        print("medium: this processor has no matrix units (AMX), so that it gains nothing here")
    for num_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            measured = _measure_size(num_rows, arguments, Path(folder))
            errors.append(_gradient_errors(num_rows, Path(folder)))
        _print_table(measured, errors[-1], arguments.pairs)
        results += measured
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": _processor(), "cores": os.cpu_count()},
            "packages": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "open_clip": _clip_source(),
            },
            "dim": arguments.dim,
            "pairs": arguments.pairs,
            "repeats": arguments.repeats,
            "threads": 1,
            "measurements": [asdict(m) for m in results],
            "gradient_errors": errors,
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--num-rows", type=int, nargs="+", default=list(NUM_ROWS))
    parser.add_argument("--large", action="store_true", help=f"adds {LARGE_NUM_ROWS} rows")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--pairs", type=int, choices=(1, 3), default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--tile-rows", type=int, default=0, help="0 chooses")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--gradients", type=Path, help=argparse.SUPPRESS)
    return parser


def _measure_size(num_rows: int, arguments: argparse.Namespace, folder: Path) -> list[Measurement]:
    needed = {
        method: MATRICES.get(method, 0) * arguments.pairs * num_rows**2 * 4 for method in METHODS
    }
    feasible = [m for m in arguments.methods if needed[m] < _available()]
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for _ in range(1 if num_rows in LARGE_NUM_ROWS else arguments.repeats):
        for method in feasible:
            runs[method].append(_run_child(method, num_rows, arguments, folder))
    return [
        Measurement(
            method=method,
            num_rows=num_rows,
            seconds=_median(repeats, "seconds"),
            all_seconds=tuple(run["seconds"] for run in repeats),
            clock_seconds=_median(repeats, "clock_seconds"),
            forward_seconds=_median(repeats, "forward_seconds"),
            peak_mib=_median(repeats, "peak_mib") or needed[method] / 2**20,
            loss=_median(repeats, "loss"),
        )
        for method, repeats in runs.items()
    ]


def _median(runs: list[dict[str, Any]], name: str) -> float | None:
    return median(run[name] for run in runs) if runs else None


def _run_child(
    method: str, num_rows: int, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--child", method, "--num-rows", str(num_rows)]
    command += ["--dim", str(arguments.dim), "--pairs", str(arguments.pairs)]
    command += ["--tile-rows", str(arguments.tile_rows)]
    command += ["--gradients", str(folder / f"{method}.npy")]
    done = subprocess.run(  # noqa: S603 - starts this very file
        command, env=os.environ | threads, stdout=subprocess.PIPE, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _child(arguments: argparse.Namespace) -> None:
    """Measures one method and prints one JSON object."""
    torch.set_num_threads(1)
    method, (num_rows,) = arguments.child, arguments.num_rows
    if method == "medium":
        torch.set_float32_matmul_precision("medium")
    # Warmed up on few rows: memory that stays with the process must not count in the peak.
    warm = _loss(method, 64, arguments)
    for _ in range(3):
        warm[0]().backward()
    loss, leaves = _loss(method, num_rows, arguments)
    before = _reset_peak()
    times = [_step(loss, leaves)]
    peak_mib = (_memory("VmHWM") - before) / 2**20
    gradients = np.stack([leaf.grad.numpy() for leaf in leaves])
    # Short ones again, until a second is over: their times scatter most.
    while sum(seconds for _, seconds, _, _ in times) < 1:
        times.append(_step(loss, leaves))
    forward, seconds, clock, values = zip(*times, strict=True)
    np.save(arguments.gradients, gradients)
    result = {
        "seconds": median(seconds),
        "clock_seconds": median(clock),
        "forward_seconds": median(forward),
        "peak_mib": peak_mib,
        "loss": values[0],
    }
    print(json.dumps(result))


def _step(loss: Callable[[], Tensor], leaves: list[Tensor]) -> tuple[float, float, float, float]:
    """Returns seconds of forward, seconds of both, seconds by the clock, and the loss."""
    for leaf in leaves:
        leaf.grad = None
    started = np.array([time.process_time(), time.perf_counter()])
    value = loss()
    forward_s = time.process_time() - started[0]
    value.backward()
    processor_s, clock_s = np.array([time.process_time(), time.perf_counter()]) - started
    return forward_s, float(processor_s), float(clock_s), value.item()


def _loss(
    method: str, num_rows: int, arguments: argparse.Namespace
) -> tuple[Callable[[], Tensor], list[Tensor]]:
    """Returns the call to measure, and the embeddings that it gives gradients to."""
    names = (VISION, TEXT, ACTION) if arguments.pairs == 3 else (VISION, TEXT)
    if method == "overlap" and arguments.pairs == 1:
        names = (VISION, ACTION)  # a text ignores nothing
    embeddings = _embeddings(names, num_rows, arguments.dim)
    leaves = list(embeddings.values())
    scale = torch.tensor(SCALE, requires_grad=True)
    if method == "plain":
        return lambda: _plain(leaves, scale), leaves
    if method == "clip":
        clip = _clip_loss()
        pairs = list(combinations(leaves, 2))
        return lambda: torch.stack([clip(x, y, scale) for x, y in pairs]).mean(), leaves
    everywhere = torch.ones(num_rows, dtype=torch.bool)
    settings: dict[str, Any] = {
        "present": dict.fromkeys(names, everywhere),
        "logit_scale": lambda _query, _target: scale,
        "tile_rows": arguments.tile_rows,
    }
    function: Callable[..., dict[Any, Tensor]] = multimodal_contrastive
    if method == "sigmoid":
        bias = torch.tensor(-10.0, requires_grad=True)
        settings["logit_bias"] = lambda _query, _target: bias
        function = multimodal_sigmoid
    rows = _rows(method, num_rows)

    def ours() -> Tensor:
        return torch.stack(list(function(embeddings, rows, **settings).values())).mean()

    return ours, leaves


def _embeddings(names: tuple[Any, ...], num_rows: int, dim: int) -> dict[Any, Tensor]:
    generator = torch.Generator().manual_seed(0)
    common = functional.normalize(torch.randn(num_rows, dim, generator=generator), dim=1)
    found = {}
    for name in names:
        own = functional.normalize(torch.randn(num_rows, dim, generator=generator), dim=1)
        mixed = ROW_COSINE**0.5 * common + (1 - ROW_COSINE) ** 0.5 * own
        found[name] = functional.normalize(mixed, dim=1).requires_grad_()
    return found


def _rows(method: str, num_rows: int) -> RowIds:
    random = np.random.default_rng(0)
    number = np.arange(num_rows)
    if method == "many":
        goal = random.permutation(number // ROWS_PER_GOAL)
        return RowIds(number, goal, goal, np.zeros(num_rows), np.ones(num_rows))
    if method == "overlap":
        start = random.uniform(0, num_rows / NUM_EPISODES / 5, num_rows)
        return RowIds(random.integers(0, NUM_EPISODES, num_rows), number, number, start, start + 1)
    return RowIds(number, number, number, np.zeros(num_rows), np.ones(num_rows))


def _plain(embeddings: list[Tensor], scale: Tensor) -> Tensor:
    """The textbook's lines, with the scale that it should have."""
    labels = torch.arange(len(embeddings[0]))
    total = torch.zeros(())
    for x, y in combinations(embeddings, 2):
        logits = scale * x @ y.t()
        total = total + functional.cross_entropy(logits, labels)
        total = total + functional.cross_entropy(logits.t(), labels)
    return total / (len(embeddings) * (len(embeddings) - 1))


def _clip_loss() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    module = _clip_module()
    if module is not None:
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = module.ClipLoss()
        return loss

    def formula(x: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        # What open_clip.loss.ClipLoss (3.3) computes in one process: a product for each direction.
        labels = torch.arange(len(x))
        first = functional.cross_entropy(scale * x @ y.T, labels)
        return (first + functional.cross_entropy(scale * y @ x.T, labels)) / 2

    return formula


def _clip_module() -> ModuleType | None:
    """Returns open_clip's own file of losses, without its package, which wants torchvision."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name("loss.py")
    spec = importlib.util.spec_from_file_location("open_clip_loss", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _clip_source() -> str:
    return "its formula" if _clip_module() is None else "installed"


def _gradient_errors(num_rows: int, folder: Path) -> dict[str, float]:
    """How far gradients of the same loss lie apart, relative to their length."""
    found: dict[str, float] = {"num_rows": num_rows}
    for method, reference in (("tiled", "plain"), ("clip", "plain"), ("medium", "tiled")):
        paths = [folder / f"{name}.npy" for name in (method, reference)]
        if all(path.exists() for path in paths):
            ours, theirs = (np.load(path) for path in paths)
            difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            found[f"{method}_against_{reference}"] = float(difference)
    return found


def _print_table(measured: list[Measurement], errors: dict[str, float], pairs: int) -> None:
    by_method = {m.method: m for m in measured}
    num_rows = measured[0].num_rows
    print(f"\nN = {num_rows:,}, {pairs} pair(s), forward + backward, one thread, medians")
    print(
        f"{'method':<10}{'seconds':>10}{'least-most':>18}{'forward':>10}{'x plain':>9}{'x clip':>9}"
        f"{'peak MiB':>10}{'plain/it':>10}{'loss':>11}"
    )
    for m in measured:
        if m.seconds is None:
            print(
                f"{m.method:<10}infeasible: its matrices alone need {m.peak_mib / 1024:.1f} GiB, "
                f"{_available() / 2**30:.1f} GiB are free"
            )
            continue
        ratios = ""
        for name, width in (("plain", 9), ("clip", 9)):
            other = by_method.get(name)
            known = other is not None and other.seconds is not None
            ratios += f"{f'{other.seconds / m.seconds:.2f}' if known else '-':>{width}}"
        plain = by_method.get("plain")
        memory = f"{plain.peak_mib / max(m.peak_mib, 0.1):.1f}" if plain else "-"
        spread = f"{min(m.all_seconds):.4f}-{max(m.all_seconds):.4f}"
        print(
            f"{m.method:<10}{m.seconds:>10.4f}{spread:>18}{m.forward_seconds:>10.4f}{ratios}"
            f"{m.peak_mib:>10.1f}{memory:>10}{m.loss:>11.6f}"
        )
    one, many = (
        by_method[name].seconds if name in by_method else None for name in ("tiled", "many")
    )
    if one is not None and many is not None:
        print(f"  many positives take {many / one:.3f} of the time of one")
    for name, value in errors.items():
        if name != "num_rows":
            print(f"  relative error of the gradient, {name.replace('_', ' ')}: {value:.1e}")


def _reset_peak() -> int:
    """Sets the kernel's high-water mark back to what is resident now, and returns that in bytes."""
    # What making the inputs left behind goes back first: memory used again must count as used.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    return _kibibytes(Path("/proc/self/status"), field)


def _available() -> int:
    return _kibibytes(Path("/proc/meminfo"), "MemAvailable")


def _kibibytes(path: Path, field: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{path} has no {field}; this benchmark needs Linux")


def _has_matrix_units() -> bool:
    return "amx_tile" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", maxsplit=1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
