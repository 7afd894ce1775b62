import sys

import pytest
import torch
from transformers import BertConfig, BertModel

from jointspace.batch import ModalityInput
from jointspace.encoders.text import SentenceEncoder, TextEncoder
from jointspace.errors import InputError, MissingExtraError
from tests.encoders.inputs import with_longer_padding, with_other_padding, words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny sentence encoder in the Hugging Face layout."""
    torch.manual_seed(0)
    sizes = BertConfig(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    path = tmp_path_factory.mktemp("sentence-encoder")
    BertModel(sizes).save_pretrained(path)
    return str(path)


def text(*token_ids):
    values = torch.tensor([token_ids])
    return ModalityInput(values, torch.ones_like(values, dtype=torch.bool))


def test_order_of_words_matters():
    tower = TextEncoder(12, width=16, layers=1, max_tokens=4).eval()
    put_a_on_b, put_b_on_a = tower(text(1, 5, 2, 6)).pooled, tower(text(1, 6, 2, 5)).pooled
    assert (put_a_on_b - put_b_on_a).norm() > 0.01 * put_a_on_b.norm()


def test_the_maximum_over_words_is_added_to_the_pooled_vector():
    plain = TextEncoder(12, width=16, layers=1).eval()
    both = TextEncoder(12, width=16, layers=1, max_pooling=True).eval()
    both.load_state_dict(plain.state_dict(), strict=False)
    inputs = words(lengths=(5, 3, 0))
    tokens = plain(inputs).tokens
    for row, length in enumerate((5, 3)):
        highest = torch.stack([both.highest(token) for token in tokens[row, :length]])
        expected = plain(inputs).pooled[row] + torch.tensor(highest.detach().numpy().max(0))
        torch.testing.assert_close(both(inputs).pooled[row], expected)
    assert not both(inputs).pooled[2].any()


def test_the_maximum_over_words_ignores_padding_and_has_finite_gradients():
    tower = TextEncoder(12, width=16, layers=1, max_pooling=True).eval()
    inputs = words(lengths=(5, 3, 0))
    pooled = tower(inputs).pooled
    torch.testing.assert_close(tower(with_other_padding(inputs)).pooled, pooled)
    torch.testing.assert_close(tower(with_longer_padding(inputs, extra=2)).pooled, pooled)
    pooled.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tower.parameters())
    assert tower.highest[0].weight.grad.any()


def test_an_unknown_token_id_names_the_tokenizer():
    with pytest.raises(InputError, match=r"reach from 3 to 12; wanted 0 to 11.*another tokenizer"):
        TextEncoder(12, width=8)(text(3, 12))


def test_a_text_longer_than_the_tower_reads_is_refused():
    with pytest.raises(InputError, match="at most 4 tokens"):
        TextEncoder(12, width=8, max_tokens=4)(text(1, 2, 3, 4, 5))


def test_sentence_encoder_is_frozen_and_its_adapter_learns(folder):
    tower = SentenceEncoder(folder, width=6, dropout=0.5)
    assert not tower.train().encoder.training
    tower(words()).pooled.square().sum().backward()
    trained = {name.split(".")[0] for name, p in tower.named_parameters() if p.grad is not None}
    assert trained == {"adapter"}
    assert all(p.grad.any() for p in tower.adapter.parameters())


def test_sentence_encoder_ignores_padding_and_missing_texts(folder):
    tower = SentenceEncoder(folder, width=6, local_files_only=True).eval()
    features = tower(words())
    assert features.tokens.shape == (3, 5, 6)
    assert (features.pooled[2] == 0).all()
    for other in (with_other_padding(words()), with_longer_padding(words(), extra=3)):
        torch.testing.assert_close(tower(other).pooled, features.pooled)


def test_sentence_encoder_pools_the_mean_of_valid_tokens(folder):
    tower = SentenceEncoder(folder, width=6).eval()
    ids = text(3, 7, 1)
    with torch.no_grad():
        hidden = BertModel.from_pretrained(folder).eval()(input_ids=ids.values).last_hidden_state
        expected = tower.adapter((hidden[:, 0] + hidden[:, 1] + hidden[:, 2]) / 3)
        torch.testing.assert_close(tower(ids).pooled, expected)


def test_a_sentence_encoder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no sentence encoder .*wanted a folder"):
        SentenceEncoder(str(tmp_path / "none"), local_files_only=True)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[text\]'"):
        SentenceEncoder("anything")
