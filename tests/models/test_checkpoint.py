import errno
import os

import pytest
import torch
from safetensors.torch import save_file

from jointspace.batch import TEXT, VISION
from jointspace.errors import RunFolderError, StorageError
from jointspace.models.checkpoint import load_weights, save_weights, weights_hash
from tests.models.batches import batch, build


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def test_saved_and_loaded_weights_give_equal_embeddings(path):
    model, twin = build(seed=0).eval(), build(seed=1).eval()
    save_weights(model, path, metadata={"step": "7"})
    assert load_weights(twin, path) == {"step": "7"}
    assert torch.equal(twin.encode(VISION, batch()), model.encode(VISION, batch()))
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_the_hash_of_weights_outlives_the_disk_and_tells_models_apart(path):
    model, twin = build(seed=0), build(seed=1)
    assert weights_hash(twin) != weights_hash(model)
    save_weights(model, path)
    load_weights(twin, path)
    assert weights_hash(twin) == weights_hash(model)


def test_gates_are_saved_and_loaded_with_the_weights(path):
    model, twin = build(pair_metric="gated"), build(pair_metric="gated")
    for each in model.gates.parameters():
        each.data += 1.0
    save_weights(model, path)
    load_weights(twin, path)
    assert torch.equal(twin.pair_gate(VISION, TEXT), model.pair_gate(VISION, TEXT))
    with pytest.raises(RunFolderError, match=r"gates\.learned\.\S+ is not the model's"):
        load_weights(build(), path)


def test_weights_of_another_model_are_refused_and_change_nothing(path):
    save_weights(build(embed_dim=8), path)
    model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(RunFolderError, match=r"weights of another model: .*shape .*and \d+ more"):
        load_weights(model, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_missing_and_surplus_weights_are_named(path):
    save_weights(torch.nn.Linear(2, 3), path)
    with pytest.raises(RunFolderError, match="bias is not the model's"):
        load_weights(torch.nn.Linear(2, 3, bias=False), path)
    save_weights(torch.nn.Linear(2, 3, bias=False), path)
    with pytest.raises(RunFolderError, match="bias is missing"):
        load_weights(torch.nn.Linear(2, 3), path)


def test_a_missing_or_cut_file_is_refused(path):
    model = torch.nn.Linear(2, 3)
    with pytest.raises(RunFolderError, match="no such weights"):
        load_weights(model, path)
    save_weights(model, path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunFolderError, match="cannot be read"):
        load_weights(model, path)
    path.write_bytes(b"")
    with pytest.raises(RunFolderError, match="cannot be read"):
        load_weights(model, path)


@pytest.mark.parametrize(
    ("header", "found"), [(None, "unknown"), ({"jointspace_weights": "0"}, "0")]
)
def test_weights_of_another_version_are_refused(path, header, found):
    model = torch.nn.Linear(2, 3)
    save_file(model.state_dict(), path, metadata=header)
    with pytest.raises(RunFolderError, match=f"weights of format {found}; wanted format 1"):
        load_weights(model, path)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_weights_and_nothing_half_written(path, monkeypatch, moment):
    save_weights(torch.nn.Linear(2, 3), path)
    before = path.read_bytes()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = "os.fsync" if moment == "fsync" else "pathlib.Path.replace"
    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        with pytest.raises(StorageError, match="could not be written: No space left on device"):
            save_weights(torch.nn.Linear(2, 3), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(path):
    path.write_text("")
    with pytest.raises(StorageError, match=r"weights.safetensors: could not be written"):
        save_weights(torch.nn.Linear(2, 3), path / "weights.safetensors")


def test_an_interruption_while_writing_leaves_nothing_behind(path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save_weights(torch.nn.Linear(2, 3), path)
    assert list(path.parent.iterdir()) == []
