"""The parts of a joint model as they are exported: plain tensors in, plain tensors out."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from jointspace.batch import TEXT, VISION, Modality, ModalityInput
from jointspace.data.normalise import Normaliser
from jointspace.encoders.layers import TowerFeatures, masked_mean
from jointspace.models.joint import JointModel

FusionReads = Literal["nothing", "tokens", "pooled"]
"""What the fusion of a model reads of a tower's features, beside the tower's rows."""

PARTS: dict[FusionReads, tuple[str, ...]] = {
    "nothing": (),
    "tokens": ("tokens", "tokens_valid"),
    "pooled": ("pooled", "present"),
}
"""What a tower's graph returns behind its embedding, see `output_name`."""


class FrameModule(nn.Module):
    """Reads single pictures, `images` "picture 3 px px" of numbers from 0 to 255."""

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.frame: Any = model.tower(VISION).frame

    def forward(
        self, images: Float[Tensor, "picture 3 height width"]
    ) -> tuple[Float[Tensor, "picture width_out"]]:
        """Returns one vector per picture."""
        return (self.frame.read_pixels(images),)


class TowerModule(nn.Module):
    """A tower and its projection: the embedding, and behind it what fusion reads."""

    def __init__(
        self, model: JointModel, modality: Modality, *, embodiment: int, reads: FusionReads
    ) -> None:
        super().__init__()
        self.tower: Any = model.tower(modality)
        self.model = model
        self.modality = modality
        self.embodiment = embodiment
        self.reads = reads

    def embed(self, features: TowerFeatures) -> tuple[Tensor, ...]:
        """Returns the outputs of the graph."""
        rows = self.model.project(self.modality, features)
        if self.reads == "tokens":
            return rows, features.tokens, features.valid
        if self.reads == "pooled":
            return rows, features.pooled, features.present
        return (rows,)


class VisionModule(TowerModule):
    """Reads the vectors of pictures over time."""

    def forward(
        self,
        frame_vectors: Float[Tensor, "batch time camera width"],
        valid: Bool[Tensor, "batch time camera"],
        time_s: Float[Tensor, "batch time"],
    ) -> tuple[Tensor, ...]:
        """Returns the outputs of the graph."""
        inputs = ModalityInput(frame_vectors, valid, time_s, self.embodiment)
        return self.embed(self.tower.read_frames(frame_vectors, inputs))


class ImageModule(TowerModule):
    """Reads rows that are one picture of one camera."""

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, ...]:
        """Returns the outputs of the graph."""
        vectors = self.tower.frame.read_pixels(images)[:, None, None]
        valid = torch.ones_like(vectors[..., 0], dtype=torch.bool)
        time_s = torch.zeros_like(vectors[:, :, 0, 0])
        inputs = ModalityInput(vectors, valid, time_s, self.embodiment)
        return self.embed(self.tower.read_frames(vectors, inputs))


class TextModule(TowerModule):
    """Reads token ids."""

    def __init__(self, model: JointModel, *, embodiment: int, reads: FusionReads) -> None:
        super().__init__(model, TEXT, embodiment=embodiment, reads=reads)

    def forward(
        self, tokens: Int[Tensor, "batch time"], valid: Bool[Tensor, "batch time"]
    ) -> tuple[Tensor, ...]:
        """Returns the outputs of the graph."""
        return self.embed(self.tower(ModalityInput(tokens, valid, None, self.embodiment)))


class StepsModule(TowerModule):
    """Reads steps in raw units (or discrete ids), which it normalises as training did."""

    centre: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        model: JointModel,
        modality: Modality,
        normaliser: Normaliser | None,
        *,
        embodiment: int,
        reads: FusionReads,
    ) -> None:
        super().__init__(model, modality, embodiment=embodiment, reads=reads)
        self.normalised = normaliser is not None
        for name in ("centre", "scale", "low", "high") if normaliser is not None else ():
            self.register_buffer(name, torch.from_numpy(getattr(normaliser, name).copy()))

    def forward(
        self,
        trajectory: Shaped[Tensor, "batch time ..."],
        valid: Bool[Tensor, "batch time"],
        time_s: Float[Tensor, "batch time"],
    ) -> tuple[Tensor, ...]:
        """Returns the outputs of the graph."""
        values = trajectory
        if self.normalised:
            values = (trajectory - self.centre) / self.scale
            values = values.maximum(self.low).minimum(self.high)
        return self.embed(self.tower(ModalityInput(values, valid, time_s, self.embodiment)))


class FusionModule(nn.Module):
    """Makes a fused query of what the graphs of its members return."""

    def __init__(
        self, model: JointModel, members: tuple[Modality, ...], *, reads: FusionReads
    ) -> None:
        super().__init__()
        self.model = model
        self.members = members
        self.reads = reads

    def forward(self, *values: Tensor) -> tuple[Float[Tensor, "batch embed_dim"]]:
        """Returns the fused rows.

        Args:
            values: of each member in turn, its embedding and what fusion reads of its features.
        """
        size = len(values) // len(self.members)
        rows, features = {}, {}
        for place, member in enumerate(self.members):
            rows[member], *parts = values[place * size : (place + 1) * size]
            features[member] = self._features(*parts)
        return (self.model.fuse_rows(rows, features),)

    def _features(self, first: Tensor, second: Tensor) -> TowerFeatures:
        if self.reads == "tokens":
            return TowerFeatures(first, second, masked_mean(first, second))
        return TowerFeatures(first[:, None], second[:, None], first)
