"""The process around the node: signals, exit codes, the last message."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ros.process", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_node_with_zero_as_its_last_message(name):
    process = start()
    try:
        while float(process.stdout.readline()) == 0:
            pass
        began_s = time.monotonic()
        process.send_signal(getattr(signal, name))
        rest, _ = process.communicate(timeout=60)
        assert rest.splitlines()[-1] == "0.0"
        assert process.returncode == 0
        print(f"{name} to the end: {1e3 * (time.monotonic() - began_s):.0f} ms")  # noqa: T201
    finally:
        process.kill()


@pytest.mark.slow
def test_a_node_that_cannot_start_says_so_by_its_exit_code():
    process = start("fail")
    said, _ = process.communicate(timeout=60)
    assert (said, process.returncode) == ("", 1)


@pytest.mark.slow
def test_a_node_without_autostart_waits_and_ends_by_a_signal():
    process = start("idle")
    try:
        assert process.stderr.readline() == "made\n"
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert (said, process.returncode) == ("", 0)
    finally:
        process.kill()
