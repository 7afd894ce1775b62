import math

import pytest
import torch

from jointspace.encoders.layers import (
    Attention,
    AttentionPool,
    TimeCodes,
    TowerFeatures,
    TransformerBlock,
    hide,
    masked_max,
    masked_mean,
)
from jointspace.errors import InputError
from tests.encoders.inputs import features, valid_steps


def attention_by_loops(layer, query, context, valid):
    """Multi-head attention, one number at a time."""
    heads, width = layer.num_heads, query.shape[2]
    size = width // heads
    w_query, w_out = layer.query.weight, layer.out.weight
    w_key, w_value = layer.key_value.weight.chunk(2)
    out = torch.zeros_like(query)
    for b in range(len(query)):
        keys = [j for j in range(context.shape[1]) if valid[b, j]]
        for i in range(query.shape[1]):
            read = []
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                q = w_query[part] @ query[b, i]
                scores = [float(q @ (w_key[part] @ context[b, j])) / math.sqrt(size) for j in keys]
                weights = [math.exp(score) for score in scores]
                values = [w_value[part] @ context[b, j] for j in keys]
                read.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
            out[b, i] = w_out @ torch.cat(read) + layer.out.bias
    return out


def test_attention_equals_plain_loops_over_valid_keys():
    layer = Attention(6, num_heads=2).double()
    query = torch.randn(2, 3, 6, dtype=torch.float64)
    context = torch.randn(2, 5, 6, dtype=torch.float64)
    valid = valid_steps([5, 2], 5)
    with torch.no_grad():
        expected = attention_by_loops(layer, query, context, valid)
        torch.testing.assert_close(layer(query, context, valid), expected)


def test_attention_over_nothing_is_zero_and_has_finite_gradients():
    layer = Attention(4, num_heads=2)
    query = torch.randn(2, 3, 4, requires_grad=True)
    context = torch.randn(2, 5, 4, requires_grad=True)
    read = layer(query, context, valid_steps([0, 4], 5))
    read.square().sum().backward()
    assert (read[0] == 0).all()
    assert (read[1] != 0).any()
    assert query.grad.isfinite().all()
    assert context.grad.isfinite().all()
    assert (context.grad[0] == 0).all()


def test_attention_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(InputError, match="width 6 does not divide into 4 heads"):
        Attention(6, num_heads=4)


def test_a_block_changes_no_valid_token_when_padding_changes():
    block = TransformerBlock(8, num_heads=2).eval()
    tokens, valid = torch.randn(2, 4, 8), valid_steps([4, 2], 4)
    other = tokens.masked_fill(~valid[..., None], 7.0)
    torch.testing.assert_close(block(other, valid), block(tokens, valid))
    assert (block(tokens, valid)[1, 2:] == 0).all()


def test_attention_pool_reads_valid_tokens_alone():
    pool = AttentionPool(8, num_heads=2).eval()
    tokens, valid = torch.randn(3, 4, 8), valid_steps([4, 1, 0], 4)
    pooled = pool(tokens, valid)
    torch.testing.assert_close(pooled[1:2], pool(tokens[1:2, :1], valid[1:2, :1]))
    assert (pooled[2] == 0).all()


def test_masked_mean_and_maximum_of_a_hand_worked_row():
    tokens = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [50.0, 50.0]]]).repeat(2, 1, 1)
    valid = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(tokens, valid).tolist() == [[2.0, -3.0], [0.0, 0.0]]
    assert masked_max(tokens, valid).tolist() == [[3.0, -2.0], [0.0, 0.0]]


def test_hiding_removes_not_a_number():
    tokens = torch.full((1, 2, 3), math.nan)
    assert hide(tokens, valid_steps([0], 2)).tolist() == [[[0.0] * 3] * 2]


def test_time_codes_follow_seconds_and_not_the_index_of_the_step():
    codes = TimeCodes(6)
    slow = codes(torch.tensor([[0.0, 0.2, 0.4]]), valid_steps([3], 3))
    fast = codes(torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4]]), valid_steps([5], 5))
    torch.testing.assert_close(slow[0], fast[0, ::2])
    later = codes(torch.tensor([[0.0, 0.2, 0.8]]), valid_steps([3], 3))
    assert not torch.allclose(slow[0, 2], later[0, 2])


def test_features_kept_for_some_rows_lack_the_others():
    made = features((3, 2, 1))
    kept = made.keep(torch.tensor([True, False, True]))
    assert kept.present.tolist() == [True, False, True]
    assert (kept.pooled[1] == 0).all()
    assert (kept.tokens[1] == 0).all()
    assert torch.equal(kept.tokens[0], made.tokens[0])


def test_features_refuse_lengths_that_disagree():
    with pytest.raises(TypeError):
        TowerFeatures(torch.zeros(2, 3, 4), valid_steps([1, 1], 2), torch.zeros(2, 4))
