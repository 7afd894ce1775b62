"""Reads the pictures of a row over time, each camera at its lowest frequencies."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from jointspace.batch import ModalityInput
from jointspace.encoders.embodiments import Sizes, kept_sizes, own_module, own_size, per_embodiment
from jointspace.encoders.layers import hide, masked_max, step_times
from jointspace.encoders.trajectory import cosine_transform, resample
from jointspace.errors import InputError


class FrequencyPool(nn.Module):
    """Reads one vector from the vectors of pictures: what changes, how, and what appears at all.

    The vectors of each camera are interpolated at points spread evenly over their time, as the
    steps of a trajectory are in `FrequencyEncoder`, and a small network reads the first
    coefficients of their cosine transform (the first is their mean, the second how the end differs
    from the start) and the logarithm of the duration. To it is added what the maximum over all
    pictures tells.

    A learned query that attends to the pictures averages them, and has to keep their order through
    the average; a motion and the picture that shows it then agree much later in training.

    Args:
        width: of the pictures' vectors, and of the result.
        num_cameras: the most cameras that a row can have; one number for each embodiment gives each
            of them a first layer of its own.
        num_coefficients: kept per camera and channel.
        num_points: how many points the vectors are interpolated at.
        dropout: in the small network.

    Raises:
        InputError: there are more coefficients than points, or none.
    """

    transform: Tensor

    def __init__(
        self,
        width: int,
        *,
        num_cameras: Sizes,
        num_coefficients: int = 4,
        num_points: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 1 <= num_coefficients <= num_points:
            raise InputError(
                f"vision tower: num_coefficients is {num_coefficients}; "
                f"wanted between 1 and {num_points}, the number of points in time"
            )
        self.num_cameras = kept_sizes(num_cameras)
        self.num_points = num_points
        transform = cosine_transform(num_points)[:num_coefficients]
        self.register_buffer("transform", transform, persistent=False)
        self.norm = nn.LayerNorm(width)
        per_camera = num_coefficients * width
        self.mix = per_embodiment(lambda size: nn.Linear(size * per_camera + 1, width), num_cameras)
        self.read = nn.Sequential(nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width))
        self.highest = nn.Linear(width, width)

    def begin_alike(self, *, num_known: int) -> None:
        """Lets embodiments begin as one of the known ones reads its cameras, one by one in order.

        All share what reads a picture, so that what its vectors say over time need not be learned
        again. The known one with the most cameras in common is taken, the first of several; a
        camera that it lacks keeps its weights.

        Args:
            num_known: the embodiments from this number on are changed; those before are known.
        """
        if isinstance(self.num_cameras, int):
            return
        layers: Any = self.mix
        sizes = self.num_cameras
        known = [number for number, size in enumerate(sizes[:num_known]) if size]
        for number, size in enumerate(sizes):
            if number < num_known or not (size and known):
                continue
            common = {each: min(size, sizes[each]) for each in known}
            source = max(known, key=lambda each: common[each])
            shared = common[source] * len(self.transform) * self.highest.in_features
            with torch.no_grad():
                for place in (slice(shared), slice(-1, None)):
                    layers[number].weight[:, place] = layers[source].weight[:, place]
                layers[number].bias.copy_(layers[source].bias)

    def forward(
        self, frames: Float[Tensor, "batch time camera width"], inputs: ModalityInput
    ) -> Float[Tensor, "batch width"]:
        """Returns one vector per row; zero for a row without a valid picture.

        Args:
            frames: vectors of the pictures; masked ones may hold anything.
            inputs: says which pictures are real, and when each was taken. A camera that a row lacks
                counts as zeros.

        Raises:
            InputError: the input has no times, or is from an unknown embodiment.
        """
        rows, _, cameras, width = frames.shape
        valid = inputs.valid
        normed = self.norm(frames)
        time_s = step_times(inputs, tower="vision tower").repeat_interleave(cameras, 0)
        with torch.autocast(frames.device.type, enabled=False):
            points, duration_s = resample(
                normed.transpose(1, 2).flatten(0, 1).to(self.transform.dtype),
                valid.transpose(1, 2).flatten(0, 1),
                time_s,
                num_points=self.num_points,
            )
            coefficients = torch.einsum("kp,bpc->bkc", self.transform, points).reshape(rows, -1)
            duration = duration_s.view(rows, cameras).amax(1, keepdim=True).log1p()
        missing = own_size(self.num_cameras, inputs, tower="vision tower") - cameras
        coefficients = functional.pad(coefficients, (0, missing * len(self.transform) * width))
        numbers = torch.cat([coefficients, duration.to(coefficients.dtype)], dim=1)
        seen = valid.flatten(1)
        highest = self.highest(masked_max(hide(normed.flatten(1, 2), seen), seen))
        pooled: Tensor = self.read(own_module(self.mix, inputs)(numbers)) + highest
        return pooled.masked_fill(~seen.any(1)[:, None], 0.0)
