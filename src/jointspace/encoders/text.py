"""The tower for instructions that is trained from scratch; `sentence` holds the pretrained one."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jointspace.batch import ModalityInput
from jointspace.encoders.layers import AttentionPool, TowerFeatures, TransformerBlock, hide
from jointspace.errors import InputError


class TextEncoder(nn.Module):
    """A transformer over token ids, trained from scratch.

    Args:
        vocab_size: of the tokenizer.
        width: of tokens and pooled vector.
        layers: transformer blocks.
        heads: of attention; must divide `width`.
        max_tokens: the longest text.
        dropout: of all layers.
        max_pooling: add each channel's maximum over the words to the pooled vector. An average, of
            attention too, is mostly what sentences share; what tells them apart is often one word.

    Raises:
        InputError: `heads` does not divide `width`, or there is no vocabulary.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        max_tokens: int = 64,
        dropout: float = 0.0,
        max_pooling: bool = False,
    ) -> None:
        super().__init__()
        if vocab_size < 1 or max_tokens < 1:
            raise InputError(
                f"text tower: vocab_size is {vocab_size} and max_tokens {max_tokens}; "
                "wanted at least 1 of each"
            )
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self.width = width
        self.words = nn.Embedding(vocab_size, width)
        self.positions = nn.Parameter(torch.empty(max_tokens, width))
        # Small, so that the first blocks see words and order at one scale.
        nn.init.normal_(self.words.weight, std=0.5 if max_pooling else 0.05)
        nn.init.normal_(self.positions, std=0.05)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.pool = AttentionPool(width, num_heads=heads, dropout=dropout)
        self.highest = highest_channels(width) if max_pooling else None

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per token id.

        Raises:
            InputError: the text is longer than the tower reads, or holds an unknown id.
        """
        ids = token_ids(inputs, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        valid = inputs.valid
        tokens = hide(self.dropout(self.words(ids) + self.positions[: ids.shape[1]]), valid)
        for block in self.blocks:
            tokens = block(tokens, valid)
        pooled = pool_words(tokens, valid, pool=self.pool, highest=self.highest)
        return TowerFeatures(tokens, valid, pooled)


def highest_channels(width: int) -> nn.Module:
    """Returns what each word is read by before `pool_words` takes the maximum over the words."""
    return nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))


def pool_words(
    tokens: Float[Tensor, "batch token width"],
    valid: Bool[Tensor, "batch token"],
    *,
    pool: AttentionPool,
    highest: nn.Module | None,
) -> Float[Tensor, "batch width"]:
    """Reads one vector of a text's words.

    Args:
        tokens: one per word.
        valid: True where one is real.
        pool: averages them by a learned query.
        highest: reads each word for its channels' maximum, which is added; None adds none.

    Returns:
        One vector per row; zero for a row without a text.
    """
    pooled = pool(tokens, valid)
    if highest is None:
        return pooled
    hidden = highest(tokens).masked_fill(~valid[..., None], -torch.inf)
    # A row without a text has no maximum.
    return pooled + hidden.amax(1).masked_fill(~valid.any(1, keepdim=True), 0.0)


def token_ids(
    inputs: ModalityInput, *, vocab_size: int, max_tokens: int
) -> Int[Tensor, "batch time"]:
    """Returns the ids with zeros where they are not valid.

    Raises:
        InputError: a text is too long, or an id is unknown.
    """
    values = inputs.values
    if values.ndim != 2 or values.is_floating_point() or values.shape[1] > max_tokens:
        raise InputError(
            f"text tower: values have shape {tuple(values.shape)} and type {values.dtype}; "
            f"wanted integer token ids (batch, time) of at most {max_tokens} tokens"
        )
    ids = values.long().masked_fill(~inputs.valid, 0)
    # What is exported takes no decision by values: whoever runs the graph checks them.
    if torch.compiler.is_exporting() or not ids.numel():
        return ids
    if not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise InputError(
            f"text tower: token ids reach from {int(ids.min())} to {int(ids.max())}; "
            f"wanted 0 to {vocab_size - 1}, as the tower was built for another tokenizer"
        )
    return ids
