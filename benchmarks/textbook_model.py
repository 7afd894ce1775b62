"""A plain reading of the textbook chapter's model and training, mistakes and all.

What the chapter leaves open is read in its favour where that does not mend a mistake: texts, for
which it wants "BERT-like" vectors, become fixed random word vectors summed up; trajectories are
cut or zero-padded to one length; a row of several pictures is their mean.
"""

import math
import re
import zlib

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

TEXT_DIM = 768
HIDDEN_DIM = 128
LEARNING_RATE = 1e-4


class TextbookModel(nn.Module):
    """The chapter's efficient vision and text towers and trajectory encoder, joined."""

    def __init__(self, *, action_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.vision = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d((1, 1)),
            nn.Flatten(),
            nn.Linear(64, embed_dim),
            nn.LayerNorm(embed_dim),
        )
        self.text = nn.Sequential(
            nn.Linear(TEXT_DIM, embed_dim),
            nn.ReLU(),
            nn.Linear(embed_dim, embed_dim),
            nn.LayerNorm(embed_dim),
        )
        self.action_embedding = nn.Linear(action_dim, HIDDEN_DIM)
        layer = nn.TransformerEncoderLayer(
            d_model=HIDDEN_DIM, nhead=8, dim_feedforward=HIDDEN_DIM * 2, batch_first=True
        )
        self.action_transformer = nn.TransformerEncoder(layer, num_layers=3)
        self.action_projection = nn.Linear(HIDDEN_DIM, embed_dim)
        # The chapter's scale: the logarithm, used as if it were the scale itself.
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_vision(
        self, images: UInt8[Tensor, "picture px px 3"], row: Int[Tensor, " picture"]
    ) -> Float[Tensor, "batch dim"]:
        """Returns unit rows of pictures: the mean where a row has several."""
        features = self.vision(images.permute(0, 3, 1, 2).float() / 255)
        total = features.new_zeros(int(row[-1]) + 1, features.shape[1])
        # A sum of features has the direction of their mean.
        return functional.normalize(total.index_add(0, row, features), dim=-1)

    def encode_text(self, texts: Float[Tensor, "batch text_dim"]) -> Float[Tensor, "batch dim"]:
        """Returns unit rows of text vectors."""
        return functional.normalize(self.text(texts), dim=-1)

    def encode_action(
        self, actions: Float[Tensor, "batch time action_dim"]
    ) -> Float[Tensor, "batch dim"]:
        """Returns unit rows of zero-padded trajectories; padding counts as data here."""
        steps = self.action_transformer(self.action_embedding(actions))
        return functional.normalize(self.action_projection(steps.mean(dim=1)), dim=-1)

    def loss(
        self,
        images: UInt8[Tensor, "picture px px 3"],
        row: Int[Tensor, " picture"],
        texts: Float[Tensor, "batch text_dim"],
        actions: Float[Tensor, "batch time action_dim"],
    ) -> Float[Tensor, ""]:
        """Returns the chapter's loss: six cross-entropies against the diagonal."""
        image, text, action = (
            self.encode_vision(images, row),
            self.encode_text(texts),
            self.encode_action(actions),
        )
        total = torch.zeros(())
        for a, b in ((image, text), (image, action), (text, action)):
            logits = self.logit_scale * a @ b.T
            labels = torch.arange(len(logits))
            total = total + functional.cross_entropy(logits, labels)
            total = total + functional.cross_entropy(logits.T, labels)
        return total / 6


def text_vectors(texts: list[str]) -> Float[Tensor, "batch text_dim"]:
    """Returns the sum of a fixed random vector per word, scaled to unit variance."""
    rows = np.zeros((len(texts), TEXT_DIM), np.float32)
    for number, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        for word in words:
            rng = np.random.default_rng(zlib.crc32(word.encode()))
            rows[number] += rng.standard_normal(TEXT_DIM)
        rows[number] /= max(1.0, math.sqrt(len(words)))
    return torch.from_numpy(rows)
