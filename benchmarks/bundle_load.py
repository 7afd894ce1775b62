"""What a bundle costs a robot: seconds of import and load, resident memory, and its growth.

Each start is a fresh process that imports, loads (every hash, the self-test) and embeds one text.
CPU seconds stand beside those of the clock, since other load distorts them less. Files are warm.

Then one process calls again and again, in turn one text of changing length, one picture with the
row of its window, and one trajectory of changing length; its memory is read on the way. A call that
keeps something would show as a slope.

    python benchmarks/bundle_load.py BUNDLE [--calls 200000] [--starts 5]
        [--engine onnxruntime] [--json FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NUM_READINGS = 10
"""How often memory is read while calling."""

WARM_SHARE = 0.1
"""Share of the calls before the first reading: buffers and caches of bounded size fill up."""

WORDS = ("push", "the", "red", "cube", "left", "of", "a", "green", "cup", "and", "lift")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=("start", "calls"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part = one_start if arguments.part == "start" else many_calls
        print(json.dumps(part(arguments)))
        return
    measured = measure(arguments)
    for name, value in measured.items():
        shown = f"{value:,.4g}" if isinstance(value, float) else f"{value}"
        print(f"{name:>26}  {shown}")
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Starts the processes, and returns medians over the starts and the course of the calls."""
    starts = [in_process(arguments, "start") for _ in range(arguments.starts)]
    medians = {name: statistics.median(each[name] for each in starts) for name in starts[0]}
    size_mb = sum(f.stat().st_size for f in arguments.bundle.rglob("*") if f.is_file()) / 1e6
    return {"bundle_mb": size_mb, **medians, **in_process(arguments, "calls")}


def in_process(arguments: argparse.Namespace, part: str) -> dict[str, Any]:
    """Runs one part in a process of its own."""
    command = [sys.executable, __file__, str(arguments.bundle), "--part", part]
    command += ["--calls", str(arguments.calls), "--engine", arguments.engine]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very file
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one_start(arguments: argparse.Namespace) -> dict[str, float]:
    """Imports, loads and embeds once; nothing of it was imported before."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    from jointspace.deploy.runtime import BundleEmbedder  # noqa: PLC0415 - this is measured

    imported_s, imported_cpu_s = time.perf_counter(), time.process_time()
    embedder = BundleEmbedder.load(arguments.bundle, engine=arguments.engine)
    loaded_s, loaded_cpu_s = time.perf_counter(), time.process_time()
    rss_mb = resident_mb()
    embedder.embed_texts(["push the cube"])
    return {
        "import_s": imported_s - start_s,
        "import_cpu_s": imported_cpu_s - start_cpu_s,
        "load_s": loaded_s - imported_s,
        "load_cpu_s": loaded_cpu_s - imported_cpu_s,
        "import_and_load_s": loaded_s - start_s,
        "import_and_load_cpu_s": loaded_cpu_s - start_cpu_s,
        "rss_after_load_mb": rss_mb,
        "first_text_ms": 1000 * (time.perf_counter() - loaded_s),
    }


def many_calls(arguments: argparse.Namespace) -> dict[str, Any]:
    """Calls without end, or nearly so, and reads the memory on the way."""
    import numpy as np  # noqa: PLC0415 - not in the process that measures the import

    from jointspace.batch import ACTION, TEXT, VISION  # noqa: PLC0415
    from jointspace.deploy.runtime import BundleEmbedder  # noqa: PLC0415

    embedder = BundleEmbedder.load(arguments.bundle, engine=arguments.engine)
    made = embedder.preprocessor
    rng = np.random.default_rng(0)
    shape = (8, made.image_px, made.image_px, 3)
    pictures = rng.integers(0, 256, shape, dtype=np.uint8)
    shape = (1, made.window_frames, max(made.num_cameras, 1))
    times = np.arange(made.window_frames, dtype=np.float32)[None] / made.fps
    channels = made.channels.get(ACTION, 1)
    trajectory = rng.normal(size=(1, 200, channels)).astype(np.float32)
    vectors = None

    def text(number: int) -> None:
        chosen = (WORDS[(number * 7 + i) % len(WORDS)] for i in range(1 + number % 12))
        embedder.embed_texts([f"{' '.join(chosen)} {number}"])

    def frame(number: int) -> None:
        nonlocal vectors
        vector = embedder.encode_frames(pictures[number % 8][None])[0]
        if vectors is None:
            vectors = np.zeros((*shape, len(vector)), np.float32)
        vectors[0, number % shape[1], number % shape[2]] = vector
        embedder.embed_frames(vectors, None, times)

    def steps(number: int) -> None:
        embedder.embed_steps(ACTION, trajectory[:, : 1 + number % 200])

    kinds = {TEXT: text, VISION: frame, ACTION: steps}
    calls = [
        kinds[modality]
        for modality in embedder.modalities
        if modality in kinds and not (modality == ACTION and ACTION in made.discrete)
    ]
    warm = max(1, round(WARM_SHARE * arguments.calls))
    marks = np.unique(np.linspace(warm, arguments.calls, NUM_READINGS).astype(int)).tolist()
    readings = []
    start_s = time.perf_counter()
    for number in range(1, arguments.calls + 1):
        calls[number % len(calls)](number)
        if number in marks:
            readings.append(resident_mb())
    return {
        "calls": arguments.calls,
        "calls_per_s": arguments.calls / (time.perf_counter() - start_s),
        "rss_mb": [round(each, 1) for each in readings],
        "rss_growth_mb": readings[-1] - readings[0],
        "peak_rss_mb": resident_mb("VmHWM"),
    }


def resident_mb(name: str = "VmRSS") -> float:
    """Returns resident memory in MiB, now or at its highest (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main()
