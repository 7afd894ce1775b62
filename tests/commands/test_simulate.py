import json

import pytest

from jointspace.cli import main


def test_simulate_makes_a_data_set_and_says_what_is_in_it(tmp_path, capsys):
    out = tmp_path / "data"
    words = ["simulate", str(out), "--episodes", "20", "--px", "32", "--workers", "1", "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_episodes"] == 20
    assert sum(printed["skills"].values()) == 20
    assert printed["findings"] == []
    assert main([*words[:-1]]) == 0
    assert str(out) in capsys.readouterr().out


def test_simulate_writes_bags_where_they_are_asked_for(tmp_path, capsys):
    out = tmp_path / "data"
    words = ["simulate", str(out), "--episodes", "20", "--px", "32", "--samples", "1"]
    for folder, bags in (([], out / "bags"), ([str(tmp_path / "DIR")], tmp_path / "DIR")):
        assert main([*words, "--workers", "1", "--json", "--bag", *folder]) == 0
        assert json.loads(capsys.readouterr().out)["bags"] == str(bags)
        assert len(list(bags.glob("*/metadata.yaml"))) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episodes", "5"], "episodes: got 5, expected at least 20"),
        (["--cameras", "side"], "--cameras: got 'side', expected front, wrist"),
        (["--px", "33"], "image_px: got 33"),
        (["--workers", "0"], "workers: got 0"),
        (["--bag", "a", "b"], "--bag: got 2 folders, expected one"),
    ],
)
def test_mistakes_end_with_one_line_and_nothing_written(words, message, tmp_path, capsys):
    assert main(["simulate", str(tmp_path / "data"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
