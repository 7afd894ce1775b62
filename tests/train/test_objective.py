"""The objective: all pairs, and fused queries that are trained and survive a missing modality."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointspace.batch import (
    ACTION,
    SIX_DIRECTIONS,
    TEXT,
    VISION,
    Batch,
    Direction,
    Modality,
    ModalityInput,
    directions,
)
from jointspace.config import LossConfig
from jointspace.errors import InputError
from jointspace.losses.contrastive import multimodal_contrastive
from jointspace.models.pair_gates import PairGates
from jointspace.models.tensors import to_tensors
from jointspace.train.encoding import drop_modalities
from jointspace.train.objective import training_loss
from tests.train.toy import toy_batch, toy_model

CONFIG = LossConfig(modality_dropout=0.0, fused_queries_per_step=0)


def tensors(batch):
    return to_tensors(batch)


def without(batch, modality, rows):
    each = batch[modality]
    valid = each.valid.copy()
    valid[rows] = False
    return Batch(
        {**batch.inputs, modality: ModalityInput(each.values, valid, each.time_s)}, batch.rows
    )


def test_the_total_is_the_mean_over_pairs_plus_the_weighted_mean_over_fused_queries():
    model, batch = toy_model().eval(), tensors(toy_batch())
    objective = training_loss(model, batch, config=replace(CONFIG, fused_weight=0.3))
    assert set(objective.pairs) == set(SIX_DIRECTIONS)
    pairs = sum(loss.item() for loss in objective.pairs.values()) / 6
    fused = sum(loss.item() for loss in objective.fused.values()) / 6
    assert objective.total.item() == pytest.approx(pairs + 0.3 * fused, rel=1e-6)
    output = model(batch)
    expected = multimodal_contrastive(
        output.embeddings, batch.rows, present=output.present, logit_scale=model.logit_scale
    )
    for direction, loss in expected.items():
        torch.testing.assert_close(objective.pairs[direction], loss)


def test_every_fused_query_is_compared_with_the_modality_it_lacks():
    objective = training_loss(toy_model(), tensors(toy_batch()), config=CONFIG)
    pairs = {("vision+text", ACTION), ("vision+action", TEXT), ("text+action", VISION)}
    expected = set()
    for name, target in pairs:
        expected |= set(directions((Modality(name), target)))
    assert set(objective.fused) == expected


def test_row_10_the_fusion_module_is_trained():
    """The chapter's fusion modules appear in no loss: their gradient stays None."""
    model = toy_model()
    training_loss(model, tensors(toy_batch()), config=CONFIG).total.backward()
    for name, parameter in model.fusion.named_parameters():
        assert parameter.grad is not None, name
    assert any(parameter.grad.abs().max() > 0 for parameter in model.fusion.parameters())


def test_row_10_training_makes_a_fused_query_find_the_third_modality():
    torch.manual_seed(0)
    model = toy_model(dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    held_out = tensors(toy_batch(24, seed=99))
    query, target = Modality("vision+text"), ACTION

    def recall():
        model.eval()
        with torch.no_grad():
            similarity = model.encode(query, held_out) @ model.encode(target, held_out).T
        return (similarity.argmax(1) == torch.arange(24)).float().mean().item()

    before = recall()
    model.train()
    for step in range(40):
        optimizer.zero_grad()
        batch = tensors(toy_batch(24, seed=step))
        training_loss(model, batch, config=LossConfig()).total.backward()
        optimizer.step()
    assert before < 0.2
    assert recall() > 0.4, "the text alone could find one in eight"


def test_row_10_a_fused_query_without_one_of_its_modalities_still_has_a_loss():
    batch = without(toy_batch(), VISION, slice(0, 6))
    objective = training_loss(toy_model(), tensors(batch), config=CONFIG)
    assert torch.isfinite(objective.total)
    assert Direction(Modality("vision+text"), ACTION) in objective.fused


def test_modality_dropout_hides_modalities_but_never_the_last():
    torch.manual_seed(0)
    present = torch.ones(4000, 2, dtype=torch.bool)
    present[:1000, 0] = False
    present[1000:1100] = False
    kept = drop_modalities(present, probability=0.4)
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(1), present.any(1))
    both = kept[1100:]
    assert both.all(1).float().mean().item() == pytest.approx(0.36, abs=0.03)
    lost = (~both).float().mean(0)
    assert lost.tolist() == pytest.approx([0.32, 0.32], abs=0.03)


def test_no_modality_dropout_keeps_everything():
    present = torch.rand(50, 3) < 0.5
    assert torch.equal(drop_modalities(present, probability=0.0), present)


def test_a_fused_query_that_lost_everything_but_its_text_means_the_goal():
    """Else every episode but one of the instruction would be a wrong answer to it."""
    model = toy_model().eval()
    batch = without(toy_batch(6), VISION, slice(None))
    goal = np.full(6, 2)
    batch = Batch(batch.inputs, replace(batch.rows, instruction=goal, goal=goal))
    objective = training_loss(model, tensors(batch), config=CONFIG)
    embeddings = {m: model.encode(m, tensors(batch)) for m in (TEXT, ACTION)}
    fused = model.encode(Modality("vision+text"), tensors(batch))
    scale = model.logit_scale(Modality("vision+text"), ACTION)
    logits = scale * fused @ embeddings[ACTION].T
    expected = -logits.log_softmax(1).mean()
    loss = objective.fused[Direction(Modality("vision+text"), ACTION)]
    torch.testing.assert_close(loss, expected)


def test_no_weight_and_no_fusion_give_no_fused_loss():
    batch = tensors(toy_batch())
    unweighted = training_loss(toy_model(), batch, config=LossConfig(fused_weight=0.0))
    assert not unweighted.fused
    assert not training_loss(toy_model(fusion=False), batch, config=CONFIG).fused


def test_triplet_training_covers_the_same_directions():
    config = replace(CONFIG, name="triplet", mining="hard")
    objective = training_loss(toy_model(), tensors(toy_batch()), config=config)
    assert set(objective.pairs) == set(SIX_DIRECTIONS)
    assert len(objective.fused) == 6
    objective.total.backward()


def test_row_25_modalities_may_be_missing_from_rows_and_from_the_batch():
    """The chapter's trainer takes images, texts and actions of every sample, or raises."""
    batch = without(without(toy_batch(), TEXT, slice(0, 4)), VISION, slice(8, 12))
    objective = training_loss(toy_model(), tensors(batch), config=CONFIG)
    assert set(objective.pairs) == set(SIX_DIRECTIONS)
    assert torch.isfinite(objective.total)
    two = training_loss(toy_model(), tensors(toy_batch(modalities=(VISION, ACTION))), config=CONFIG)
    assert set(two.pairs) == {Direction(VISION, ACTION), Direction(ACTION, VISION)}
    assert not two.fused


def test_one_modality_alone_is_refused():
    batch = tensors(toy_batch(modalities=(VISION,)))
    with pytest.raises(InputError, match="no two of vision are both present"):
        training_loss(toy_model(), batch, config=CONFIG)


def test_the_loss_under_half_precision_stays_near_the_full_one():
    model, batch = toy_model().eval(), tensors(toy_batch())
    full = training_loss(model, batch, config=CONFIG).total.item()
    with torch.autocast("cpu", torch.bfloat16):
        half = training_loss(model, batch, config=CONFIG).total
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(full, rel=0.05)


def test_a_step_draws_as_many_fused_queries_as_asked_and_in_time_all():
    model, batch = toy_model(), tensors(toy_batch())
    config = replace(CONFIG, fused_queries_per_step=1)
    drawn = set()
    for step in range(20):
        torch.manual_seed(step)
        fused = training_loss(model, batch, config=config).fused
        assert len(fused) == 2  # one query and the way back
        drawn |= set(fused)
    assert drawn == set(training_loss(model, batch, config=CONFIG).fused)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "contrastive", "ignore": "goal", "tile_rows": 3},
        {"name": "sigmoid", "ignore": "instruction", "tile_rows": 3},
        {"name": "triplet", "mining": "hard", "soft_margin": True, "tile_rows": 3},
    ],
)
def test_every_loss_trains_all_that_it_uses_and_is_the_same_in_tiles(changes):
    batch = tensors(toy_batch())
    totals = []
    for tile_rows in (0, changes["tile_rows"]):
        bias = -3.0 if changes["name"] == "sigmoid" else None
        model = toy_model(initial_bias=bias).eval()
        config = replace(CONFIG, **{**changes, "tile_rows": tile_rows})
        objective = training_loss(model, batch, config=config)
        objective.total.backward()
        untouched = {n for n, parameter in model.named_parameters() if parameter.grad is None}
        if changes["name"] == "triplet":
            assert untouched == {n for n in untouched if n.startswith("log_scales")}
        else:
            assert not untouched
        totals.append(objective.total)
    torch.testing.assert_close(*totals)
    assert not torch.isclose(
        totals[0], training_loss(toy_model().eval(), batch, config=CONFIG).total
    )


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "triplet"])
def test_rows_of_a_goal_can_be_ignored(name):
    batch = tensors(toy_batch())
    model = toy_model(initial_bias=-3.0).eval()
    totals = {
        ignore: training_loss(model, batch, config=replace(CONFIG, name=name, ignore=ignore))
        for ignore in ("none", "goal")
    }
    pair = Direction(VISION, ACTION)
    assert totals["goal"].pairs[pair] < totals["none"].pairs[pair]


def similarity_by_loop(gate, x, y):
    """cos(g * x, g * y), one number at a time."""
    p, q = [[g * v for g, v in zip(gate, row, strict=True)] for row in (x, y)]
    return sum(a * b for a, b in zip(p, q, strict=True)) / math.sqrt(
        sum(a * a for a in p) * sum(b * b for b in q)
    )


def test_every_pair_and_fused_query_is_compared_through_its_own_gate():
    """Against the likelihood of each row's own partner, one number at a time."""
    model = toy_model(gated=True).double().eval()
    batch = tensors(toy_batch(6)).map(lambda a: a.double() if a.is_floating_point() else a)
    config = replace(CONFIG, positives="diagonal", ignore="none")
    objective = training_loss(model, batch, config=config)
    names = [*model.modalities, *(query.name for query in model.fused_queries)]
    rows = {name: model.encode(name, batch).tolist() for name in names}
    for direction, loss in (objective.pairs | objective.fused).items():
        gate = model.pair_gate(direction.query, direction.target).tolist()
        scale = model.logit_scale(direction.query, direction.target).item()
        terms = []
        for number, query in enumerate(rows[direction.query]):
            logits = [
                scale * similarity_by_loop(gate, query, target) for target in rows[direction.target]
            ]
            terms.append(math.log(sum(map(math.exp, logits))) - logits[number])
        assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "triplet"])
@pytest.mark.parametrize("tile_rows", [0, 3])
def test_every_loss_in_tiles_or_not_trains_every_gate(name, tile_rows):
    batch = tensors(without(toy_batch(), VISION, slice(0, 3)))
    config = replace(CONFIG, name=name, mining="all", tile_rows=tile_rows)
    model = toy_model(initial_bias=-3.0, gated=True).eval()
    training_loss(model, batch, config=config).total.backward()
    gradients = {name: each.grad for name, each in model.gates.named_parameters()}
    assert len(gradients) == 6
    for pair, gradient in gradients.items():
        assert gradient.isfinite().all(), pair
        assert gradient.abs().min() > 0, pair


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "triplet"])
def test_fresh_gates_give_the_loss_of_a_model_without_them(name):
    batch, config = tensors(toy_batch()), replace(CONFIG, name=name)
    plain = toy_model(initial_bias=-3.0).eval()
    gated = toy_model(initial_bias=-3.0, gated=True).eval()
    fresh = PairGates(gated.log_scales, dim=8).state_dict()
    gated.load_state_dict({**gated.state_dict(), **{f"gates.{n}": g for n, g in fresh.items()}})
    torch.testing.assert_close(
        training_loss(gated, batch, config=config).total,
        training_loss(plain, batch, config=config).total,
    )
