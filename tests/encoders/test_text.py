import pytest
import torch

from jointspace.batch import ModalityInput
from jointspace.encoders.text import TextEncoder
from jointspace.errors import InputError
from tests.encoders.inputs import with_longer_padding, with_other_padding, words


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
