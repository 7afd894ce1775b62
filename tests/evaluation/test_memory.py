"""Memory at the largest size that evaluation promises, measured as resident pages of a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json
from pathlib import Path
import numpy as np
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.retrieval import evaluate_both_ways

generator = np.random.default_rng(0)
first = generator.standard_normal((50_000, 256), np.float32)
first /= np.linalg.norm(first, axis=1, keepdims=True)
second = first + 0.2 * generator.standard_normal((50_000, 256), np.float32)
second /= np.linalg.norm(second, axis=1, keepdims=True)
metrics, _ = evaluate_both_ways(
    first, second, episodes=np.arange(50_000) // 10, resampling=Resampling(num_resamples=200)
)
status = Path("/proc/self/status").read_text()
peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"peak_kib": int(peak.split()[1]), "recall": metrics.recall_at_1.value}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_fifty_thousand_by_fifty_thousand_stays_under_two_gibibytes():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    # The matrix alone would take 9.3 GiB. Interpreter, imports and both inputs are counted in.
    assert result["peak_kib"] < 2 * 2**20
    assert 0 < result["recall"] < 1
