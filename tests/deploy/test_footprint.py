"""What a process needs that does nothing but run a bundle, measured in this one and in its own."""

import json
import resource
import runpy
import subprocess
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jointspace.deploy import footprint
from jointspace.deploy.footprint import Footprint, measure_footprint, resident_mib
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stages import BundleStages
from jointspace.deploy.workload import make_workload
from jointspace.errors import BundleError
from tests.deploy.bundles import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made")


def test_resident_memory_and_its_peak_are_what_the_system_accounts():
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert resident_mib("VmHWM") == pytest.approx(peak_mib, rel=0.01)
    assert 0 < resident_mib() <= resident_mib("VmHWM")
    before_mib = resident_mib()
    held = np.ones(64 * 2**20, np.uint8)
    assert resident_mib() - before_mib == pytest.approx(64, abs=8)
    del held


def test_where_the_system_does_not_tell_there_is_no_number(monkeypatch):
    def absent(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert resident_mib() is None


def test_the_program_measures_itself_stage_by_stage(bundle, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["footprint", str(bundle), "onnxruntime", "1"])
    runpy.run_path(footprint.__file__, run_name="__main__")
    found = Footprint(**json.loads(capsys.readouterr().out))
    embedder = BundleEmbedder.load(bundle)
    calls = BundleStages(embedder, make_workload(embedder.preprocessor, batch=1)).calls()
    assert list(found.stages_mib) == list(calls)
    assert found.import_s >= 0
    assert found.load_s > 0
    sizes = (found.loaded_mib, *found.stages_mib.values())
    assert all(0 < each <= found.peak_mib for each in sizes)


def test_what_the_process_printed_is_read_back(bundle, monkeypatch):
    printed = Footprint(0.1, 0.2, None, {"end to end": 51.0}, 60.5)
    asked = []

    def started(words, **_):
        asked.extend(words[1:])
        return SimpleNamespace(returncode=0, stdout=json.dumps(asdict(printed)), stderr="")

    monkeypatch.setattr(subprocess, "run", started)
    assert measure_footprint(bundle, engine="openvino", num_threads=2) == printed
    assert asked == ["-m", "jointspace.deploy.footprint", str(bundle), "openvino", "2"]


def test_a_process_that_fails_is_quoted_by_its_last_line(tmp_path):
    with pytest.raises(BundleError, match=rf"{tmp_path}: a process that runs it on onnxruntime"):
        measure_footprint(tmp_path, engine="onnxruntime")
