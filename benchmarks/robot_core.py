"""What the robot's core costs beside the network: pictures from bytes, messages, decisions.

The network is left out (its rows are constant), so that what is measured is what the core adds. The
last rows run for real: a network that sleeps 0.3 s, a camera at 30 Hz and control at 20 Hz. Times
are microseconds of the clock, medians and 99th percentiles.

Run: python benchmarks/robot_core.py [--json FILE]
"""

import argparse
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.images import RawPicture, RgbPicture
from jointspace.robot.core.perception import Band
from jointspace.robot.core.runtime import RobotRuntime
from jointspace.robot.core.worker import PerceptionWorker

HEIGHT_PX, WIDTH_PX, DIM = 480, 640, 128
ENCODINGS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
REPEATS = 2000
SLOW_S, RUN_S, STOPS = 0.3, 3.0, 10


class ConstantNetwork:
    """Rows that are always the same, after a time."""

    embed_dim = DIM
    model_id = "none"

    def __init__(self, sleep_s: float = 0.0) -> None:
        self.sleep_s = sleep_s
        self._row = np.eye(1, DIM, dtype=np.float32)[0]

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        """Returns the row for each text."""
        return np.stack([self._row for _ in texts])

    def similarity(
        self, query: str, query_row: np.ndarray, target: str, target_rows: np.ndarray
    ) -> np.ndarray:
        """Returns 0.9 for each row."""
        del query, query_row, target
        return np.full(len(target_rows), 0.9, dtype=np.float32)

    def add(self, camera: str, picture: np.ndarray, time_s: float) -> np.ndarray:
        """Takes the time that a network would."""
        del camera, time_s
        if self.sleep_s:
            time.sleep(self.sleep_s)
        side_px = min(picture.shape[:2])
        return picture[:side_px, :side_px]

    def embedding(self, now_s: float) -> tuple[np.ndarray, float]:
        """Returns the row."""
        del now_s
        return self._row, 0.0


def main() -> None:
    """Measures, prints the table, and writes it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = {**conversions(), **calls(), **slow_network()}
    print(f"{'what':<44}{'p50 us':>10}{'p99 us':>10}")
    for name, times_us in rows.items():
        print(f"{name:<44}{np.median(times_us):>10.1f}{np.percentile(times_us, 99):>10.1f}")
    if arguments.json:
        payload = {
            name: {"p50_us": float(np.median(each)), "p99_us": float(np.percentile(each, 99))}
            for name, each in rows.items()
        }
        arguments.json.write_text(json.dumps(payload, indent=1) + "\n", encoding="utf-8")


def conversions() -> dict[str, list[float]]:
    """Pictures of 640x480 from bytes, and made contiguous as resizing needs them."""
    rows = {}
    for encoding, channels in ENCODINGS.items():
        picture = RawPicture(
            bytes(HEIGHT_PX * WIDTH_PX * channels),
            height_px=HEIGHT_PX,
            width_px=WIDTH_PX,
            step=WIDTH_PX * channels,
            encoding=encoding,
        )
        rows[f"{encoding} from bytes"] = measure(picture.rgb)
    return rows


def calls() -> dict[str, list[float]]:
    """The runtime's calls, moving."""
    runtime = make_runtime(ConstantNetwork())
    picture = RgbPicture(np.zeros((HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8))
    clock = iter(np.arange(1, 10 * REPEATS) * 1e-3)
    runtime.on_command("forward", now_s=0.0)
    return {
        "on_image": measure(lambda: runtime.on_image(picture, now_s=float(next(clock)))),
        "on_image and perceive, without a network": measure(
            lambda: (runtime.on_image(picture, now_s=float(next(clock))), runtime.perceive())
        ),
        "tick": measure(lambda: runtime.tick(float(next(clock)))),
        "on_command, a stop": measure(lambda: runtime.on_command("stop", now_s=0.0)),
    }


def slow_network() -> dict[str, list[float]]:
    """Ticks and stops while a network sleeps in its thread."""
    runtime = make_runtime(ConstantNetwork(SLOW_S))
    picture = RgbPicture(np.zeros((HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8))
    over = threading.Event()

    def camera() -> None:
        while not over.wait(1 / 30):
            runtime.on_image(picture, now_s=time.monotonic())

    periods_us, stops_us = [], []
    feed = threading.Thread(target=camera)
    with PerceptionWorker(runtime):
        feed.start()
        next_s = last_s = time.monotonic()
        while len(periods_us) < RUN_S * 20:
            next_s += 0.05
            time.sleep(max(0.0, next_s - time.monotonic()))
            runtime.on_command("forward", now_s=time.monotonic())
            runtime.tick(time.monotonic())
            now_s = time.monotonic()
            periods_us.append((now_s - last_s) * 1e6)
            last_s = now_s
        for _ in range(STOPS):
            runtime.on_command("forward", now_s=time.monotonic())
            time.sleep(SLOW_S * 1.37)
            began_s = time.perf_counter()
            runtime.on_command("stop", now_s=time.monotonic())
            decision = runtime.tick(time.monotonic())
            stops_us.append((time.perf_counter() - began_s) * 1e6)
            if decision.values.any():
                raise SystemExit(f"a stop did not stop: {decision}")
        over.set()
        feed.join()
    return {
        "0.3 s network: control period (50,000)": periods_us,
        "0.3 s network: stop to zero": stops_us,
    }


def make_runtime(network: ConstantNetwork) -> RobotRuntime:
    """A runtime that drives forward."""
    return RobotRuntime(
        robot_config({"decoder": "velocity", "image_timeout_s": 1.0, "command_timeout_s": 60.0}),
        network,
        cameras=("front",),
        make_stream=lambda: network,
        judge=Band(accept=0.5, reject=0.3),
    )


def measure(call: Callable[[], object]) -> list[float]:
    """Returns the microseconds of each of many calls."""
    times_us = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        call()
        times_us.append((time.perf_counter() - began_s) * 1e6)
    return times_us


if __name__ == "__main__":
    main()
