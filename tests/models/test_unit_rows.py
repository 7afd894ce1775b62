import torch

from jointspace.models.unit_rows import unit_rows


def test_row_17_rows_have_length_one_even_in_half_precision():
    vectors = torch.randn(5, 64, dtype=torch.bfloat16)
    made = unit_rows(vectors, torch.tensor([True, True, True, True, False]))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.norm(dim=1), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]))


def test_a_row_of_zeros_has_a_finite_gradient():
    vectors = torch.zeros(2, 3, requires_grad=True)
    unit_rows(vectors, torch.tensor([True, False])).sum().backward()
    assert vectors.grad.isfinite().all()
