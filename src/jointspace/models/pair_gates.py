"""The learned part of a pair's metric: what each dimension counts where two modalities compare."""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_SOFTPLUS_IS_ONE = math.log(math.e - 1)


class PairGates(nn.Module):
    """A vector of positive numbers for each pair, all 1 at the start.

    They are the softplus of what is learned. The optimiser knows them by this class: they are to
    learn faster than weights, and not to decay.

    Args:
        pairs: names of the pairs.
        dim: width of the joint space.

    Source:
        Veit, Belongie & Karaletsos 2017 (conditional similarity networks), section 3.2, learn such
        a vector for each notion of similarity; here a notion is a pair of modalities.
    """

    def __init__(self, pairs: Iterable[str], *, dim: int) -> None:
        super().__init__()
        self.learned = nn.ParameterDict(
            {name: nn.Parameter(torch.full((dim,), _SOFTPLUS_IS_ONE)) for name in pairs}
        )

    def forward(self, pair: str) -> Float[Tensor, " dim"]:
        """Returns the gate of a pair."""
        return functional.softplus(self.learned[pair])
