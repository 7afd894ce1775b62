"""The sigmoid loss against plain loops, and in tiles against itself."""

import math

import numpy as np
import pytest
import torch

from jointspace.batch import ACTION, SIX_DIRECTIONS, TEXT, VISION, Direction, RowIds
from jointspace.losses.sigmoid import multimodal_sigmoid, sigmoid_loss, tiled_sigmoid
from tests.losses.cases import PAIRS, dense, gradients, make_pairing, make_rows, vectors

NUM_ROWS = 15


def scalar(value):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def plain_loss(logits, positive, ignore):
    """One query and one target at a time, as the equation is written."""
    total = torch.zeros((), dtype=logits.dtype)
    for query in range(logits.shape[0]):
        for target in range(logits.shape[1]):
            if not ignore[query, target]:
                sign = 1 if positive[query, target] else -1
                total = total + torch.log(1 + torch.exp(-sign * logits[query, target]))
    return total / logits.shape[0]


def test_value_and_gradient_equal_a_plain_loop():
    pairing = make_pairing(make_rows(6), "fused", keep_target=np.arange(6) != 2)
    positive, ignore = dense(pairing)
    assert ignore.any()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 4
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = sigmoid_loss(ours, positive=positive, ignore=ignore)
    reference = plain_loss(theirs, positive, ignore)
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(loss, ours), torch.autograd.grad(reference, theirs)
    )


def test_two_rows_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, math.log(3.0)]], dtype=torch.float64)
    loss = sigmoid_loss(logits, positive=torch.eye(2, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(4 / 3) + math.log(2))


def test_no_rows_cost_nothing():
    logits = torch.zeros(0, 0, requires_grad=True)
    assert sigmoid_loss(logits, positive=torch.zeros(0, 0, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("ignore", ["none", "overlap", "goal"])
@pytest.mark.parametrize("missing", [False, True])
def test_tiles_equal_the_plain_loss(pair, ignore, missing):
    keep = np.arange(NUM_ROWS) % 4 != 1 if missing else None
    pairing = make_pairing(make_rows(NUM_ROWS), pair, keep_query=keep, ignore=ignore)
    positive, ignored = dense(pairing)
    query, target = vectors(NUM_ROWS, 5, 0), 3 * vectors(NUM_ROWS, 5, 1)
    inputs = query.requires_grad_(), target.requires_grad_(), scalar(9.0), scalar(-4.0)
    logits = inputs[2] * query[pairing.query.index] @ target.T + inputs[3]
    plain = (
        sigmoid_loss(logits, positive=positive, ignore=ignored),
        sigmoid_loss(logits.T, positive=positive.T, ignore=ignored.T),
    )
    for tile_rows in (0, 1, 4, 7):
        tiled = tiled_sigmoid(
            query,
            target,
            scale=inputs[2],
            bias=inputs[3],
            pairing=pairing,
            tile_rows=tile_rows,
        )
        torch.testing.assert_close(tiled, plain, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            gradients(tiled, inputs),
            torch.autograd.grad(0.3 * plain[0] + 0.9 * plain[1], inputs, retain_graph=True),
            rtol=1e-10,
            atol=1e-10,
        )


def test_gradients_are_those_of_differences():
    pairing = make_pairing(make_rows(6), "text")
    inputs = vectors(6, 3, 0).requires_grad_(), vectors(6, 3, 1).requires_grad_()
    for tile_rows in (0, 4):
        assert torch.autograd.gradcheck(
            lambda q, t, s, b, r=tile_rows: tiled_sigmoid(
                q, t, scale=s, bias=b, pairing=pairing, tile_rows=r
            ),
            (*inputs, scalar(3.0), scalar(-1.0)),
        )


def test_half_precision_is_multiplied_and_added_up_in_single():
    pairing = make_pairing(make_rows(NUM_ROWS), "text")
    inputs = tuple(
        vectors(NUM_ROWS, 8, seed, dtype=torch.bfloat16).requires_grad_() for seed in (0, 1)
    )
    numbers = {"scale": torch.tensor(9.0), "bias": torch.tensor(-3.0)}
    exact = tuple(each.detach().float().requires_grad_() for each in inputs)
    results = []
    for each in (inputs, exact):
        with torch.autocast("cpu", torch.bfloat16):
            losses = tiled_sigmoid(*each, **numbers, pairing=pairing, tile_rows=4)
        results.append((losses, gradients(losses, each)))
    torch.testing.assert_close(results[0][0], results[1][0])
    expected = tuple(each.bfloat16() for each in results[1][1])
    torch.testing.assert_close(results[0][1], expected, rtol=1e-2, atol=1e-3)


def test_all_pairs_share_a_value_in_both_directions_over_the_rows_that_have_both():
    rows = make_rows(NUM_ROWS, seed=2)
    embeddings = {m: vectors(NUM_ROWS, 5, i) for i, m in enumerate((VISION, TEXT, ACTION))}
    present = {m: torch.ones(NUM_ROWS, dtype=torch.bool) for m in embeddings}
    present[ACTION][3] = False
    losses = multimodal_sigmoid(
        embeddings,
        rows,
        present=present,
        logit_scale=lambda query, target: torch.tensor(9.0),
        logit_bias=lambda query, target: torch.tensor(-4.0 if TEXT in {query, target} else -2.0),
        tile_rows=4,
    )
    assert set(losses) == set(SIX_DIRECTIONS)
    keep = np.arange(NUM_ROWS) != 3
    positive, ignored = dense(make_pairing(rows, "steps", keep_query=keep, keep_target=keep))
    logits = 9 * embeddings[VISION][keep] @ embeddings[ACTION][keep].T - 2
    expected = sigmoid_loss(logits, positive=positive, ignore=ignored)
    torch.testing.assert_close(losses[Direction(VISION, ACTION)], expected)
    torch.testing.assert_close(losses[Direction(ACTION, VISION)], expected)


def test_equal_rows_have_a_finite_gradient():
    row = vectors(1, 4, 0).expand(8, 4).clone().requires_grad_()
    num = np.arange(8)
    rows = RowIds(num, num, num, np.zeros(8), np.ones(8))
    losses = tiled_sigmoid(
        row,
        row,
        scale=torch.tensor(100.0),
        bias=torch.tensor(-10.0),
        pairing=make_pairing(rows, "steps"),
        tile_rows=3,
    )
    assert losses[0].item() == pytest.approx(7 * 90, rel=1e-12)
    assert torch.isfinite(gradients(losses, (row,))[0]).all()
