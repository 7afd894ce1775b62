"""`jointspace robot rollout`: a run, its bundle and its policy are of one joint space, and act."""

import json
from pathlib import Path

import pytest

from jointspace import cli
from jointspace.robot.policy.folder import load_demonstrations
from tests.commands.test_pipeline import TINY
from tests.robot.policy.demonstrations import demonstration, write_demonstrations

ARM = Path(__file__).parents[2] / "configs" / "robot" / "arm.toml"
SIZES = ("data.image_px=32", "data.window_s=0.5", "train.num_steps=1", "model.fusion=none")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set; two runs of it; a bundle of the first; a policy of each."""
    made = tmp_path_factory.mktemp("robot")
    splits = ["train"] * 32 + ["validation"] * 4 + ["test"] * 4
    shown = [demonstration(seed, split=split) for seed, split in enumerate(splits)]
    data = str(write_demonstrations(made / "data", shown))
    (made / "tiny.toml").write_text("", encoding="utf-8")
    for seed, name in enumerate(("first", "second")):
        run = str(made / name)
        words = [str(made / "tiny.toml"), "--data", data, "--out", run, "--set", *TINY, *SIZES]
        assert cli.main(["train", *words, "model.sensors=[]", f"seed={seed}"]) == 0
        words = [run, "--data", data, "--out", f"{run}-policy", "--steps", "20"]
        assert cli.main(["learn", *words]) == 0
    words = ["--data", data, "--out", str(made / "bundle"), "--precision", "fp32"]
    assert cli.main(["export", str(made / "first"), *words]) == 0
    return made


def rollout(folder, policy, *words):
    settings = ["--config", str(ARM), "--set", f"policy={folder / policy}"]
    words = ["--episodes", "1", "--skills", "lift", *words]
    return cli.main(["robot", "rollout", str(folder / "bundle"), *settings, *words])


def test_a_policy_acts_with_the_bundle_of_the_run_that_it_was_learned_with(folder, capsys):
    manifest = json.loads((folder / "bundle" / "manifest.json").read_text(encoding="utf-8"))
    assert load_demonstrations(folder / "first-policy").model_id == manifest["model_id"]
    assert rollout(folder, "first-policy", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    beside = ["no-op", "random", "other-goal", "expert"]
    assert list(told["policies"]) == [*beside, "policy alone", "robot"]
    assert told["policies"]["expert"]["overall"]["num_successes"] == 1
    assert set(told["states"]) == {"acting"}


def test_a_delayed_robot_says_in_which_states_it_was(folder, capsys):
    late = ["--picture-delay-ms", "700", "--latency-ms", "100", "--no-references"]
    assert rollout(folder, "first-policy", *late) == 0
    assert "120 decisions of the robot: waiting 120 (100%)" in capsys.readouterr().out


def test_a_policy_of_another_joint_space_is_refused(folder, capsys):
    assert rollout(folder, "second-policy") == 2
    complaint = capsys.readouterr().err
    assert "was learned with the joint space" in complaint
    assert "run 'jointspace learn' with the run that the bundle was exported from" in complaint


def test_mistakes_end_with_one_line(folder, capsys):
    assert rollout(folder, "first-policy", "--set", "control_rate_hz=20") == 2
    assert "control_rate_hz: got 20, expected 10" in capsys.readouterr().err
    assert rollout(folder, "first-policy", "--skills", "lft") == 2
    assert "Did you mean 'lift'" in capsys.readouterr().err
