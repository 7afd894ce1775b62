"""Reads the pictures of a row over time, each camera at its lowest frequencies."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jointspace.encoders.layers import hide, masked_max
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
        num_cameras: the most cameras that a row can have.
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
        num_cameras: int,
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
        self.num_cameras = num_cameras
        self.num_points = num_points
        transform = cosine_transform(num_points)[:num_coefficients]
        self.register_buffer("transform", transform, persistent=False)
        self.norm = nn.LayerNorm(width)
        self.read = nn.Sequential(
            nn.Linear(num_cameras * num_coefficients * width + 1, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )
        self.highest = nn.Linear(width, width)

    def forward(
        self,
        frames: Float[Tensor, "batch time camera width"],
        valid: Bool[Tensor, "batch time camera"],
        time_s: Float[Tensor, "batch time"],
    ) -> Float[Tensor, "batch width"]:
        """Returns one vector per row; zero for a row without a valid picture.

        Args:
            frames: vectors of the pictures; masked ones may hold anything.
            valid: which pictures are real. A camera that a row lacks counts as zeros.
            time_s: seconds of each time, which must not decrease.
        """
        rows, _, cameras, width = frames.shape
        normed = self.norm(frames)
        by_camera = normed.transpose(1, 2).flatten(0, 1)
        seen = valid.transpose(1, 2).flatten(0, 1)
        with torch.autocast(frames.device.type, enabled=False):
            points, duration_s = resample(
                by_camera.to(self.transform.dtype),
                seen,
                time_s.repeat_interleave(cameras, 0),
                num_points=self.num_points,
            )
            coefficients = torch.einsum("kp,bpc->bkc", self.transform, points)
            duration = duration_s.view(rows, cameras).amax(1, keepdim=True).log1p()
        coefficients = coefficients.reshape(rows, -1)
        missing = (self.num_cameras - cameras) * self.transform.shape[0] * width
        numbers = [nn.functional.pad(coefficients, (0, missing)), duration.to(coefficients.dtype)]
        highest = masked_max(hide(normed.flatten(1, 2), valid.flatten(1)), valid.flatten(1))
        pooled: Tensor = self.read(torch.cat(numbers, dim=1)) + self.highest(highest)
        return pooled.masked_fill(~valid.flatten(1).any(1)[:, None], 0.0)
