"""Towers for instructions: a transformer trained from scratch, and a frozen sentence encoder."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from jointspace.batch import ModalityInput
from jointspace.encoders.layers import (
    AttentionPool,
    TowerFeatures,
    TransformerBlock,
    hide,
    masked_mean,
)
from jointspace.errors import InputError, MissingExtraError


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
        self.highest = (
            nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width)) if max_pooling else None
        )

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per token id.

        Raises:
            InputError: the text is longer than the tower reads, or holds an unknown id.
        """
        ids = _token_ids(inputs, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        valid = inputs.valid
        tokens = hide(self.dropout(self.words(ids) + self.positions[: ids.shape[1]]), valid)
        for block in self.blocks:
            tokens = block(tokens, valid)
        pooled = self.pool(tokens, valid)
        if self.highest is not None:
            hidden = self.highest(tokens).masked_fill(~valid[..., None], -torch.inf)
            # A row without a text has no maximum.
            pooled = pooled + hidden.amax(1).masked_fill(~valid.any(1, keepdim=True), 0.0)
        return TowerFeatures(tokens, valid, pooled)


class SentenceEncoder(nn.Module):
    """A frozen pretrained sentence encoder with a small trained adapter behind it.

    It carries to paraphrases that training never saw, where a tower trained from scratch
    memorises templates.

    Args:
        pretrained: folder in the Hugging Face layout, or the id of a model on the hub.
        width: of tokens and pooled vector.
        dropout: in the adapter.
        local_files_only: never ask the hub.

    Raises:
        InputError: there is no such model, or it cannot be read.
        MissingExtraError: `transformers` is not installed.

    Source:
        Reimers and Gurevych 2019 (mean pooling over valid tokens); the adapter is ours.
    """

    def __init__(
        self,
        pretrained: str,
        *,
        width: int = 128,
        dropout: float = 0.0,
        local_files_only: bool = False,
    ) -> None:
        super().__init__()
        try:
            from transformers import AutoModel  # noqa: PLC0415 -- an extra, slow to import
        except ImportError as error:
            raise MissingExtraError("transformers", "text") from error
        try:
            self.encoder: nn.Module = AutoModel.from_pretrained(
                pretrained, local_files_only=local_files_only, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            cause = str(error).strip().splitlines()[0]
            raise InputError(
                f"text tower: no sentence encoder '{pretrained}' ({cause}); "
                "wanted a folder in the Hugging Face layout or the id of a model on the hub"
            ) from error
        self.encoder.requires_grad_(requires_grad=False)
        sizes = self.encoder.config
        self.vocab_size = int(sizes.vocab_size)
        self.max_tokens = int(sizes.max_position_embeddings)
        self.width = width
        self.adapter = nn.Sequential(
            nn.LayerNorm(sizes.hidden_size),
            nn.Linear(sizes.hidden_size, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> "SentenceEncoder":  # noqa: FBT001, FBT002 -- of torch
        """Sets the mode of the adapter; the frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per token id, and the adapted mean of the frozen encoder's tokens.

        Raises:
            InputError: the text is longer than the encoder reads, or holds an unknown id.
        """
        ids = _token_ids(inputs, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        valid = inputs.valid
        # A row without text would make the encoder's softmax run over nothing.
        mask = valid | ~valid.any(1, keepdim=True)
        with torch.no_grad():
            hidden = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        pooled = self.adapter(masked_mean(hidden, valid))
        pooled = pooled.masked_fill(~valid.any(1)[:, None], 0.0)
        return TowerFeatures(hide(self.adapter(hidden), valid), valid, pooled)


def _token_ids(
    inputs: ModalityInput, *, vocab_size: int, max_tokens: int
) -> Int[Tensor, "batch time"]:
    """Returns the ids with zeros where they are not valid."""
    values = inputs.values
    if values.ndim != 2 or values.is_floating_point() or values.shape[1] > max_tokens:
        raise InputError(
            f"text tower: values have shape {tuple(values.shape)} and type {values.dtype}; "
            f"wanted integer token ids (batch, time) of at most {max_tokens} tokens"
        )
    ids = values.long().masked_fill(~inputs.valid, 0)
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        raise InputError(
            f"text tower: token ids reach from {int(ids.min())} to {int(ids.max())}; "
            f"wanted 0 to {vocab_size - 1}, as the tower was built for another tokenizer"
        )
    return ids
