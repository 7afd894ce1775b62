"""Checkpoints are whole or absent, and give back what was saved."""

import os

import pytest
import torch
from torch import nn

from jointspace.errors import RunFolderError, StorageError
from jointspace.train import checkpointing
from jointspace.train.checkpointing import (
    TrainState,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from jointspace.train.optim import build_optimizer


def make_trained(seed=0, width=4, name="adamw"):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, width), nn.LayerNorm(width), nn.Linear(width, 1))
    optimizer = build_optimizer(
        model, name=name, learning_rate=0.1, weight_decay=0.1, beta1=0.9, beta2=0.98
    )
    step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_loaded_checkpoint_goes_on_bit_by_bit(tmp_path, name):
    model, optimizer = make_trained(name=name)
    state = TrainState(step=7, best_step=5, best_worst=0.1 + 0.2, best_mean=1 / 3, num_worse=2)
    path = save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=state)
    assert path.name == "step-0000007"
    other, other_optimizer = make_trained(seed=1, name=name)
    assert load_checkpoint(path, model=other, optimizer=other_optimizer) == state
    for each in ((model, optimizer), (other, other_optimizer)):
        step(*each)
        step(*each)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_only_the_newest_checkpoints_stay(tmp_path):
    model, optimizer = make_trained()
    for number in (5, 10, 15):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=number))
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000010", "step-0000015"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path):
    model, optimizer = make_trained()
    for worst in (0.1, 0.2):
        state = TrainState(step=5, best_worst=worst)
        path = save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=state)
    assert load_checkpoint(path, model=model, optimizer=optimizer).best_worst == 0.2


@pytest.mark.parametrize("failing", ["save_weights", "write_whole", "write_json"])
def test_a_full_disk_is_one_error_and_leaves_older_checkpoints(tmp_path, monkeypatch, failing):
    model, optimizer = make_trained()
    old = save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=5))

    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(checkpointing, failing, full)
    with pytest.raises(StorageError, match=r"step-0000006: .*No space left on device"):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=6))
    assert list(tmp_path.iterdir()) == [old]
    assert load_checkpoint(old, model=model, optimizer=optimizer).step == 5


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_half_one(tmp_path, monkeypatch):
    model, optimizer = make_trained()

    def killed(path, **kwargs):
        if path.exists() and "0000005" in path.name:
            (path / "state.json").unlink()
            raise SystemExit(137)

    for number in (5, 10):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=number))
    monkeypatch.setattr(checkpointing.shutil, "rmtree", killed)
    with pytest.raises(SystemExit):
        save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=15))
    for whole in checkpoints(tmp_path):
        assert len(list(whole.iterdir())) == 3


def test_a_half_written_folder_of_a_killed_process_is_no_checkpoint(tmp_path):
    (tmp_path / ".step-0000009.123.tmp").mkdir()
    assert checkpoints(tmp_path) == []
    model, optimizer = make_trained()
    save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=9))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000009"]


def test_a_checkpoint_of_another_model_version_or_a_damaged_one_is_refused(tmp_path):
    model, optimizer = make_trained()
    path = save_checkpoint(tmp_path, model=model, optimizer=optimizer, state=TrainState(step=3))
    wider, wider_optimizer = make_trained(width=5)
    with pytest.raises(RunFolderError, match="weights of another model"):
        load_checkpoint(path, model=wider, optimizer=wider_optimizer)
    optimizer_file = path / "optimizer.safetensors"
    whole = optimizer_file.read_bytes()
    optimizer_file.write_bytes(whole[:-10])
    with pytest.raises(RunFolderError, match=r"optimizer\.safetensors: cannot be read"):
        load_checkpoint(path, model=model, optimizer=optimizer)
    model[2].requires_grad_(requires_grad=False)
    optimizer_file.write_bytes(whole)
    with pytest.raises(RunFolderError, match=r"'2\.bias' is not the model's"):
        load_checkpoint(path, model=model, optimizer=optimizer)
    state_file = path / "state.json"
    state_file.write_text(state_file.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(RunFolderError, match="format version 99"):
        load_checkpoint(path, model=model, optimizer=optimizer)
