"""Starting from the weights of another run, and training the adapters of new robots alone."""

import pytest
import torch

from jointspace.batch import ACTION, STATE, VISION
from jointspace.config import LossConfig
from jointspace.errors import RunFolderError
from jointspace.models.adapt import start_from_weights, train_adapters_alone
from tests.models.batches import build

ONE = {ACTION: 4, STATE: 3}
THREE = {ACTION: (4, 2, 5), STATE: (3, 0, 1)}


def test_a_model_of_one_data_set_becomes_the_first_robot_of_several():
    old, new = build(channels=ONE), build(channels=THREE, seed=1)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    start_from_weights(new, old.state_dict(), num_known=1, source="run")
    got = new.state_dict()
    for name, value in old.state_dict().items():
        there = name if name in got else ".0.".join(name.rsplit(".", 1))
        assert torch.equal(got[there], value)
    for name in ("towers.action.read.0.2.weight", "towers.state.read.0.2.bias"):
        assert torch.equal(got[name], before[name])


def test_robots_that_are_known_keep_their_numbers():
    old = build(channels={ACTION: (4, 2), STATE: (3, 0)})
    new = build(channels=THREE, seed=1)
    start_from_weights(new, old.state_dict(), num_known=2, source="run")
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], value)


def test_a_model_with_gates_begins_by_comparing_as_the_one_without_that_it_starts_from():
    old, new = build(channels=ONE), build(channels=THREE, seed=1, pair_metric="gated")
    start_from_weights(new, old.state_dict(), num_known=1, source="run")
    rows = torch.nn.functional.normalize(torch.randn(5, new.embed_dim), dim=1)
    for each in new.pair_rows(VISION, ACTION, rows, rows):
        torch.testing.assert_close(each, rows)
    with pytest.raises(RunFolderError, match=r"run: its weights do not fit: gates\."):
        start_from_weights(
            build(channels=THREE),
            build(pair_metric="gated", channels=ONE).state_dict(),
            num_known=1,
            source="run",
        )


def test_pictures_of_a_new_robot_are_read_over_time_as_those_of_a_known_one():
    old, new = build(channels=ONE), build(channels=THREE, seed=1, num_cameras=(2, 2, 1))
    start_from_weights(new, old.state_dict(), num_known=1, source="run")
    pool = new.towers["vision"].pool
    assert torch.equal(pool.mix[1].weight, old.towers["vision"].pool.mix.weight)


def test_biases_are_those_of_the_loss_that_trains_now():
    sigmoid = LossConfig(name="sigmoid", initial_bias=-3.0)
    plain, biased = build(channels=THREE), build(channels=THREE, seed=1, loss=sigmoid)
    start_from_weights(biased, plain.state_dict(), num_known=3, source="run")
    assert biased.logit_bias(VISION, ACTION).item() == -3.0
    start_from_weights(plain, biased.state_dict(), num_known=3, source="run")
    assert plain.state_dict().keys() == biased.state_dict().keys() - {
        name for name in biased.state_dict() if name.startswith("biases.")
    }


def test_weights_of_another_model_are_refused_and_nothing_is_changed():
    new = build(channels=THREE)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    for old in (build(channels=ONE, embed_dim=8), build(channels={ACTION: 4}, sensors=())):
        with pytest.raises(RunFolderError, match="old/run: its weights do not fit: "):
            start_from_weights(new, old.state_dict(), num_known=1, source="old/run")
    with pytest.raises(RunFolderError, match=r"towers\.action\.read\.0\.0\.weight"):
        start_from_weights(
            new, build(channels=ONE | {ACTION: 7}).state_dict(), num_known=1, source="old/run"
        )
    assert all(torch.equal(value, before[name]) for name, value in new.state_dict().items())


def test_the_adapters_of_some_robots_train_and_nothing_else_does():
    model = build(channels=THREE)
    train_adapters_alone(model, embodiments={2})
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {
        f"towers.{tower}.read.0.2.{name}"
        for tower in ("action", "state")
        for name in ("weight", "bias")
    }
