"""What gradient caching costs and saves: memory and time of a step, whole against chunks.

The model is that of the simulated tabletop's configuration (vision, text and action; 48 px), its
rows are random clips of two cameras. Every measurement is a process of its own, on one thread, its
inputs made before the clock starts and its code warmed up on a few rows; medians over the repeats
are printed. Times are seconds of the processor. `--chunk-rows 0` is the plain step.

Run: python benchmarks/gradient_cache.py --json gradient_cache.json
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

NUM_FRAMES, NUM_CAMERAS, IMAGE_PX, NUM_STEPS, ACTION_DIM, NUM_WORDS, VOCABULARY = (
    4,
    2,
    48,
    15,
    7,
    12,
    100,
)


def main() -> None:
    """Measures, prints a table, and writes JSON if asked to."""
    arguments = _parser().parse_args()
    if arguments.child:
        (chunk_rows,) = arguments.chunk_rows
        print(json.dumps(_measure(arguments.num_rows, chunk_rows)))
        return
    print(f"{arguments.num_rows} rows a step, {arguments.repeats} repeats")
    print(f"{'chunk':>6} {'peak MiB':>9} {'seconds':>8}   loss, norm of the gradient")
    results = []
    for chunk_rows in arguments.chunk_rows:
        runs = [_child(arguments.num_rows, chunk_rows) for _ in range(arguments.repeats)]
        result = {
            "chunk_rows": chunk_rows,
            "peak_mib": median(run["peak_mib"] for run in runs),
            "seconds": median(run["seconds"] for run in runs),
            "loss": runs[0]["loss"],
            "gradient_norm": runs[0]["gradient_norm"],
        }
        results.append(result)
        print(
            f"{chunk_rows or 'whole':>6} {result['peak_mib']:9.0f} {result['seconds']:8.2f}"
            f"   {result['loss']:.6f}, {result['gradient_norm']:.6f}"
        )
    if arguments.json:
        payload = {
            "version": 1,
            "packages": {"python": platform.python_version(), "numpy": np.__version__},
            "num_rows": arguments.num_rows,
            "repeats": arguments.repeats,
            "threads": 1,
            "measurements": results,
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--num-rows", type=int, default=256)
    parser.add_argument("--chunk-rows", type=int, nargs="+", default=[0, 128, 64, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _child(num_rows: int, chunk_rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", "--num-rows", str(num_rows)]
    done = subprocess.run(  # noqa: S603 - starts this very file
        [*command, "--chunk-rows", str(chunk_rows)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _measure(num_rows: int, chunk_rows: int) -> dict[str, float]:
    """Does one step, and tells its peak memory above what was there, and its time."""
    import torch  # noqa: PLC0415 - the process that only starts others does not need it

    from jointspace.config import LossConfig  # noqa: PLC0415
    from jointspace.train.gradients import step_gradients  # noqa: PLC0415

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, batch = _model(), _batch(num_rows)

    def step(rows: Any) -> float:
        model.zero_grad(set_to_none=True)
        objective = step_gradients(
            model.train(),
            rows,
            config=LossConfig(fused_weight=0.0),
            generator=torch.Generator().manual_seed(0),
            autocast=nullcontext,
            chunk_rows=chunk_rows,
        )
        return objective.total.item()

    step(_batch(4))
    before = _reset_peak()
    start = time.process_time()
    loss = step(batch)
    seconds = time.process_time() - start
    peak_mib = (_memory("VmHWM") - before) / 2**20
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    return {"peak_mib": peak_mib, "seconds": seconds, "loss": loss, "gradient_norm": norm}


def _model() -> Any:
    from jointspace.batch import ACTION, TEXT, VISION  # noqa: PLC0415
    from jointspace.encoders.text import TextEncoder  # noqa: PLC0415
    from jointspace.encoders.trajectory import FrequencyEncoder  # noqa: PLC0415
    from jointspace.encoders.vision import VisionEncoder  # noqa: PLC0415
    from jointspace.models.joint import JointModel  # noqa: PLC0415

    # Without dropout, so that the chunks draw no other numbers than the whole, and losses compare.
    towers = {
        VISION: VisionEncoder(
            image_px=IMAGE_PX, num_cameras=NUM_CAMERAS, channels=(32, 64), stem_stride=4
        ),
        TEXT: TextEncoder(VOCABULARY, layers=1, max_pooling=True),
        ACTION: FrequencyEncoder(ACTION_DIM, width=256),
    }
    return JointModel(towers, embed_dim=128)


def _batch(num_rows: int) -> Any:
    from jointspace.batch import (  # noqa: PLC0415
        ACTION,
        TEXT,
        VISION,
        Batch,
        ModalityInput,
        RowIds,
    )

    rng = np.random.default_rng(0)
    size = (num_rows, NUM_FRAMES, NUM_CAMERAS, IMAGE_PX, IMAGE_PX, 3)
    pictures = rng.integers(0, 256, size, dtype=np.uint8)
    words = rng.integers(0, VOCABULARY, (num_rows, NUM_WORDS))
    actions = rng.normal(size=(num_rows, NUM_STEPS, ACTION_DIM)).astype(np.float32)
    frame_s, step_s = (
        np.tile(np.linspace(0, 1.5, count, dtype=np.float32), (num_rows, 1))
        for count in (NUM_FRAMES, NUM_STEPS)
    )
    inputs = {
        VISION: ModalityInput(pictures, np.ones(size[:3], dtype=bool), frame_s),
        TEXT: ModalityInput(words, np.ones(words.shape, dtype=bool)),
        ACTION: ModalityInput(actions, np.ones(actions.shape[:2], dtype=bool), step_s),
    }
    ids = np.arange(num_rows)
    return Batch(inputs, RowIds(ids, ids // 2, ids // 2, np.zeros(num_rows), np.ones(num_rows)))


def _reset_peak() -> int:
    """Forgets the peak so far; returns the resident memory in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _memory("VmRSS")


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


if __name__ == "__main__":
    main()
