"""From files to a run folder: what `train` reads, writes and refuses."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jointspace.batch import ACTION, SIX_DIRECTIONS, STATE, TEXT, VISION, Direction, RowIds
from jointspace.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrainConfig,
    TrajectoryConfig,
    VisionConfig,
    write_config,
)
from jointspace.data.open import open_dataset
from jointspace.errors import ConfigError, DataError, InputError, RunFolderError, StorageError
from jointspace.evaluation.relevance import distinct_texts
from jointspace.losses.relations import compare_all
from jointspace.models import run_folder
from jointspace.models.embed import TorchEmbedder
from jointspace.models.run_folder import load_run
from jointspace.train.checkpointing import checkpoints
from jointspace.train.logs import read_log
from jointspace.train.loop import train
from jointspace.train.sampling import Share
from jointspace.train.setup import prepare_run
from tests.factories import write_lerobot

SMALL = TrajectoryConfig(width=16)
CONFIG = RunConfig(
    data=DataConfig(image_px=16, episode_frames=2, validation_fraction=0.34, test_fraction=0.17),
    model=ModelConfig(
        embed_dim=8,
        fusion_heads=2,
        vision=VisionConfig(channels=(4, 8), width=16),
        text=TextConfig(width=8, layers=1, heads=2),
        action=SMALL,
        sensor=SMALL,
    ),
    augment=AugmentConfig(shift_px=1),
    train=TrainConfig(
        num_steps=4, batch_size=6, evaluate_every=2, warmup_steps=1, precision="fp32"
    ),
)


def configured(**sections):
    return dataclasses.replace(
        CONFIG,
        **{
            name: dataclasses.replace(getattr(CONFIG, name), **changes)
            for name, changes in sections.items()
        },
    )


@pytest.fixture(scope="module")
def dataset_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "robot"
    write_lerobot(path, num_episodes=6, num_frames=14, image_px=(16, 16))
    return path


@pytest.fixture(scope="module")
def goals_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "goals"
    columns = {
        "goal": ["lift", "lift", "lift", "push", "lift", "push"],
        "split": ["train"] * 4 + ["validation"] * 2,
    }
    told = ("grab it", "lift it", "grab it", "push it", "raise it", "push it")
    return annotate(path, columns, instructions=told)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset_path):
    out = tmp_path_factory.mktemp("runs") / "finished"
    return train(CONFIG, data=dataset_path, out=out, show_progress=False)


def annotate(path, columns, **changes):
    """Writes a data set of six episodes and adds a column of values to its `meta/episodes`."""
    write_lerobot(path, num_episodes=6, num_frames=14, image_px=(16, 16), **changes)
    file = path / "meta" / "episodes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepare(dataset_path, out, *, config=CONFIG, resume=False):
    return prepare_run(config, data=dataset_path, out=out, resume=resume, show_progress=False)


def test_a_run_folder_holds_everything_that_was_promised(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "config.toml",
        "preprocessing.json",
        "splits.json",
        "model.safetensors",
        "run.json",
        "log.jsonl",
        "tensorboard",
        "checkpoints",
    }
    assert finished.num_steps == 4
    assert not finished.stopped_early
    assert finished.best_step in {2, 4}
    assert len(checkpoints(finished.folder / "checkpoints")) == 2
    validations = [r for r in read_log(finished.folder / "log.jsonl") if r["kind"] == "validation"]
    assert [record["step"] for record in validations] == [2, 4]
    assert {str(direction) for direction in SIX_DIRECTIONS} <= set(validations[0]["directions"])
    best = max(validations, key=lambda record: (record["worst"], record["mean"]))
    assert finished.best_worst == best["worst"]


def test_an_opened_run_embeds_what_it_was_trained_on(finished, dataset_path):
    run = load_run(finished.folder)
    assert run.config == CONFIG
    assert run.data_path == dataset_path.resolve()
    assert run.jointspace_version
    assert not run.model.training
    dataset = open_dataset(dataset_path)
    splits = run.splits(dataset)
    assert sorted([*splits.train, *splits.validation, *splits.test]) == list(range(6))
    assert set(run.preprocessor.channels) == {ACTION, STATE}
    saved = load_file(finished.folder / "model.safetensors")
    for name, value in run.model.state_dict().items():
        assert torch.equal(saved[name], value)
    prepared = prepare(dataset_path, finished.folder, resume=True)
    batch = prepared.batch_at(0)
    rows = TorchEmbedder(run.model).embed(VISION, batch)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_a_batch_depends_on_its_step_alone(dataset_path, tmp_path):
    one, two = (prepare(dataset_path, tmp_path / each) for each in "ab")
    forwards = [one.batch_at(step) for step in range(5)]
    backwards = [two.batch_at(step) for step in reversed(range(5))][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(first.rows.episode, second.rows.episode)
        np.testing.assert_array_equal(first.rows.start_s, second.rows.start_s)
        for modality in (VISION, TEXT, ACTION, STATE):
            np.testing.assert_array_equal(first[modality].values, second[modality].values)
    assert not list(tmp_path.iterdir()), "nothing is written before the first step"


@pytest.mark.parametrize(
    ("augment", "balance"),
    [({}, "none"), ({"paraphrase": 0.5, "camera_dropout": 0.5, "erase": 0.3}, "goal")],
)
def test_processes_together_read_the_batch_of_one_however_it_is_augmented(
    augment, balance, goals_path, tmp_path
):
    config = configured(augment=augment, train={"balance": balance})
    prepared = prepare(goals_path, tmp_path / "run", config=config)
    for step in range(5):
        whole = prepared.batch_at(step)
        order = np.argsort(whole.rows.episode, kind="stable")
        parts = [prepared.batch_at(step, share=Share(rank, 4)) for rank in range(4)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        together = RowIds.concatenate(part.rows for part in parts)
        for name in ("episode", "instruction", "start_s", "stop_s"):
            np.testing.assert_array_equal(getattr(together, name), getattr(whole.rows, name)[order])
        for modality in (VISION, TEXT, ACTION, STATE):
            all_rows = whole[modality]
            expected = iter(zip(all_rows.values[order], all_rows.valid[order], strict=True))
            for part in parts:
                for values, valid in zip(part[modality].values, part[modality].valid, strict=True):
                    wanted, wanted_valid = next(expected)
                    np.testing.assert_array_equal(values[valid], wanted[wanted_valid])


def test_balanced_goals_train_equally_often_and_a_step_depends_on_its_number_alone(
    goals_path, tmp_path
):
    config = configured(train={"balance": "goal", "batch_size": 8, "episode_fraction": 0.0})
    one, two = (prepare(goals_path, tmp_path / each, config=config) for each in "ab")
    rows = [one.batch_at(step).rows for step in range(12)]
    for step in (11, 4, 0):
        again = two.batch_at(step).rows
        np.testing.assert_array_equal(again.start_s, rows[step].start_s)
        np.testing.assert_array_equal(again.goal, rows[step].goal)
    counts = Counter(np.concatenate([each.goal for each in rows]).tolist())
    assert len(counts) == 2
    assert len(set(counts.values())) == 1
    available = Counter(one.train_windows.rows.goal.tolist())
    assert len(set(available.values())) == 2, "else there would be nothing to balance"


def test_paraphrases_come_from_training_episodes_and_are_counted(goals_path, tmp_path):
    config = configured(augment={"paraphrase": 1.0})
    prepared = prepare(goals_path, tmp_path / "run", config=config)
    by_index = {episode.index: episode for episode in prepared.dataset.episodes}
    trained = {prepared.dataset.episodes[at].instruction for at in prepared.splits.train}
    texts, own = prepared.train_episodes.texts, 0
    for step in range(20):
        rows = prepared.batch_at(step).rows
        for episode, instruction in zip(
            rows.episode.tolist(), rows.instruction.tolist(), strict=True
        ):
            assert texts[instruction] in trained
            own += texts[instruction] == by_index[episode].instruction
    notes = {each.where: each.message for each in prepared.findings}
    assert notes["augment.paraphrase"] == (
        "1 of 2 goals of the training episodes have several wordings; rows of other goals keep "
        "theirs"
    )
    assert own > 0, "the goal with one wording keeps it"
    silent = prepare(goals_path, tmp_path / "run")
    assert "augment.paraphrase" not in {each.where for each in silent.findings}


def test_windows_can_leave_the_pairs_with_text_to_whole_episodes(dataset_path, tmp_path):
    config = configured(train={"text_on_windows": False, "episode_fraction": 0.5})
    prepared = prepare(dataset_path, tmp_path / "run", config=config)
    kinds = [set(prepared.batch_at(step).inputs) for step in range(4)]
    assert kinds.count({VISION, ACTION, STATE}) == 2
    assert kinds.count({VISION, TEXT, ACTION, STATE}) == 2


def test_the_first_steps_can_train_vision_and_text_alone(dataset_path, tmp_path):
    config = configured(train={"vision_text_fraction": 0.1, "num_steps": 40})
    prepared = prepare(dataset_path, tmp_path / "run", config=config)
    kinds = [set(prepared.batch_at(step).inputs) for step in range(8)]
    assert kinds[:4] == [{VISION, TEXT}] * 4
    assert kinds[4:] == [{VISION, TEXT, ACTION, STATE}] * 4
    first = prepared.batch_at(0).rows
    assert (first.start_s == 0).all()
    assert (first.stop_s > config.data.window_s).all()


@pytest.mark.parametrize("instructions", [(), ("", "", "", "lift")], ids=["mute", "few"])
def test_the_first_steps_train_everything_where_there_is_no_text_to_compare(tmp_path, instructions):
    path = tmp_path / "data"
    write_lerobot(path, num_episodes=6, num_frames=14, instructions=instructions, image_px=(16, 16))
    config = configured(train={"vision_text_fraction": 0.5})
    run = prepare(path, tmp_path / "run", config=config)
    assert run.batch_at(0).inputs.keys() == {VISION, TEXT, ACTION, STATE}
    assert (run.batch_at(0).rows.start_s == 0).all()
    (finding,) = [each for each in run.findings if each.where == "train.vision_text_fraction"]
    assert "train every modality" in finding.message
    result = train(config, data=path, out=tmp_path / "trained", show_progress=False)
    assert result.num_steps == config.train.num_steps


def test_training_rows_never_come_from_held_out_episodes(dataset_path, tmp_path):
    prepared = prepare(dataset_path, tmp_path / "run")
    index = [episode.index for episode in prepared.dataset.episodes]
    trained = {int(e) for step in range(20) for e in prepared.batch_at(step).rows.episode}
    assert trained == {index[position] for position in prepared.splits.train}
    validated = {int(e) for e in prepared.validation_windows.rows.episode}
    assert validated == {index[position] for position in prepared.splits.validation}


def test_training_rows_are_augmented_and_validation_rows_are_not(dataset_path, tmp_path):
    prepared = prepare(dataset_path, tmp_path / "run")
    windows, held_out = prepared.train_windows, prepared.validation_windows
    rng = np.random.default_rng(0)
    plain, changed = windows.batch([0, 1]), windows.batch([0, 1], rng=rng)
    for modality in (VISION, ACTION):
        assert (plain[modality].values != changed[modality].values).any()
    plain, same = held_out.batch([0, 1]), held_out.batch([0, 1], rng=rng)
    for modality in (VISION, ACTION):
        np.testing.assert_array_equal(plain[modality].values, same[modality].values)


@pytest.fixture
def single_rows(monkeypatch):
    monkeypatch.setattr("jointspace.train.setup.check_rows", lambda *_, **__: None)


@pytest.mark.usefixtures("single_rows")
def test_a_continued_run_keeps_its_stored_splits_and_preprocessing(dataset_path, tmp_path):
    out = tmp_path / "run"
    prepare(dataset_path, out).create()
    splits = json.loads((out / "splits.json").read_text())
    swapped = splits | {"test": splits["validation"], "validation": splits["test"]}
    (out / "splits.json").write_text(json.dumps(swapped))
    stored = json.loads((out / "preprocessing.json").read_text())
    stored["normalisers"][0]["centre"][0] = 12.5
    (out / "preprocessing.json").write_text(json.dumps(stored))
    prepared = prepare(dataset_path, out, resume=True)
    assert list(prepared.splits.test) == splits["validation"]
    assert list(prepared.splits.validation) == splits["test"]
    assert prepared.preprocessor.normalisers[ACTION].centre[0] == 12.5


@pytest.mark.usefixtures("single_rows")
def test_too_many_validation_rows_are_thinned_evenly(dataset_path, tmp_path, monkeypatch):
    whole = prepare(dataset_path, tmp_path / "run").validation_episodes
    monkeypatch.setattr("jointspace.train.rows.MAX_ROWS", 1)
    thinned = prepare(dataset_path, tmp_path / "run")
    assert len(thinned.validation_episodes) == len(thinned.validation_windows) == 1
    assert thinned.validation_episodes.windows[0] == whole.windows[0]


def test_episodes_shorter_than_a_window_train_whole_and_are_reported(tmp_path):
    write_lerobot(tmp_path / "short", num_episodes=6, num_frames=6, image_px=(16, 16))
    prepared = prepare(tmp_path / "short", tmp_path / "run")
    assert prepared.train_windows is None
    assert prepared.validation_windows is None
    assert len(prepared.batch_at(0)) == len(prepared.splits.train)
    (finding,) = [f for f in prepared.findings if f.where == "data.window_s"]
    assert "shorter than a window of 1 s" in finding.message


def test_no_validation_split_trains_to_the_end_and_keeps_the_last_weights(dataset_path, tmp_path):
    config = configured(data={"validation_fraction": 0.0}, train={"num_steps": 2})
    result = train(config, data=dataset_path, out=tmp_path / "run", show_progress=False)
    assert (result.best_step, result.best_worst, result.best_mean) == (2, None, None)


def test_row_25_a_data_set_without_texts_or_pictures_trains(tmp_path):
    write_lerobot(
        tmp_path / "mute", num_episodes=6, num_frames=14, instructions=(), image_px=(16, 16)
    )
    config = configured(train={"num_steps": 2})
    result = train(config, data=tmp_path / "mute", out=tmp_path / "run", show_progress=False)
    (record,) = [r for r in read_log(result.folder / "log.jsonl") if r["kind"] == "validation"]
    assert not any("text" in direction for direction in record["directions"])


def test_a_finished_run_is_left_alone_by_resume(finished, dataset_path):
    before = (finished.folder / "model.safetensors").stat().st_mtime_ns
    again = train(CONFIG, data=dataset_path, out=finished.folder, resume=True, show_progress=False)
    assert again == finished
    assert (finished.folder / "model.safetensors").stat().st_mtime_ns == before


def test_resume_begins_where_there_is_nothing_and_where_nothing_was_trained(dataset_path, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".config.toml.77.tmp").write_text("half")
    (out / "preprocessing.json").write_text("{}")
    config = configured(train={"num_steps": 2})
    train(config, data=dataset_path, out=out, resume=True, show_progress=False)
    assert load_run(out).config == config


def refused(error, match, *, config=CONFIG, data, out, resume=False):
    before = sorted(out.rglob("*")) if out.is_dir() else None
    with pytest.raises(error, match=match) as caught:
        train(config, data=data, out=out, resume=resume, show_progress=False)
    assert "\n" not in str(caught.value)
    assert (sorted(out.rglob("*")) if out.is_dir() else None) == before


def test_what_cannot_be_is_refused_before_anything_is_written(finished, dataset_path, tmp_path):
    new = tmp_path / "new"
    refused(
        RunFolderError, "already holds a run; add --resume", data=dataset_path, out=finished.folder
    )
    refused(DataError, "absent", data=tmp_path / "absent", out=new)
    file = tmp_path / "file"
    file.write_text("")
    refused(RunFolderError, "is a file", data=dataset_path, out=file)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    for resume in (False, True):
        refused(
            RunFolderError,
            "not empty, and holds no run",
            data=dataset_path,
            out=tmp_path / "full",
            resume=resume,
        )
    refused(
        ConfigError,
        r"train\.batch_size: got 1, ",
        data=dataset_path,
        out=new,
        config=configured(train={"batch_size": 1}),
    )
    refused(
        InputError,
        r"model\.sensors: the data set has no 'force'",
        data=dataset_path,
        out=new,
        config=configured(model={"sensors": ("force",)}),
    )
    refused(
        InputError,
        "camera",
        data=dataset_path,
        out=new,
        config=configured(data={"cameras": ("left",)}),
    )
    refused(
        ConfigError,
        "quantum",
        data=dataset_path,
        out=new,
        config=configured(train={"device": "quantum"}),
    )


def test_another_configuration_cannot_continue_a_run(finished, dataset_path):
    refused(
        ConfigError,
        r"model\.text\.width: is 16, but the run in .* has 8; .*config\.toml",
        data=dataset_path,
        out=finished.folder,
        resume=True,
        config=configured(model={"text": TextConfig(width=16, layers=1, heads=2)}),
    )


def test_a_run_of_another_version_or_without_weights_is_refused(finished, dataset_path, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(RunFolderError, match=r"is no run folder: it has no run\.json"):
        load_run(out)
    for name in ("run.json", "config.toml", "preprocessing.json", "splits.json"):
        (out / name).write_bytes((finished.folder / name).read_bytes())
    with pytest.raises(RunFolderError, match="stopped before the first evaluation"):
        load_run(out)
    about = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(RunFolderError, match="format version 99"):
        load_run(out)
    refused(RunFolderError, "format version 99", data=dataset_path, out=out, resume=True)


def test_a_full_disk_at_the_start_is_one_error(dataset_path, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        train(CONFIG, data=dataset_path, out=tmp_path / "run", show_progress=False)
    assert not list(tmp_path.glob("run/*"))


def tensors_equal(one, two):
    first, second = load_file(one), load_file(two)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_minus_nine_at_any_moment_loses_only_the_steps_since_the_last_checkpoint(
    dataset_path, tmp_path, frame_cache
):
    config = configured(train={"num_steps": 40, "evaluate_every": 4})
    (tmp_path / "config.toml").write_text(write_config(config))
    code = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1);"
        "from jointspace.config import read_config; from jointspace.train.loop import train;"
        "train(read_config(Path(sys.argv[1])), data=Path(sys.argv[2]), out=Path(sys.argv[3]),"
        " resume=True, show_progress=False)"
    )

    def start(out):
        source = str(Path(run_folder.__file__).parents[2])
        return subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "config.toml", dataset_path, out],
            env={**os.environ, "PYTHONPATH": source, "JOINTSPACE_CACHE": str(frame_cache)},
        )

    assert start(tmp_path / "straight").wait() == 0
    killed = tmp_path / "killed"
    moments = random.Random(0)
    for _ in range(3):
        before = checkpoints(killed / "checkpoints")[-1:]
        process = start(killed)
        while process.poll() is None and checkpoints(killed / "checkpoints")[-1:] == before:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for checkpoint in checkpoints(killed / "checkpoints"):
            assert len(list(checkpoint.iterdir())) == 3
            load_file(checkpoint / "model.safetensors")
        load_run(killed)
    assert start(killed).wait() == 0
    straight = tmp_path / "straight"
    last = [checkpoints(each / "checkpoints")[-1] for each in (killed, straight)]
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert tensors_equal(last[0] / name, last[1] / name)
    assert tensors_equal(killed / "model.safetensors", straight / "model.safetensors")
    assert not list(killed.rglob(".*"))


def test_a_data_set_without_state_trains_without_it_and_says_so(tmp_path):
    write_lerobot(tmp_path / "data", num_episodes=6, num_frames=12, state_dim=0)
    result = train(CONFIG, data=tmp_path / "data", out=tmp_path / "run", show_progress=False)
    assert [str(each) for each in result.findings if each.where == "model.sensors"] == [
        "note: model.sensors: the data set records no state; the space is trained without it"
    ]
    assert load_run(tmp_path / "run").model.modalities == (VISION, TEXT, ACTION)
    again = train(
        CONFIG, data=tmp_path / "data", out=tmp_path / "run", resume=True, show_progress=False
    )
    assert again.num_steps == CONFIG.train.num_steps


def test_a_split_with_a_single_row_is_refused_before_anything_is_written(tmp_path):
    write_lerobot(tmp_path / "data", num_episodes=3, num_frames=12, fps=10)
    alone = configured(data={"window_s": 1.2, "validation_fraction": 0.34, "test_fraction": 0.34})
    with pytest.raises(InputError, match="the training split has a single row: two windows"):
        train(alone, data=tmp_path / "data", out=tmp_path / "run", show_progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_is_not_continued_without_an_episode_that_it_trained_or_validated_on(tmp_path, split):
    data = write_lerobot(tmp_path / "data", num_episodes=7, num_frames=14, image_px=(16, 16))
    out = tmp_path / "run"
    prepared = prepare(data.path, out)
    prepared.create()
    gone = getattr(prepared.splits, split)[-1]
    data.table(gone).unlink()
    refused(
        DataError,
        rf"1 of the training and validation episodes of .* no longer usable: {gone}; the run",
        data=data.path,
        out=out,
        resume=True,
    )


def test_a_run_is_continued_without_a_test_episode(tmp_path):
    data = write_lerobot(tmp_path / "data", num_episodes=12, num_frames=14, image_px=(16, 16))
    out = tmp_path / "run"
    prepared = prepare(data.path, out)
    prepared.create()
    assert len(prepared.splits.test) == 2
    data.table(prepared.splits.test[0]).unlink()
    again = prepare(data.path, out, resume=True)
    assert len(again.splits.test) == 1
    assert len(again.train_episodes) == len(prepared.train_episodes)


def test_shipped_splits_and_successes_decide_what_trains_and_what_an_opened_run_measures(tmp_path):
    split = ["test", "val", "val", "train", "unseen_words", "train"]
    columns = {"split": split, "success": [True, True, True, True, True, False]}
    data, out = annotate(tmp_path / "data", columns), tmp_path / "run"
    result = train(CONFIG, data=data, out=out, show_progress=False)
    splits = load_run(out).splits(open_dataset(data))
    assert (splits.train, splits.validation, splits.test) == ((3,), (1, 2), (0,))
    assert splits.positions("unseen_words") == (4,)
    told = {each.where: each.message for each in result.findings if each.severity == "note"}
    assert "1 of 6 episodes are labelled as failures" in told["data.failures"]
    assert "train 1, validation 2, test 1, unseen_words 1" in told["data.split"]
    assert load_run(out).findings == result.findings
    again = prepare(data, out, resume=True)
    assert again.splits == splits
    assert again.findings == result.findings


def test_a_kept_failure_trains(tmp_path):
    split = ["test", "val", "val", "train", "train", "train"]
    data = annotate(tmp_path / "data", {"split": split, "success": [True] * 5 + [False]})
    config = configured(data={"failures": "keep"})
    kept = prepare(data, tmp_path / "run", config=config)
    assert kept.splits.train == (3, 4, 5)
    assert not [each for each in kept.findings if each.where == "data.failures"]
    trained = {int(e) for step in range(20) for e in kept.batch_at(step).rows.episode}
    assert trained == {3, 4, 5}


def test_failures_alone_and_splits_that_are_not_there_are_refused(tmp_path):
    failed = annotate(tmp_path / "failed", {"success": [False] * 6})
    refused(InputError, "all 6 are labelled as failures", data=failed, out=tmp_path / "run")
    config = configured(data={"split": "shipped"})
    refused(
        InputError,
        "data.split is 'shipped', but .* ships no training split",
        config=config,
        data=annotate(tmp_path / "bare", {}),
        out=tmp_path / "run",
    )


def test_a_text_trains_towards_every_row_of_its_goal(tmp_path):
    # Episodes are told two instructions in turn, here paraphrases of each other.
    data = annotate(tmp_path / "data", {"goal": ["reach"] * 6})
    batch = prepare(data, tmp_path / "run").batch_at(0)
    assert len(set(batch.rows.instruction.tolist())) == 2
    vectors = {m: torch.ones(len(batch), 2) for m in (TEXT, VISION, ACTION)}
    present = {m: torch.ones(len(batch), dtype=torch.bool) for m in vectors}
    pairs = compare_all(vectors, batch.rows, present=present)
    everything = {pair.direction: bool(pair.positive.all()) for pair in pairs}
    assert everything[Direction(TEXT, VISION)]
    assert everything[Direction(ACTION, TEXT)]
    assert not everything[Direction(VISION, ACTION)]


def test_goals_that_contradict_the_instructions_are_told_and_not_used(tmp_path):
    data = annotate(tmp_path / "data", {"goal": [f"goal {i}" for i in range(6)]})
    prepared = prepare(data, tmp_path / "run")
    (finding,) = [each for each in prepared.findings if each.where == "goal"]
    assert "2 of 2 instructions occur with more than one goal" in finding.message
    rows = prepared.validation_episodes.rows
    assert rows.goal.tolist() == rows.instruction.tolist()
    distinct_texts(rows, positives="goal")
