"""Building blocks of the towers: each takes a validity mask and ignores what the mask hides."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jointspace.batch import ModalityInput
from jointspace.encoders.embodiments import Sizes, own_size
from jointspace.errors import InputError


@dataclass(frozen=True)
class TowerFeatures:
    """What every tower returns.

    Attributes:
        tokens: what fusion attends to; entries that are not valid are zero.
        valid: True where a token is real.
        pooled: one vector per row; zero for a row without a single valid token.
    """

    tokens: Float[Tensor, "batch token width"]
    valid: Bool[Tensor, "batch token"]
    pooled: Float[Tensor, "batch width"]

    @property
    def present(self) -> Bool[Tensor, " batch"]:
        """True for the rows that have the modality."""
        return self.valid.any(1)

    def keep(self, rows: Bool[Tensor, " batch"]) -> "TowerFeatures":
        """Returns the features with every other row made to lack the modality."""
        valid = self.valid & rows[:, None]
        return TowerFeatures(
            hide(self.tokens, valid), valid, self.pooled.masked_fill(~rows[:, None], 0.0)
        )


def hide(
    tokens: Float[Tensor, "batch token width"], valid: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch token width"]:
    """Returns the tokens with zeros where they are not valid, even if NaN stood there."""
    return tokens.masked_fill(~valid[..., None], 0.0)


def masked_mean(
    tokens: Float[Tensor, "batch token width"], valid: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch width"]:
    """Returns the mean over valid tokens; zero for a row without any."""
    return hide(tokens, valid).sum(1) / valid.sum(1).clamp(min=1)[:, None]


def masked_max(
    tokens: Float[Tensor, "batch token width"], valid: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch width"]:
    """Returns the maximum over valid tokens; zero for a row without any."""
    highest = tokens.masked_fill(~valid[..., None], torch.finfo(tokens.dtype).min).amax(1)
    return highest.masked_fill(~valid.any(1)[:, None], 0.0)


def step_times(inputs: ModalityInput, *, tower: str) -> Float[Tensor, "batch time"]:
    """Returns the seconds of each step of a tower's input.

    Raises:
        InputError: the input has no times.
    """
    if inputs.time_s is None:
        raise InputError(f"{tower}: input has no time_s; wanted the seconds of every step")
    return inputs.time_s


def check_channels(inputs: ModalityInput, *, channels: Sizes, tower: str) -> None:
    """Checks the shape of continuous steps.

    Raises:
        InputError: the values are not "batch time channel" with the tower's number of channels for
            the input's embodiment.
    """
    channels = own_size(channels, inputs, tower=tower)
    shape = tuple(inputs.values.shape)
    if len(shape) != 3 or shape[2] != channels:
        raise InputError(
            f"{tower}: values have shape {shape}; wanted (batch, time, {channels}), "
            f"as the tower was built for {channels} channels"
        )


def check_heads(width: int, num_heads: int, *, where: str) -> None:
    """Checks that attention can share its width among its heads.

    Raises:
        InputError: the width is no multiple of the number of heads.
    """
    if num_heads < 1 or width % num_heads:
        raise InputError(
            f"{where}: width {width} does not divide into {num_heads} heads; "
            "wanted a width that is a multiple of the number of heads"
        )


class Attention(nn.Module):
    """Multi-head attention from queries to the valid part of a context.

    A row whose context has no valid token gives zeros, in value and in gradient.

    Args:
        width: of queries, context and output.
        num_heads: must divide `width`.
        dropout: of attention weights.

    Raises:
        InputError: `num_heads` does not divide `width`.

    Source:
        Vaswani et al. 2017, section 3.2.2, without biases on queries, keys and values (a key's
        bias has no effect) and with a boolean key mask.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(width, num_heads, where="attention")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "batch query width"],
        context: Float[Tensor, "batch key width"],
        context_valid: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch query width"]:
        """Returns what each query reads from the valid part of its row's context."""
        heads, size = self.num_heads, query.shape[2] // self.num_heads
        q = self.query(query).unflatten(2, (heads, size)).transpose(1, 2)
        k, v = (
            part.unflatten(2, (heads, size)).transpose(1, 2)
            for part in self.key_value(context).chunk(2, dim=2)
        )
        # A softmax over nothing is NaN, so such a row attends to everything and its answer is
        # dropped below.
        some = context_valid.any(1)
        mask = context_valid | ~some[:, None]
        read = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask[:, None, None, :], dropout_p=self.dropout * self.training
        )
        out = self.out(read.transpose(1, 2).flatten(2))
        return out.masked_fill(~some[:, None, None], 0.0)


def feed_forward(width: int, *, dropout: float = 0.0, expansion: int = 2) -> nn.Sequential:
    """Returns two linear layers around a GELU, the hidden one `expansion` times as wide."""
    return nn.Sequential(
        nn.Linear(width, expansion * width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(expansion * width, width),
        nn.Dropout(dropout),
    )


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward layer, each normalised before and added to what came in.

    Args:
        width: of the tokens.
        num_heads: must divide `width`.
        dropout: of attention weights and of both residual branches.

    Raises:
        InputError: `num_heads` does not divide `width`.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads=num_heads, dropout=dropout)
        self.attention_dropout = nn.Dropout(dropout)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = feed_forward(width, dropout=dropout)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], valid: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token width"]:
        """Returns the tokens after one block; entries that are not valid come out as zeros."""
        normed = self.attention_norm(tokens)
        tokens = tokens + self.attention_dropout(self.attention(normed, normed, valid))
        tokens = tokens + self.feed_forward(self.feed_forward_norm(tokens))
        return hide(tokens, valid)


class AttentionPool(nn.Module):
    """Reads one vector from the valid tokens with a learned query.

    Args:
        width: of the tokens and of the vector.
        num_heads: must divide `width`.
        dropout: of attention weights.

    Raises:
        InputError: `num_heads` does not divide `width`.
    """

    def __init__(self, width: int, *, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)
        self.attention = Attention(width, num_heads=num_heads, dropout=dropout)

    def forward(
        self, tokens: Float[Tensor, "batch token width"], valid: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch width"]:
        """Returns one vector per row; zero for a row without a valid token."""
        query = self.query.expand(tokens.shape[0], 1, -1)
        return self.attention(query, self.norm(tokens), valid).squeeze(1)


class TimeCodes(nn.Module):
    """Says when a step happens: sines and cosines of its seconds, and of its phase within the row.

    Seconds and phase, never the index of the step, so that the same motion recorded at 10 Hz and
    at 20 Hz has the same codes.

    Args:
        width: of the codes.
        num_periods: periods of the seconds' codes, spread evenly in logarithm.
        shortest_s: shortest period.
        longest_s: longest period.
        num_harmonics: codes of the phase, which runs from 0 at the start of the row to 1 at its
            last valid step.

    Source:
        Vaswani et al. 2017, section 3.5; here over seconds and with a learned projection.
    """

    frequencies: Tensor
    harmonics: Tensor

    def __init__(
        self,
        width: int,
        *,
        num_periods: int = 12,
        shortest_s: float = 0.2,
        longest_s: float = 120.0,
        num_harmonics: int = 4,
    ) -> None:
        super().__init__()
        periods_s = torch.logspace(math.log10(shortest_s), math.log10(longest_s), num_periods)
        self.register_buffer("frequencies", 2 * math.pi / periods_s, persistent=False)
        harmonics = math.pi * torch.arange(1, num_harmonics + 1)
        self.register_buffer("harmonics", harmonics, persistent=False)
        self.project = nn.Linear(2 * (num_periods + num_harmonics), width)

    def forward(
        self, time_s: Float[Tensor, "batch time"], valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        """Returns the code of every step."""
        time_s = time_s.masked_fill(~valid, 0.0)
        last_s = time_s.amax(1, keepdim=True).clamp(min=1e-6)
        angles = torch.cat(
            [time_s[..., None] * self.frequencies, (time_s / last_s)[..., None] * self.harmonics],
            dim=-1,
        )
        codes = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.project(codes.to(self.project.weight.dtype))
