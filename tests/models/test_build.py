"""What every built configuration promises, and what the chooser refuses."""

import dataclasses
from itertools import combinations

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel

from jointspace.batch import ACTION, STATE, TEXT, VISION, Batch, ModalityInput
from jointspace.config import LossConfig, TextConfig, TrajectoryConfig, VisionConfig
from jointspace.errors import ConfigError, InputError
from tests.encoders.inputs import (
    NUM_ACTIONS,
    VOCAB_SIZE,
    change,
    reversed_in_time,
    with_longer_padding,
    with_other_padding,
)
from tests.models import batches
from tests.models.batches import FORCE, batch, build, full_batch

CONFIGS = {
    "vision-language": {"name": "vision-language"},
    "vision-language alone": {"name": "vision-language", "sensors": ()},
    "no fusion": {"fusion": "none"},
    "early": {"fusion": "early"},
    "late": {"fusion": "late"},
    "three-way": {"fusion": "three-way", "fusion_layers": 2},
    "sensors": {"sensors": ("state", "observation.force")},
    "efficient": {"name": "efficient"},
    "efficient early": {"name": "efficient", "fusion": "early", "sensors": ()},
    **{
        tower: {"action": TrajectoryConfig(tower=tower, width=16, num_actions=NUM_ACTIONS)}
        for tower in ("transformer", "convolution", "command", "discrete", "sequence")
    },
    "sensor transformer": {"sensor": TrajectoryConfig(tower="transformer", width=16)},
}


@pytest.fixture(scope="module", params=list(CONFIGS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    """Shared by the tests of one configuration; none of them changes a weight."""
    return build(**CONFIGS[name]).eval()


def embed_all(model, made):
    output = model(made)
    vectors = dict(output.embeddings)
    for query in model.fused_queries:
        vectors[query.name] = model.fuse(output.features, query.members)
    return vectors


def is_discrete(name):
    return name in {"discrete", "sequence"}


def test_row_17_every_output_is_a_unit_row_or_zero(name, model):
    made = batch(discrete=is_discrete(name))
    for modality, vectors in embed_all(model, made).items():
        here = torch.stack([made[m].present for m in modality.split("+")]).any(0)
        torch.testing.assert_close(vectors.norm(dim=1), here.float())


def test_encode_gives_what_forward_gives(name, model):
    made = full_batch(discrete=is_discrete(name))
    with torch.no_grad():
        expected = embed_all(model, made)
        for modality in (model.modalities[-1], *(q.name for q in model.fused_queries[-1:])):
            torch.testing.assert_close(model.encode(modality, made), expected[modality])


def test_every_parameter_has_a_gradient(name, model):
    output = model(full_batch(discrete=is_discrete(name)))
    total = torch.zeros(())
    pairs = [
        (a, output.embeddings[a], b, output.embeddings[b])
        for a, b in combinations(model.modalities, 2)
    ]
    pairs += [
        (q.name, model.fuse(output.features, q.members), q.target, output.embeddings[q.target])
        for q in model.fused_queries
    ]
    for a, x, b, y in pairs:
        logits = model.logit_scale(a, b) * x @ y.T
        total = total + functional.cross_entropy(logits, torch.arange(4))
    total.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_row_12_padding_changes_nothing(name, model):
    made = batch(discrete=is_discrete(name))
    expected = embed_all(model, made)
    longer = {
        m: with_longer_padding(with_other_padding(each), extra=3) for m, each in made.inputs.items()
    }
    for modality, vectors in embed_all(model, Batch(longer, made.rows)).items():
        torch.testing.assert_close(vectors, expected[modality], rtol=1e-4, atol=1e-5)


def test_row_9_rows_do_not_see_each_other(name, model):
    made = batch(discrete=is_discrete(name))
    other = {m: each.map(torch.clone) for m, each in made.inputs.items()}
    for each in other.values():
        each.values[2] = torch.where(each.values[2] > 1, each.values[2] - 1, 1)
    expected = embed_all(model, made)
    for modality, vectors in embed_all(model, Batch(other, made.rows)).items():
        torch.testing.assert_close(vectors[:2], expected[modality][:2])


def test_row_11_order_in_time_matters(name, model):
    made = full_batch(discrete=is_discrete(name))
    backward = Batch({m: reversed_in_time(each) for m, each in made.inputs.items()}, made.rows)
    before, after = model(made), model(backward)
    for modality in model.modalities:
        row = {VISION: 0, TEXT: 0, ACTION: 0, STATE: 1, FORCE: 1}[modality]  # a full one
        assert change(before.embeddings[modality][row], after.embeddings[modality][row]) > 1e-3


def test_row_16_an_object_moved_across_the_picture_moves_the_embedding(model):
    frames = torch.full((2, 1, 1, 16, 16, 3), 90, dtype=torch.uint8)
    frames[0, ..., 6:10, 1:5, 0] = 250
    frames[1, ..., 6:10, 10:14, 0] = 250
    seen = ModalityInput(frames, torch.ones(2, 1, 1, dtype=torch.bool), torch.zeros(2, 1))
    left, right = model.encode(VISION, Batch({VISION: seen}, batch().rows.take(np.arange(2))))
    assert change(left, right) > 0.02  # the chapter's: below 0.001


def test_weights_carry_over_to_a_twin(name, model):
    twin = build(seed=1, **CONFIGS[name]).eval()
    made = batch(discrete=is_discrete(name))
    assert not torch.equal(twin.encode(TEXT, made), model.encode(TEXT, made))
    twin.load_state_dict(model.state_dict())
    expected = embed_all(model, made)
    for modality, vectors in embed_all(twin, made).items():
        assert torch.equal(vectors, expected[modality])


def test_modalities_follow_the_configuration(name, model):
    first = (VISION, TEXT) if "vision-language" in name else (VISION, TEXT, ACTION)
    assert model.modalities[: len(first)] == first
    assert model.modalities[len(first) :] == tuple(CONFIGS[name].get("sensors", ("state",)))


def test_fusion_needs_a_third_modality_to_retrieve():
    alone = build(name="vision-language", sensors=(), fusion="late")
    assert alone.fusion is None
    assert alone.fused_queries == ()


def test_the_efficient_model_is_smaller():
    def size(name):
        return sum(p.numel() for p in build(name=name, fusion="none").parameters())

    assert size("efficient") < 0.6 * size("vision-language-action")


@pytest.mark.parametrize("name", ["efficient", "vision-language-action"])
@pytest.mark.parametrize(
    ("section", "changes"),
    [
        (VisionConfig, {"pooling": "attention"}),
        (VisionConfig, {"temporal_layers": 1}),
        (VisionConfig, {"stem_stride": 4}),
        (TextConfig, {"pooling": "attention+max"}),
    ],
    ids=str,
)
def test_models_heed_how_their_towers_are_to_read(name, section, changes):
    sizes = {"channels": (8, 12)} if section is VisionConfig else {}
    tower = {VisionConfig: "vision", TextConfig: "text"}[section]

    def shapes(**keys):
        made = build(name=name, **{tower: section(width=16, **sizes, **keys)})
        return {key: tensor.shape for key, tensor in made.state_dict().items()}

    assert shapes(**changes) != shapes()


def test_temperatures_come_from_the_loss_configuration():
    model = build(loss=LossConfig(initial_temperature=0.5, max_logit_scale=1.5))
    assert model.logit_scale(VISION, TEXT).item() == pytest.approx(1.5)


def test_only_the_sigmoid_loss_has_biases():
    """Weights of runs with another loss stay readable."""
    contrastive = build()
    assert not any("bias" in name.split(".")[0] for name in contrastive.state_dict())
    sigmoid = build(loss=LossConfig(name="sigmoid", initial_bias=-3.0))
    assert sigmoid.logit_bias(VISION, TEXT).item() == -3
    added = set(sigmoid.state_dict()) - set(contrastive.state_dict())
    assert added == {name.replace("log_scales", "biases") for name in scales_of(contrastive)}


def test_only_a_gated_metric_has_gates():
    """Weights of runs without them stay readable."""
    plain, gated = build(), build(pair_metric="gated")
    added = set(gated.state_dict()) - set(plain.state_dict())
    names = scales_of(plain)
    assert added == {name.replace("log_scales", "gates.learned") for name in names}


def scales_of(model):
    return [name for name in model.state_dict() if name.startswith("log_scales")]


def with_name(config, **names):
    """A configuration with a name that its type forbids, as a careless caller could make."""
    changed = dataclasses.replace(config)
    for key, value in names.items():
        object.__setattr__(changed, key, value)
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"action": with_name(TrajectoryConfig(), tower="frequncy")},
            "model.action.tower is 'frequncy'. Did you mean 'frequency'?",
        ),
        (
            {"sensor": with_name(TrajectoryConfig(), tower="lstm-like")},
            "model.sensor.tower is 'lstm-like'. Known: command, ",
        ),
        (
            {"text": with_name(TextConfig(), tower="transfomer")},
            "model.text.tower is 'transfomer'. Did you mean 'transformer'?",
        ),
        ({"sensors": ("stat",)}, "model.sensors: 'stat': not in the data. Did you mean 'state'?"),
        ({"vision": VisionConfig(channels=(8,) * 9)}, "wanted at least one convolution"),
        (
            {"vision": VisionConfig(width=18, pooling="attention")},
            "width 18 does not divide into 4 heads",
        ),
        ({"embed_dim": 10}, "width 10 does not divide into 4 heads"),
        ({"action": TrajectoryConfig(tower="discrete")}, "num_actions is 0"),
        (
            {"name": "efficient", "action": TrajectoryConfig(tower="transformer")},
            "model.action.tower is 'transformer', but the efficient model has the 'frequency'",
        ),
        (
            {"name": "efficient", "text": TextConfig(tower="sentence")},
            "model.text.tower is 'sentence', but the efficient model",
        ),
    ],
)
def test_impossible_configurations_are_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        build(**changes)
    assert message in str(caught.value)


def test_unknown_models_and_fusions_are_refused(monkeypatch):
    small = batches.config()
    for key, value, message in (
        ("name", "vision-langage", "model.name is 'vision-langage'. Did you mean"),
        ("fusion", "threeway", "model.fusion is 'threeway'. Did you mean 'three-way'?"),
    ):
        monkeypatch.setattr(batches, "config", lambda k=key, v=value: with_name(small, **{k: v}))
        with pytest.raises(ConfigError) as caught:
            build()
        assert message in str(caught.value)


def test_a_model_of_actions_needs_actions():
    with pytest.raises(ConfigError, match="the model's actions: not in the data"):
        build(channels={STATE: 3})


def test_a_frozen_sentence_encoder_can_be_chosen(tmp_path):
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=VOCAB_SIZE, hidden_size=8, **sizes)).save_pretrained(tmp_path)
    model = build(text=TextConfig(tower="sentence", pretrained=str(tmp_path), width=16))
    assert model.encode(TEXT, batch()).norm(dim=1).tolist() == pytest.approx([1, 1, 0, 0])


def test_several_robots_with_discrete_actions_are_refused():
    discrete = TrajectoryConfig(width=16, tower="discrete", num_actions=3)
    with pytest.raises(
        ConfigError, match=r"model\.action\.tower is 'discrete', but several robots"
    ):
        build(action=discrete, channels={ACTION: (1, 1), STATE: (3, 3), FORCE: (6, 6)})


@pytest.mark.parametrize("name", ["vision-language", "vision-language-action", "efficient"])
def test_every_model_takes_several_robots_with_and_without_a_sensor(name):
    several = {ACTION: (9, 4), STATE: (0, 3), FORCE: (2, 0)}
    model = build(name=name, channels=several, sensors=("state", "observation.force")).eval()
    known = full_batch().of_embodiment(1)
    without_force = Batch({m: i for m, i in known.inputs.items() if m != FORCE}, known.rows)
    output = model(without_force)
    assert STATE in output.embeddings
    assert FORCE not in output.embeddings
    for vectors in output.embeddings.values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    with pytest.raises(InputError, match="from embodiment 1; wanted one of"):
        model(known)
