"""The optimiser: what decays, and how the learning rate moves."""

import math

import pytest
import torch
from torch import nn

from jointspace.batch import TEXT, VISION
from jointspace.encoders.pretrained import PretrainedNetwork
from jointspace.models.joint import JointModel
from jointspace.train.optim import (
    build_optimizer,
    learning_rate_factor,
    parameter_groups,
    set_learning_rate,
)


class Everything(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.convolution = nn.Conv2d(3, 4, 3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.GRU(3, 4)
        self.embedding = nn.Embedding(5, 4)
        self.norm = nn.LayerNorm((2, 4))
        self.batch_norm = nn.BatchNorm1d(4)
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Linear(2, 2).requires_grad_(requires_grad=False)


def test_weight_matrices_decay_and_nothing_else_does():
    decayed, others = parameter_groups(Everything())
    assert set(decayed) == {
        "linear.weight",
        "convolution.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
    }
    assert {"embedding.weight", "norm.weight", "token", "log_scale", "linear.bias"} <= set(others)
    assert not any(name.startswith("frozen") for name in decayed | others)
    trainable = [n for n, p in Everything().named_parameters() if p.requires_grad]
    assert len(decayed) + len(others) == len(trainable)


def test_a_shared_weight_is_listed_once():
    model = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    model[1].weight = model[0].weight
    decayed, others = parameter_groups(model)
    assert len(decayed) == 1
    assert not others


class Tower(nn.Module):
    width = 2


def test_row_07_the_temperature_does_not_decay():
    """The chapter hands every parameter to AdamW, whose default decay pulls the scale to zero."""
    model = JointModel({VISION: Tower(), TEXT: Tower()}, embed_dim=2)
    optimizer = build_optimizer(model, learning_rate=0.1, weight_decay=0.5, beta1=0.9, beta2=0.98)
    before = model.logit_scale(VISION, TEXT).item()
    weight = model.projections["vision"].weight
    norm = weight.norm().item()
    for _ in range(5):
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert weight.norm().item() < 0.8 * norm
    assert model.logit_scale(VISION, TEXT).item() == before == pytest.approx(1 / 0.07)


def test_a_model_without_weight_matrices_has_one_group():
    optimizer = build_optimizer(
        nn.LayerNorm(3), learning_rate=0.1, weight_decay=0.5, beta1=0.9, beta2=0.98
    )
    assert [group["name"] for group in optimizer.param_groups] == ["others"]


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine():
    factors = [learning_rate_factor(s, num_steps=30, warmup_steps=10) for s in range(31)]
    assert factors[:11] == pytest.approx([0.1 * (s + 1) for s in range(10)] + [1.0])
    assert factors[20] == pytest.approx(0.5)
    assert factors[15] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factors[30] == pytest.approx(0.0, abs=1e-12)
    assert min(factors[:30]) > 0


def test_no_warm_up_and_a_warm_up_longer_than_the_run_are_allowed():
    assert learning_rate_factor(0, num_steps=10, warmup_steps=0) == 1
    assert learning_rate_factor(9, num_steps=10, warmup_steps=50) == pytest.approx(0.2)


def test_every_group_follows_the_learning_rate():
    optimizer = build_optimizer(
        Everything(), learning_rate=0.1, weight_decay=0.5, beta1=0.8, beta2=0.9
    )
    set_learning_rate(optimizer, 0.03)
    assert [group["lr"] for group in optimizer.param_groups] == [0.03, 0.03]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def half_trained_network():
    """Two layers, the last of which is trained."""
    network = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    return PretrainedNetwork(
        network,
        source="here",
        tower="text tower",
        trainable="last-layers",
        num_trainable_layers=1,
        probe=lambda each: each["layers"][1](each["layers"][0](torch.ones(1, 2))),
    )


def test_pretrained_networks_learn_at_their_own_rate():
    pretrained = half_trained_network()
    model = nn.ModuleDict({"backbone": pretrained, "adapter": nn.Linear(2, 2)})
    optimizer = build_optimizer(
        model,
        learning_rate=0.1,
        weight_decay=0.5,
        beta1=0.8,
        beta2=0.9,
        pretrained_factor=0.02,
    )
    found = {
        group["name"]: (len(group["params"]), group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
    }
    assert found == {
        "decayed": (1, 0.5, 0.1),
        "others": (1, 0.0, 0.1),
        "pretrained decayed": (1, 0.5, 0.002),
        "pretrained others": (1, 0.0, 0.002),
    }
    set_learning_rate(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05, 0.001, 0.001]


def test_gates_learn_at_their_own_rate_and_do_not_decay():
    model = JointModel({VISION: Tower(), TEXT: Tower()}, embed_dim=2, gated=True)
    optimizer = build_optimizer(
        model, learning_rate=0.01, weight_decay=0.5, beta1=0.9, beta2=0.98, gate_factor=10.0
    )
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert set(groups) == {"decayed", "others", "gate others"}
    (gate,) = groups["gate others"]["params"]
    assert gate is model.gates.learned["vision+text"]
    assert (groups["gate others"]["weight_decay"], groups["gate others"]["lr"]) == (0.0, 0.1)
    set_learning_rate(optimizer, 0.002)
    assert groups["gate others"]["lr"] == pytest.approx(0.02)
    before = gate.detach().clone()
    gate.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    torch.testing.assert_close(gate.detach(), before - torch.tensor([0.02, 0.0]))


def test_muon_steps_fresh_matrices_and_leaves_the_rest_to_adamw():
    pretrained = half_trained_network()
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    model = nn.ModuleDict(
        {
            "backbone": pretrained,
            "adapter": nn.Linear(2, 2),
            "kernel": nn.Conv2d(3, 4, 3),
            "depthwise": depthwise,
            "embedding": nn.Embedding(5, 4),
        }
    )
    optimizer = build_optimizer(
        model, name="muon", learning_rate=0.1, weight_decay=0.5, beta1=0.8, beta2=0.9
    )
    groups = {group["name"]: group for group in optimizer.param_groups}
    orthogonal = [group["name"] for group in optimizer.param_groups if group["orthogonal"]]
    assert orthogonal == ["matrices"]
    matrices = groups["matrices"]["params"]
    assert [each.shape for each in matrices] == [(2, 2), (4, 3, 3, 3)]
    assert matrices[0] is model["adapter"].weight
    (kernel,) = groups["decayed"]["params"]
    assert kernel is depthwise.weight
    assert {name: group["weight_decay"] for name, group in groups.items()} == {
        "matrices": 0.5,
        "decayed": 0.5,
        "others": 0.0,
        "pretrained decayed": 0.5,
        "pretrained others": 0.0,
    }
    set_learning_rate(optimizer, 0.05)
    assert groups["matrices"]["lr"] == 0.05
