from itertools import combinations

import pytest
import torch
from torch import nn

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.encoders.layers import TowerFeatures
from jointspace.errors import InputError
from jointspace.fusion.fuse import EarlyFusion, LateFusion, ThreeWayFusion
from tests.encoders.inputs import features, valid_steps

WIDTHS = {VISION: 8, TEXT: 6, ACTION: 10, STATE: 10}
KINDS = {"early": EarlyFusion, "late": LateFusion, "three-way": ThreeWayFusion}


@pytest.fixture(params=list(KINDS))
def fusion(request):
    torch.manual_seed(0)
    return KINDS[request.param](WIDTHS, dim=12).eval()


def all_four():
    return {
        VISION: features((3, 2, 0), width=8, seed=1),
        TEXT: features((0, 4, 0), width=6, time=5, seed=2),
        ACTION: features((1, 1, 0), width=10, time=1, seed=3),
        STATE: features((2, 0, 0), width=10, time=2, seed=4),
    }


def only(made, *modalities):
    return {modality: made[modality] for modality in modalities}


def row(made, index):
    part = slice(index, index + 1)
    return {
        m: TowerFeatures(each.tokens[part], each.valid[part], each.pooled[part])
        for m, each in made.items()
    }


@pytest.mark.parametrize(
    "modalities",
    [(VISION,), (TEXT,), (ACTION,), (VISION, TEXT), (TEXT, ACTION, STATE), tuple(WIDTHS)],
)
def test_any_subset_of_modalities_fuses(fusion, modalities):
    joint = fusion(only(all_four(), *modalities))
    assert joint.shape == (3, 12)
    assert joint.isfinite().all()


def test_row_9_rows_do_not_see_each_other(fusion):
    made = all_four()
    together = fusion(made)
    for index in range(3):
        torch.testing.assert_close(together[index], fusion(row(made, index))[0])


def test_row_9_without_batch_first_editing_one_sample_changes_another():
    # The chapter's layer, to show that the test above can fail.
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 4, 24).eval()
    sequence = torch.randn(3, 5, 12)
    edited = sequence.clone()
    edited[2] += 1
    assert not torch.allclose(layer(sequence)[0], layer(edited)[0], atol=1e-4)


@pytest.mark.parametrize("changed", [VISION, TEXT, ACTION])
def test_row_9_every_modality_reaches_the_joint_vector(fusion, changed):
    made = all_four()
    other = dict(made)
    other[changed] = features(
        tuple(made[changed].valid.sum(1).tolist()),
        width=WIDTHS[changed],
        time=made[changed].valid.shape[1],
        seed=9,
    )
    assert (fusion(other)[1] - fusion(made)[1]).norm() > 1e-3


def test_a_row_is_fused_from_what_it_has(fusion):
    made = all_four()
    joint = fusion(made)
    # Row 0 lacks text, row 1 state, row 2 everything.
    torch.testing.assert_close(joint[0], fusion(only(made, VISION, ACTION, STATE))[0])
    torch.testing.assert_close(joint[1], fusion(only(made, VISION, TEXT, ACTION))[1])
    assert (joint[2] == 0).all()


def test_hidden_tokens_change_nothing(fusion):
    made = all_four()
    dirty = {
        m: TowerFeatures(
            each.tokens.masked_fill(~each.valid[..., None], 5.0), each.valid, each.pooled
        )
        for m, each in made.items()
    }
    torch.testing.assert_close(fusion(dirty), fusion(made))


def test_row_10_every_parameter_of_fusion_has_a_gradient(fusion):
    joint = fusion(all_four())
    (joint.sum() + joint.square().sum()).backward()
    without = [name for name, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad.isfinite().all() for p in fusion.parameters())


@pytest.mark.parametrize("kind", list(KINDS))
def test_row_26_what_one_modality_means_depends_on_another(kind):
    # Which of four targets is right is the sum, modulo four, of what vision and text say. No sum of
    # functions of one modality each can tell, so a model without interaction fails.
    torch.manual_seed(0)
    fusion = KINDS[kind](
        {VISION: 8, TEXT: 8}, dim=16, **({} if kind == "early" else {"num_heads": 2})
    )
    head = nn.Linear(16, 4)
    said = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    codes = nn.functional.one_hot(said, 8).float() * 3
    target = said.sum(1) % 4
    valid = torch.ones(16, 1, dtype=torch.bool)
    made = {
        m: TowerFeatures(codes[:, i, None], valid, codes[:, i])
        for i, m in enumerate((VISION, TEXT))
    }
    optimiser = torch.optim.Adam([*fusion.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(head(fusion(made)), target).backward()
        optimiser.step()
    assert (head(fusion(made)).argmax(1) == target).float().mean() > 0.9


def test_row_26_one_linear_over_linears_has_no_interaction():
    # The chapter's early fusion: changing vision moves the sum equally, whatever the text.
    torch.manual_seed(0)
    layers = [nn.Linear(8, 12), nn.Linear(6, 12)]
    joined = nn.Linear(24, 12)
    (v, w), (t, u) = torch.randn(2, 1, 8), torch.randn(2, 1, 6)

    def chapter(vision, text):
        return joined(torch.cat([layers[0](vision), layers[1](text)], dim=1))

    torch.testing.assert_close(chapter(v, t) - chapter(w, t), chapter(v, u) - chapter(w, u))
    one = torch.ones(1, 1, dtype=torch.bool)
    fusion = EarlyFusion(WIDTHS, dim=12).eval()

    def ours(vision, text):
        return fusion(
            {
                VISION: TowerFeatures(vision[:, None], one, vision),
                TEXT: TowerFeatures(text[:, None], one, text),
            }
        )

    moved = ours(v, t) - ours(w, t)
    assert (moved - (ours(v, u) - ours(w, u))).norm() > 0.1 * moved.norm()


def test_row_26_early_fusion_sees_the_product_of_every_two_modalities():
    torch.manual_seed(0)
    fusion = EarlyFusion(WIDTHS, dim=12).eval()
    seen = []
    fusion.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    made = all_four()
    fusion(made)
    for index in range(3):
        expected = torch.zeros(12)
        has = [m for m, each in made.items() if each.present[index]]
        for first, second in combinations(has, 2):
            vectors = [fusion.factors(m, made[m].pooled[index]).detach() for m in (first, second)]
            expected += vectors[0] * vectors[1]
        torch.testing.assert_close(seen[0][index, 12:], expected, rtol=1e-4, atol=1e-5)


def test_late_fusion_tells_modalities_apart():
    fusion = LateFusion({VISION: 8, TEXT: 8}, dim=12).eval()
    with torch.no_grad():
        fusion.tokens.adapters.layers[1].load_state_dict(
            fusion.tokens.adapters.layers[0].state_dict()
        )
    made = features((3, 2, 1), width=8)
    assert not torch.allclose(fusion({VISION: made}), fusion({TEXT: made}), atol=1e-5)


def test_an_unknown_modality_is_refused(fusion):
    with pytest.raises(InputError, match=r"no modality 'visoin'\. Did you mean 'vision'\?"):
        fusion({"visoin": features((3,), width=8)})
    with pytest.raises(InputError, match="at least one modality"):
        fusion({})


@pytest.mark.parametrize("kind", list(KINDS.values()))
def test_fusion_of_nothing_is_refused(kind):
    with pytest.raises(InputError, match="no modalities"):
        kind({}, dim=12)


def test_a_modality_that_nobody_has_changes_nothing(fusion):
    made = only(all_four(), VISION, ACTION)
    absent = TowerFeatures(torch.zeros(3, 1, 6), valid_steps([0, 0, 0], 1), torch.zeros(3, 6))
    torch.testing.assert_close(fusion({**made, TEXT: absent}), fusion(made))
