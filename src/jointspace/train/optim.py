"""The optimiser, which decays only weights, and a learning rate that the step decides."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from jointspace.encoders.pretrained import PretrainedNetwork
from jointspace.models.pair_gates import PairGates
from jointspace.train.muon import Muon

_NO_DECAY = (nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def parameter_groups(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Splits the trainable parameters into those that decay towards zero and those that do not.

    Weight matrices and kernels decay. Biases, norms, embeddings, learned tokens and temperatures do
    not: zero is no natural value of them, and a decayed temperature forgets its scale.

    Args:
        model: frozen parameters are left out, shared ones appear once.

    Returns:
        Name -> parameter, for the decayed and for the others.
    """
    owners = {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    decayed: dict[str, Tensor] = {}
    others: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_weight = "weight" in name.rpartition(".")[2] and parameter.ndim > 1
        matrix = is_weight and not isinstance(owners[name], _NO_DECAY)
        (decayed if matrix else others)[name] = parameter
    return decayed, others


def build_optimizer(
    model: nn.Module,
    *,
    name: Literal["adamw", "muon"] = "adamw",
    learning_rate: float,
    weight_decay: float,
    beta1: float,
    beta2: float,
    pretrained_factor: float = 1.0,
    gate_factor: float = 1.0,
) -> torch.optim.AdamW:
    """Returns the optimiser over the trainable parameters.

    Args:
        model: what to train.
        name: `muon` steps what decays as Muon does, save weights of pretrained networks, which were
            trained with AdamW, and kernels of convolutions that keep channels apart, which are no
            matrices. `adamw` steps all by AdamW.
        learning_rate: highest learning rate; `set_learning_rate` scales it.
        weight_decay: of weight matrices and kernels; see `parameter_groups`.
        beta1: AdamW's decay of the mean gradient.
        beta2: AdamW's decay of the mean squared gradient.
        pretrained_factor: what the learning rate is multiplied by for pretrained networks that are
            trained through; at the rate of fresh weights they forget what they knew.
        gate_factor: what it is multiplied by for the gates of pairs, which do not decay.

    Returns:
        The optimiser, its groups named `matrices` (of Muon), `decayed` and `others`, and
        `pretrained decayed`, `pretrained others` and `gate others` where there are such.

    Source:
        Loshchilov & Hutter 2019 (AdamW); see `Muon`.
    """
    decayed, others = parameter_groups(model)
    kinds = {PretrainedNetwork: "pretrained ", PairGates: "gate "}
    prefixes = {
        id(parameter): prefix
        for module in model.modules()
        for kind, prefix in kinds.items()
        if isinstance(module, kind)
        for parameter in module.parameters()
    }
    apart = prefixes.keys() | _kernels_of_groups(model)
    matrices = {
        key: each for key, each in decayed.items() if name == "muon" and id(each) not in apart
    }
    decayed = {key: each for key, each in decayed.items() if key not in matrices}
    factors = {"": 1.0, "pretrained ": pretrained_factor, "gate ": gate_factor}
    groups = [
        {
            "name": f"{prefix}{kind}",
            "params": [each for each in found.values() if prefixes.get(id(each), "") == prefix],
            "weight_decay": decay,
            "factor": factor,
            "lr": factor * learning_rate,
        }
        for prefix, factor in factors.items()
        for kind, found, decay in (
            ("matrices", matrices, weight_decay),
            ("decayed", decayed, weight_decay),
            ("others", others, 0.0),
        )
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(beta1, beta2))
    marked = [{**group, "orthogonal": group["name"] == "matrices"} for group in groups]
    return Muon(marked, lr=learning_rate, betas=(beta1, beta2))


def learning_rate_factor(step: int, *, num_steps: int, warmup_steps: int) -> float:
    """Returns what the highest learning rate is multiplied by at a step: linear rise, cosine fall.

    Args:
        step: the step, from 0.
        num_steps: after these the factor is 0.
        warmup_steps: the factor reaches 1 at the last of them.

    Returns:
        Between 0 and 1; never 0 before `num_steps`.

    Source:
        Loshchilov & Hutter 2017 (SGDR), equation 5, one period, after a linear warm-up.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate of every group, by its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["factor"] * learning_rate


def _kernels_of_groups(model: nn.Module) -> set[int]:
    return {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1
    }
