"""How fast and how small retrieval evaluation is, against the textbook's loop.

Both directions between two sides of N unit rows, each row's right answer being its own row. Every
measurement is a process of its own, on one thread, its inputs made before the clock starts; methods
take turns within a repeat, and medians over the repeats are printed. Times are seconds of the
processor, which other load on the machine distorts less than the clock; the JSON holds both.

- `textbook`: the whole similarity matrix, then a full sort per query, once per direction (torch).
- `argsort`: the same loop with NumPy's faster sort, so that the sort is not to blame alone.
- `float32`: jointspace, exact. Its ranks are compared with the textbook's.
- `int8`: jointspace with torch's integer product. Its effect on R@k is printed.
- `medium`: jointspace on torch's reduced-precision float32 product, which gains where the processor
  has matrix units (AMX) and nothing elsewhere.

Beyond `--full-below` rows the two loops are measured on a slab of the similarity matrix and a
sample of the queries, and scaled up; the memory of their matrix is then computed, not measured.
Both are marked with ~.

Run: python benchmarks/retrieval.py --json retrieval.json
"""

import argparse
import ctypes
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

METHODS = ("textbook", "argsort", "float32", "int8", "medium")
LOOPS = ("textbook", "argsort")
DEPTHS = (1, 5, 10)
SLAB_ROWS = 1000
SAME_ROW_COSINE = 0.17
"""Of the two vectors of a row: R@1 is then neither 0 nor 1."""


@dataclass(frozen=True)
class Measurement:
    """One method at one size.

    Attributes:
        method: what was measured.
        num_rows: N.
        seconds: of the processor, median over the repeats, both directions together.
        all_seconds: of each repeat.
        clock_seconds: by the clock, median.
        peak_mib: largest resident memory above that of the inputs.
        scaled: True where a sample was scaled up.
        recall: R@1, R@5, R@10 of both directions; None where only a sample was ranked.
        median_rank: of both directions.
        mean_rank: of both directions.
    """

    method: str
    num_rows: int
    seconds: float
    all_seconds: tuple[float, ...]
    clock_seconds: float
    peak_mib: float
    scaled: bool
    recall: tuple[float, ...] | None
    median_rank: float | None
    mean_rank: float | None


class Stopwatch:
    """Reads the seconds since it was made: of the processor, and by the clock."""

    def __init__(self) -> None:
        self._start = np.array([time.process_time(), time.perf_counter()])

    def read(self) -> np.ndarray:
        """Returns both."""
        return np.array([time.process_time(), time.perf_counter()]) - self._start


def main() -> None:
    """Measures, prints a table, and writes JSON if asked to."""
    arguments = _parser().parse_args()
    if arguments.child:
        _child(arguments)
        return
    results, checks = [], []
    for num_rows in arguments.num_rows:
        with tempfile.TemporaryDirectory() as folder:
            measured = _measure_size(num_rows, arguments, Path(folder))
            checks.append(_compare(num_rows, Path(folder), measured))
        _print_table(measured, checks[-1])
        results += measured
    if arguments.json:
        payload = {
            "version": 1,
            "machine": {"processor": _processor(), "cores": os.cpu_count()},
            "packages": {"python": platform.python_version(), "numpy": np.__version__},
            "dim": arguments.dim,
            "repeats": arguments.repeats,
            "threads": 1,
            "measurements": [asdict(m) for m in results],
            "comparisons": checks,
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--num-rows", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", type=int, default=200, help="queries ranked when scaling up")
    parser.add_argument("--full-below", type=int, default=20_000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=Path, help=argparse.SUPPRESS)
    return parser


def _measure_size(num_rows: int, arguments: argparse.Namespace, folder: Path) -> list[Measurement]:
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in arguments.methods}
    for _ in range(arguments.repeats):
        for method in arguments.methods:
            runs[method].append(_run_child(method, num_rows, arguments, folder))
    measured = []
    for method, repeats in runs.items():
        ranks_file = folder / f"{method}.npy"
        ranks = np.load(ranks_file) if ranks_file.exists() else None
        seconds = tuple(run["seconds"] for run in repeats)
        measured.append(
            Measurement(
                method=method,
                num_rows=num_rows,
                seconds=median(seconds),
                all_seconds=seconds,
                clock_seconds=median(run["clock_seconds"] for run in repeats),
                peak_mib=median(run["peak_mib"] for run in repeats),
                scaled=repeats[0]["scaled"],
                recall=None if ranks is None else tuple(_recall(ranks, k) for k in DEPTHS),
                median_rank=None if ranks is None else float(np.median(ranks, axis=1).mean()),
                mean_rank=None if ranks is None else float(ranks.mean()),
            )
        )
    return measured


def _run_child(
    method: str, num_rows: int, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, __file__, "--child", method, "--num-rows", str(num_rows)]
    command += ["--dim", str(arguments.dim), "--sample", str(arguments.sample)]
    command += ["--full-below", str(arguments.full_below), "--ranks", str(folder / f"{method}.npy")]
    done = subprocess.run(  # noqa: S603 - starts this very file
        command, env=os.environ | threads, stdout=subprocess.PIPE, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _child(arguments: argparse.Namespace) -> None:
    """Measures one method and prints one JSON object."""
    (num_rows,) = arguments.num_rows
    first, second = _sides(num_rows, arguments.dim)
    scaled = arguments.child in LOOPS and num_rows >= arguments.full_below
    run = _method(arguments.child, first, second, arguments.sample if scaled else None)
    before = _reset_peak()
    result = run()
    peak_mib = (_memory("VmHWM") - before) / 2**20
    if scaled:
        # The matrix alone; what a loop holds beside it is small.
        peak_mib = num_rows**2 * 4 / 2**20
    else:
        np.save(arguments.ranks, result["ranks"])
    processor_s, clock_s = result["seconds"]
    times = {"seconds": processor_s, "clock_seconds": clock_s}
    print(json.dumps({**times, "peak_mib": peak_mib, "scaled": scaled}))


def _method(
    method: str, first: np.ndarray, second: np.ndarray, sample: int | None
) -> Callable[[], dict[str, Any]]:
    """Returns the call to measure, with everything imported and warmed up."""
    if method in LOOPS:
        import torch  # noqa: PLC0415 - jointspace's own rows must not pay for it

        torch.set_num_threads(1)
        rank = _textbook_rank if method == "textbook" else _argsort_rank
        rank(torch.randn(64), 3)
        return lambda: _loop(first, second, rank, sample)
    from jointspace.evaluation.ranking import count_ranks_both  # noqa: PLC0415

    # Warmed up on few rows: memory that stays with the process must count in the peak.
    count_ranks_both(first[:64], second[:64], product=_product(method))
    product = _product(method)

    def run() -> dict[str, Any]:
        stopwatch = Stopwatch()
        counts = count_ranks_both(first, second, product=product)
        ranks = np.stack([each.expected_rank for each in counts])
        return {"seconds": stopwatch.read(), "ranks": ranks}

    return run


def _product(method: str) -> Any:
    from jointspace.evaluation.products import Float32Product, Int8Product  # noqa: PLC0415

    if method == "float32":
        return Float32Product()
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    if method == "int8":
        return Int8Product(
            lambda a, b: torch._int_mm(torch.from_numpy(a), torch.from_numpy(b).T).numpy()
        )
    torch.set_float32_matmul_precision("medium")

    class MediumProduct(Float32Product):
        name = "medium"

        def scores(self, query: np.ndarray, target: np.ndarray) -> np.ndarray:
            return torch.mm(torch.from_numpy(query), torch.from_numpy(target).T).numpy()

    return MediumProduct()


def _loop(
    first: np.ndarray,
    second: np.ndarray,
    rank: Callable[[Any, int], int],
    sample: int | None,
) -> dict[str, Any]:
    """The textbook's evaluation in both directions, in full or scaled up from a sample."""
    import torch  # noqa: PLC0415

    num_rows = len(first)
    seconds, ranks = np.zeros(2), []
    for query, target in ((first, second), (second, first)):
        left, right = torch.from_numpy(query), torch.from_numpy(target)
        chosen = range(num_rows)
        if sample is not None:
            left = left[:SLAB_ROWS]
            chosen = range(0, SLAB_ROWS, SLAB_ROWS // sample)
        stopwatch = Stopwatch()
        similarities = left @ right.t()
        product_s = stopwatch.read()
        stopwatch = Stopwatch()
        of_direction = [rank(similarities[i], i) for i in chosen]
        loop_s = stopwatch.read()
        seconds += product_s * num_rows / len(left) + loop_s * num_rows / len(chosen)
        ranks.append(of_direction)
        del similarities
    return {"seconds": seconds, "ranks": np.array(ranks, dtype=np.float64)}


def _textbook_rank(similarities: Any, right: int) -> int:
    """The textbook's lines: sort in descending order, find the right one."""
    import torch  # noqa: PLC0415

    _, indices = torch.sort(similarities, descending=True)
    return int((indices == right).nonzero(as_tuple=True)[0].item()) + 1


def _argsort_rank(similarities: Any, right: int) -> int:
    return int(np.flatnonzero(np.argsort(-similarities.numpy()) == right)[0]) + 1


def _sides(num_rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    first, noise = (_unit(generator.standard_normal((num_rows, dim), np.float32)) for _ in "ab")
    noise = _unit(noise - (noise * first).sum(axis=1, keepdims=True) * first)
    second = SAME_ROW_COSINE * first + np.sqrt(1 - SAME_ROW_COSINE**2) * noise
    return first, second.astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _recall(ranks: np.ndarray, depth: int) -> float:
    return float((ranks <= depth).mean())


def _compare(num_rows: int, folder: Path, measured: list[Measurement]) -> dict[str, Any]:
    """How far the results of the methods agree."""
    ranks = {m.method: np.load(folder / f"{m.method}.npy") for m in measured if not m.scaled}
    comparison: dict[str, Any] = {"num_rows": num_rows}
    if "textbook" in ranks and "float32" in ranks:
        differ = ranks["textbook"] != ranks["float32"]
        comparison["float32_ranks_unlike_textbook"] = int(differ.sum())
        comparison["float32_largest_rank_difference"] = float(
            np.abs(ranks["textbook"] - ranks["float32"]).max()
        )
    for method in ("int8", "medium"):
        if method in ranks and "float32" in ranks:
            comparison[f"{method}_recall_change"] = [
                _recall(ranks[method], k) - _recall(ranks["float32"], k) for k in DEPTHS
            ]
    return comparison


def _print_table(measured: list[Measurement], comparison: dict[str, Any]) -> None:
    baseline = {m.method: m for m in measured if m.method in LOOPS}
    print(f"\nN = {measured[0].num_rows:,}, both directions, one thread, medians of processor time")
    print(
        f"{'method':<10}{'seconds':>10}{'x textbook':>12}{'x argsort':>11}{'peak MiB':>10}"
        f"{'R@1':>8}{'R@5':>8}{'R@10':>8}{'median':>8}{'mean':>9}"
    )
    for m in measured:
        mark = "~" if m.scaled else ""
        ratios = "".join(
            f"{(f'{baseline[b].seconds / m.seconds:.1f}' if b in baseline else '-'):>{width}}"
            for b, width in (("textbook", 12), ("argsort", 11))
        )
        row = (
            f"{m.method:<10}{mark + f'{m.seconds:.2f}':>10}{ratios}{mark + f'{m.peak_mib:.0f}':>10}"
        )
        if m.recall is not None:
            row += "".join(f"{r:>8.4f}" for r in m.recall)
            row += f"{m.median_rank:>8.1f}{m.mean_rank:>9.2f}"
        print(row)
    for name, value in comparison.items():
        if name != "num_rows":
            shown = ", ".join(f"{v:+.5f}" for v in value) if isinstance(value, list) else value
            print(f"  {name.replace('_', ' ')}: {shown}")


def _reset_peak() -> int:
    """Sets the kernel's high-water mark back to what is resident now, and returns that in bytes."""
    # What making the inputs left behind goes back first: memory used again must count as used.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}; this benchmark needs Linux")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", maxsplit=1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
