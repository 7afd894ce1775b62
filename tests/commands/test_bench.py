import io
import json

import pytest
from rich.console import Console

from jointspace import cli
from jointspace.commands import bench, bench_subject
from jointspace.commands.arguments import Bench
from jointspace.commands.bench_plot import bench_plot
from jointspace.commands.bench_result import BenchResult, Entry
from jointspace.commands.bench_subject import Pipeline, bundle_pipelines
from jointspace.deploy.footprint import Footprint
from jointspace.deploy.latency import Latency
from jointspace.errors import InputError, RunFolderError
from tests.deploy.bundles import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made")


@pytest.fixture(autouse=True)
def one_engine(monkeypatch):
    """OpenVINO takes seconds to compile a graph."""
    monkeypatch.setattr(bench_subject, "installed_engines", lambda: ("onnxruntime",))


@pytest.fixture
def no_process(monkeypatch):
    footprint = Footprint(0.1, 0.2, 50.0, {"end to end": 51.0}, None)
    monkeypatch.setattr(bench, "measure_footprint", lambda folder, *, engine: footprint)


def entry(pipeline, stage, p50_ms, *, batch=1, num_threads=1):
    return Entry(pipeline, num_threads, batch, stage, Latency(p50_ms, 2.0, 3.0, 9))


def printed(result):
    console = Console(width=200, file=io.StringIO())
    console.print(result.render())
    return console.file.getvalue()


def test_a_bundle_is_measured_without_torch_stage_by_stage(bundle, no_process, capsys, tmp_path):
    plot = tmp_path / "plot.png"
    words = ["bench", str(bundle), "--batch", "1", "2", "--threads", "1", "--seconds", "0.001"]
    assert cli.main([*words, "--plot", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    ways = {(each["pipeline"], each["batch"], each["stage"]) for each in found["entries"]}
    for batch in (1, 2):
        assert ("onnxruntime fp32", batch, "end to end") in ways
        assert ("without a graph", batch, "resize") in ways
        assert ("onnxruntime fp32", batch, "fuse") in ways
        assert ("onnxruntime fp32", batch, "resize") not in ways
    assert not any("torch" in pipeline for pipeline, _, _ in ways)
    assert all(0 < each["p50_ms"] <= each["p99_ms"] for each in found["entries"])
    assert found["footprints"]["onnxruntime fp32"]["loaded_mib"] == 50
    assert found["machine"]["packages"]["numpy"]
    assert found["notes"] == []
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_table_tells_how_much_faster_than_eager_torch_at_the_same_threads_and_batch():
    entries = (
        entry("torch eager", "end to end", 12.0),
        entry("torch eager", "end to end", 99.0, num_threads=2),
        entry("onnxruntime int8", "end to end", 3.0),
        entry("onnxruntime int8", "end to end", 1.0, batch=32),
    )
    result = BenchResult("model", entries, {}, ("openvino is left out: why",))
    assert result.ratio(entries[2]) == 4
    assert result.ratio(entries[3]) is None
    text = printed(result)
    assert "4.0" in text
    assert "note: openvino is left out: why" in text
    assert "12.00  3.00" in text


def test_a_pipeline_that_fails_is_left_out_with_a_note(bundle, no_process, monkeypatch):
    def broken(*_):
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setattr(
        bench_subject,
        "bundle_pipelines",
        lambda folder, manifest: (
            *bundle_pipelines(folder, manifest)[:1],
            Pipeline("torch compile", broken),
        ),
    )
    result = bench.run(Bench(model=bundle, batch=(1, 2), threads=(1,), seconds=0.001))
    assert result.notes == ("torch compile is left out: no compiler",)
    assert {each.pipeline for each in result.entries} == {"without a graph", "onnxruntime fp32"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": (0,)}, r"--batch is \(0,\); wanted numbers of at least 1"),
        ({"threads": ()}, r"--threads is \(\); wanted"),
        ({"seconds": 0.0}, "--seconds is 0.0; wanted more than 0"),
    ],
)
def test_arguments_that_make_no_measurement_are_refused(bundle, change, message):
    with pytest.raises(InputError, match=message):
        bench.run(Bench(model=bundle, **change))


def test_a_folder_that_is_neither_bundle_nor_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError):
        bench.run(Bench(model=tmp_path))


def test_the_plot_has_a_panel_for_every_batch():
    entries = [
        entry(name, stage, 1.5, batch=batch)
        for name in ("a", "b")
        for stage in ("resize", "end to end")
        for batch in (1, 32)
    ]
    assert bench_plot(entries, title="model").startswith(b"\x89PNG")
