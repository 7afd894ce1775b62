"""Attention between modalities: one reading another, and the block in which all three meet."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jointspace.encoders.layers import Attention, feed_forward, hide


class CrossModalAttention(nn.Module):
    """Lets the tokens of one modality read the valid tokens of another, of any number.

    Args:
        dim: of both modalities' tokens.
        num_heads: must divide `dim`.
        dropout: of attention weights and of the result.

    Raises:
        InputError: `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, *, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim)
        self.key_value_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads=num_heads, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Float[Tensor, "batch query dim"],
        key_value: Float[Tensor, "batch key dim"],
        key_valid: Bool[Tensor, "batch key"],
    ) -> Float[Tensor, "batch query dim"]:
        """Returns what each query token reads; zeros for a row whose other modality is missing."""
        read = self.attention(self.query_norm(query), self.key_value_norm(key_value), key_valid)
        return self.dropout(read)


@dataclass(frozen=True)
class Stream:
    """The tokens of one side of the three-way block, and which of them are real."""

    tokens: Float[Tensor, "batch token dim"]
    valid: Bool[Tensor, "batch token"]


class ThreeWayFusionBlock(nn.Module):
    """Vision and text read each other; then the steps (actions, state, sensors) read both.

    Both are joined on the token axis, marked by a learned vector each, under one mask, so that
    their lengths need not agree and either may be missing. Each side ends with a feed-forward
    layer.

    Args:
        dim: of all tokens.
        num_heads: of every attention; must divide `dim`.
        dropout: of every attention and feed-forward layer.

    Raises:
        InputError: `num_heads` does not divide `dim`.
    """

    def __init__(self, dim: int, *, num_heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.vision_from_text = CrossModalAttention(dim, num_heads=num_heads, dropout=dropout)
        self.text_from_vision = CrossModalAttention(dim, num_heads=num_heads, dropout=dropout)
        self.steps_from_both = CrossModalAttention(dim, num_heads=num_heads, dropout=dropout)
        self.vision_mark = nn.Parameter(torch.randn(dim) * 0.02)
        self.text_mark = nn.Parameter(torch.randn(dim) * 0.02)
        self.vision_out = _norm_and_feed_forward(dim, dropout=dropout)
        self.text_out = _norm_and_feed_forward(dim, dropout=dropout)
        self.steps_out = _norm_and_feed_forward(dim, dropout=dropout)

    def forward(self, vision: Stream, text: Stream, steps: Stream) -> tuple[Stream, Stream, Stream]:
        """Returns the three sides, each with as many tokens as it came with."""
        new_vision = vision.tokens + self.vision_from_text(vision.tokens, text.tokens, text.valid)
        new_text = text.tokens + self.text_from_vision(text.tokens, vision.tokens, vision.valid)
        new_vision = hide(new_vision + self.vision_out(new_vision), vision.valid)
        new_text = hide(new_text + self.text_out(new_text), text.valid)
        both = torch.cat([new_vision + self.vision_mark, new_text + self.text_mark], dim=1)
        both_valid = torch.cat([vision.valid, text.valid], dim=1)
        new_steps = steps.tokens + self.steps_from_both(steps.tokens, both, both_valid)
        new_steps = hide(new_steps + self.steps_out(new_steps), steps.valid)
        return (
            Stream(new_vision, vision.valid),
            Stream(new_text, text.valid),
            Stream(new_steps, steps.valid),
        )


def _norm_and_feed_forward(dim: int, *, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(dim), feed_forward(dim, dropout=dropout))
