"""Towers for continuous steps: actions, state, force and other sensors, at any rate."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jointspace.batch import ModalityInput
from jointspace.encoders.embodiments import Sizes, kept_sizes, own_module, per_embodiment
from jointspace.encoders.layers import (
    AttentionPool,
    TimeCodes,
    TowerFeatures,
    TransformerBlock,
    check_channels,
    hide,
    masked_max,
    masked_mean,
    step_times,
)
from jointspace.errors import InputError


class FrequencyEncoder(nn.Module):
    """Reads a trajectory from its lowest frequencies: fast, and free of the rate by construction.

    The valid steps are interpolated at points spread evenly over their time, the points are
    transformed by a discrete cosine transform, and a small network reads the first coefficients,
    how far each channel spreads and reaches, and the logarithm of the duration.

    Args:
        channels: of the steps; one number for each embodiment gives each a first layer of its own.
        width: of the token and the pooled vector, which are the same.
        num_coefficients: how many are kept per channel.
        num_points: how many points the steps are interpolated at.
        dropout: after each layer.

    Raises:
        InputError: there are more coefficients than points, or none.
    """

    transform: Tensor

    def __init__(
        self,
        channels: Sizes,
        *,
        width: int = 256,
        num_coefficients: int = 10,
        num_points: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= num_coefficients <= num_points:
            raise InputError(
                f"frequency tower: num_coefficients is {num_coefficients}; "
                f"wanted between 1 and {num_points}, the number of points"
            )
        self.channels = kept_sizes(channels)
        self.width = width
        self.num_points = num_points
        transform = cosine_transform(num_points)[:num_coefficients]
        self.register_buffer("transform", transform, persistent=False)
        numbers = num_coefficients + _NUM_EXTENTS
        self.read = nn.Sequential(
            per_embodiment(lambda size: nn.Linear(numbers * size + 1, width), channels),
            nn.LayerNorm(width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
        )

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per row, which is its pooled vector.

        Raises:
            InputError: the steps have another number of channels, or no times.
        """
        check_channels(inputs, channels=self.channels, tower="frequency tower")
        time_s, valid = step_times(inputs, tower="frequency tower"), inputs.valid
        values = inputs.values.to(self.transform.dtype)
        # In half precision, times and coefficients would lose what tells similar motions apart.
        with torch.autocast(values.device.type, enabled=False):
            points, duration_s = resample(values, valid, time_s, num_points=self.num_points)
            coefficients = torch.einsum("kp,bpc->bkc", self.transform, points)
            duration = duration_s.to(values.dtype).log1p()[:, None]
            numbers = [coefficients.flatten(1), _extents(points), duration]
        present = valid.any(1)
        hidden = own_module(self.read[0], inputs)(torch.cat(numbers, dim=1))
        pooled = self.read[1:](hidden).masked_fill(~present[:, None], 0.0)
        return TowerFeatures(pooled[:, None], present[:, None], pooled)


_NUM_EXTENTS = 3
"""Numbers per channel that `_extents` returns."""


def _extents(points: Float[Tensor, "batch point channel"]) -> Float[Tensor, "batch extent"]:
    """Returns how far each channel spreads and reaches, which low frequencies alone do not tell."""
    variance = points.var(1, correction=0)
    # The root has no gradient at 0, where a channel stands still.
    return torch.cat([(variance + 1e-6).sqrt(), points.amin(1) / 2, points.amax(1) / 2], dim=1)


class TrajectoryTransformer(nn.Module):
    """Reads a trajectory with self-attention over its steps, each with a code of its seconds.

    Args:
        channels: of the steps; one number for each embodiment gives each a first layer of its own.
        width: of tokens and pooled vector.
        layers: transformer blocks.
        heads: of attention; must divide `width`.
        dropout: of all layers.

    Raises:
        InputError: `heads` does not divide `width`.
    """

    def __init__(
        self,
        channels: Sizes,
        *,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels = kept_sizes(channels)
        self.width = width
        self.embed = per_embodiment(lambda size: nn.Linear(size, width), channels)
        self.time_codes = TimeCodes(width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.pool = AttentionPool(width, num_heads=heads, dropout=dropout)

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per step.

        Raises:
            InputError: the steps have another number of channels, or no times.
        """
        check_channels(inputs, channels=self.channels, tower="trajectory transformer")
        time_s, valid = step_times(inputs, tower="trajectory transformer"), inputs.valid
        embed = own_module(self.embed, inputs)
        values = hide(inputs.values.to(embed.weight.dtype), valid)
        tokens = hide(embed(values) + self.time_codes(time_s, valid), valid)
        for block in self.blocks:
            tokens = block(tokens, valid)
        return TowerFeatures(tokens, valid, self.pool(tokens, valid))


class TrajectoryConvolution(nn.Module):
    """Reads a trajectory with dilated convolutions, in which a step sees only those before it.

    Args:
        channels: of the steps; one number for each embodiment gives each a first layer of its own.
        width: of tokens and pooled vector.
        layers: residual blocks of two convolutions; each sees four times as far back as the one
            before.
        dropout: in each block.

    Source:
        Bai et al. 2018 (temporal convolutional network), with layer norm and masks instead of
        weight norm, and with codes of the time in seconds, since a convolution alone counts
        steps.
    """

    def __init__(
        self, channels: Sizes, *, width: int = 256, layers: int = 2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = kept_sizes(channels)
        self.width = width
        self.embed = per_embodiment(lambda size: nn.Linear(size, width), channels)
        self.time_codes = TimeCodes(width)
        self.blocks = nn.ModuleList(
            _CausalBlock(width, dilation=4**layer, dropout=dropout) for layer in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per step.

        Raises:
            InputError: the steps have another number of channels, or no times.
        """
        check_channels(inputs, channels=self.channels, tower="trajectory convolution")
        time_s, valid = step_times(inputs, tower="trajectory convolution"), inputs.valid
        embed = own_module(self.embed, inputs)
        values = hide(inputs.values.to(embed.weight.dtype), valid)
        tokens = hide(embed(values) + self.time_codes(time_s, valid), valid)
        for block in self.blocks:
            tokens = block(tokens, valid)
        tokens = hide(self.norm(tokens), valid)
        pooled = self.out(torch.cat([masked_mean(tokens, valid), masked_max(tokens, valid)], dim=1))
        return TowerFeatures(tokens, valid, pooled.masked_fill(~valid.any(1)[:, None], 0.0))


class _CausalBlock(nn.Module):
    """Two dilated causal convolutions, added to what came in."""

    def __init__(self, width: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.dilations = (dilation, 2 * dilation)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=each) for each in self.dilations
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "batch time width"], valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        layers = zip(self.norms, self.convolutions, self.dilations, strict=True)
        change = tokens
        for norm, convolution, dilation in layers:
            # Hidden before each convolution, steps that are not valid act like the zeros before
            # the start.
            steps = hide(functional.gelu(norm(change)), valid).transpose(1, 2)
            change = convolution(functional.pad(steps, (2 * dilation, 0))).transpose(1, 2)
        return hide(tokens + self.dropout(change), valid)


def resample(
    values: Float[Tensor, "batch time channel"],
    valid: Bool[Tensor, "batch time"],
    time_s: Float[Tensor, "batch time"],
    *,
    num_points: int,
) -> tuple[Float[Tensor, "batch point channel"], Float[Tensor, " batch"]]:
    """Interpolates the valid steps of each row linearly at points spread evenly over their time.

    Args:
        values: the steps.
        valid: which are real; gaps between valid steps are interpolated over.
        time_s: seconds of each step, which must not decrease among valid steps.
        num_points: how many points, from the first valid step to the last.

    Returns:
        The points (all equal for a row with one valid step, zero for a row without any), and the
        seconds between the first valid step and the last.
    """
    steps = values.shape[1]
    infinity = math.inf
    first_s = time_s.masked_fill(~valid, infinity).amin(1)
    last_s = time_s.masked_fill(~valid, -infinity).amax(1)
    present = valid.any(1)
    first_s = first_s.masked_fill(~present, 0.0)
    last_s = last_s.masked_fill(~present, 0.0)
    fraction = torch.linspace(0, 1, num_points, dtype=time_s.dtype, device=time_s.device)
    wanted_s = torch.lerp(first_s[:, None], last_s[:, None], fraction)
    index = torch.arange(steps, device=values.device)
    before = valid[:, None] & (time_s[:, None] <= wanted_s[..., None])
    left = index.expand_as(before).masked_fill(~before, -1).amax(2).clamp(min=0)
    after = valid[:, None] & (time_s[:, None] > wanted_s[..., None])
    right = index.expand_as(after).masked_fill(~after, steps).amin(2)
    right = torch.where(right == steps, left, right)
    left_s, right_s = time_s.gather(1, left), time_s.gather(1, right)
    share = (wanted_s - left_s) / (right_s - left_s).clamp(min=1e-9)
    share = share.clamp(0, 1).to(values.dtype)[..., None]
    values = hide(values, valid)
    channels = values.shape[2]
    at_left = values.gather(1, left[..., None].expand(-1, -1, channels))
    at_right = values.gather(1, right[..., None].expand(-1, -1, channels))
    return torch.lerp(at_left, at_right, share), last_s - first_s


def cosine_transform(num_points: int) -> Float[Tensor, "coefficient point"]:
    """Returns the matrix of the discrete cosine transform (type II).

    Scaled so that coefficient 0 is the mean, and orthogonal up to that one common factor.
    """
    point = torch.arange(num_points, dtype=torch.float64) + 0.5
    order = torch.arange(num_points, dtype=torch.float64)[:, None]
    matrix = (math.pi / num_points * order * point).cos() / num_points
    matrix[1:] *= math.sqrt(2)
    return matrix.float()
