"""What may be trained on, alone or together."""

import json
import shutil

from jointspace.data.open import open_dataset
from jointspace.errors import ConfigError, InputError
from jointspace.train.setup import PreparedRun
from tests.factories import write_lerobot
from tests.train.robots import BOTH, prepared, refused
from tests.train.test_setup import CONFIG, configured


def test_one_data_set_makes_the_run_folder_of_before(robots, tmp_path):
    run = prepared(CONFIG, robots[0], out=tmp_path / "run")
    assert isinstance(run, PreparedRun)
    run = prepared(CONFIG, f"mine={robots[0]}", out=tmp_path / "run")
    run.create()
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["version"] == 1
    assert about["data"]["embodiment"]["name"] == "mine"
    assert not [name for name in run.new_model().state_dict() if ".embed.0." in name]


def test_what_cannot_be_trained_together_is_refused(robots, both, tmp_path):
    arm, rover = robots
    out = tmp_path / "run"
    refused(ConfigError, "no data set to train on: name one with --data", BOTH, out=out)
    weights = configured(data={"mixture_weights": (1.0, 2.0, 3.0)})
    match = r"data\.mixture_weights: got 3 for 2 data sets; expected one for each"
    refused(ConfigError, match, weights, arm, rover, out=out)
    match = r"holds the same episodes as .*arm; name each data set once"
    refused(InputError, match, BOTH, arm, arm, out=out)
    copy = tmp_path / "copy"
    shutil.copytree(arm, copy)
    refused(InputError, match, BOTH, arm, rover, f"other={copy}", out=out)
    match = r"another data set of 'robot' differs \(10 and 20 steps per second\)"
    refused(ConfigError, match, BOTH, f"robot={arm}", f"robot={rover}", out=out)
    match = r"model\.sensors: no data set has 'sonar'\."
    refused(InputError, match, configured(model={"sensors": ("sonar",)}), arm, rover, out=out)
    match = r"data\.cameras: no data set has 'back'\."
    refused(InputError, match, configured(data={"cameras": ("back",)}), arm, rover, out=out)
    match = "rover: has none of the cameras of data.cameras: top"
    refused(InputError, match, configured(data={"cameras": ("top",)}), arm, rover, out=out)
    assert not out.exists()


def test_single_copies_between_data_sets_are_told(robots, tmp_path):
    arm = write_lerobot(tmp_path / "more", num_episodes=8, num_frames=14, image_px=(16, 16), seed=9)
    first = open_dataset(robots[0]).episodes[0]
    arm.change_column("action", [row.tolist() for row in first.action], episode=3)
    arm.change_column("observation.state", [row.tolist() for row in first.state], episode=3)
    run = prepared(CONFIG, robots[0], arm.path, out=tmp_path / "run")
    (finding,) = [each for each in run.findings if "are copies of episodes of" in each.message]
    assert finding.message.startswith("1 of 8 episodes")


def test_what_a_robot_does_not_record_is_told(both):
    told = {each.where: each.message for each in both.findings}
    assert "observation.force: not recorded here" in told["arm: model.sensors"]
    assert "state: not recorded here" in told["rover: model.sensors"]
