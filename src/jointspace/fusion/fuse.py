"""Fusion of any subset of modalities into one joint vector: early, late, three-way.

All take the features of the modalities at hand, and are safe when a modality is missing, from the
whole batch or from single rows: a row is fused from what it has, and a row that has nothing gives
zero.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jointspace.batch import TEXT, VISION, Modality
from jointspace.encoders.layers import AttentionPool, TowerFeatures, TransformerBlock, hide
from jointspace.errors import InputError, did_you_mean
from jointspace.fusion.attention import Stream, ThreeWayFusionBlock


class _Adapters(nn.Module):
    """Brings the tokens or vectors of every modality to one width and one scale."""

    def __init__(self, widths: Mapping[Modality, int], dim: int) -> None:
        super().__init__()
        if not widths:
            raise InputError("fusion: no modalities; wanted the width of each modality's tower")
        self.order = tuple(widths)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim)) for width in widths.values()
        )

    def forward(self, modality: Modality, values: Float[Tensor, "... width"]) -> Tensor:
        return self.layers[self.order.index(modality)](values)

    def check(self, features: Mapping[Modality, TowerFeatures]) -> None:
        if not features:
            raise InputError("fusion: no features; wanted those of at least one modality")
        for modality in features:
            if modality not in self.order:
                raise InputError(
                    f"fusion: no modality '{modality}'.{did_you_mean(modality, self.order)}"
                )


class EarlyFusion(nn.Module):
    """Fuses pooled vectors: a gated sum, and the products of every two modalities.

    A sum of linear maps, however many, cannot make what one modality means depend on another; the
    products can.

    Args:
        widths: modality -> width of its tower.
        dim: of the joint vector.
        dropout: before the last layer.

    Raises:
        InputError: there are no modalities.

    Source:
        Rendle 2010 (factorisation machines), equation 5, for the sum of all products in linear
        time.
    """

    def __init__(self, widths: Mapping[Modality, int], *, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.values = _Adapters(widths, dim)
        self.gates = _Adapters(widths, dim)
        self.factors = _Adapters(widths, dim)
        self.out = nn.Sequential(
            nn.LayerNorm(2 * dim),
            nn.Linear(2 * dim, 2 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * dim, dim),
        )

    def forward(self, features: Mapping[Modality, TowerFeatures]) -> Float[Tensor, "batch dim"]:
        """Returns the joint vector of each row.

        Raises:
            InputError: the features are empty or hold an unknown modality.
        """
        self.values.check(features)
        gated, factors = [], []
        for modality, each in features.items():
            absent = ~each.present[:, None]
            value = self.values(modality, each.pooled) * self.gates(modality, each.pooled).sigmoid()
            gated.append(value.masked_fill(absent, 0.0))
            factors.append(self.factors(modality, each.pooled).masked_fill(absent, 0.0))
        count = torch.stack([each.present for each in features.values()]).sum(0)
        total = torch.stack(factors).sum(0)
        products = (total.square() - torch.stack(factors).square().sum(0)) / 2
        mean = torch.stack(gated).sum(0) / count.clamp(min=1)[:, None]
        joint = self.out(torch.cat([mean, products], dim=1))
        return joint.masked_fill((count == 0)[:, None], 0.0)


class LateFusion(nn.Module):
    """Fuses tokens: a transformer over the tokens of all modalities, each marked with its modality.

    Args:
        widths: modality -> width of its tower.
        dim: of tokens and joint vector.
        layers: transformer blocks.
        num_heads: of attention; must divide `dim`.
        dropout: of all layers.

    Raises:
        InputError: `num_heads` does not divide `dim`, or there are no modalities.
    """

    def __init__(
        self,
        widths: Mapping[Modality, int],
        *,
        dim: int,
        layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens = _MarkedTokens(widths, dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, num_heads=num_heads, dropout=dropout) for _ in range(layers)
        )
        self.pool = AttentionPool(dim, num_heads=num_heads, dropout=dropout)

    def forward(self, features: Mapping[Modality, TowerFeatures]) -> Float[Tensor, "batch dim"]:
        """Returns the joint vector of each row.

        Raises:
            InputError: the features are empty or hold an unknown modality.
        """
        joined = _join(list(self.tokens(features).values()))
        tokens = joined.tokens
        for block in self.blocks:
            tokens = block(tokens, joined.valid)
        return self.pool(tokens, joined.valid)


class ThreeWayFusion(nn.Module):
    """Fuses tokens by three-way blocks: vision and text read each other, and the steps read both.

    Actions, state and other sensors together are the steps. The joint vector is pooled from all
    three sides.

    Args:
        widths: modality -> width of its tower.
        dim: of tokens and joint vector.
        layers: three-way blocks.
        num_heads: of attention; must divide `dim`.
        dropout: of all layers.

    Raises:
        InputError: `num_heads` does not divide `dim`, or there are no modalities.
    """

    def __init__(
        self,
        widths: Mapping[Modality, int],
        *,
        dim: int,
        layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens = _MarkedTokens(widths, dim)
        self.blocks = nn.ModuleList(
            ThreeWayFusionBlock(dim, num_heads=num_heads, dropout=dropout) for _ in range(layers)
        )
        self.pool = AttentionPool(dim, num_heads=num_heads, dropout=dropout)

    def forward(self, features: Mapping[Modality, TowerFeatures]) -> Float[Tensor, "batch dim"]:
        """Returns the joint vector of each row.

        Raises:
            InputError: the features are empty or hold an unknown modality.
        """
        streams: dict[Modality, Stream] = self.tokens(features)
        some = next(iter(streams.values()))
        # A side that nobody has is one token that is not real.
        nothing = Stream(torch.zeros_like(some.tokens[:, :1]), torch.zeros_like(some.valid[:, :1]))
        vision, text = streams.pop(VISION, nothing), streams.pop(TEXT, nothing)
        steps = _join(list(streams.values())) if streams else nothing
        for block in self.blocks:
            vision, text, steps = block(vision, text, steps)
        joined = _join([vision, text, steps])
        return self.pool(joined.tokens, joined.valid)


class _MarkedTokens(nn.Module):
    """Every modality's tokens at one width, with a learned vector that says whose they are."""

    def __init__(self, widths: Mapping[Modality, int], dim: int) -> None:
        super().__init__()
        self.adapters = _Adapters(widths, dim)
        self.marks = nn.Parameter(torch.randn(len(widths), dim) * 0.02)

    def forward(self, features: Mapping[Modality, TowerFeatures]) -> dict[Modality, Stream]:
        self.adapters.check(features)
        streams = {}
        for modality, each in features.items():
            mark = self.marks[self.adapters.order.index(modality)]
            tokens = self.adapters(modality, each.tokens) + mark
            streams[modality] = Stream(hide(tokens, each.valid), each.valid)
        return streams


def _join(streams: list[Stream]) -> Stream:
    return Stream(
        torch.cat([each.tokens for each in streams], dim=1),
        torch.cat([each.valid for each in streams], dim=1),
    )
