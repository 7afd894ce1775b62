import math

import pytest
import torch

from jointspace.models.clamped_exponential import clamped_exponential


@pytest.mark.parametrize(
    ("exponent", "direction", "value", "gradient"),
    [
        (1.0, 1.0, math.e, math.e),
        (1.0, -1.0, math.e, -math.e),
        (9.0, 1.0, 100.0, 100.0),  # a step down the gradient comes back
        (9.0, -1.0, 100.0, 0.0),  # ... and one that would go on does nothing
    ],
)
def test_beyond_the_limit_the_gradient_comes_back_but_does_not_go_on(
    exponent, direction, value, gradient
):
    x = torch.tensor(exponent, dtype=torch.float64, requires_grad=True)
    y = clamped_exponential(x, limit=100.0)
    (direction * y).backward()
    assert y.item() == pytest.approx(value)
    assert x.grad.item() == pytest.approx(gradient)
