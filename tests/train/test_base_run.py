"""A run that starts from another one: what it keeps, learns anew, and refuses."""

import dataclasses

import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.data.open import open_dataset
from jointspace.errors import ConfigError, RunFolderError
from jointspace.models.hub import JointSpace
from jointspace.models.run_data import choose_data
from jointspace.models.run_folder import load_run
from jointspace.train.sampling import weights_seed
from tests.factories import write_lerobot
from tests.train.robots import BOTH, FORCE, embedded, prepared, refused, trained
from tests.train.test_setup import CONFIG, configured


def test_a_fine_tuning_of_everything_keeps_splits_and_statistics_of_what_it_has_seen(
    robots, both, tmp_path
):
    new = write_lerobot(
        tmp_path / "new", num_episodes=6, num_frames=14, action_dim=7, image_px=(16, 16), seed=5
    ).path
    settings = dataclasses.replace(BOTH.train, start_from=str(both.folder))
    split = dataclasses.replace(BOTH.data, split_seed=9)
    config = dataclasses.replace(BOTH, train=settings, data=split)
    out = tmp_path / "run"
    trained(config, new, robots[1], out=out)
    before, after = load_run(both.folder), load_run(out)
    assert [(each.name, each.trained) for each in after.data] == [
        ("arm", False),
        ("new", True),
        ("rover", True),
    ]
    old, again = before.data[1], after.data[2]
    dataset = open_dataset(robots[1])
    assert again.splits(dataset) == old.splits(dataset)
    for modality, normaliser in old.preprocessor.normalisers.items():
        np.testing.assert_array_equal(
            again.preprocessor.normalisers[modality].centre, normaliser.centre
        )
    assert again.preprocessor.tokenizer.to_json() == old.preprocessor.tokenizer.to_json()
    moved = [
        name
        for name, value in before.model.state_dict().items()
        if not torch.equal(after.model.state_dict()[name], value)
    ]
    assert "towers.action.read.1.weight" in moved  # what all robots share
    assert "towers.action.read.0.0.weight" not in moved  # of the arm, which was not trained on


def test_a_run_that_went_on_with_its_own_data_set_can_be_given_away(robots, tmp_path):
    base, out = tmp_path / "base", tmp_path / "run"
    trained(CONFIG, robots[0], out=base)
    trained(configured(train={"start_from": str(base)}), robots[0], out=out)
    run = load_run(out)
    (run.data[0].report_folder / "metrics.json").write_text('{"splits": {}}')
    JointSpace.of_run(out).save_pretrained(tmp_path / "space")
    opened = JointSpace.from_pretrained(tmp_path / "space")
    assert opened.metrics == {"splits": {}}
    expected = embedded(run, robots[0])
    found = embedded(dataclasses.replace(run, model=opened.model), robots[0])
    for modality, vectors in expected.items():
        np.testing.assert_array_equal(found[modality], vectors)


def test_episodes_that_came_after_the_split_are_told(robots, both, tmp_path):
    grown = write_lerobot(
        tmp_path / "arm", num_episodes=9, num_frames=14, image_px=(16, 16), seed=1
    )
    grown.change_info(robot_type="arm")
    settings = dataclasses.replace(BOTH.train, start_from=str(both.folder))
    run = prepared(dataclasses.replace(BOTH, train=settings), grown.path, out=tmp_path / "run")
    (finding,) = [each for each in run.findings if "do not train" in each.message]
    assert str(finding).startswith("warning: arm: data.split: 3 of 9 episodes were not there")
    assert sorted(p for n in run.runs[0].splits.names for p in run.runs[0].splits.positions(n)) == [
        *range(6)
    ]


def test_a_run_to_start_from_must_have_the_same_model(robots, both, tmp_path):
    for section, key, value in (("model", "embed_dim", 16), ("data", "image_px", 32)):
        changed = dataclasses.replace(getattr(BOTH, section), **{key: value})
        settings = dataclasses.replace(BOTH.train, start_from=str(both.folder))
        config = dataclasses.replace(BOTH, train=settings, **{section: changed})
        match = rf"{section}\.{key}: is {value}, but {value // 2 if section == 'model' else 16} in"
        refused(ConfigError, match, config, robots[0], out=tmp_path / "run")
    settings = dataclasses.replace(BOTH.train, start_from=str(tmp_path))
    config = dataclasses.replace(BOTH, train=settings)
    refused(RunFolderError, "is no run folder", config, robots[0], out=tmp_path / "run")
    refused(
        ConfigError,
        "train.trainable: got 'adapters', expected train.start_from",
        configured(train={"trainable": "adapters"}),
        robots[0],
        out=tmp_path / "run",
    )


def test_gates_can_be_added_to_a_run_without_them_and_not_taken_away(robots, both, tmp_path):
    settings = dataclasses.replace(BOTH.train, start_from=str(both.folder))
    plain = dataclasses.replace(BOTH, train=settings)
    gated = dataclasses.replace(plain, model=dataclasses.replace(BOTH.model, pair_metric="gated"))
    trained(gated, *robots, out=tmp_path / "gated")
    run = load_run(tmp_path / "gated")
    assert not torch.equal(run.model.pair_gate(TEXT, VISION), torch.ones(8))
    settings = dataclasses.replace(BOTH.train, start_from=str(tmp_path / "gated"))
    plain = dataclasses.replace(BOTH, train=settings)
    match = r"model\.pair_metric: is 'cosine', but 'gated' in"
    refused(ConfigError, match, plain, *robots, out=tmp_path / "plain")


@pytest.mark.parametrize("base", ["one", "both"])
def test_a_new_robot_is_learned_by_its_adapter_alone(base, robots, both, tmp_path):
    arm, rover = robots
    start = both.folder if base == "both" else tmp_path / "base"
    config = BOTH if base == "both" else CONFIG
    if base == "one":
        trained(config, arm, out=start)
    new = write_lerobot(
        tmp_path / "new",
        num_episodes=6,
        num_frames=14,
        action_dim=7,
        cameras=("observation.images.wrist",),
        image_px=(16, 16),
        seed=5,
        sensors={FORCE: 2},
    ).path
    settings = dataclasses.replace(
        config.train, start_from=str(start), trainable="adapters", learning_rate=0.01
    )
    config = dataclasses.replace(config, train=settings)
    before, out = load_run(start), tmp_path / "run"
    trained(config, new, out=out)
    after = load_run(out)
    own = 2 if base == "both" else 1
    torch.manual_seed(weights_seed(seed=config.seed))
    first = prepared(config, new, out=tmp_path / "unused").new_model().state_dict()
    last = after.model.state_dict()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    layers = {name.rpartition(f".{own}.")[0] for name in changed}
    assert layers >= {"towers.vision.camera", "towers.action.read.0", "towers.state.read.0"}
    assert all(f".{own}." in name for name in changed)
    assert sum(torch.numel(first[name]) for name in changed) < sum(map(torch.numel, first.values()))
    # The robots of before are embedded as before, bit by bit, from the new run folder.
    for path in (arm, rover) if base == "both" else (arm,):
        earlier, later = embedded(before, path), embedded(after, path)
        assert earlier.keys() == later.keys()
        for modality, vectors in earlier.items():
            np.testing.assert_array_equal(later[modality], vectors)
        dataset = open_dataset(path)
        assert choose_data(after.data, dataset, run=out).splits(dataset) == choose_data(
            before.data, dataset, run=start
        ).splits(dataset)
    assert set(embedded(after, new)) >= {VISION, TEXT, ACTION, STATE}
    again = trained(config, new, out=out, resume=True)
    assert again.num_steps == config.train.num_steps
    match = rf"is of embodiment 'arm', which {start} has been trained on"
    refused(ConfigError, match, config, arm, out=tmp_path / "no")
