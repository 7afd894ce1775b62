"""The loop: repeatable, continued bit by bit, interrupted cleanly, the best weights kept."""

import dataclasses
import os
import signal
import threading
import time

import pytest
import torch
from safetensors.torch import load_file

from jointspace.config import LossConfig, RunConfig, TrainConfig
from jointspace.errors import JointspaceError, RunFolderError, StorageError
from jointspace.train import loop
from jointspace.train.checkpointing import checkpoints
from jointspace.train.logs import read_log
from jointspace.train.loop import run_steps
from jointspace.train.validation import Validation
from tests.train.toy import toy_batch, toy_model

CONFIG = RunConfig(
    seed=3,
    loss=LossConfig(modality_dropout=0.3),
    train=TrainConfig(
        num_steps=12, evaluate_every=3, warmup_steps=3, learning_rate=0.01, precision="fp32"
    ),
)


def configured(**changes):
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **changes))


def batch_at(step):
    return toy_batch(8, seed=step)


class StopError(Exception):
    """Stands for whatever ends a process."""


def run(folder, *, config=CONFIG, batches=batch_at, validate=None, model=None):
    folder.mkdir(exist_ok=True)
    model = toy_model(fusion=False) if model is None else model
    state = run_steps(model, config=config, folder=folder, batch_at=batches, validate=validate)
    return model, state


def stopping_at(last):
    def batches(step):
        if step == last:
            raise StopError
        return batch_at(step)

    return batches


def parameters_equal(one, two):
    names = one.state_dict()
    return all(torch.equal(names[name], value) for name, value in two.state_dict().items())


def scores(*values):
    remaining = iter(values)

    def validate(model):
        worst, mean = next(remaining)
        return Validation(worst, mean, "vision->text", {})

    return validate


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The model of a run that nothing disturbed."""
    return run(tmp_path_factory.mktemp("straight"))[0]


def test_two_runs_are_equal_bit_by_bit_and_another_seed_is_not(tmp_path, straight):
    again, state = run(tmp_path / "again")
    assert (state.step, state.done) == (12, True)
    assert parameters_equal(straight, again)
    other, _ = run(tmp_path / "other", config=dataclasses.replace(CONFIG, seed=4))
    assert not parameters_equal(straight, other), "dropout follows the seed"


def test_training_in_chunks_is_training(tmp_path):
    models = [
        run(
            tmp_path / str(chunk_rows),
            config=configured(chunk_rows=chunk_rows),
            model=toy_model(dropout=0.0),
        )[0]
        for chunk_rows in (0, 3)
    ]
    names = models[1].state_dict()
    for name, value in models[0].state_dict().items():
        torch.testing.assert_close(names[name], value, rtol=1e-3, atol=1e-4, msg=name)


def test_training_lowers_the_loss(tmp_path):
    run(tmp_path / "run", config=configured(num_steps=40, evaluate_every=100, learning_rate=0.02))
    losses = [r["loss"] for r in read_log(tmp_path / "run" / "log.jsonl")]
    assert len(losses) == 4
    assert losses[-1] < 0.9 * losses[0]


def test_the_log_tells_how_long_steps_waited_for_their_rows(tmp_path):
    def slowly(step):
        if step == 0:  # which has no step before it to hide behind
            time.sleep(1.0)
        return batch_at(step)

    waited = []
    for name, batches in (("fast", batch_at), ("slow", slowly)):
        run(tmp_path / name, config=configured(num_steps=10), batches=batches)
        (record,) = read_log(tmp_path / name / "log.jsonl")
        assert 0 <= record["waited_s"] <= record["elapsed_s"]
        waited.append(record["waited_s"])
    assert waited[1] > waited[0] + 0.3


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_continued_run_ends_with_the_same_bits(tmp_path, optimizer):
    config = configured(num_steps=20, evaluate_every=5, optimizer=optimizer)
    whole, _ = run(tmp_path / "whole", config=config, model=toy_model())
    with pytest.raises(StopError):
        run(tmp_path / "cut", config=config, model=toy_model(), batches=stopping_at(12))
    torch.manual_seed(1234)
    continued, state = run(tmp_path / "cut", config=config, model=toy_model(seed=9))
    assert state.step == 20
    assert parameters_equal(whole, continued)
    logs = [read_log(tmp_path / each / "log.jsonl") for each in ("whole", "cut")]
    for record in (*logs[0], *logs[1]):
        assert 0 <= record.pop("waited_s") <= record.pop("elapsed_s")
    assert logs[0] == logs[1]
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        last = [tmp_path / each / "checkpoints/step-0000020" / name for each in ("whole", "cut")]
        assert last[0].read_bytes() == last[1].read_bytes()


def test_a_finished_run_is_not_trained_further(tmp_path):
    first, _ = run(tmp_path / "run")
    again, state = run(
        tmp_path / "run", batches=stopping_at(0), model=toy_model(seed=9, fusion=False)
    )
    assert state.done
    assert parameters_equal(first, again)


def test_the_best_weights_are_kept_by_the_worst_direction_then_the_mean(tmp_path):
    validate = scores((0.1, 0.5), (0.3, 0.4), (0.3, 0.5), (0.2, 0.9))
    copies = []

    def validate_and_copy(model):
        copies.append({name: value.clone() for name, value in model.state_dict().items()})
        return validate(model)

    _, state = run(tmp_path / "run", validate=validate_and_copy)
    assert (state.best_step, state.best_worst, state.best_mean) == (9, 0.3, 0.5)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in copies[2].items())
    newest = checkpoints(tmp_path / "run" / "checkpoints")
    assert [path.name for path in newest] == ["step-0000009", "step-0000012"]


def test_training_stops_when_the_worst_direction_stays_worse(tmp_path):
    validate = scores((0.5, 0.5), (0.4, 0.9), (0.3, 0.9))
    _, state = run(tmp_path / "run", config=configured(patience=2), validate=validate)
    assert (state.step, state.best_step, state.done) == (9, 3, True)


def test_patience_outlives_an_interruption(tmp_path):
    config = configured(patience=2)
    validate = scores((0.5, 0.5), (0.4, 0.9))
    with pytest.raises(StopError):
        run(tmp_path / "run", config=config, validate=validate, batches=stopping_at(7))
    _, state = run(tmp_path / "run", config=config, validate=scores((0.4, 0.9)))
    assert (state.step, state.best_step) == (9, 3)


def test_without_validation_the_latest_weights_are_kept(tmp_path):
    model, state = run(tmp_path / "run")
    assert state.best_step == 12
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint(tmp_path, straight):
    def interrupting(step):
        if step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return batch_at(step)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", batches=interrupting)
    assert signal.getsignal(signal.SIGINT) is before
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert newest.name in {"step-0000007", "step-0000008"}
    assert parameters_equal(run(tmp_path / "run")[0], straight)


def test_a_loop_outside_the_main_thread_leaves_signals_alone(tmp_path):
    states = []
    thread = threading.Thread(
        target=lambda: states.append(run(tmp_path / "run", config=configured(num_steps=2))[1])
    )
    thread.start()
    thread.join()
    assert states[0].done


def test_a_loss_that_is_not_finite_ends_training_with_a_cure(tmp_path):
    def exploding(step):
        batch = batch_at(step)
        if step == 7:
            batch["vision"].values[:] = float("nan")
        return batch

    with pytest.raises(JointspaceError, match=r"step 8: the loss is nan .*train\.learning_rate"):
        run(tmp_path / "run", batches=exploding)
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-0000006"


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch, straight):
    with pytest.raises(StopError):
        run(tmp_path / "run", batches=stopping_at(7))

    def full(*args, **kwargs):
        raise StorageError("checkpoint not written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", full)
        with pytest.raises(StorageError, match="No space left"):
            run(tmp_path / "run")
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-0000006"
    assert parameters_equal(run(tmp_path / "run")[0], straight)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    with pytest.raises(StopError):
        run(tmp_path / "run", batches=stopping_at(7))
    with pytest.raises(RunFolderError, match="weights of another model"):
        run(tmp_path / "run", model=toy_model())


def test_row_25_steps_train_in_training_mode_with_schedule_and_clip(tmp_path, monkeypatch):
    """The chapter's trainer has no mode, schedule, clip, seed or checkpoint."""
    rates, modes, norms = [], [], []
    clip = torch.nn.utils.clip_grad_norm_
    model = toy_model(fusion=False)
    monkeypatch.setattr(loop, "set_learning_rate", lambda optimizer, rate: rates.append(rate))
    monkeypatch.setattr(
        torch.nn.utils,
        "clip_grad_norm_",
        lambda parameters, norm: norms.append(norm) or clip(parameters, norm),
    )
    model.register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    model.eval()
    run(tmp_path / "run", model=model)
    assert rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] < 0.001
    assert modes == [True] * 12
    assert norms == [CONFIG.train.clip_norm] * 12


def test_the_log_names_every_direction_and_temperature(tmp_path):
    config = configured(num_steps=10, evaluate_every=5)
    run(tmp_path / "run", config=config, validate=scores((0.0, 0.1), (0.2, 0.3)), model=toy_model())
    records = read_log(tmp_path / "run" / "log.jsonl")
    assert [(r["kind"], r["step"]) for r in records] == [
        ("validation", 5),
        ("train", 10),
        ("validation", 10),
    ]
    assert records[-1]["worst"] == 0.2
    train = records[1]
    assert len(train["pairs"]) == 6
    assert all("+" in direction for direction in train["fused"])
    assert train["fused"]
    assert set(train["logit_scale"]) == {"text-vision", "action-vision", "action-text"}
    assert train["learning_rate"] < 0.01
    assert train["gradient_norm"] > 0
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_gates_learn_and_are_among_the_weights_of_the_run(tmp_path):
    config = configured(gate_factor=10.0, learning_rate=0.001)
    start = toy_model(fusion=False, gated=True).gates.state_dict()
    model, _ = run(tmp_path / "run", config=config, model=toy_model(fusion=False, gated=True))
    weights = load_file(tmp_path / "run" / "model.safetensors")
    for name, learned in model.gates.state_dict().items():
        assert torch.equal(weights[f"gates.{name}"], learned)
        # Adam moves by about the learning rate a step, which is 0.01 here at its highest.
        assert 0.01 < (learned - start[name]).abs().max() < 0.12
