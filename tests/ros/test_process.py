"""The process around the node: signals, exit codes, the last message."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@contextmanager
def started(*words):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ros.process", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:  # closes the pipes
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_node_with_zero_as_its_last_message(name):
    with started() as process:
        while float(process.stdout.readline()) == 0:
            pass
        began_s = time.monotonic()
        process.send_signal(getattr(signal, name))
        lines = [(time.monotonic(), line.strip()) for line in process.stdout]
        assert lines[-1][1] == "0.0"
        assert process.wait(timeout=60) == 0
        zero_ms, end_ms = (1e3 * (at_s - began_s) for at_s in (lines[-1][0], time.monotonic()))
        print(f"{name}: zero after {zero_ms:.0f} ms, over after {end_ms:.0f} ms")  # noqa: T201


@pytest.mark.slow
def test_a_node_that_cannot_start_says_so_by_its_exit_code():
    with started("fail") as process:
        assert process.stdout.read() == ""
        assert process.wait(timeout=60) == 1


@pytest.mark.slow
def test_a_node_without_autostart_waits_and_ends_by_a_signal():
    with started("idle") as process:
        assert process.stderr.readline() == "made\n"
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(timeout=60) == 0


_IMPORTS = """
import sys
from tests.ros import stand_in_rclpy

sys.modules.update(stand_in_rclpy.modules())
before = set(sys.modules)
import jointspace_ros.main
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.slow
def test_the_node_needs_numpy_and_the_engine_alone():
    folders = [ROOT / "src", ROOT, ROOT / "ros" / "jointspace_ros"]
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "pyarrow", "PIL", "matplotlib", "av", "cattrs", "cyclonedds", "cv_bridge"}
    assert heavy.isdisjoint(done.stdout.split())
