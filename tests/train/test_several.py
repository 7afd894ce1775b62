"""Runs of several robots: what they train on, and what they write."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.data.open import open_dataset
from jointspace.errors import RunFolderError
from jointspace.models.hub import JointSpace
from jointspace.models.run_data import choose_data
from jointspace.models.run_folder import load_run
from jointspace.train.logs import read_log
from jointspace.train.prepare import prepare
from jointspace.train.setup import PreparedRun
from tests.factories import write_lerobot
from tests.train.robots import BOTH, FORCE, LONGER, embedded, prepared
from tests.train.test_setup import CONFIG, configured


def test_a_step_trains_on_one_robot_with_its_own_channels_rate_and_cameras(robots, tmp_path):
    run = prepared(LONGER, *robots, out=tmp_path / "run")
    batches = [run.batch_at(step) for step in range(8)]
    for batch, embodiment in zip(batches, [0, 1] * 4, strict=True):
        assert {each.embodiment for each in batch.inputs.values()} == {embodiment}
        channels, cameras = ((3, 1), (5, 2))[embodiment]
        assert batch[ACTION].values.shape[2] == channels
        assert batch[VISION].values.shape[2] == cameras
        assert set(batch.inputs) == {VISION, TEXT, ACTION, (STATE, FORCE)[embodiment]}
    # Times are in seconds: steps of the rover are half as far apart.
    windows = [b for b in batches if b[VISION].values.shape[1] == 1]
    steps_s = {w[ACTION].embodiment: np.diff(w[ACTION].time_s[0])[0] for w in windows}
    assert steps_s == {0: pytest.approx(0.1), 1: pytest.approx(0.05)}
    assert not list(tmp_path.iterdir()), "nothing is written before the first step"


def test_statistics_are_those_of_each_robot_and_the_vocabulary_is_shared(robots, tmp_path):
    several = prepared(BOTH, *robots, out=tmp_path / "run")
    for path, run in zip(robots, several.runs, strict=True):
        alone = prepare(
            configured(model={"sensors": run.config.model.sensors}),
            data=path,
            out=tmp_path / "alone",
            resume=False,
            show_progress=False,
        )
        assert run.splits == alone.splits
        for modality, normaliser in alone.preprocessor.normalisers.items():
            np.testing.assert_array_equal(
                run.preprocessor.normalisers[modality].scale, normaliser.scale
            )
    one, two = (run.preprocessor.tokenizer for run in several.runs)
    assert one is two


def test_the_same_text_has_the_same_id_in_every_data_set(robots, tmp_path):
    other = write_lerobot(
        tmp_path / "other",
        num_episodes=6,
        num_frames=14,
        image_px=(16, 16),
        instructions=("push the ball to the left", "a text of its own"),
        seed=8,
    )
    run = prepared(BOTH, *robots, other.path, out=tmp_path / "run")
    for own in run.runs:
        rows, texts = own.train_episodes.rows, own.train_episodes.texts
        told = {e.index: e.instruction for e in own.dataset.episodes}
        assert [texts[i] for i in rows.instruction] == [told[i] for i in rows.episode]
        assert texts == run.runs[0].train_episodes.texts
        np.testing.assert_array_equal(rows.goal, rows.instruction)
    assert len(run.texts.instructions) == 4


def test_weights_share_the_steps_out(robots, tmp_path):
    config = dataclasses.replace(
        BOTH, data=dataclasses.replace(BOTH.data, mixture_weights=(3.0, 1.0))
    )
    run = prepared(config, *robots, out=tmp_path / "run")
    assert [run.batch_at(step)[ACTION].embodiment for step in range(4)].count(0) == 3


def test_the_first_steps_of_every_data_set_can_train_vision_and_text_alone(robots, tmp_path):
    config = configured(train={"vision_text_fraction": 0.5, "num_steps": 12})
    run = prepared(config, *robots, out=tmp_path / "run")
    kinds = [set(run.batch_at(step).inputs) == {VISION, TEXT} for step in range(12)]
    assert kinds == [True] * 6 + [False] * 6


def test_batches_are_those_that_each_data_set_would_train_on_alone(robots, tmp_path):
    run = prepared(LONGER, *robots, out=tmp_path / "run")
    alone = prepare(CONFIG, data=robots[0], out=tmp_path / "a", resume=False, show_progress=False)
    assert isinstance(alone, PreparedRun)
    for step in range(3):
        mixed, own = run.batch_at(2 * step), alone.batch_at(step)
        np.testing.assert_array_equal(mixed[VISION].values, own[VISION].values)
        np.testing.assert_array_equal(mixed.rows.start_s, own.rows.start_s)


def test_a_run_of_several_data_sets_is_not_given_away_as_a_space(both):
    match = r"is a run of 2 data sets \(arm, rover\), but a space to give away is of one"
    with pytest.raises(RunFolderError, match=match):
        JointSpace.of_run(both.folder)


def test_a_run_folder_keeps_what_belongs_to_each_data_set(both, robots):
    about = json.loads((both.folder / "run.json").read_text())
    assert [each["name"] for each in about["embodiments"]] == ["arm", "rover"]
    assert [(each["name"], each["embodiment"]) for each in about["data"]] == [
        ("arm", "arm"),
        ("rover", "rover"),
    ]
    run = load_run(both.folder)
    assert run.findings == both.findings
    for number, (own, path) in enumerate(zip(run.data, robots, strict=True)):
        dataset = open_dataset(path)
        splits = own.splits(dataset)
        assert sorted([*splits.train, *splits.validation, *splits.test]) == list(range(6))
        assert own.preprocessor.embodiment == number
        assert choose_data(run.data, dataset, run=run.folder) == own
    saved = load_file(both.folder / "model.safetensors")
    for name, value in run.model.state_dict().items():
        assert torch.equal(saved[name], value)
    rows = embedded(run, robots[1])
    assert STATE not in rows
    assert {VISION, TEXT, ACTION, FORCE} <= set(rows)
    for vectors in rows.values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(RunFolderError, match=r"is a run of 2 data sets \(arm, rover\); choose"):
        run.preprocessor  # noqa: B018 - reading it is the test


def test_validation_measures_every_robot_and_the_worst_decides(both):
    records = [r for r in read_log(both.folder / "log.jsonl") if r["kind"] == "validation"]
    scores = records[-1]["directions"]
    core = {
        f"{name}: {query}->{target}": scores[f"{name}: {query}->{target}"]["above_chance"]
        for name in ("arm", "rover")
        for query in (VISION, TEXT, ACTION)
        for target in (VISION, TEXT, ACTION)
        if query != target
    }
    assert records[-1]["worst"] == min(core.values())
    assert core[records[-1]["worst_direction"]] == records[-1]["worst"]
    assert records[-1]["mean"] == pytest.approx(np.mean(list(core.values())))


def test_data_sets_of_one_robot_share_its_layers_and_statistics(tmp_path):
    for number, name in enumerate("ab"):
        write_lerobot(
            tmp_path / name, num_episodes=6, num_frames=14, image_px=(16, 16), seed=number
        )
    run = prepared(CONFIG, tmp_path / "a", tmp_path / "b", out=tmp_path / "run")
    assert [each.name for each in run.embodiments] == ["factory"]
    one, two = (each.preprocessor for each in run.runs)
    assert one.normalisers is two.normalisers
    readings = [
        each.dataset.episodes[position].action[:, 0]
        for each in run.runs
        for position in each.splits.train
    ]
    values = np.concatenate(readings).astype(np.float64)
    low, high = np.quantile(values, [0.01, 0.99])
    assert one.normalisers[ACTION].centre[0] == pytest.approx(np.clip(values, low, high).mean())
    weights = run.new_model().state_dict()
    assert len([name for name in weights if name.startswith("towers.action.read.0.")]) == 2
    apart = prepared(CONFIG, f"x={tmp_path / 'a'}", f"y={tmp_path / 'b'}", out=tmp_path / "run")
    assert [each.name for each in apart.embodiments] == ["x", "y"]
