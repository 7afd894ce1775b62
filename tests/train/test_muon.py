"""Muon: orthogonal updates for matrices, AdamW for the rest."""

import copy

import pytest
import torch
from torch import nn

from jointspace.train.muon import Muon, orthogonalised


def spectrum(matrix):
    return torch.linalg.svdvals(matrix.double())


@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6), (1, 9), (9, 1)])
def test_singular_values_become_about_one_and_their_vectors_stay(shape):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(shape, generator=generator)
    found = orthogonalised(matrix)
    assert found.shape == shape
    values = spectrum(found)
    assert values.min() > 0.65
    assert values.max() < 1.25
    u, _, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    core = u.T @ found.double() @ vh.T
    torch.testing.assert_close(core, torch.diag(core.diagonal()), atol=1e-4, rtol=0)
    assert core.diagonal().min() > 0.65


def iterated(matrix):
    """The whole matrix, five times, in float64."""
    x = matrix.double()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
    return x


@pytest.mark.parametrize("shape", [(12, 12), (24, 200), (40, 9)])
@pytest.mark.parametrize("rank", [1, 5, 99])
def test_the_short_way_is_the_iteration_for_gradients_of_any_rank(shape, rank):
    generator = torch.Generator().manual_seed(rank)
    u = torch.randn(shape[0], min(rank, *shape), generator=generator)
    v = torch.randn(min(rank, *shape), shape[1], generator=generator)
    found = orthogonalised(1e-3 * u @ v)
    torch.testing.assert_close(found.double(), iterated(1e-3 * u @ v), atol=3e-3, rtol=0)


def test_singular_values_of_all_sizes_come_out_as_by_the_iteration():
    generator = torch.Generator().manual_seed(9)
    u, _ = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(60, 16, generator=generator, dtype=torch.float64))
    matrix = (u * torch.logspace(0, -6, 16, dtype=torch.float64)) @ v.T
    found = orthogonalised(matrix.float()).double()
    torch.testing.assert_close(found, iterated(matrix), atol=0.02, rtol=0)
    values = (u.T @ found @ v).diagonal()
    assert values[:6].min() > 0.65
    assert values.abs()[6:].max() < 1.25


def test_the_scale_of_a_gradient_does_not_matter():
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))
    for scale in (1e-4, 1e5):
        torch.testing.assert_close(
            orthogonalised(scale * matrix), orthogonalised(matrix), atol=2e-3, rtol=0
        )


def test_no_gradient_moves_nothing_and_stays_finite():
    assert not orthogonalised(torch.zeros(3, 4)).any()


def test_half_precision_is_iterated_in_float32():
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(2)).bfloat16()
    found = orthogonalised(matrix)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, orthogonalised(matrix.float()))


def muon_of(parameter, *, lr, weight_decay):
    group = {"params": [parameter], "orthogonal": True, "weight_decay": weight_decay}
    return Muon([group], lr=lr, betas=(0.9, 0.98))


def stepped(parameter, optimizer, *, steps=6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(6, 10), (12, 5)])
def test_matrices_move_as_by_the_optimiser_of_torch(shape):
    """Which iterates in bfloat16: so within a hundredth of what all steps moved."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(4))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    moved = stepped(
        ours,
        muon_of(ours, lr=0.02, weight_decay=0.3),
    )
    expected = stepped(
        theirs,
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
    )
    assert (moved - start).norm() > 0.1
    assert (moved - expected).norm() < 0.02 * (moved - start).norm()


def test_a_kernel_is_a_matrix_of_one_row_per_output_channel():
    start = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    kernel = nn.Parameter(start.clone().to(memory_format=torch.channels_last))
    matrix = nn.Parameter(start.flatten(1).clone())
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(6))
    for parameter in (kernel, matrix):
        optimizer = muon_of(parameter, lr=0.1, weight_decay=0.1)
        parameter.grad = gradient.view(parameter.shape).clone()
        optimizer.step()
    torch.testing.assert_close(kernel.detach().flatten(1), matrix.detach())


def test_an_update_is_as_large_as_one_of_adamw():
    parameter = nn.Parameter(torch.zeros(64, 200))
    optimizer = muon_of(parameter, lr=0.01, weight_decay=0.0)
    moved = stepped(parameter, optimizer, steps=1)
    assert moved.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.25)


def test_all_other_groups_move_exactly_as_by_adamw():
    torch.manual_seed(7)
    ours = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    theirs = copy.deepcopy(ours)

    def groups(model, **marks):
        matrix, *rest = model.parameters()
        return [{"params": [matrix], "weight_decay": 0.5, **marks}, {"params": rest}]

    for model, optimizer in (
        (ours, Muon(groups(ours, orthogonal=True), lr=0.05, betas=(0.8, 0.9))),
        (theirs, torch.optim.AdamW(groups(theirs), lr=0.05, betas=(0.8, 0.9))),
    ):
        generator = torch.Generator().manual_seed(8)
        for _ in range(4):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        assert len(optimizer.param_groups) == 2
    own, other = list(ours.parameters()), list(theirs.parameters())
    assert not torch.equal(own[0], other[0])
    for a, b in zip(own[1:], other[1:], strict=True):
        assert torch.equal(a, b)


def test_a_parameter_without_a_gradient_neither_moves_nor_decays():
    parameter = nn.Parameter(torch.ones(2, 2))
    optimizer = muon_of(parameter, lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert torch.equal(parameter.detach(), torch.ones(2, 2))
    assert not optimizer.state


def test_a_closure_is_called_with_gradients():
    parameter = nn.Parameter(torch.ones(2, 3))
    optimizer = muon_of(parameter, lr=0.1, weight_decay=0.0)

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 6
    assert optimizer.step(closure).item() < 6
