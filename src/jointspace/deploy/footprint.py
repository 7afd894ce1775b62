"""What a process that does nothing but run a bundle needs: memory, and time to start.

As a program, `python -m jointspace.deploy.footprint BUNDLE ENGINE THREADS`, it measures itself and
prints one JSON object.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from jointspace.deploy.manifest import Engine
from jointspace.errors import BundleError

_CALLS = 50


@dataclass(frozen=True)
class Footprint:
    """A fresh process that imports the runtime, loads a bundle, and goes through its stages.

    Attributes:
        import_s: importing the runtime.
        load_s: verifying and loading the bundle, its self-test included.
        loaded_mib: resident memory then; None where the system does not tell.
        stages_mib: stage -> resident memory after its calls, in the order of the way.
        peak_mib: the most that was ever resident.
    """

    import_s: float
    load_s: float
    loaded_mib: float | None
    stages_mib: Mapping[str, float | None]
    peak_mib: float | None


def measure_footprint(folder: Path, *, engine: Engine, num_threads: int = 1) -> Footprint:
    """Measures a bundle in a process of its own, at batch 1.

    Raises:
        BundleError: that process failed; its last line says why.
    """
    words = [sys.executable, "-m", __name__, str(folder), engine, str(num_threads)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - this very module
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BundleError(f"{folder}: a process that runs it on {engine} failed: {reason}")
    return Footprint(**json.loads(done.stdout))


def resident_mib(field: str = "VmRSS") -> float | None:
    """Returns the resident memory of this process (`VmHWM`: the most so far); None off Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: line.split()[1:2] for line in lines}
    return int(sizes[field][0]) / 1024


def _measure_here(folder: Path, *, engine: Engine, num_threads: int) -> Footprint:
    start = time.perf_counter()
    from jointspace.deploy.runtime import BundleEmbedder  # noqa: PLC0415 - importing it is timed

    imported = time.perf_counter()
    embedder = BundleEmbedder.load(folder, engine=engine, num_threads=num_threads)
    loaded = time.perf_counter()
    loaded_mib = resident_mib()
    from jointspace.deploy.stages import BundleStages  # noqa: PLC0415 - not part of a robot
    from jointspace.deploy.workload import make_workload  # noqa: PLC0415

    work = make_workload(embedder.preprocessor, batch=1)
    stages_mib = {}
    for stage, call in BundleStages(embedder, work).calls().items():
        for _ in range(_CALLS):
            call()
        stages_mib[stage] = resident_mib()
    return Footprint(
        import_s=imported - start,
        load_s=loaded - imported,
        loaded_mib=loaded_mib,
        stages_mib=stages_mib,
        peak_mib=resident_mib("VmHWM"),
    )


if __name__ == "__main__":
    bundle, chosen, threads = sys.argv[1:]
    measured = _measure_here(Path(bundle), engine=chosen, num_threads=int(threads))  # type: ignore[arg-type]
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")
