"""The commands one after another, as a user calls them, on a data set of a few seconds."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jointspace import cli
from jointspace.commands import evaluate
from jointspace.commands.arguments import Evaluate
from tests.factories import write_lerobot

TINY = (
    "train.num_steps=2",
    "train.warmup_steps=1",
    "train.evaluate_every=1",
    "train.batch_size=4",
    "train.num_threads=1",
    "data.image_px=16",
    "data.validation_fraction=0.2",
    "data.test_fraction=0.4",
    "data.episode_frames=2",
    "model.embed_dim=8",
    "model.fusion_heads=2",
    "model.vision.channels=[4]",
    "model.vision.width=8",
    "model.text.width=8",
    "model.text.layers=1",
    "model.text.heads=2",
    "model.action.width=8",
    "model.sensor.width=8",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    write_lerobot(folder, num_episodes=10, num_frames=24)
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.toml"
    file.write_text("", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run_folder(data, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["train", str(config), "--data", str(data), "--out", str(folder), "--set", *TINY]
    assert cli.main(words) == 0
    return folder


@pytest.fixture(scope="module")
def evaluated(data, run_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return evaluate.run(Evaluate(run=run_folder, data=data, out=out))


def call(capsys, *words):
    assert cli.main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_inspect_tells_what_is_in_the_data_set(data, capsys):
    told = call(capsys, "inspect", data)
    assert told["num_episodes"] == 10
    assert told["num_frames"] == 240


def test_training_tells_what_it_came_to_and_continues_a_run_that_is_done(
    data, config, run_folder, capsys
):
    words = ["train", config, "--data", data, "--out", run_folder, "--resume"]
    told = call(capsys, *words, "--set", *TINY)
    assert told["folder"] == str(run_folder)
    assert told["num_steps"] == 2
    assert told["best_step"] in {1, 2}


def test_a_run_is_not_overwritten(data, config, run_folder, capsys):
    words = ["train", config, "--data", data, "--out", run_folder, "--set", *TINY]
    assert cli.main([*map(str, words)]) == 2
    assert "already holds a run; add --resume" in capsys.readouterr().err


def test_evaluation_measures_both_scales_and_writes_the_report(evaluated):
    told = json.loads(json.dumps(evaluated.to_json()))
    assert list(told["splits"]) == ["test"]
    scales = told["splits"]["test"]["scales"]
    assert {"windows", "episodes"} == set(scales)
    assert scales["windows"]["num_rows"] == 8  # 4 test episodes of 2 whole windows
    assert scales["episodes"]["num_rows"] == 4
    measured = {(each["query"], each["target"]) for each in scales["windows"]["retrieval"]}
    assert {("vision", "action"), ("text", "vision"), ("vision+text", "action")} <= measured
    assert told["about"]["split"] == "test, by episode"
    files = told.pop("files")
    assert json.loads(evaluated.files.metrics.read_text(encoding="utf-8")) == told
    assert all(Path(file).is_file() for file in [files["html"], files["markdown"]])
    assert files["pictures"]


def test_evaluation_prints_chance_beside_its_numbers(evaluated):
    console = Console(file=io.StringIO(), width=200)
    console.print(evaluated.render())
    printed = console.file.getvalue()
    assert "test: 4 episodes, 2 distinct instructions" in printed
    assert "8 windows" in printed
    assert "in brackets: what chance would score" in printed
    assert "which instruction applies, from vision: " in printed
    assert printed.rstrip().endswith("report.html")


def test_an_empty_split_is_named(data, config, tmp_path, capsys):
    out = tmp_path / "run"
    settings = ("data.validation_fraction=0", "data.test_fraction=0")
    words = ["train", config, "--data", data, "--out", out, "--set", *TINY, *settings]
    assert cli.main([*map(str, words)]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(out), "--data", str(data)]) == 2
    captured = capsys.readouterr()
    assert "there are no test episodes" in captured.err.splitlines()[-1]
    assert not (out / "report.html").exists()


def test_embedding_writes_a_row_for_each_window_of_the_data_set(data, run_folder, tmp_path, capsys):
    file = tmp_path / "rows.parquet"
    told = call(capsys, "embed", run_folder, "--data", data, "--out", file)
    table = pq.read_table(file)
    assert told["num_rows"] == table.num_rows == 20
    assert told["embed_dim"] == 8
    assert table.schema.field("vector.vision+text").type.list_size == 8


def test_a_folder_that_is_no_run_is_named(data, tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path), "--data", str(data)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_whole_episodes_are_measured_against_text_alone_since_their_length_would_match_the_rest(
    evaluated,
):
    results = evaluated.splits[0].results
    episodes = results["episodes"]
    assert episodes.retrieval
    assert all("text" in (d.query, d.target) for d in episodes.retrieval)
    assert any("duration" in note for note in episodes.notes)
    assert any("text" not in (d.query, d.target) for d in results["windows"].retrieval)
