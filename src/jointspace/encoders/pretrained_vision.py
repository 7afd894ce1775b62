"""A pretrained network that reads pictures: SigLIP, CLIP, DINOv2, DINOv3 and their like."""

import inspect
import math
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from jointspace.encoders.pretrained import EXTRA, PretrainedNetwork, Trainable, load_network
from jointspace.errors import InputError, MissingExtraError

_REDUCED_CHANNELS = 32
"""Numbers of each cell of the grid that the adapter's flattened branch keeps."""

_PICTURES_AT_ONCE = 64
"""A frozen network reads no more at a time, so that a large batch does not need much memory."""


class PretrainedFrameEncoder(nn.Module):
    """A pretrained network and a small trained adapter behind it: one vector per picture.

    The network's features of a picture are its summary (what it pools itself: an attention-pooled
    token, a class token, or the mean) and its patches, averaged into a grid. The grid says where
    things are, which a summary forgets. The adapter reads both.

    Pictures are normalised here, on the device, by the mean and deviation that the network's files
    name. Features that were computed before (`jointspace.models.feature_cache`) are taken in the
    place of pictures.

    Args:
        pretrained: folder in the Hugging Face layout, or the id of a model on the hub.
        image_px: side of the pictures. Another than the network was trained on is taken where its
            positions can be interpolated, and is a multiple of its patches.
        width: of the output.
        grid: cells a side; 0 reads the summary alone.
        dropout: in the adapter.
        trainable: what of the network is trained.
        num_trainable_layers: how many layers `last-layers` trains.
        local_files_only: never ask the hub.

    Raises:
        InputError: there is no such network, it cannot be read or reads no pictures of this size,
            it has fewer cells or layers than are asked for, or its files name no normalisation.
        MissingExtraError: `transformers` is not installed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        pretrained: str,
        *,
        image_px: int,
        width: int,
        grid: int = 4,
        dropout: float = 0.0,
        trainable: Trainable = "frozen",
        num_trainable_layers: int = 2,
        local_files_only: bool = False,
    ) -> None:
        super().__init__()
        network = load_network(pretrained, part="vision", local_files_only=local_files_only)
        mean, deviation, native_px = _normalisation(pretrained, local_files_only=local_files_only)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        reader = _GridReader(
            network, image_px=image_px, native_px=native_px, grid=grid, source=pretrained
        )
        self.grid = grid
        self.feature_shape = (1 + grid**2, reader.width)
        self.backbone = PretrainedNetwork(
            reader,
            source=pretrained,
            tower="vision tower",
            trainable=trainable,
            num_trainable_layers=num_trainable_layers,
            probe=lambda reader: reader(torch.zeros(1, 3, image_px, image_px)),
        )
        self.norm = nn.LayerNorm(reader.width)
        self.summary = nn.Linear(reader.width, width, bias=False)
        self.reduce = nn.Linear(reader.width, _REDUCED_CHANNELS) if grid else None
        self.flatten = nn.Linear(_REDUCED_CHANNELS * grid**2, width) if grid else None
        self.out = nn.Sequential(
            nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    @property
    def feature_name(self) -> str:
        """Names all that features of a picture depend on: weights, normalisation and grid."""
        numbers = [*self.mean.tolist(), *self.deviation.tolist()]
        weights = bytes(self.backbone.fingerprint.tolist()).hex()
        return f"{weights} {self.grid} {' '.join(map(repr, numbers))}"

    def features(
        self, pictures: Shaped[Tensor, "picture height width 3"]
    ) -> Float[Tensor, "picture token channel"]:
        """Returns what the pretrained network makes of byte pictures: summary, then the grid."""
        if self.backbone.trainable != "frozen" or len(pictures) <= _PICTURES_AT_ONCE:
            return self._read(pictures)
        return torch.cat([self._read(part) for part in torch.split(pictures, _PICTURES_AT_ONCE)])

    def forward(self, pictures: Shaped[Tensor, "picture ..."]) -> Float[Tensor, "picture width"]:
        """Returns one vector per picture.

        Args:
            pictures: bytes "picture height width 3", or features "picture token channel".

        Raises:
            InputError: features of a network that is being trained, which they would pass by.
        """
        given = pictures.is_floating_point()
        if given and self.backbone.trainable != "frozen":
            raise InputError(
                f"vision tower: got features, but trainable is '{self.backbone.trainable}'; "
                "wanted pictures, since features are those of a frozen network"
            )
        features = pictures if given else self.features(pictures)
        features = self.norm(features.to(self.norm.weight.dtype))
        hidden = self.summary(features[:, 0])
        if self.reduce is not None and self.flatten is not None:
            hidden = hidden + self.flatten(self.reduce(features[:, 1:]).flatten(1))
        return self.out(hidden)

    def _read(self, pictures: Tensor) -> Tensor:
        pixels = (pictures.to(self.mean.dtype) - self.mean) / self.deviation
        features: Tensor = self.backbone(pixels.permute(0, 3, 1, 2))
        return features


class _GridReader(nn.Module):
    """A network of `transformers` that reads pictures, and what of its output is used.

    Raises:
        InputError: it reads no pictures of this size, or has no grid as fine as is asked for.
    """

    def __init__(
        self, network: nn.Module, *, image_px: int, native_px: int | None, grid: int, source: str
    ) -> None:
        super().__init__()
        config: Any = network.config
        parameters = inspect.signature(network.forward).parameters
        where = f"vision tower: '{source}'"
        if "pixel_values" not in parameters:
            raise InputError(f"{where} reads no pictures; wanted a vision model")
        if "spatial_shapes" in parameters:
            raise InputError(
                f"{where} reads pictures of any shape as lists of patches; wanted a network of one "
                "picture size, such as google/siglip2-base-patch16-224"
            )
        size = getattr(config, "image_size", None) or native_px
        native_px = size[0] if isinstance(size, list | tuple) else size
        self.network = network
        self.grid = grid
        self.options: dict[str, bool] = {}
        if "interpolate_pos_encoding" in parameters and image_px != native_px:
            self.options["interpolate_pos_encoding"] = True
        patch = getattr(config, "patch_size", None)
        self.patch_px = patch if isinstance(patch, int) else 1
        wanted = f"wanted {native_px}" + (
            f", or another multiple of its patches of {self.patch_px}" if self.patch_px > 1 else ""
        )
        if image_px % self.patch_px:
            raise InputError(f"{where}: image_px is {image_px}; {wanted} (data.image_px)")
        network.eval()
        try:
            with torch.no_grad():
                _, cells = self._parts(torch.zeros(1, 3, image_px, image_px))
        except (ValueError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{where} does not read pictures of {image_px} px "
                f"({str(error).strip().splitlines()[0]}); {wanted} (data.image_px)"
            ) from error
        self.width = int(cells.shape[1])
        if grid > min(cells.shape[2:]):
            raise InputError(
                f"{where} makes {cells.shape[2]} x {cells.shape[3]} cells of {image_px} px; "
                f"wanted a model.vision.grid of at most that, got {grid}"
            )

    def forward(
        self, pixels: Float[Tensor, "picture 3 height width"]
    ) -> Float[Tensor, "picture token channel"]:
        """Returns the summary of each picture, and after it the cells of its grid, row by row."""
        summary, cells = self._parts(pixels)
        if not self.grid:
            return summary[:, None]
        cells = functional.adaptive_avg_pool2d(cells, self.grid).flatten(2).transpose(1, 2)
        return torch.cat([summary[:, None], cells], dim=1)

    def _parts(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(pixel_values=pixels, **self.options)
        hidden, summary = output.last_hidden_state, getattr(output, "pooler_output", None)
        if hidden.ndim == 4:
            cells, first = hidden, None
        else:
            # Patches come last: behind class and register tokens, where there are any.
            high, wide = (side // self.patch_px for side in pixels.shape[2:])
            if high * wide > hidden.shape[1]:
                high = wide = math.isqrt(hidden.shape[1])
                if high * wide != hidden.shape[1]:
                    raise InputError(
                        f"vision tower: {type(self.network).__name__} makes {hidden.shape[1]} "
                        "tokens, which are no grid; wanted a network that keeps the grid"
                    )
            cells = hidden[:, hidden.shape[1] - high * wide :].transpose(1, 2)
            cells = cells.unflatten(2, (high, wide))
            first = hidden[:, 0] if hidden.shape[1] > high * wide else None
        if summary is None:
            summary = cells.mean((2, 3)) if first is None else first
        return summary.flatten(1), cells


def _normalisation(source: str, *, local_files_only: bool) -> tuple[Tensor, Tensor, int | None]:
    """Reads mean and deviation of bytes, and the picture size, from a network's files.

    The processor itself is not built: several need torchvision, and pictures are resized by
    `jointspace.data.resize.resize_frame` alone.

    Raises:
        InputError: there is no such file, or it names no normalisation.
        MissingExtraError: `transformers` is not installed.
    """
    try:
        from transformers import ImageProcessingMixin  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise MissingExtraError("transformers", EXTRA) from error
    try:
        stored, _ = ImageProcessingMixin.get_image_processor_dict(
            source, local_files_only=local_files_only
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"vision tower: '{source}' has no preprocessor_config.json; wanted one that names "
            "image_mean and image_std, as the network's publisher ships it"
        ) from error
    mean, deviation = stored.get("image_mean"), stored.get("image_std")
    if stored.get("do_normalize") is False:
        mean, deviation = [0.0] * 3, [1.0] * 3
    if not (_is_colour(mean) and _is_colour(deviation)):
        raise InputError(
            f"vision tower: preprocessor_config.json of '{source}' has image_mean {mean} and "
            f"image_std {deviation}; wanted three numbers each"
        )
    # What a byte is multiplied by first; ours are divided by it instead.
    factor = 1.0 if stored.get("do_rescale") is False else stored.get("rescale_factor", 1 / 255)
    size = stored.get("crop_size") or stored.get("size") or {}
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return (
        torch.tensor(mean, dtype=torch.float32) / factor,
        torch.tensor(deviation, dtype=torch.float32) / factor,
        size if isinstance(size, int) else None,
    )


def _is_colour(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3
