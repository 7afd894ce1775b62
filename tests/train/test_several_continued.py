"""A run of several data sets is continued as it was begun."""

import shutil

import torch
from safetensors.torch import load_file

from jointspace.errors import ConfigError, DataError
from jointspace.train.checkpointing import checkpoints
from tests.factories import write_lerobot
from tests.train.robots import BOTH, prepared, refused, trained
from tests.train.test_setup import CONFIG


def test_a_run_that_is_continued_ends_as_one_that_never_stopped(both, robots, tmp_path):
    out = tmp_path / "run"
    trained(BOTH, *robots, out=out)
    last = checkpoints(out / "checkpoints")[-1]
    assert last.name.endswith("4")
    shutil.rmtree(last)
    result = trained(BOTH, *robots, out=out, resume=True)
    assert (result.num_steps, result.best_step) == (both.num_steps, both.best_step)
    whole = load_file(both.folder / "checkpoints" / last.name / "model.safetensors")
    again = load_file(last / "model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_run_is_continued_with_its_own_data_sets_alone(robots, both, tmp_path):
    arm, rover = robots
    match = r"the run is of other data sets; .* in their order: --data arm=.*arm --data rover="
    third = write_lerobot(tmp_path / "third", num_frames=14, image_px=(16, 16), seed=7).path
    refused(ConfigError, match, BOTH, arm, rover, third, out=both.folder, resume=True)
    refused(ConfigError, match, BOTH, f"x={arm}", rover, out=both.folder, resume=True)
    refused(DataError, "this is another data set", BOTH, rover, arm, out=both.folder, resume=True)
    match = "holds a run of several data sets"
    refused(ConfigError, match, BOTH, arm, out=both.folder, resume=True)
    prepared(CONFIG, arm, out=tmp_path / "one").create()
    match = "the run is of other data sets"
    refused(ConfigError, match, CONFIG, arm, rover, out=tmp_path / "one", resume=True)
