"""Starts processes that train together, each as `torchrun` would, and waits for them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(words, *, size, **changes):
    """Starts `python WORDS` once per rank; the environment says who is who."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    common = {
        **os.environ,
        "PYTHONPATH": source,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
        **changes,
    }
    return [
        subprocess.Popen(
            [sys.executable, *map(str, words)],
            env=common | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(started, *, timeout_s=60):
    """Returns (exit code, standard output, standard error) of every rank."""
    try:
        written = [process.communicate(timeout=timeout_s) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return [(process.returncode, *each) for process, each in zip(started, written, strict=True)]
