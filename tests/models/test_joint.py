import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, Modality, fused_name
from jointspace.config import LossConfig
from jointspace.encoders.layers import TowerFeatures
from jointspace.encoders.trajectory import FrequencyEncoder
from jointspace.errors import InputError
from jointspace.fusion.fuse import EarlyFusion
from jointspace.models.joint import JointModel, tower_width
from tests.encoders.inputs import change, features, steps
from tests.models.batches import batch, build, full_batch, rows


@pytest.fixture
def model():
    return build(sensors=("state", "observation.force")).eval()


@pytest.mark.parametrize("name", ["vision-language", "vision-language-action", "efficient"])
def test_row_5_one_encode_serves_every_model_and_modality(name):
    model = build(name=name).eval()
    for modality in (*model.modalities, fused_name((VISION, STATE))):
        assert model.encode(modality, batch()).shape == (4, 16)
    with pytest.raises(InputError, match=r"no modality 'visoin'\. Did you mean 'vision'\?"):
        model.encode(Modality("visoin"), batch())


def test_row_6_a_tower_without_a_declared_width_is_refused():
    assert tower_width(FrequencyEncoder(3, width=24)) == 24
    with pytest.raises(InputError, match="tower Linear: declares no integer 'width'"):
        JointModel({VISION: nn.Linear(3, 4)}, embed_dim=8)


def test_row_7_the_scale_is_exponential():
    model = build()
    assert model.logit_scale(VISION, TEXT).item() == pytest.approx(1 / 0.07, rel=1e-5)
    # The chapter multiplies by the logarithm itself: a perfect embedding keeps half the loss.
    perfect = torch.eye(256)
    raw = functional.cross_entropy(math.log(1 / 0.07) * perfect, torch.arange(256))
    ours = functional.cross_entropy(model.logit_scale(VISION, TEXT) * perfect, torch.arange(256))
    assert raw > 2.9
    assert ours < 0.01


def test_row_7_the_scale_is_clamped_and_can_come_back():
    model = build()
    parameter = model.log_scales["vision+text"]
    with torch.no_grad():
        parameter.fill_(9.0)
    scale = model.logit_scale(VISION, TEXT)
    assert scale.item() == 100
    (-scale).backward()  # wants to grow further
    assert parameter.grad == 0
    parameter.grad = None
    model.logit_scale(VISION, TEXT).backward()  # wants to shrink
    assert parameter.grad == pytest.approx(100)


def test_below_the_clamp_the_scale_has_the_gradient_of_the_exponential():
    model = build()
    model.logit_scale(TEXT, ACTION).backward()
    assert model.log_scales["text+action"].grad.item() == pytest.approx(1 / 0.07, rel=1e-5)


def test_every_pair_has_a_scale_of_its_own_in_both_directions(model):
    with torch.no_grad():
        for number, parameter in enumerate(model.log_scales.values()):
            parameter.fill_(number / 10)
    pairs = [(a, b) for a in model.modalities for b in model.modalities if a < b]
    scales = [model.logit_scale(a, b).item() for a, b in pairs]
    assert len(set(scales)) == len(pairs) == 10
    assert scales == [model.logit_scale(b, a).item() for a, b in pairs]


def test_fused_queries_of_one_target_share_a_scale(model):
    with torch.no_grad():
        model.log_scales["fused+action"].fill_(1.0)
    for members in ((VISION, TEXT), (TEXT, STATE), (VISION,) * 2):
        assert model.logit_scale(fused_name(members), ACTION).item() == pytest.approx(math.e)
        assert model.logit_scale(ACTION, fused_name(members)).item() == pytest.approx(math.e)


def test_every_pair_has_a_bias_of_its_own_in_both_directions():
    model = build(loss=LossConfig(name="sigmoid"))
    with torch.no_grad():
        model.biases["vision+text"].fill_(-2.0)
        model.biases["fused+action"].fill_(-3.0)
    assert model.logit_bias(VISION, TEXT).item() == -2
    assert model.logit_bias(TEXT, VISION).item() == -2
    assert model.logit_bias(VISION, ACTION).item() == -10
    assert model.logit_bias(ACTION, fused_name((VISION, TEXT))).item() == -3
    with pytest.raises(InputError, match="no temperature for"):
        model.logit_bias(VISION, Modality("force"))


def test_a_model_without_biases_says_what_builds_them():
    with pytest.raises(InputError, match=r"without biases; set loss\.name = 'sigmoid'"):
        build().logit_bias(VISION, TEXT)


@pytest.mark.parametrize(
    ("first", "second"),
    [(VISION, "force"), (VISION, VISION), ("vision+text", "text+action"), ("vision+text", "force")],
)
def test_unknown_pairs_have_no_scale(model, first, second):
    with pytest.raises(InputError, match="no temperature for"):
        model.logit_scale(Modality(first), Modality(second))


def test_names_with_dots_and_of_torchs_own_attributes_are_modalities_too():
    names = [Modality(name) for name in ("a.b", "a%2Eb", "keys", "training", "type")]
    towers = {name: FrequencyEncoder(4, width=8) for name in names}
    model = JointModel(towers, embed_dim=8, fusion=EarlyFusion(dict.fromkeys(names, 8), dim=8))
    made = Batch({name: steps((5, 3), seed=i) for i, name in enumerate(names)}, rows(2))
    vectors = model(made).embeddings
    assert list(vectors) == names
    assert len({tuple(v.flatten().tolist()) for v in vectors.values()}) == len(names)
    assert model.logit_scale(names[0], names[1]) > 0


@pytest.mark.parametrize("name", ["", "a+b"])
def test_names_that_would_be_mistaken_for_fused_queries_are_refused(name):
    with pytest.raises(InputError, match="without '\\+'"):
        JointModel({Modality(name): FrequencyEncoder(4, width=8)}, embed_dim=8)


@pytest.mark.parametrize("sizes", [{"initial_temperature": 0.0}, {"max_logit_scale": 0.5}])
def test_impossible_temperatures_are_refused(sizes):
    with pytest.raises(InputError, match="wanted a positive temperature"):
        JointModel({VISION: FrequencyEncoder(4, width=8)}, embed_dim=8, **sizes)


def test_forward_embeds_what_batch_and_model_share(model):
    made = batch()
    some = Batch({m: made[m] for m in (TEXT, VISION)}, made.rows)
    output = model(some)
    assert list(output.embeddings) == [VISION, TEXT]
    assert output.present[VISION].tolist() == [True, False, True, False]
    assert output.present[TEXT].tolist() == [True, True, False, False]
    with pytest.raises(InputError, match="the batch has sound; wanted at least one of vision"):
        model(Batch({Modality("sound"): made[STATE]}, made.rows))


def test_encode_names_what_the_batch_lacks(model):
    made = batch()
    with pytest.raises(InputError, match="batch: no modality 'vision'"):
        model.encode(VISION, Batch({TEXT: made[TEXT]}, made.rows))


def test_row_10_a_fused_query_is_more_than_the_mean_of_its_modalities(model):
    output = model(full_batch())
    fused = model.fuse(output.features, (VISION, TEXT))
    mean = functional.normalize(output.embeddings[VISION] + output.embeddings[TEXT], dim=1)
    assert change(mean, fused) > 0.1


def test_row_10_a_row_that_lacks_a_modality_is_fused_from_the_other(model):
    output = model(batch())
    fused = model.fuse(output.features, (VISION, TEXT))
    torch.testing.assert_close(fused[1], model.fuse(output.features, (TEXT,))[1])
    torch.testing.assert_close(fused[2], model.fuse(output.features, (VISION,))[2])
    assert (fused[3] == 0).all()


def test_row_10_a_modality_dropped_from_the_query_is_as_good_as_missing(model):
    output = model(full_batch())
    dropped = {VISION: torch.tensor([True, False, True, False])}
    fused = model.fuse(output.features, (VISION, TEXT), dropped)
    torch.testing.assert_close(fused[1], model.fuse(output.features, (TEXT,))[1])
    torch.testing.assert_close(fused[0], model.fuse(output.features, (VISION, TEXT))[0])


def test_row_10_a_contrastive_loss_trains_fusion_to_retrieve_the_third_modality():
    # Which action belongs is neither in the picture's nor in the text's features alone.
    torch.manual_seed(0)
    width, count = 8, 9

    class Given(nn.Module):
        """Hands on the values as features."""

        def __init__(self):
            super().__init__()
            self.width = width

        def forward(self, inputs):
            return TowerFeatures(inputs.values, inputs.valid, inputs.values[:, 0])

    names = (VISION, TEXT, ACTION)
    fusion = EarlyFusion(dict.fromkeys(names, width), dim=16)
    model = JointModel({name: Given() for name in names}, embed_dim=16, fusion=fusion)
    first, second = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    codes = nn.functional.one_hot(torch.stack([first, second, (first + second) % 3 * 3 + first]), 9)
    values = codes[..., :width].float() * 3
    valid = torch.ones(count, 1, dtype=torch.bool)
    made = {n: TowerFeatures(v[:, None], valid, v) for n, v in zip(names, values, strict=True)}
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)

    def right():
        query, target = model.fuse(made, (VISION, TEXT)), model.project(ACTION, made[ACTION])
        return model.logit_scale(fused_name((VISION, TEXT)), ACTION) * query @ target.T

    before = float((right().argmax(1) == torch.arange(count)).float().mean())
    for _ in range(60):
        optimiser.zero_grad()
        functional.cross_entropy(right(), torch.arange(count)).backward()
        optimiser.step()
    after = float((right().argmax(1) == torch.arange(count)).float().mean())
    assert before < 0.7
    assert after > 0.8


@pytest.mark.parametrize("members", [(VISION, VISION), (VISION, Modality("sound"))])
def test_fusing_twice_the_same_or_the_unknown_is_refused(model, members):
    with pytest.raises(InputError, match="is not among the features or is named twice"):
        model.fuse(model(batch()).features, members)


def test_a_model_without_fusion_says_so():
    model = build(fusion="none")
    with pytest.raises(InputError, match="built without fusion"):
        model.encode(fused_name((VISION, TEXT)), batch())


def test_missing_modalities_leave_gradients_finite(model):
    output = model(batch())
    total = sum(each.sum() for each in output.embeddings.values())
    for query in model.fused_queries:
        total = total + model.fuse(output.features, query.members).sum()
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_features_of_another_batch_can_be_fused_too(model):
    made = {VISION: features((3, 1, 0), width=16), TEXT: features((2, 0, 0), width=16, seed=1)}
    assert model.fuse(made, (VISION, TEXT)).norm(dim=1).tolist() == pytest.approx([1, 1, 0])


@pytest.fixture
def gated():
    """A model with gates away from 1."""
    model = build(pair_metric="gated").eval()
    generator = torch.Generator().manual_seed(4)
    for each in model.gates.parameters():
        each.data += torch.randn(each.shape, generator=generator)
    return model


def test_fresh_gates_are_one_and_change_no_row():
    plain, gated = build().eval(), build(pair_metric="gated").eval()
    gated.load_state_dict(plain.state_dict(), strict=False)
    for modality in (VISION, TEXT, fused_name((VISION, TEXT))):
        rows = plain.encode(modality, batch())
        torch.testing.assert_close(gated.encode(modality, batch()), rows)
        first, second = gated.pair_rows(modality, ACTION, rows, rows)
        torch.testing.assert_close(first, rows)
        torch.testing.assert_close(second, rows)
    torch.testing.assert_close(gated.pair_gate(VISION, TEXT), torch.ones(16))


def test_rows_of_a_pair_go_through_its_gate_and_keep_their_length(gated):
    x, y = gated.encode(VISION, batch()), gated.encode(TEXT, full_batch())
    first, second = gated.pair_rows(VISION, TEXT, x, y)
    gate = gated.pair_gate(TEXT, VISION).double()
    for i, j in ((0, 0), (0, 3), (2, 1)):
        p, q = gate * x[i].double(), gate * y[j].double()
        expected = p @ q / (p @ p * (q @ q)).sqrt()
        assert (first[i] @ second[j]).item() == pytest.approx(expected.item(), abs=1e-6)
    assert not first[1].any(), "the row has no vision"
    torch.testing.assert_close(first[[0, 2]].norm(dim=1), torch.ones(2))
    first.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in gated.parameters())


def test_every_pair_has_a_gate_of_its_own_and_fused_queries_share_that_of_their_target(gated):
    pairs = [(a, b) for a in gated.modalities for b in gated.modalities if a < b]
    gates = [gated.pair_gate(a, b) for a, b in pairs]
    gates += [gated.pair_gate(fused_name((VISION, TEXT)), ACTION)]
    for i, one in enumerate(gates):
        assert one.min() > 0
        assert not any(torch.equal(one, other) for other in gates[:i])
    assert torch.equal(gates[0], gated.pair_gate(*pairs[0][::-1]))
    assert torch.equal(gates[-1], gated.pair_gate(ACTION, fused_name((TEXT, STATE))))
    with pytest.raises(InputError, match="no temperature for"):
        gated.pair_gate(VISION, Modality("force"))


def test_a_model_without_gates_compares_the_very_rows(model):
    rows = model.encode(VISION, batch())
    first, second = model.pair_rows(VISION, TEXT, rows, rows)
    assert first is second is rows
    assert model.pair_gate(VISION, TEXT) is None
