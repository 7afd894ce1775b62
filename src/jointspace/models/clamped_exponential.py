"""An exponential that is clamped, and yet can be learned back from its limit."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def clamped_exponential(exponent: Float[Tensor, ""], *, limit: float) -> Float[Tensor, ""]:
    """Returns exp(exponent), at most the limit; beyond it, gradients let it come back alone.

    A plain clamp has no gradient beyond its limit: once there, a temperature would stay there for
    good.

    Args:
        exponent: any number.
        limit: the most that is returned.

    Returns:
        The exponential. Beyond the limit its gradient is zero where a step would go on, and as if
        it stood at the limit where a step comes back.
    """
    value: Tensor = _ClampedExponential.apply(exponent, limit)  # type: ignore[no-untyped-call]
    return value


class _ClampedExponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exponent: Tensor, limit: float) -> Tensor:
        value = exponent.exp()
        clamped = value.clamp(max=limit)
        ctx.save_for_backward(clamped, value >= limit)
        return clamped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        clamped, beyond = ctx.saved_tensors
        return torch.where(beyond & (gradient < 0), 0.0, gradient * clamped), None
