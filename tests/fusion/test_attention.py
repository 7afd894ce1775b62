import pytest
import torch

from jointspace.errors import InputError
from jointspace.fusion.attention import CrossModalAttention, Stream, ThreeWayFusionBlock
from tests.encoders.inputs import valid_steps


def stream(lengths, time, *, dim=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    valid = valid_steps(lengths, time)
    tokens = torch.randn(len(lengths), time, dim, generator=generator)
    return Stream(tokens.masked_fill(~valid[..., None], 0), valid)


def three(*, vision=(3, 3), text=(5, 4), steps=(2, 2)):
    return (
        stream(list(vision), 3, seed=1),
        stream(list(text), 5, seed=2),
        stream(list(steps), 2, seed=3),
    )


@pytest.fixture
def block():
    torch.manual_seed(0)
    return ThreeWayFusionBlock(8, num_heads=2).eval()


@pytest.mark.parametrize(("num_queries", "num_keys"), [(3, 7), (7, 3), (1, 1)])
def test_row_2_queries_and_keys_may_differ_in_number(num_queries, num_keys):
    layer = CrossModalAttention(8, num_heads=2)
    query, key_value = torch.randn(2, num_queries, 8), torch.randn(2, num_keys, 8)
    read = layer(query, key_value, torch.ones(2, num_keys, dtype=torch.bool))
    assert read.shape == (2, num_queries, 8)


def test_row_2_hidden_keys_change_nothing():
    layer = CrossModalAttention(8, num_heads=2)
    query, key_value = torch.randn(1, 3, 8), torch.randn(1, 7, 8)
    valid = valid_steps([4], 7)
    alone = layer(query, key_value[:, :4], valid[:, :4])
    torch.testing.assert_close(layer(query, key_value, valid), alone)
    assert not torch.allclose(layer(query, key_value, valid_steps([7], 7)), alone)


def test_row_2_a_fully_hidden_row_reads_zero_and_not_nan():
    layer = CrossModalAttention(8, num_heads=2)
    read = layer(torch.randn(2, 3, 8), torch.randn(2, 7, 8), valid_steps([0, 7], 7))
    read.sum().backward()
    assert (read[0] == 0).all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_row_2_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(InputError, match="width 8 does not divide into 3 heads"):
        CrossModalAttention(8, num_heads=3)


def test_row_2_dropout_acts_in_training_alone():
    layer = CrossModalAttention(8, num_heads=2, dropout=0.5)
    query, key_value, valid = torch.randn(1, 3, 8), torch.randn(1, 7, 8), valid_steps([7], 7)
    assert not torch.equal(layer(query, key_value, valid), layer(query, key_value, valid))
    layer.eval()
    assert torch.equal(layer(query, key_value, valid), layer(query, key_value, valid))


def test_row_1_vision_and_text_of_unequal_length_join_on_the_token_axis(block):
    vision, text, steps = block(*three())
    assert vision.tokens.shape == (2, 3, 8)
    assert text.tokens.shape == (2, 5, 8)
    assert steps.tokens.shape == (2, 2, 8)


@pytest.mark.parametrize("side", ["vision", "text"])
def test_row_1_the_steps_read_every_vision_and_text_token(block, side):
    vision, text, steps = three()
    changed = {"vision": vision, "text": text}[side]
    before = block(vision, text, steps)[2].tokens
    for token in range(changed.tokens.shape[1] - (side == "text")):
        moved = changed.tokens.clone()
        moved[:, token, 0] += 3
        new = Stream(moved, changed.valid)
        after = block(*((new, text) if side == "vision" else (vision, new)), steps)[2].tokens
        assert not torch.allclose(after, before, atol=1e-5)


def test_vision_and_text_read_each_other_and_not_the_steps(block):
    vision, text, steps = three()
    before = block(vision, text, steps)
    other_vision = block(Stream(vision.tokens.roll(1, 0), vision.valid), text, steps)
    other_text = block(vision, Stream(text.tokens.roll(1, 0), text.valid), steps)
    other_steps = block(vision, text, Stream(steps.tokens.roll(1, 0), steps.valid))
    assert not torch.allclose(other_vision[1].tokens, before[1].tokens, atol=1e-5)
    assert not torch.allclose(other_text[0].tokens, before[0].tokens, atol=1e-5)
    assert torch.equal(other_steps[0].tokens, before[0].tokens)
    assert torch.equal(other_steps[1].tokens, before[1].tokens)


def test_row_1_which_side_a_token_comes_from_matters(block):
    # The same tokens on both sides: only the learned marks tell vision from text.
    same = stream([3, 3], 3)
    only_vision = block(same, Stream(same.tokens, torch.zeros_like(same.valid)), same)[2]
    only_text = block(Stream(same.tokens, torch.zeros_like(same.valid)), same, same)[2]
    with torch.no_grad():
        block.text_out.load_state_dict(block.vision_out.state_dict())
    as_text = block(Stream(same.tokens, torch.zeros_like(same.valid)), same, same)[2]
    assert not torch.allclose(only_vision.tokens, only_text.tokens, atol=1e-5)
    assert not torch.allclose(only_vision.tokens, as_text.tokens, atol=1e-5)


def test_hidden_tokens_change_nothing_in_the_block(block):
    vision, text, steps = three(vision=(2, 3), text=(5, 2), steps=(1, 2))
    rubbish = [
        Stream(s.tokens.masked_fill(~s.valid[..., None], 9.0), s.valid)
        for s in (vision, text, steps)
    ]
    for clean, dirty in zip(block(vision, text, steps), block(*rubbish), strict=True):
        torch.testing.assert_close(dirty.tokens, clean.tokens)


def test_every_side_may_be_missing(block):
    for missing in ("vision", "text", "steps"):
        sides = block(*three(**{missing: (0, 2)}))
        sum(each.tokens.square().sum() for each in sides).backward()
        assert all(each.tokens.isfinite().all() for each in sides)
    assert all(p.grad.isfinite().all() and p.grad.any() for p in block.parameters())
