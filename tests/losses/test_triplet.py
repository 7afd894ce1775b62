"""The triplet loss against plain loops, hand-worked cases and the chapter's mistakes."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from jointspace.batch import ACTION, SIX_DIRECTIONS, TEXT, VISION, Direction, RowIds
from jointspace.errors import InputError
from jointspace.losses.triplet import multimodal_triplet, tiled_triplet, triplet_loss
from tests.losses.cases import PAIRS, dense, gradients, make_pairing, make_rows, vectors

MININGS = ("semi-hard", "hard", "all")


def unit_rows(num_rows, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(num_rows, dim, generator=generator, dtype=torch.float64)
    return functional.normalize(vectors, dim=1)


def hinge(distance, margin, a, p, n):
    """No margin stands for the soft one."""
    difference = distance[a, p] - distance[a, n]
    if margin is None:
        return torch.log(1 + torch.exp(difference))
    return torch.relu(difference + margin)


def plain_loss(cosine, positive, ignore, margin, mining):
    """Every anchor, positive and negative, one at a time."""
    distance = 2 - 2 * cosine
    terms = []
    for a in range(cosine.shape[0]):
        right = [t for t in range(cosine.shape[1]) if positive[a, t]]
        wrong = [t for t in range(cosine.shape[1]) if not positive[a, t] and not ignore[a, t]]
        if not right or not wrong:
            continue
        if mining == "hard":
            p = max(right, key=lambda t: distance[a, t].item())
            n = min(wrong, key=lambda t: distance[a, t].item())
            terms.append(hinge(distance, margin, a, p, n))
        elif mining == "all":
            terms += [hinge(distance, margin, a, p, n) for p in right for n in wrong]
        else:
            for p in right:
                farther = [n for n in wrong if distance[a, n] > distance[a, p]]
                if farther:
                    n = min(farther, key=lambda t: distance[a, t].item())
                else:
                    n = max(wrong, key=lambda t: distance[a, t].item())
                terms.append(hinge(distance, margin, a, p, n))
    if mining == "all":
        terms = [term for term in terms if term > 0]
    return sum(terms) / len(terms) if terms else cosine.sum() * 0


@pytest.mark.parametrize(
    ("mining", "margin"),
    [*((m, x) for m in MININGS for x in (0.05, 0.6)), ("semi-hard", None), ("hard", None)],
)
def test_value_and_gradient_equal_a_plain_loop(mining, margin):
    generator = torch.Generator().manual_seed(4)
    positive = torch.rand(7, 9, generator=generator) < 0.3
    ignore = (torch.rand(7, 9, generator=generator) < 0.2) & ~positive
    positive[3] = False
    positive[5] = True
    ignore[5] = False
    cosine = unit_rows(7, 4, 0) @ unit_rows(9, 4, 1).T
    ours, theirs = (cosine.clone().requires_grad_() for _ in range(2))
    soft = {"soft_margin": True} if margin is None else {"margin": margin}
    loss = triplet_loss(ours, positive=positive, ignore=ignore, mining=mining, **soft)
    reference = plain_loss(theirs, positive, ignore, margin, mining)
    assert reference > 0
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("mining", "soft_margin"),
    [(mining, False) for mining in MININGS] + [("hard", True), ("semi-hard", True)],
)
@pytest.mark.parametrize("pair", PAIRS)
def test_some_anchors_at_a_time_equal_all_at_once(pair, mining, soft_margin):
    pairing = make_pairing(make_rows(13), pair, keep_target=np.arange(13) % 5 != 1)
    positive, ignore = dense(pairing)
    inputs = vectors(13, 4, 0).requires_grad_(), vectors(13, 4, 1).requires_grad_()
    cosine = inputs[0] @ inputs[1][pairing.target.index].T
    rules = {"mining": mining, "soft_margin": soft_margin, "margin": 0.3}
    plain = (
        triplet_loss(cosine, positive=positive, ignore=ignore, **rules),
        triplet_loss(cosine.T, positive=positive.T, ignore=ignore.T, **rules),
    )
    wanted = gradients(plain, inputs)
    for tile_rows in (0, 1, 5):
        tiled = tiled_triplet(*inputs, pairing=pairing, tile_rows=tile_rows, **rules)
        torch.testing.assert_close(tiled, plain, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradients(tiled, inputs), wanted, rtol=1e-10, atol=1e-10)


def test_half_precision_is_compared_in_single():
    pairing = make_pairing(make_rows(9), "text")
    inputs = tuple(vectors(9, 4, s, dtype=torch.bfloat16).requires_grad_() for s in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        losses = tiled_triplet(*inputs, pairing=pairing, tile_rows=4)
    expected = tiled_triplet(*(each.float() for each in inputs), pairing=pairing)
    torch.testing.assert_close(losses, expected)
    assert {each.dtype for each in gradients(losses, inputs)} == {torch.bfloat16}


def test_every_triplet_has_no_soft_margin():
    with pytest.raises(InputError, match="soft margin with mining 'all'; wanted 'hard' or"):
        triplet_loss(COSINE, positive=POSITIVE, mining="all", soft_margin=True)


# One anchor; distances 2 - 2 cosine: positive .8, negatives .4 and 1.0 and 2.0.
COSINE = torch.tensor([[0.6, 0.8, 0.5, 0.0]], dtype=torch.float64)
POSITIVE = torch.tensor([[True, False, False, False]])


@pytest.mark.parametrize(
    ("mining", "expected"),
    [("semi-hard", 0.8 - 1.0 + 0.3), ("hard", 0.8 - 0.4 + 0.3), ("all", (0.7 + 0.1) / 2)],
)
def test_each_mining_by_hand(mining, expected):
    loss = triplet_loss(COSINE, positive=POSITIVE, margin=0.3, mining=mining)
    assert loss.item() == pytest.approx(expected)


def test_semi_hard_wants_a_negative_that_is_strictly_farther():
    cosine = torch.tensor([[0.6, 0.6, 0.5]], dtype=torch.float64)
    loss = triplet_loss(cosine, positive=torch.tensor([[True, False, False]]), margin=0.3)
    assert loss.item() == pytest.approx(0.8 - 1.0 + 0.3)


def test_semi_hard_falls_back_to_the_farthest_negative():
    cosine = torch.tensor([[0.0, 0.8, 0.5]], dtype=torch.float64)
    loss = triplet_loss(cosine, positive=torch.tensor([[True, False, False]]), margin=0.2)
    assert loss.item() == pytest.approx(2.0 - 1.0 + 0.2)


@pytest.mark.parametrize("mining", MININGS)
def test_an_ignored_target_is_no_negative(mining):
    ignore = torch.tensor([[False, True, True, False]])
    loss = triplet_loss(COSINE, positive=POSITIVE, ignore=ignore, margin=0.3, mining=mining)
    assert loss.item() == 0


@pytest.mark.parametrize("mining", MININGS)
def test_ties_cost_the_margin(mining):
    cosine = torch.full((3, 3), 0.4, dtype=torch.float64)
    loss = triplet_loss(cosine, positive=torch.eye(3, dtype=torch.bool), margin=0.2, mining=mining)
    assert loss.item() == pytest.approx(0.2)


@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("fill", [False, True])
def test_anchors_without_a_positive_or_a_negative_give_zero(mining, fill):
    cosine = torch.zeros(3, 3, requires_grad=True)
    loss = triplet_loss(cosine, positive=torch.full((3, 3), fill), mining=mining)
    loss.backward()
    assert loss.item() == 0
    assert not cosine.grad.any()


@pytest.mark.parametrize("mining", MININGS)
def test_coinciding_rows_have_a_finite_gradient(mining):
    vectors = unit_rows(1, 4, 0).expand(4, 4).clone().requires_grad_()
    positive = torch.eye(4, dtype=torch.bool)
    triplet_loss(vectors @ vectors.T, positive=positive, mining=mining).backward()
    assert torch.isfinite(vectors.grad).all()


def distinct_rows(num_rows):
    num = np.arange(num_rows)
    return RowIds(num, num, num, np.zeros(num_rows), np.ones(num_rows))


def test_row_20_action_is_pulled_towards_the_rows_it_belongs_to():
    """The chapter only uses action as the negative: no term pulls an action to its own picture."""
    embeddings = {
        m: unit_rows(6, 8, i).requires_grad_() for i, m in enumerate((VISION, TEXT, ACTION))
    }
    present = {m: torch.ones(6, dtype=torch.bool) for m in embeddings}
    losses = multimodal_triplet(embeddings, distinct_rows(6), present=present, mining="hard")
    assert set(losses) == set(SIX_DIRECTIONS)
    for target in (VISION, TEXT):
        (gradient,) = torch.autograd.grad(
            losses[Direction(ACTION, target)], embeddings[ACTION], retain_graph=True
        )
        moved = embeddings[ACTION] - 0.01 * gradient
        before = (embeddings[ACTION] * embeddings[target]).sum()
        assert (moved * embeddings[target]).sum() > before


def test_row_20_random_embeddings_violate_the_mined_margin():
    """The chapter takes the negative from another modality than the positive: always far."""
    positive_gap = 0.3
    vision, text, action = (unit_rows(32, 64, i) for i in range(3))
    text = functional.normalize(text + vision, dim=1)
    action = functional.normalize(action - positive_gap * vision, dim=1)
    chapter = torch.relu(
        functional.pairwise_distance(vision, text)
        - functional.pairwise_distance(vision, action)
        + 0.2
    )
    embeddings = {VISION: vision, TEXT: text, ACTION: action}
    present = {m: torch.ones(32, dtype=torch.bool) for m in embeddings}
    assert (chapter == 0).all()
    for mining in MININGS:
        losses = multimodal_triplet(embeddings, distinct_rows(32), present=present, mining=mining)
        assert losses[Direction(ACTION, VISION)] > 0.2


def test_rows_of_one_goal_are_no_negatives_of_a_text():
    rows = RowIds(np.arange(3), np.array([0, 0, 1]), np.array([0, 0, 1]), np.zeros(3), np.ones(3))
    embeddings = {TEXT: torch.eye(3)[[0, 0, 1]], VISION: torch.eye(3)[[0, 0, 1]]}
    present = {m: torch.ones(3, dtype=torch.bool) for m in embeddings}
    by_ids = multimodal_triplet(embeddings, rows, present=present, mining="hard")
    assert by_ids[Direction(TEXT, VISION)].item() == 0
    diagonal = multimodal_triplet(
        embeddings, rows, present=present, mining="hard", positives="diagonal"
    )
    assert diagonal[Direction(TEXT, VISION)].item() == pytest.approx(2 / 3 * 0.2)


def test_a_missing_modality_leaves_its_row_out():
    embeddings = {m: unit_rows(4, 3, i).requires_grad_() for i, m in enumerate((VISION, ACTION))}
    present = {
        VISION: torch.ones(4, dtype=torch.bool),
        ACTION: torch.tensor([True, True, False, True]),
    }
    losses = multimodal_triplet(embeddings, distinct_rows(4), present=present, mining="all")
    torch.stack(list(losses.values())).sum().backward()
    for each in embeddings.values():
        assert not each.grad[2].any()
        assert each.grad[0].any()
