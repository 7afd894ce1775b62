"""The vision tower: pictures or clips of several cameras, without losing where things are."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from jointspace.batch import ModalityInput
from jointspace.encoders.embodiments import (
    Sizes,
    kept_sizes,
    own_module,
    own_size,
    per_embodiment,
)
from jointspace.encoders.layers import (
    AttentionPool,
    TimeCodes,
    TowerFeatures,
    TransformerBlock,
    hide,
    step_times,
)
from jointspace.encoders.time_pool import FrequencyPool
from jointspace.errors import InputError

_LARGEST_GRID = 8
"""Larger grids are max-pooled to at most this many cells a side before they are flattened."""

_REDUCED_CHANNELS = 32
"""Channels of the flattened branch."""

_PIXEL_MEAN, _PIXEL_SCALE = 115.0, 64.0
"""Bring bytes to about zero mean and unit variance."""


class FrameEncoder(nn.Module):
    """A convolutional network that reads one picture and keeps the grid.

    Global average pooling is blind to position, the one thing that actions depend on. So the
    network sees the pixel coordinates, and its output joins two branches: the flattened grid
    (where things are) and the maximum over the grid (what is there).

    Args:
        image_px: side of the pictures.
        channels: of each convolution; each halves the side, the first divides it by `stem_stride`.
        width: of the output.
        dropout: before the last layer.
        separable: depthwise convolutions followed by pointwise ones, for speed.
        stem_stride: pixels that the first convolution steps on.

    Raises:
        InputError: the picture is too small to be halved that often and stay a grid, or there
            are no channels.
    """

    coordinates: Tensor

    def __init__(
        self,
        *,
        image_px: int,
        channels: Sequence[int],
        width: int,
        dropout: float = 0.0,
        separable: bool = False,
        stem_stride: int = 2,
    ) -> None:
        super().__init__()
        if not channels or image_px < stem_stride * 2 ** len(channels):
            raise InputError(
                f"vision tower: image_px is {image_px} and channels {tuple(channels)}; "
                "wanted at least one convolution, and a picture that is a grid behind all of them"
            )
        first, last = channels[0], channels[-1]
        line = torch.linspace(-1, 1, image_px)
        coordinates = torch.stack(torch.meshgrid(line, line, indexing="xy"))[None]
        self.register_buffer("coordinates", coordinates, persistent=False)
        # Equal to a convolution over picture and coordinates joined, at the cost of one picture a
        # batch.
        kernel, padding = (5, 2) if stem_stride == 2 else (2 * stem_stride - 1, stem_stride - 1)
        self.stem = nn.Conv2d(3, first, kernel, stride=stem_stride, padding=padding)
        self.coordinate_stem = nn.Conv2d(
            2, first, kernel, stride=stem_stride, padding=padding, bias=False
        )
        layers: list[nn.Module] = [_group_norm(first), nn.ReLU(inplace=True)]
        for inner, outer in pairwise(channels):
            layers += [
                *_convolution(inner, outer, stride=2, separable=separable),
                _group_norm(outer),
                nn.ReLU(inplace=True),
            ]
        self.downsample = nn.Sequential(*layers)
        self.residual = nn.Sequential(
            *_convolution(last, last, stride=1, separable=separable),
            _group_norm(last),
            nn.ReLU(inplace=True),
        )
        grid_px = image_px
        for stride in (stem_stride, *(2 for _ in channels[1:])):
            grid_px = math.ceil(grid_px / stride)
        self.pool_px = math.ceil(grid_px / _LARGEST_GRID)
        reduced = min(last, _REDUCED_CHANNELS)
        # Normalised over its own grid, a channel says where it is strong and not how strong it is
        # everywhere: what all pictures have in common would drown what tells them apart.
        self.reduce = nn.Sequential(nn.Conv2d(last, reduced, 1), nn.GroupNorm(reduced, reduced))
        self.flatten = nn.Linear(reduced * math.ceil(grid_px / self.pool_px) ** 2, width)
        self.highest = nn.Linear(last, width, bias=False)
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(
        self, pictures: UInt8[Tensor, "picture height width 3"]
    ) -> Float[Tensor, "picture width_out"]:
        """Returns one vector per picture."""
        # Bytes lie as height, width, channel: seen as channels first, they are in torch's
        # channels-last order, in which its convolutions are fastest.
        pixels = pictures.permute(0, 3, 1, 2).to(self.stem.weight.dtype)
        return self._read(pixels.sub_(_PIXEL_MEAN).mul_(1 / _PIXEL_SCALE))

    def read_pixels(
        self, pixels: Float[Tensor, "picture 3 height width"]
    ) -> Float[Tensor, "picture width_out"]:
        """Returns what `forward` returns of the same pictures, which are numbers from 0 to 255."""
        return self._read((pixels - _PIXEL_MEAN) * (1 / _PIXEL_SCALE))

    def _read(self, pixels: Tensor) -> Tensor:
        places = self.coordinate_stem(self.coordinates)
        grid = self.downsample(_add_to_each(self.stem(pixels), places))
        grid = grid + self.residual(grid)
        cells = self.reduce(grid)
        if self.pool_px > 1:
            cells = functional.max_pool2d(cells, self.pool_px, ceil_mode=True)
        return self.out(self.flatten(cells.flatten(1)) + self.highest(grid.amax((2, 3))))


class VisionEncoder(nn.Module):
    """Encodes every picture, says when and by which camera it was taken, and pools them over time.

    Args:
        image_px: side of the pictures.
        num_cameras: the most cameras that a row can have; one number for each embodiment gives each
            camera of each of them a code of its own.
        channels: of the frame encoder's convolutions; each halves the side.
        width: of tokens and pooled vector.
        temporal_layers: transformer blocks over the pictures of a row.
        num_heads: of those blocks and of attention pooling; must divide `width`.
        pooling: `frequency` reads each camera's pictures at their lowest frequencies in time (see
            `FrequencyPool`); `attention` averages all pictures by a learned query.
        dropout: of all layers behind the convolutions.
        separable: use depthwise-separable convolutions.
        stem_stride: pixels that the first convolution steps on.
        frame: reads one picture, in the place of a `FrameEncoder` of the sizes above; with a
            `feature_shape`, such as `PretrainedFrameEncoder`'s, it also takes features of them.

    Raises:
        InputError: a size does not fit; see `FrameEncoder` and `Attention`.
    """

    def __init__(
        self,
        *,
        image_px: int,
        num_cameras: Sizes,
        channels: Sequence[int] = (32, 64, 128),
        width: int = 256,
        temporal_layers: int = 0,
        num_heads: int = 4,
        pooling: Literal["frequency", "attention"] = "frequency",
        dropout: float = 0.0,
        separable: bool = False,
        stem_stride: int = 2,
        frame: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if (num_cameras if isinstance(num_cameras, int) else max(num_cameras, default=0)) < 1:
            raise InputError(f"vision tower: num_cameras is {num_cameras}; wanted at least 1")
        self.image_px = image_px
        self.num_cameras = kept_sizes(num_cameras)
        self.width = width
        self.frame = (
            FrameEncoder(
                image_px=image_px,
                channels=channels,
                width=width,
                dropout=dropout,
                separable=separable,
                stem_stride=stem_stride,
            )
            if frame is None
            else frame
        )
        self.time_codes = TimeCodes(width)
        self.camera = per_embodiment(lambda size: _camera_codes(size, width), num_cameras)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads=num_heads, dropout=dropout)
            for _ in range(temporal_layers)
        )
        self.pool: FrequencyPool | AttentionPool = (
            FrequencyPool(width, num_cameras=num_cameras, dropout=dropout)
            if pooling == "frequency"
            else AttentionPool(width, num_heads=num_heads, dropout=dropout)
        )

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per picture (cameras of one time together) and their pooled vector.

        Raises:
            InputError: the pictures have another size, more cameras than the tower knows, or no
                times.
        """
        shape = tuple(inputs.values.shape)
        most = own_size(self.num_cameras, inputs, tower="vision tower")
        wanted = (self.image_px, self.image_px, 3)
        if inputs.values.is_floating_point():
            wanted = getattr(self.frame, "feature_shape", wanted)
        if shape[3:] != wanted or shape[2] > most:
            raise InputError(
                f"vision tower: pictures have shape {shape}; wanted (batch, time, camera, "
                f"{', '.join(map(str, wanted))}) with at most {most} cameras"
            )
        rows, num_times, num_cameras = shape[:3]
        values = inputs.values
        if len(shape) == 5:
            # NaN in what is masked would reach the gradients of whatever reads it.
            values = values.masked_fill(~inputs.valid[..., None, None], 0.0)
        frames = self.frame(values.flatten(0, 2)).view(rows, num_times, num_cameras, -1)
        return self.read_frames(frames, inputs)

    def read_frames(
        self, frames: Float[Tensor, "batch time camera width"], inputs: ModalityInput
    ) -> TowerFeatures:
        """Returns what `forward` returns of pictures that were read before.

        Args:
            frames: what the frame encoder made of them; masked ones may hold anything.
            inputs: says which are real, when each was taken, and by which robot.

        Raises:
            InputError: the input has no times, or is from an unknown embodiment.
        """
        num_cameras = frames.shape[2]
        valid = inputs.valid.flatten(1)
        codes = self.time_codes(step_times(inputs, tower="vision tower"), inputs.valid.any(2))
        cameras = own_module(self.camera, inputs).weight[:num_cameras]
        tokens = hide((frames + codes[:, :, None] + cameras).flatten(1, 2), valid)
        for block in self.blocks:
            tokens = block(tokens, valid)
        if isinstance(self.pool, FrequencyPool):
            pooled = self.pool(tokens.view_as(frames), inputs)
        else:
            pooled = self.pool(tokens, valid)
        return TowerFeatures(tokens, valid, pooled)


def _add_to_each(
    grids: Float[Tensor, "picture channel y x"], one: Float[Tensor, "1 channel y x"]
) -> Float[Tensor, "picture channel y x"]:
    """Adds one grid to those of all pictures.

    As rows of a matrix, since torch takes several times longer to sum the gradient over the
    pictures when four axes lie in channels-last order.
    """
    channels, height, width = grids.shape[1:]
    rows = grids.permute(0, 2, 3, 1).flatten(1) + one.permute(0, 2, 3, 1).flatten(1)
    return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


def _camera_codes(num_cameras: int, width: int) -> nn.Embedding:
    codes = nn.Embedding(num_cameras, width)
    nn.init.normal_(codes.weight, std=0.02)
    return codes


def _convolution(inner: int, outer: int, *, stride: int, separable: bool) -> list[nn.Module]:
    if not separable:
        return [nn.Conv2d(inner, outer, 3, stride=stride, padding=1)]
    return [
        nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=inner, bias=False),
        nn.Conv2d(inner, outer, 1),
    ]


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)
