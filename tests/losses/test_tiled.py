"""The tiled contrastive loss equals the plain one, whatever the tiles."""

import gc
import itertools
import math
import weakref

import numpy as np
import pytest
import torch
from torch.nn import functional

from jointspace.batch import ACTION, TEXT, VISION, RowIds
from jointspace.losses.contrastive import info_nce, multimodal_contrastive
from jointspace.losses.sigmoid import tiled_sigmoid
from jointspace.losses.tiled import tiled_info_nce
from tests.losses.cases import PAIRS, dense, gradients, make_pairing, make_rows, vectors

TILES = (0, 1, 7)
NUM_ROWS = 18


def scalar(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def both_ways(query, target, scale, pairing, normalisation):
    """The plain loss of each direction, over the rows that take part."""
    positive, ignore = dense(pairing)
    logits = scale * query[pairing.query.index] @ target[pairing.target.index].T
    return (
        info_nce(logits, positive=positive, ignore=ignore, normalisation=normalisation),
        info_nce(logits.T, positive=positive.T, ignore=ignore.T, normalisation=normalisation),
    )


def assert_equal_to_plain(query, target, scale, pairing, *, normalisation, tile_rows):
    inputs = query, target, scale
    for each in inputs:
        each.requires_grad_()
    tiled = tiled_info_nce(
        query,
        target,
        scale=scale,
        pairing=pairing,
        normalisation=normalisation,
        tile_rows=tile_rows,
    )
    plain = both_ways(*inputs, pairing, normalisation)
    torch.testing.assert_close(tiled, plain, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        gradients(tiled, inputs), gradients(plain, inputs), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("normalisation", ["out", "in"])
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("ignore", ["none", "overlap", "goal"])
def test_value_and_gradients_equal_the_plain_loss(pair, normalisation, ignore):
    pairing = make_pairing(make_rows(NUM_ROWS), pair, ignore=ignore)
    for tile_rows in TILES:
        assert_equal_to_plain(
            vectors(NUM_ROWS, 5, 0),
            vectors(NUM_ROWS, 5, 1),
            scalar(9.0),
            pairing,
            normalisation=normalisation,
            tile_rows=tile_rows,
        )


@pytest.mark.parametrize("normalisation", ["out", "in"])
@pytest.mark.parametrize("pair", PAIRS)
def test_missing_rows_and_queries_without_a_positive_take_no_part(pair, normalisation):
    rows = make_rows(NUM_ROWS, seed=3)
    pairing = make_pairing(
        rows,
        pair,
        keep_query=np.arange(NUM_ROWS) % 4 != 1,
        keep_target=np.arange(NUM_ROWS) % 5 != 0,
        positives="ids",
    )
    assert any((number == 0).any() for number in pairing.num_positives) or pair == "text"
    for tile_rows in TILES:
        assert_equal_to_plain(
            vectors(NUM_ROWS, 5, 0),
            vectors(NUM_ROWS, 5, 1),
            scalar(9.0),
            pairing,
            normalisation=normalisation,
            tile_rows=tile_rows,
        )


@pytest.mark.parametrize("normalisation", ["out", "in"])
@pytest.mark.parametrize("tile_rows", [0, 4])
@pytest.mark.parametrize(
    ("scale", "length"), [(100.0, 1.0), (400.0, 1.0), (50.0, 30.0), (0.0, 1.0)]
)
def test_rows_of_any_length_and_any_scale_stay_exact(scale, length, tile_rows, normalisation):
    lengths = torch.linspace(0.1, length, NUM_ROWS, dtype=torch.float64)[:, None]
    assert_equal_to_plain(
        vectors(NUM_ROWS, 5, 0) * lengths,
        vectors(NUM_ROWS, 5, 1),
        scalar(scale),
        make_pairing(make_rows(NUM_ROWS), "text"),
        normalisation=normalisation,
        tile_rows=tile_rows,
    )


@pytest.mark.parametrize("normalisation", ["out", "in"])
@pytest.mark.parametrize("tile_rows", [0, 4])
def test_a_row_far_below_the_bound_is_exact_in_single_precision(tile_rows, normalisation):
    """Relative to the largest logit of the pair, its exponentials are below the least number."""
    query, centre = vectors(NUM_ROWS, 8, 0), vectors(1, 8, 2)
    query[3], query[4] = -centre[0], centre[0]
    target = functional.normalize(centre + 0.3 * vectors(NUM_ROWS, 8, 1), dim=1)
    pairing = make_pairing(make_rows(NUM_ROWS), "text")
    results = []
    for dtype in (torch.float64, torch.float32):
        inputs = query.to(dtype).requires_grad_(), target.to(dtype).requires_grad_()
        losses = tiled_info_nce(
            *inputs,
            scale=torch.tensor(100.0, dtype=dtype),
            pairing=pairing,
            normalisation=normalisation,
            tile_rows=tile_rows,
        )
        results.append((*losses, *gradients(losses, inputs)))
    logits = 100 * query @ target.T
    assert logits.amax() - logits[3].amax() > 100
    torch.testing.assert_close(
        results[1], tuple(each.float() for each in results[0]), rtol=2e-4, atol=1e-4
    )


def test_gradients_are_those_of_differences():
    pairing = make_pairing(make_rows(5, seed=1), "fused")
    inputs = vectors(5, 2, 0).requires_grad_(), vectors(5, 2, 1).requires_grad_(), scalar(3.0)
    for normalisation, tile_rows in itertools.product(("out", "in"), (0, 3)):
        assert torch.autograd.gradcheck(
            lambda q, t, s, n=normalisation, r=tile_rows: tiled_info_nce(
                q, t, scale=s, pairing=pairing, normalisation=n, tile_rows=r
            ),
            inputs,
        )


@pytest.mark.parametrize("tile_rows", [0, 4])
def test_half_precision_is_multiplied_and_added_up_in_single(tile_rows):
    pairing = make_pairing(make_rows(NUM_ROWS), "text")
    query, target = (vectors(NUM_ROWS, 8, seed, dtype=torch.bfloat16) for seed in (0, 1))
    inputs = query.requires_grad_(), target.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses = tiled_info_nce(
            *inputs, scale=torch.tensor(14.0), pairing=pairing, tile_rows=tile_rows
        )
    found = gradients(losses, inputs)
    exact = tuple(each.detach().double().requires_grad_() for each in inputs)
    plain = both_ways(*exact, torch.tensor(14.0), pairing, "out")
    assert {each.dtype for each in losses} == {torch.float32}
    assert {each.dtype for each in found} == {torch.bfloat16}
    torch.testing.assert_close(losses, tuple(each.float() for each in plain), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        found, tuple(each.bfloat16() for each in gradients(plain, exact)), rtol=1e-2, atol=1e-3
    )


@pytest.mark.parametrize("tile_rows", [0, 3])
def test_equal_rows_cost_the_logarithm_of_their_number_and_teach_nothing(tile_rows):
    row = vectors(1, 4, 0).expand(8, 4).clone().requires_grad_()
    num = np.arange(8)
    rows = RowIds(num, num, num, np.zeros(8), np.ones(8))
    losses = tiled_info_nce(
        row,
        row,
        scale=torch.tensor(20.0),
        pairing=make_pairing(rows, "steps"),
        tile_rows=tile_rows,
    )
    assert [loss.item() for loss in losses] == pytest.approx([math.log(8)] * 2)
    (gradient,) = gradients(losses, (row,))
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("tile_rows", [0, 3])
def test_processes_that_hold_parts_of_a_batch_get_its_loss(tile_rows):
    """Local queries against all targets: the mean over processes is the loss of the whole."""
    rows = make_rows(12, seed=4)
    query, target = vectors(12, 5, 0).requires_grad_(), vectors(12, 5, 1).requires_grad_()
    whole = make_pairing(rows, "steps")
    expected, _ = tiled_info_nce(query, target, scale=torch.tensor(9.0), pairing=whole)
    parts = []
    for part in (np.arange(12) < 6, np.arange(12) >= 6):
        pairing = make_pairing(rows, "steps", keep_query=part)
        loss, _ = tiled_info_nce(
            query, target, scale=torch.tensor(9.0), pairing=pairing, tile_rows=tile_rows
        )
        parts.append(loss)
    mean = sum(parts) / 2
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(
        torch.autograd.grad(mean, (query, target)), torch.autograd.grad(expected, (query, target))
    )


@pytest.mark.parametrize("tile_rows", [0, 2])
@pytest.mark.parametrize("keep", [np.array([False] * 6), np.array([True] + [False] * 5)])
def test_nobody_to_find_costs_nothing(keep, tile_rows):
    rows = make_rows(6)
    pairing = make_pairing(rows, "steps", keep_query=keep, keep_target=np.arange(6) > 2)
    inputs = vectors(6, 3, 0).requires_grad_(), vectors(6, 3, 1).requires_grad_(), scalar(5.0)
    losses = tiled_info_nce(*inputs[:2], scale=inputs[2], pairing=pairing, tile_rows=tile_rows)
    assert [loss.item() for loss in losses] == [0, 0]
    assert not any(each.any() for each in gradients(losses, inputs))


@pytest.mark.parametrize("loss", [tiled_info_nce, tiled_sigmoid])
def test_what_a_step_has_worked_out_does_not_wait_for_the_garbage_collector(loss):
    query, target = vectors(6, 3, 0).requires_grad_(), vectors(6, 3, 1).requires_grad_()
    more = {"bias": torch.tensor(-1.0)} if loss is tiled_sigmoid else {}
    pairing = make_pairing(make_rows(6), "text")
    died = weakref.ref(pairing)
    gc.disable()
    try:
        losses = loss(query, target, scale=torch.tensor(5.0), pairing=pairing, **more)
        sum(losses).backward()
        del pairing, losses
        assert died() is None
    finally:
        gc.enable()


def test_a_nan_is_not_hidden():
    query = vectors(4, 3, 0)
    query[1, 1] = torch.nan
    pairing = make_pairing(make_rows(4), "text")
    for tile_rows in (0, 2):
        losses = tiled_info_nce(
            query, query, scale=torch.tensor(5.0), pairing=pairing, tile_rows=tile_rows
        )
        assert all(loss.isnan() for loss in losses)


def test_all_pairs_are_the_same_in_tiles():
    rows = make_rows(NUM_ROWS, seed=6)
    embeddings = {
        m: vectors(NUM_ROWS, 5, i).requires_grad_() for i, m in enumerate((VISION, TEXT, ACTION))
    }
    present = {m: torch.ones(NUM_ROWS, dtype=torch.bool) for m in embeddings}
    present[TEXT][2] = False
    results = []
    for tile_rows in (0, 5):
        losses = multimodal_contrastive(
            embeddings,
            rows,
            present=present,
            logit_scale=lambda query, target: torch.tensor(8.0),
            ignore="instruction",
            tile_rows=tile_rows,
        )
        total = torch.stack(list(losses.values())).mean()
        results.append((losses, torch.autograd.grad(total, list(embeddings.values()))))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
