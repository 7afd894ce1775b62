"""The tower for instructions that begins with a pretrained network."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jointspace.batch import ModalityInput
from jointspace.encoders.layers import AttentionPool, TowerFeatures, hide
from jointspace.encoders.pretrained import PretrainedNetwork, Trainable
from jointspace.encoders.sentence_network import SentenceNetwork
from jointspace.encoders.text import highest_channels, pool_words, token_ids
from jointspace.errors import InputError


class SentenceEncoder(nn.Module):
    """A pretrained sentence encoder with a small trained adapter and pooling behind it.

    It carries to paraphrases that training never saw, where a tower trained from scratch
    memorises templates. The vector that the network makes of a sentence says what it is about, but
    blurs which of two things is what colour: what a trained pooling reads of its single tokens is
    added. What a frozen network makes of a text that is known beforehand can be remembered: see
    `remember`.

    Args:
        pretrained: folder in the Hugging Face or sentence-transformers layout, or the id of a model
            on the hub; see `SentenceNetwork`.
        width: of tokens and pooled vector.
        heads: of the pooling's attention; must divide `width`.
        dropout: in the adapter and the pooling.
        max_pooling: see `TextEncoder`.
        trainable: what of the network is trained.
        num_trainable_layers: how many layers `last-layers` trains.
        local_files_only: never ask the hub.

    Raises:
        InputError: there is no such model, it cannot be read, it reads no text, or has fewer layers
            than are to be trained; or `heads` does not divide `width`.
        MissingExtraError: `transformers` is not installed.
    """

    known_tokens: Tensor
    known_pooled: Tensor

    def __init__(
        self,
        pretrained: str,
        *,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
        max_pooling: bool = False,
        trainable: Trainable = "frozen",
        num_trainable_layers: int = 2,
        local_files_only: bool = False,
    ) -> None:
        super().__init__()
        network = SentenceNetwork(pretrained, local_files_only=local_files_only)
        self.vocab_size = network.vocab_size
        self.max_tokens = network.max_tokens
        self.pretrained_width = network.width
        self.width = width
        self.backbone = PretrainedNetwork(
            network,
            source=pretrained,
            tower="text tower",
            trainable=trainable,
            num_trainable_layers=num_trainable_layers,
            probe=_probe,
        )
        self.adapter = nn.Sequential(
            nn.LayerNorm(network.width),
            nn.Linear(network.width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.pool = AttentionPool(width, num_heads=heads, dropout=dropout)
        self.highest = highest_channels(width) if max_pooling else None
        self._known: dict[tuple[int, ...], int] = {}
        nothing = torch.zeros(0, 1, network.width)
        self.register_buffer("known_tokens", nothing, persistent=False)
        self.register_buffer("known_pooled", nothing[:, 0], persistent=False)

    @property
    def feature_name(self) -> str:
        """Names all that features of a text depend on: weights, pooling and normalisation."""
        network = self.backbone.network
        weights = bytes(self.backbone.fingerprint.tolist()).hex()
        return f"{weights} {network.pooling} {network.normalised}"

    @property
    def num_known(self) -> int:
        """How many texts are remembered."""
        return len(self._known)

    def read(
        self, ids: Int[Tensor, "batch time"], valid: Bool[Tensor, "batch time"]
    ) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, "batch channel"]]:
        """Returns what the pretrained network makes of texts: of each token, and pooled.

        What is remembered of an earlier text of the same ids is taken from there.

        Args:
            ids: token ids, zero where they are not valid.
            valid: True where one is real; of a row without any, what is returned means nothing.
        """
        told = valid.any(1)
        # A row without text would make the network's softmax run over nothing.
        valid = valid | ~told[:, None]
        # What is exported reads every text.
        if not self._known or torch.compiler.is_exporting():
            tokens, pooled = self.backbone(ids, valid)
            return tokens, pooled
        texts = [_text(*row) for row in zip(ids.tolist(), valid.tolist(), strict=True)]
        rows = torch.tensor([self._known.get(text, -1) for text in texts], device=ids.device)
        at = rows.clamp(min=0)
        width = min(ids.shape[1], self.known_tokens.shape[1])
        tokens = self.known_tokens.new_zeros(*ids.shape, self.pretrained_width)
        tokens[:, :width] = self.known_tokens[at, :width]
        pooled = self.known_pooled[at]
        new = (rows < 0) & told
        if bool(new.any()):
            read_tokens, read_pooled = self.backbone(ids[new], valid[new])
            tokens[new], pooled[new] = read_tokens.to(tokens), read_pooled.to(pooled)
        return tokens, pooled

    def remember(
        self,
        ids: Int[Tensor, "batch time"],
        valid: Bool[Tensor, "batch time"],
        tokens: Float[Tensor, "batch time channel"],
        pooled: Float[Tensor, "batch channel"],
    ) -> None:
        """Remembers what the frozen network made of texts, in the place of what was known before.

        A text is known by its ids, so that one with a word dropped is another, and is read.

        Args:
            ids: token ids of distinct texts.
            valid: True where one is real.
            tokens: of each token, as `read` returned.
            pooled: of each text.

        Raises:
            InputError: the network is being trained, so that what it makes of a text changes.
        """
        if self.backbone.trainable != "frozen":
            raise InputError(
                f"text tower: trainable is '{self.backbone.trainable}'; wanted a frozen network, "
                "since one that is trained reads a text differently after each step"
            )
        self._known = {
            _text(*row): number
            for number, row in enumerate(zip(ids.tolist(), valid.tolist(), strict=True))
        }
        self.known_tokens = tokens.detach().to(self.known_tokens)
        self.known_pooled = pooled.detach().to(self.known_pooled)

    def forward(self, inputs: ModalityInput) -> TowerFeatures:
        """Returns one token per token id, and one vector of sentence and tokens.

        Raises:
            InputError: the text is longer than the network reads, or holds an unknown id.
        """
        ids = token_ids(inputs, vocab_size=self.vocab_size, max_tokens=self.max_tokens)
        valid = inputs.valid
        hidden, pooled = self.read(ids, valid)
        tokens = hide(self.adapter(hidden), valid)
        pooled = self.adapter(pooled).masked_fill(~valid.any(1)[:, None], 0.0)
        pooled = pooled + pool_words(tokens, valid, pool=self.pool, highest=self.highest)
        return TowerFeatures(tokens, valid, pooled)


def _text(ids: list[int], valid: list[bool]) -> tuple[int, ...]:
    return tuple(each for each, real in zip(ids, valid, strict=True) if real)


def _probe(network: nn.Module) -> Tensor:
    ids = torch.zeros(1, 2, dtype=torch.long)
    tokens, pooled = network(ids, torch.ones_like(ids, dtype=torch.bool))
    return tokens.sum() + pooled.sum()
