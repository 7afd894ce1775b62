"""Collectives in a group of one; `test_gradients` has larger ones, of real processes."""

import contextlib
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from jointspace.batch import TEXT, VISION, Batch, RowIds
from jointspace.config import LossConfig
from jointspace.models.tensors import to_tensors
from jointspace.train import gather
from jointspace.train.distributed import ALONE, Processes
from jointspace.train.encoding import encode_rows
from jointspace.train.gather import average_gradients, gather_ids, gather_rows, share_weights
from jointspace.train.gradients import step_gradients
from jointspace.train.launch import Place
from tests.train.shared_steps import rows_of
from tests.train.toy import toy_batch, toy_model


@pytest.fixture(autouse=True, scope="module")
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ids_travel_as_they_are():
    rows = RowIds(
        episode=np.asarray([3, 1]),
        instruction=np.asarray([-1, 2**40]),
        goal=np.asarray([0, -1]),
        start_s=np.asarray([0.1, 1e-300]),
        stop_s=np.asarray([np.pi, 1e300]),
    )
    present = np.asarray([[True, False, True], [False, False, True]])
    found, masks, counts = gather_ids(rows, present)
    for each in fields(RowIds):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(rows, each.name))
    np.testing.assert_array_equal(masks, present)
    assert counts == (2,)


def test_rows_and_their_gradient_pass_through():
    local = torch.randn(3, 2, 4, requires_grad=True)
    everything = gather_rows(local, counts=(3,))
    assert torch.equal(everything, local)
    weights = torch.randn(3, 2, 4)
    (everything * weights).sum().backward()
    assert torch.equal(local.grad, weights)


@pytest.mark.parametrize("bucket_bytes", [1, 40, 1 << 20])
def test_the_mean_over_one_process_changes_no_gradient_in_buckets_of_any_size(
    bucket_bytes, monkeypatch
):
    monkeypatch.setattr(gather, "_BUCKET_BYTES", bucket_bytes)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (4,), (), (5,), (2,))]
    parameters[3].requires_grad_(requires_grad=False)
    parameters[4].data = parameters[4].data.double()
    for number, each in enumerate(parameters):
        if number not in (1, 3):
            each.grad = torch.full_like(each, number + 0.5)
    average_gradients(parameters)
    for number, each in enumerate(parameters):
        if number in (1, 3):
            assert each.grad is None
        else:
            assert torch.equal(each.grad, torch.full_like(each, number + 0.5))


def test_weights_of_rank_0_stay_even_where_they_do_not_lie_in_one_piece():
    model = nn.BatchNorm1d(3)
    model.weight = nn.Parameter(torch.randn(6)[::2])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    share_weights(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_rank_0_makes_a_value_for_all_and_any_process_can_raise_a_flag():
    team = Processes(Place(0, 2))
    assert team.from_main(lambda: {"step": 3}) == {"step": 3}
    assert team.any(of=True)
    assert not team.any(of=False)
    team.wait()


def test_a_step_of_a_group_of_one_is_the_step_without_a_group():
    found = []
    for team in (ALONE, Processes(Place(0, 2))):
        model = toy_model(dropout=0.0).double()
        objective = step_gradients(
            model,
            rows_of("", num_rows=9),
            config=LossConfig(fused_queries_per_step=0),
            generator=torch.Generator().manual_seed(0),
            autocast=contextlib.nullcontext,
            processes=team,
        )
        found.append([objective.total.detach(), *(each.grad for each in model.parameters())])
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_process_without_rows_has_vectors_of_none_that_carry_a_gradient():
    batch = to_tensors(toy_batch(3))
    nothing = Batch(
        {m: each.map(lambda array: array[:0]) for m, each in batch.inputs.items()},
        batch.rows.take(slice(0, 0)),
    )
    for model, dtype in ((toy_model(), torch.float32), (toy_model().double(), torch.float64)):
        vectors = encode_rows(model, nothing, modalities=(VISION, TEXT), fusions=())
        assert (vectors.shape, vectors.dtype, vectors.requires_grad) == ((0, 2, 8), dtype, True)
