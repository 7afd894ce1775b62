"""`jointspace robot replay`, with a bundle and a bag of our own."""

import json

import pytest

from jointspace import cli
from tests.data.bag_factory import messages, record, write_bags
from tests.deploy.bundles import make_bundle, preprocessor


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    made = preprocessor(cameras=("observation.images.wrist",), window_frames=1)
    return str(make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", preprocessor=made))


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return str(write_bags(tmp_path_factory.mktemp("bags"), [record()]) / "bag_0")


def test_a_bundle_sees_a_bag_and_says_what_it_saw(bundle, bag, tmp_path, capsys):
    words = ["robot", "replay", bag, "--bundle", bundle, "--set", "decoder=velocity"]
    words += ["--set", "match_required=false", "velocity_min_similarity=-1"]
    told = []
    for name in ("one", "two"):
        assert cli.main([*words, "--json", "-o", str(tmp_path / name)]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] | {"out": ""} == told[1] | {"out": ""}
    assert told[0]["num_percepts"] >= 22  # a picture each step, and the command
    assert told[0]["drops"] == {}
    assert sum(told[0]["states"].values()) == told[0]["num_decisions"]
    found = messages(tmp_path / "one")
    assert len(found["/robot_velocity"]) == told[0]["num_sent"] > 10
    assert {"/embedding", "/jointspace/similarity"} <= set(found)


def test_lines_are_written_and_a_summary_printed(bundle, bag, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    words = ["robot", "replay", bag, "--bundle", bundle, "-o", str(out), "--latency-ms", "40"]
    assert cli.main([*words, "--say", "lift the cube"]) == 0
    assert "similarity of pictures and command:" in capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    commands = {line["percept"]["command"] for line in lines if "percept" in line}
    assert commands == {"lift the cube"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--latency-ms", "-5"], "latency: got -0.005 s"),
        (["--set", 'image_topics=["/hand"]'], "topic '/hand': the bag has no message on it"),
        (["--set", "decoder=velocty"], "decoder: got 'velocty'"),
    ],
)
def test_mistakes_end_with_one_line(bundle, bag, words, message, capsys):
    assert cli.main(["robot", "replay", bag, "--bundle", bundle, *words]) == 2
    assert message in capsys.readouterr().err
