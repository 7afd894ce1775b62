"""Towers for single commands and for discrete actions."""

from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from jointspace.batch import ModalityInput
from jointspace.encoders.embodiments import Sizes, kept_sizes, own_module, per_embodiment
from jointspace.encoders.layers import TowerFeatures, check_channels, hide
from jointspace.errors import InputError


class CommandEncoder(nn.Module):
    """Reads one continuous command: the first valid step of a row, which is the one at its start.

    Args:
        channels: of the command; one number for each embodiment gives each a first layer of its
            own.
        width: of the token and the pooled vector, which are the same.
        dropout: after the first layers.
    """

    def __init__(self, channels: Sizes, *, width: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        self.channels = kept_sizes(channels)
        self.width = width
        self.read = nn.Sequential(
            per_embodiment(lambda size: nn.Linear(size, width), channels),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per row, which is its pooled vector.

        Raises:
            InputError: the command has another number of channels.
        """
        check_channels(inputs, channels=self.channels, tower="command tower")
        first = own_module(self.read[0], inputs)
        values = hide(inputs.values.to(first.weight.dtype), inputs.valid)
        rows = torch.arange(values.shape[0], device=values.device)
        pooled = self.read[1:](first(values[rows, _first(inputs.valid)]))
        return _single_token(pooled, inputs.valid)


class DiscreteActionEncoder(nn.Module):
    """Reads one discrete action: the first valid step of a row, which is the one at its start.

    Args:
        num_actions: size of the action set.
        width: of the token and the pooled vector, which are the same.

    Raises:
        InputError: there are no actions.
    """

    def __init__(self, num_actions: int, *, width: int = 256) -> None:
        super().__init__()
        self.num_actions = _check_num_actions(num_actions, tower="discrete tower")
        self.width = width
        self.actions = nn.Embedding(num_actions, width)

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per row, which is its pooled vector.

        Raises:
            InputError: the values are no action ids.
        """
        ids = _action_ids(inputs, num_actions=self.num_actions, tower="discrete tower")
        pooled = self.actions(ids.gather(1, _first(inputs.valid)[:, None]).squeeze(1))
        return _single_token(pooled, inputs.valid)


class ActionSequenceEncoder(nn.Module):
    """Reads a sequence of discrete actions with a recurrent network.

    The pooled vector is read at the last valid step of each row, never at the end of its padding.

    Args:
        num_actions: size of the action set.
        width: of tokens and pooled vector.
        layers: of the recurrent network.
        cell: which network.
        dropout: between its layers and behind it.

    Raises:
        InputError: there are no actions.
    """

    def __init__(
        self,
        num_actions: int,
        *,
        width: int = 256,
        layers: int = 1,
        cell: Literal["gru", "lstm"] = "gru",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_actions = _check_num_actions(num_actions, tower="sequence tower")
        self.width = width
        # Id 0 is padding, so that a hidden entry is none of the actions.
        self.actions = nn.Embedding(num_actions + 1, width, padding_idx=0)
        network = nn.GRU if cell == "gru" else nn.LSTM
        between = dropout if layers > 1 else 0.0
        self.recurrent = network(width, width, layers, batch_first=True, dropout=between)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per valid step, moved to the front of the row, and the pooled vector.

        Raises:
            InputError: the values are no action ids.
        """
        ids = _action_ids(inputs, num_actions=self.num_actions, tower="sequence tower")
        # The network runs forward, so what stands behind the last valid step cannot reach it;
        # gaps are closed.
        order = torch.argsort(~inputs.valid, dim=1, stable=True)
        valid = inputs.valid.gather(1, order)
        ids = (ids.gather(1, order) + 1).masked_fill(~valid, 0)
        states, _ = self.recurrent(self.actions(ids))
        tokens = hide(self.out(states), valid)
        last = (valid.sum(1) - 1).clamp(min=0)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return TowerFeatures(tokens, valid, tokens[rows, last])


def _check_num_actions(num_actions: int, *, tower: str) -> int:
    if num_actions < 1:
        raise InputError(
            f"{tower}: num_actions is {num_actions}; wanted the size of the action set"
        )
    return num_actions


def _action_ids(
    inputs: ModalityInput, *, num_actions: int, tower: str
) -> Int[Tensor, "batch time"]:
    """Returns the ids with zeros where they are not valid."""
    values = inputs.values
    if values.ndim != 2 or values.is_floating_point():
        raise InputError(
            f"{tower}: values have shape {tuple(values.shape)} and type {values.dtype}; "
            "wanted integer action ids (batch, time)"
        )
    ids = values.long().masked_fill(~inputs.valid, 0)
    # What is exported takes no decision by values: whoever runs the graph checks them.
    if torch.compiler.is_exporting() or not ids.numel():
        return ids
    if not 0 <= int(ids.min()) <= int(ids.max()) < num_actions:
        raise InputError(
            f"{tower}: action ids reach from {int(ids.min())} to {int(ids.max())}; "
            f"wanted 0 to {num_actions - 1}"
        )
    return ids


def _first(valid: Bool[Tensor, "batch time"]) -> Int[Tensor, " batch"]:
    return valid.int().argmax(1)


def _single_token(pooled: Tensor, valid: Bool[Tensor, "batch time"]) -> TowerFeatures:
    present = valid.any(1, keepdim=True)
    pooled = pooled.masked_fill(~present, 0.0)
    return TowerFeatures(pooled[:, None], present, pooled)
