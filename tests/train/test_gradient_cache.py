"""Gradient caching: the gradient of the whole batch from chunks of it."""

from functools import partial

import pytest
import torch

from jointspace.batch import Batch
from jointspace.config import LossConfig
from jointspace.train.devices import autocast
from jointspace.train.gradient_cache import backward_in_chunks
from jointspace.train.gradients import step_gradients
from tests.train.shared_steps import rows_of
from tests.train.toy import toy_batch, toy_model

CPU = torch.device("cpu")
CONFIG = LossConfig(fused_queries_per_step=0, modality_dropout=0.3)


def gradients(model, batch, *, chunk_rows, config=CONFIG, precision="fp32"):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    objective = step_gradients(
        model.train(),
        batch,
        config=config,
        generator=torch.Generator().manual_seed(1),
        autocast=partial(autocast, precision, CPU),
        chunk_rows=chunk_rows,
    )
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return objective, found


@pytest.mark.parametrize("chunk_rows", [1, 5, 12, 13, 50])
@pytest.mark.parametrize("name", ["contrastive", "triplet"])
def test_chunks_of_any_size_give_the_loss_and_gradient_of_the_whole(chunk_rows, name):
    model, batch = toy_model(dropout=0.0, gated=True).double(), rows_of("", num_rows=13)
    config = LossConfig(name=name, fused_queries_per_step=0, modality_dropout=0.3)
    plain, expected = gradients(model, batch, chunk_rows=0, config=config)
    cached, found = gradients(model, batch, chunk_rows=chunk_rows, config=config)
    assert len(plain.fused) == 6
    for each in ("pairs", "fused"):
        for direction, loss in getattr(plain, each).items():
            torch.testing.assert_close(getattr(cached, each)[direction], loss)
    assert set(found) == set(expected)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-10, atol=1e-12)
    assert any("log_scales" in each for each in found) == (name == "contrastive")
    assert any("fusion" in each for each in found)
    assert {n for n, _ in model.named_parameters() if n.startswith("gates")} <= set(found)


def test_dropout_drops_the_same_in_both_passes():
    """The reference keeps the graph of the same chunks, encoded once."""
    model, batch = toy_model(dropout=0.5).double(), toy_batch(12)
    _, found = gradients(model, batch, chunk_rows=4)
    kept = []

    def keep_graphs(chunks, *, finish, device):
        kept.extend(chunk() for chunk in chunks)
        loss, result = finish(torch.cat(kept))
        loss.backward()
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jointspace.train.gradients.backward_in_chunks", keep_graphs)
        _, expected = gradients(model, batch, chunk_rows=4)
    assert len(kept) == 3
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-10, atol=1e-12)


def test_the_graph_never_holds_more_rows_than_a_chunk():
    model, calls = toy_model(), []

    def note(_, inputs):
        calls.append((torch.is_grad_enabled(), len(inputs[0])))

    model.register_forward_pre_hook(note)
    gradients(model, toy_batch(10), chunk_rows=4)
    assert calls == [(False, 4), (False, 4), (False, 2), (True, 4), (True, 4), (True, 2)]


def test_half_precision_reaches_every_parameter():
    """What autocast keeps of the pass without a graph must not serve the pass with one."""
    model, batch = toy_model(dropout=0.0), toy_batch(12)
    _, expected = gradients(model, batch, chunk_rows=0, precision="bf16")
    _, found = gradients(model, batch, chunk_rows=4, precision="bf16")
    assert set(found) == set(expected) == {name for name, _ in model.named_parameters()}
    _, exact = gradients(model, batch, chunk_rows=0)
    assert any((exact[name] != each).any() for name, each in expected.items()), "half precision"
    for parameter, gradient in expected.items():
        error = (found[parameter] - gradient).norm() / gradient.norm().clamp(min=1e-3)
        assert error < 0.05, parameter


def test_random_numbers_go_on_after_the_chunks_as_after_one_pass():
    def chunk(weight):
        return torch.rand(3, 2) * weight

    weight = torch.ones(2, requires_grad=True)
    torch.manual_seed(0)
    backward_in_chunks(
        [partial(chunk, weight)] * 2, finish=lambda vectors: (vectors.sum(), None), device=CPU
    )
    after = torch.rand(1)
    torch.manual_seed(0)
    drawn = torch.rand(6, 2)
    torch.testing.assert_close(weight.grad, drawn.sum(0))
    assert torch.equal(after, torch.rand(1))


def test_a_loss_that_leaves_the_vectors_out_gives_zero_gradient():
    weight = torch.ones(2, requires_grad=True)
    scale = torch.ones((), requires_grad=True)
    result = backward_in_chunks(
        [lambda: weight[None] * 2], finish=lambda vectors: (scale * 3, "done"), device=CPU
    )
    assert (result, scale.grad.item(), weight.grad.tolist()) == ("done", 3.0, [0.0, 0.0])


def test_a_batch_without_a_known_modality_is_refused():
    batch = toy_batch(4)
    with pytest.raises(ValueError, match="the batch has no modality; wanted at least one of"):
        gradients(toy_model(), Batch({}, batch.rows), chunk_rows=0)
