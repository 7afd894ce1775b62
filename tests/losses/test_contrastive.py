"""The contrastive loss against plain loops, hand-worked cases and the chapter's mistakes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from jointspace.batch import ACTION, SIX_DIRECTIONS, STATE, TEXT, VISION, Direction, RowIds
from jointspace.losses.contrastive import info_nce, multimodal_contrastive
from jointspace.losses.relations import relate


def make_rows(num_rows, *, goals, seed=0):
    random = np.random.default_rng(seed)
    goal = random.integers(0, goals, num_rows)
    start = random.uniform(0, 2, num_rows)
    return RowIds(random.integers(0, 3, num_rows), goal, goal, start, start + 1)


def unit_rows(num_rows, dim, seed, *, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(num_rows, dim, generator=generator, dtype=torch.float64)
    return functional.normalize(vectors, dim=1).requires_grad_(requires_grad)


def plain_loss(logits, positive, ignore, normalisation):
    """One query and one target at a time, as the equations are written."""
    terms = []
    for query in range(logits.shape[0]):
        right = [t for t in range(logits.shape[1]) if positive[query, t]]
        if not right:
            continue
        counted = [t for t in range(logits.shape[1]) if not ignore[query, t]]
        total = sum(torch.exp(logits[query, t]) for t in counted)
        if normalisation == "out":
            likelihoods = [torch.log(torch.exp(logits[query, t]) / total) for t in right]
            terms.append(-sum(likelihoods) / len(right))
        else:
            terms.append(-torch.log(sum(torch.exp(logits[query, t]) for t in right) / total))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("normalisation", ["out", "in"])
@pytest.mark.parametrize("by_goal", [False, True])
def test_value_and_gradient_equal_a_plain_loop(normalisation, by_goal):
    relations = relate(make_rows(7, goals=3), by_goal=by_goal)
    positive = torch.from_numpy(relations.positive).clone()
    positive[2] = False
    ignore = torch.from_numpy(relations.ignore)
    assert by_goal or ignore.any()
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 7, generator=generator, dtype=torch.float64) * 5
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    loss = info_nce(ours, positive=positive, ignore=ignore, normalisation=normalisation)
    reference = plain_loss(theirs, positive, ignore, normalisation)
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


def test_more_targets_than_queries_are_allowed():
    logits = torch.tensor([[0.0, math.log(3.0), 0.0]], dtype=torch.float64)
    positive = torch.tensor([[False, True, False]])
    assert info_nce(logits, positive=positive).item() == pytest.approx(math.log(5 / 3))


def test_two_positives_by_hand():
    logits = torch.tensor([[math.log(4.0), math.log(2.0), math.log(2.0)]], dtype=torch.float64)
    positive = torch.tensor([[True, True, False]])
    out = info_nce(logits, positive=positive, normalisation="out")
    assert out.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    within = info_nce(logits, positive=positive, normalisation="in")
    assert within.item() == pytest.approx(-math.log(6 / 8))


def test_unique_ids_give_the_cross_entropy_of_clip():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    positive = torch.eye(6, dtype=torch.bool)
    expected = functional.cross_entropy(logits, torch.arange(6))
    for normalisation in ("out", "in"):
        torch.testing.assert_close(
            info_nce(logits, positive=positive, normalisation=normalisation), expected
        )


def test_equal_logits_cost_the_logarithm_of_the_number_of_targets():
    positive = torch.eye(8, dtype=torch.bool)
    loss = info_nce(torch.full((8, 8), 3.0), positive=positive)
    assert loss.item() == pytest.approx(math.log(8), rel=1e-6)


def test_an_ignored_target_changes_neither_value_nor_gradient():
    positive = torch.eye(3, dtype=torch.bool)
    ignore = torch.zeros(3, 3, dtype=torch.bool)
    ignore[0, 2] = True
    values, gradients = [], []
    for logit in (-1.0, 50.0):
        logits = torch.zeros(3, 3)
        logits[0, 2] = logit
        logits.requires_grad_()
        loss = info_nce(logits, positive=positive, ignore=ignore)
        loss.backward()
        values.append(loss.item())
        gradients.append(logits.grad)
    assert values[0] == values[1]
    torch.testing.assert_close(*gradients)
    assert gradients[0][0, 2] == 0


def test_no_query_with_a_positive_gives_zero_and_a_zero_gradient():
    logits = torch.ones(3, 3, requires_grad=True)
    loss = info_nce(logits, positive=torch.zeros(3, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("normalisation", ["out", "in"])
def test_a_fully_ignored_query_stays_finite(normalisation):
    logits = torch.ones(2, 2, requires_grad=True)
    positive = torch.tensor([[False, False], [False, True]])
    ignore = torch.tensor([[True, True], [True, False]])
    loss = info_nce(logits, positive=positive, ignore=ignore, normalisation=normalisation)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_logits_at_the_clamp_stay_finite():
    logits = (100 * (2 * torch.eye(4) - 1)).requires_grad_()
    wrong = torch.roll(torch.eye(4, dtype=torch.bool), 1, 1)
    loss = info_nce(logits, positive=wrong)
    loss.backward()
    assert loss.item() == pytest.approx(200, rel=1e-3)
    assert torch.isfinite(logits.grad).all()


def test_six_directions_come_from_three_modalities_and_twelve_from_four():
    rows = make_rows(5, goals=2)
    scale = torch.tensor(10.0, dtype=torch.float64)
    embeddings = {m: unit_rows(5, 4, i) for i, m in enumerate((VISION, TEXT, ACTION))}
    present = {m: torch.ones(5, dtype=torch.bool) for m in (VISION, TEXT, ACTION, STATE)}
    losses = multimodal_contrastive(
        embeddings, rows, present=present, logit_scale=lambda query, target: scale
    )
    assert set(losses) == set(SIX_DIRECTIONS)
    embeddings[STATE] = unit_rows(5, 4, 9)
    losses = multimodal_contrastive(
        embeddings, rows, present=present, logit_scale=lambda query, target: scale
    )
    assert len(losses) == 12


@pytest.mark.parametrize("normalisation", ["out", "in"])
def test_all_pairs_equal_plain_loops_with_missing_modalities(normalisation):
    rows = make_rows(6, goals=2, seed=3)
    modalities = (VISION, TEXT, ACTION)
    embeddings = {m: unit_rows(6, 4, i, requires_grad=True) for i, m in enumerate(modalities)}
    present = {m: torch.ones(6, dtype=torch.bool) for m in modalities}
    present[TEXT][1] = present[ACTION][4] = False
    scales = {frozenset((VISION, TEXT)): 5.0, frozenset((VISION, ACTION)): 9.0}
    losses = multimodal_contrastive(
        embeddings,
        rows,
        present=present,
        logit_scale=lambda a, b: torch.tensor(scales.get(frozenset((a, b)), 3.0)),
        normalisation=normalisation,
    )
    for direction, loss in losses.items():
        a, b = direction.query, direction.target
        keep = present[a] & present[b]
        relations = relate(rows.take(keep.numpy()), by_goal=TEXT in {a, b})
        logits = scales.get(frozenset((a, b)), 3.0) * embeddings[a][keep] @ embeddings[b][keep].T
        ignore = torch.from_numpy(relations.ignore)
        positive = torch.from_numpy(relations.positive)
        reference = plain_loss(logits, positive, ignore, normalisation)
        torch.testing.assert_close(loss, reference, rtol=1e-9, atol=1e-12)
        sources = embeddings[a], embeddings[b]
        got = torch.autograd.grad(loss, sources, retain_graph=True)
        wanted = torch.autograd.grad(reference, sources)
        torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-12)


def test_row_25_a_row_without_a_modality_takes_no_part_in_its_pairs():
    """The chapter needs all three modalities in every sample."""
    rows = make_rows(4, goals=4, seed=5)
    scale = torch.tensor(10.0)
    present = {m: torch.ones(4, dtype=torch.bool) for m in (VISION, TEXT, ACTION)}
    present[TEXT][2] = False
    results = []
    for noise in (0.0, 7.0):
        embeddings = {
            m: unit_rows(4, 3, i).detach().clone() for i, m in enumerate((VISION, TEXT, ACTION))
        }
        embeddings[TEXT][2] = noise
        embeddings[TEXT].requires_grad_()
        losses = multimodal_contrastive(
            embeddings, rows, present=present, logit_scale=lambda query, target: scale
        )
        torch.stack(list(losses.values())).sum().backward()
        assert not embeddings[TEXT].grad[2].any()
        results.append(losses)
    for direction in SIX_DIRECTIONS:
        torch.testing.assert_close(results[0][direction], results[1][direction])


def test_a_batch_of_one_row_repeated_is_finite_and_teaches_no_row_against_itself():
    rows = RowIds(*(np.zeros(5, dtype=int) for _ in range(3)), np.zeros(5), np.ones(5))
    embeddings = {
        m: unit_rows(1, 4, i).detach().expand(5, 4).clone().requires_grad_()
        for i, m in enumerate((VISION, TEXT, ACTION))
    }
    present = {m: torch.ones(5, dtype=torch.bool) for m in embeddings}
    losses = multimodal_contrastive(
        embeddings, rows, present=present, logit_scale=lambda query, target: torch.tensor(14.0)
    )
    assert losses[Direction(VISION, ACTION)].item() == pytest.approx(0, abs=1e-12)
    assert losses[Direction(VISION, TEXT)].item() == pytest.approx(math.log(5))
    torch.stack(list(losses.values())).sum().backward()
    for vectors in embeddings.values():
        assert vectors.grad.abs().max() < 1e-12


def test_row_07_a_perfect_embedding_costs_almost_nothing_at_the_true_scale():
    """The chapter multiplies by log(1 / .07) = 2.66: its loss stays at 2.93."""
    perfect = torch.eye(256)
    num = np.arange(256)
    rows = RowIds(num, num, num, np.zeros(256), np.ones(256))
    embeddings = {VISION: perfect, ACTION: perfect}
    present = {m: torch.ones(256, dtype=torch.bool) for m in embeddings}

    def loss_at(scale):
        losses = multimodal_contrastive(
            embeddings, rows, present=present, logit_scale=lambda query, target: torch.tensor(scale)
        )
        return losses[Direction(VISION, ACTION)].item()

    assert loss_at(1 / 0.07) < 1e-3
    assert loss_at(math.log(1 / 0.07)) == pytest.approx(2.93, abs=0.01)
