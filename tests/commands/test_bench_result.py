"""What `bench` says: its tables word by word, and the same as an object."""

import io
import platform
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from rich.console import Console

from jointspace.commands import bench_result
from jointspace.commands.bench_result import BenchResult, Entry, this_machine
from jointspace.deploy.footprint import Footprint
from jointspace.deploy.latency import Latency

EAGER, GRAPH = "torch eager", "onnxruntime int8"
ENTRIES = (
    Entry("without a graph", 1, 1, "resize", Latency(0.0123, 0.02, 0.0456, 400)),
    Entry(EAGER, 1, 1, "end to end", Latency(12.0, 13.0, 140.4, 50, cpu_ms=11.5)),
    Entry(GRAPH, 1, 1, "end to end", Latency(3.0, 4.0, 5.0, 60)),
    Entry(GRAPH, 2, 1, "end to end", Latency(2.0, 3.0, 4.0, 80)),
    Entry(GRAPH, 2, 32, "end to end", Latency(30.0, 40.0, 50.0, 70)),
)
FOOTPRINTS = {
    GRAPH: Footprint(0.254, 0.5, 80.4, {"resize": 81.0, "end to end": 90.6}, 100.0),
    "openvino int8": Footprint(1.0, 2.0, None, {"end to end": None}, None),
}


def printed(result):
    console = Console(width=200, file=io.StringIO())
    console.print(result.render())
    return console.file.getvalue()


def rows_of(result):
    """Every line of the tables as its cells, and the lines outside of them."""
    lines = printed(result).replace("┃", "│").splitlines()
    inner = [line[1:-1] if line.startswith("│") else line for line in lines]
    return [[cell.strip() for cell in line.split("│")] for line in inner]


def test_stages_stand_in_a_table_for_every_number_of_threads_and_rows():
    result = BenchResult("demo", ENTRIES, {}, ())
    text = " ".join(printed(result).split())
    assert "demo: batch 1, one thread; ms, p50 and p99" in text
    assert "demo: batch 32, 2 threads; ms, p50 and p99" in text
    rows = rows_of(result)
    assert ["stage", "without a graph", EAGER, GRAPH] in rows
    assert ["resize", "0.0123  0.0456", "", ""] in rows
    assert ["end to end", "", "12.00  140", "3.00  5.00"] in rows
    assert ["end to end", "30.00  50.00"] in rows


def test_the_whole_way_is_compared_with_eager_torch_of_the_same_threads_and_rows_alone():
    rows = rows_of(BenchResult("demo", ENTRIES, {}, ()))
    assert [EAGER, "1", "1", "12.00", "13.00", "140", "11.50", "50", "1.0"] in rows
    assert [GRAPH, "1", "1", "3.00", "4.00", "5.00", "", "60", "4.0"] in rows
    assert [GRAPH, "2", "1", "2.00", "3.00", "4.00", "", "80", ""] in rows
    assert [GRAPH, "2", "32", "30.00", "40.00", "50.00", "", "70", ""] in rows
    assert not any(row[0] == "resident when loaded, MiB" for row in rows)


def test_memory_that_is_not_known_is_left_blank():
    rows = rows_of(BenchResult("demo", ENTRIES, FOOTPRINTS, ("a note",), Path("plot.png")))
    assert ["import, s", "0.25", "1.00"] in rows
    assert ["load and self-test, s", "0.50", "2.00"] in rows
    assert ["resident when loaded, MiB", "80", ""] in rows
    assert ["resident after resize, MiB", "81", ""] in rows
    assert ["resident after end to end, MiB", "91", ""] in rows
    assert ["peak, MiB", "100", ""] in rows
    assert rows[-2:] == [["note: a note"], ["plot: plot.png"]]


def test_the_object_holds_every_number_with_its_ratio():
    told = BenchResult("demo", ENTRIES, FOOTPRINTS, ("a note",), Path("plot.png")).to_json()
    assert told["subject"] == "demo"
    ratios = [each["times_faster_than_eager"] for each in told["entries"]]
    assert ratios == [None, 1, 4, None, None]
    assert told["entries"][1]["cpu_ms"] == 11.5
    assert told["entries"][4]["batch"] == 32
    assert told["footprints"][GRAPH]["stages_mib"] == {"resize": 81.0, "end to end": 90.6}
    assert told["footprints"]["openvino int8"]["peak_mib"] is None
    assert (told["notes"], told["plot"]) == (["a note"], "plot.png")
    assert BenchResult("demo", ENTRIES, {}, ()).to_json()["plot"] is None


def test_the_machine_is_told_with_the_packages_that_are_installed(monkeypatch):
    def installed(name):
        if name == "openvino":
            raise PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(bench_result, "version", installed)
    packages = this_machine()["packages"]
    assert packages["numpy"] == "1.2.3"
    assert "openvino" not in packages


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nmodel name\t: A CPU: fast\nmodel name\t: other\n", "A CPU: fast"),
        ("processor\t: 0\n", "as python says"),
        (None, "as python says"),
    ],
)
def test_the_processor_is_named_as_well_as_the_system_can(monkeypatch, content, expected):
    def read(*_, **__):
        if content is None:
            raise FileNotFoundError
        return content

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "as python says")
    assert this_machine()["processor"] == expected
