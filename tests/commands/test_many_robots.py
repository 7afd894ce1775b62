"""The commands on a run of several robots, as a user calls them."""

import json

import pyarrow.parquet as pq
import pytest

from jointspace import cli
from tests.commands.test_pipeline import TINY
from tests.factories import write_lerobot, write_robots


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    arm, rover = write_robots(tmp_path_factory.mktemp("robots"), num_episodes=10)
    return arm.path, rover.path


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.toml"
    file.write_text("", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def run_folder(robots, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "both"
    data = [word for path in robots for word in ("--data", str(path))]
    words = ["train", str(config), *data, "--out", str(folder), "--set", *TINY]
    assert cli.main(words) == 0
    return folder


def call(capsys, *words):
    assert cli.main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def complaint(capsys, *words):
    assert cli.main([*map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_each_data_set_is_evaluated_with_what_is_its_own(robots, run_folder, capsys):
    for path, has_state in zip(robots, (True, False), strict=True):
        told = call(capsys, "evaluate", run_folder, "--data", path)
        (scale,) = [s for s in told["splits"]["test"]["scales"].items() if s[0] == "windows"]
        queries = {each["query"] for each in scale[1]["retrieval"]}
        assert {"vision", "text", "action"} <= queries
        assert ("state" in queries) == has_state
        assert scale[1]["num_rows"] == 4
        report = run_folder / "data_sets" / path.name / "report.html"
        assert told["files"]["html"] == str(report)
        assert report.is_file()


def test_rows_of_all_data_sets_go_into_one_space_with_common_ids(
    robots, run_folder, tmp_path, capsys
):
    ids = []
    for path in robots:
        file = tmp_path / f"{path.name}.parquet"
        told = call(capsys, "embed", run_folder, "--data", path, "--out", file)
        assert told["num_rows"] == 10
        table = pq.read_table(file)
        ids.append(
            dict(
                zip(
                    *table.select(["instruction_text", "instruction"]).to_pydict().values(),
                    strict=True,
                )
            )
        )
        assert table.schema.field("vector.vision").type.list_size == 8
    (common,) = ids[0].keys() & ids[1].keys()
    assert ids[0][common] == ids[1][common]
    assert len({*ids[0].values(), *ids[1].values()}) == 3


def test_an_unseen_data_set_is_read_as_the_robot_that_it_is_of(
    robots, run_folder, tmp_path, capsys
):
    new = write_lerobot(tmp_path / "new", num_episodes=3, num_frames=14, image_px=(16, 16), seed=4)
    said = complaint(capsys, "embed", run_folder, "--data", new.path, "--out", tmp_path / "x")
    assert "is none of the data sets of" in said
    assert "its robot ('factory', 10 steps per second, 3 action channels) is none of its" in said
    assert "embodiments: arm, rover; name one, as in --data arm=PATH" in said
    named = ("embed", run_folder, "--data", f"arm={new.path}", "--out", tmp_path / "x")
    assert call(capsys, *named)["num_rows"] == 3
    new.change_info(robot_type="arm")
    found = ("embed", run_folder, "--data", new.path, "--out", tmp_path / "x")
    assert call(capsys, *found)["num_rows"] == 3
    said = complaint(capsys, "evaluate", run_folder, "--data", new.path)
    assert "this is another data set" in said
    said = complaint(
        capsys, "embed", run_folder, "--data", f"amr={new.path}", "--out", tmp_path / "y"
    )
    assert f"{run_folder}: has no embodiment 'amr'. Did you mean 'arm'?" in said


def test_training_says_what_to_do_next_for_each_data_set(robots, config, run_folder, capsys):
    data = [word for path in robots for word in ("--data", str(path))]
    words = ["train", str(config), *data, "--out", str(run_folder), "--resume", "--set", *TINY]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    for path in robots:
        assert f"next: jointspace evaluate {run_folder} --data {path}" in printed


def test_training_without_a_data_set_is_refused(config, tmp_path, capsys):
    said = complaint(capsys, "train", config, "--out", tmp_path / "run")
    assert said == "jointspace: error: no data set to train on: name one with --data"


def test_a_run_folder_from_before_embodiments_opens_and_can_be_started_from(
    robots, config, tmp_path, capsys
):
    out = tmp_path / "run"
    words = ["train", config, "--data", robots[0], "--out", out, "--set", *TINY]
    assert cli.main([*map(str, words)]) == 0
    about = json.loads((out / "run.json").read_text())
    del about["data"]["embodiment"]
    (out / "run.json").write_text(json.dumps(about))
    capsys.readouterr()
    file = tmp_path / "x"
    assert call(capsys, "embed", out, "--data", robots[0], "--out", file)["num_rows"] == 10
    keys = (f"train.start_from={out}", "train.trainable=adapters")
    words = ["train", config, "--data", robots[1], "--out", tmp_path / "new", "--set", *TINY, *keys]
    assert call(capsys, *words)["num_steps"] == 2
    for path in robots:
        told = call(capsys, "embed", tmp_path / "new", "--data", path, "--out", file)
        assert told["num_rows"] == 10
