"""The joint model: towers projected into one space, fusion, and one temperature per pair."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from jointspace.batch import Batch, Modality, fused_name
from jointspace.encoders.layers import TowerFeatures
from jointspace.errors import InputError, did_you_mean
from jointspace.models.clamped_exponential import clamped_exponential
from jointspace.models.fused_queries import fused_queries_of
from jointspace.models.pair_gates import PairGates
from jointspace.models.unit_rows import unit_rows


@dataclass(frozen=True)
class JointOutput:
    """What one pass over a batch gives, for the modalities that both the batch and the model have.

    Attributes:
        embeddings: unit rows "batch embed_dim"; a row that lacks the modality is zero.
        present: True for the rows that have the modality.
        features: what the towers returned, for `JointModel.fuse`.
    """

    embeddings: Mapping[Modality, Float[Tensor, "batch embed_dim"]]
    present: Mapping[Modality, Bool[Tensor, " batch"]]
    features: Mapping[Modality, TowerFeatures]


class JointModel(nn.Module):
    """Maps every modality, and fused queries of several, to unit rows of one space.

    Args:
        towers: modality -> tower. A tower takes a `ModalityInput` of tensors, returns
            `TowerFeatures`, and declares its `width`.
        embed_dim: width of the joint space.
        fusion: takes the features of several modalities and returns "batch embed_dim"; None
            builds none.
        initial_temperature: of every pair, learned from there.
        max_logit_scale: what the learned inverse temperature is clamped to.
        initial_bias: of every pair, learned from there, for losses that judge each pair by itself;
            None builds none.
        gated: compare each pair through a learned gate, see `pair_rows`, instead of by the cosine
            of its rows.

    Raises:
        InputError: a tower declares no width, a modality's name is empty or holds "+" (which
            names fused queries), or a temperature or its clamp is out of range.

    Source:
        Radford et al. 2021 (CLIP), section 2.3, for projections and temperature; here one
        temperature per pair of modalities, and another per target of fused queries.
    """

    def __init__(
        self,
        towers: Mapping[Modality, nn.Module],
        *,
        embed_dim: int,
        fusion: nn.Module | None = None,
        initial_temperature: float = 0.07,
        max_logit_scale: float = 100.0,
        initial_bias: float | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__()
        for modality in towers:
            if not modality or "+" in modality:
                raise InputError(
                    f"modality '{modality}': wanted a name without '+', which names fused queries"
                )
        if initial_temperature <= 0 or max_logit_scale < 1:
            raise InputError(
                f"initial_temperature is {initial_temperature}, max_logit_scale {max_logit_scale}; "
                "wanted a positive temperature and a clamp of at least 1"
            )
        self.modalities = tuple(towers)
        self.embed_dim = embed_dim
        self.max_logit_scale = max_logit_scale
        self.towers = nn.ModuleDict({_key(m): tower for m, tower in towers.items()})
        self.projections = nn.ModuleDict(
            {
                _key(m): nn.Linear(tower_width(tower), embed_dim, bias=False)
                for m, tower in towers.items()
            }
        )
        self.fusion = fusion
        self.fused_queries = fused_queries_of(self.modalities) if fusion is not None else ()
        log_scale = -torch.tensor(initial_temperature).log()
        names = [_key(fused_name(pair)) for pair in combinations(self.modalities, 2)]
        names += [_key(_fused_pair(query.target)) for query in self.fused_queries]
        self.log_scales = nn.ParameterDict(
            {name: nn.Parameter(log_scale.clone()) for name in dict.fromkeys(names)}
        )
        # Empty where there are none: weights of a model without biases name none.
        self.biases = nn.ParameterDict(
            {}
            if initial_bias is None
            else {name: nn.Parameter(torch.tensor(initial_bias)) for name in self.log_scales}
        )
        self.gates = PairGates(self.log_scales, dim=embed_dim) if gated else None

    def tower(self, modality: Modality) -> nn.Module:
        """Returns the tower of one modality.

        Raises:
            InputError: the model has no such modality.
        """
        if modality not in self.modalities:
            raise InputError(
                f"model: no modality '{modality}'.{did_you_mean(modality, self.modalities)}"
            )
        return self.towers[_key(modality)]

    def features(self, modality: Modality, batch: Batch) -> TowerFeatures:
        """Returns what the tower of one modality makes of a batch of tensors.

        Raises:
            InputError: the model has no such modality, or the batch lacks it or has another shape.
        """
        features: TowerFeatures = self.tower(modality)(batch[modality])
        return features

    def project(
        self, modality: Modality, features: TowerFeatures
    ) -> Float[Tensor, "batch embed_dim"]:
        """Returns unit rows of one modality's features; a row that lacks the modality is zero."""
        return unit_rows(self.projections[_key(modality)](features.pooled), features.present)

    def encode(self, modality: Modality, batch: Batch) -> Float[Tensor, "batch embed_dim"]:
        """Embeds one modality, or a fused query such as `vision+text`, of a batch of tensors.

        Returns:
            One unit row per row of the batch. A row that lacks the modality (a fused query: all
            of its modalities) is zero.

        Raises:
            InputError: the model has no such modality or no fusion, or the batch lacks it or has
                another shape.
        """
        if "+" not in modality:
            return self.project(modality, self.features(modality, batch))
        members = tuple(Modality(name) for name in modality.split("+"))
        return self.fuse({m: self.features(m, batch) for m in members}, members)

    def forward(self, batch: Batch) -> JointOutput:
        """Embeds every modality that both the batch and the model have.

        Raises:
            InputError: they have none in common, or a modality has another shape.
        """
        known = tuple(m for m in self.modalities if m in batch.inputs)
        if not known:
            raise InputError(
                f"model: the batch has {', '.join(batch.inputs) or 'no modality'}; "
                f"wanted at least one of {', '.join(self.modalities)}"
            )
        features = {m: self.features(m, batch) for m in known}
        return JointOutput(
            embeddings={m: self.project(m, each) for m, each in features.items()},
            present={m: each.present for m, each in features.items()},
            features=features,
        )

    def fuse(
        self,
        features: Mapping[Modality, TowerFeatures],
        modalities: Iterable[Modality],
        present: Mapping[Modality, Bool[Tensor, " batch"]] | None = None,
    ) -> Float[Tensor, "batch embed_dim"]:
        """Embeds a fused query.

        The row is the mean of its modalities' own unit rows, which needs no training, plus what
        fusion adds.

        Args:
            features: from `JointOutput`.
            modalities: which of them the query is made of.
            present: True where the query may use a modality; None uses what is there. A row
                lacking a modality is fused from the others.

        Returns:
            Unit rows; a row that lacks all of the modalities is zero.

        Raises:
            InputError: the model has no fusion, a modality is unknown or named twice, or the
                features lack it.
        """
        members: dict[Modality, TowerFeatures] = {}
        for modality in modalities:
            if modality not in features or modality in members:
                raise InputError(
                    f"fused query: '{modality}' is not among the features or is named twice."
                    f"{did_you_mean(modality, features)}"
                )
            each = features[modality]
            if present is not None and modality in present:
                each = each.keep(present[modality])
            members[modality] = each
        return self.fuse_rows({m: self.project(m, each) for m, each in members.items()}, members)

    def fuse_rows(
        self,
        rows: Mapping[Modality, Float[Tensor, "batch embed_dim"]],
        members: Mapping[Modality, TowerFeatures],
    ) -> Float[Tensor, "batch embed_dim"]:
        """Embeds a fused query of modalities whose own rows are there already; see `fuse`.

        Args:
            rows: from `project`, of every member.
            members: the features that the rows were made of.

        Returns:
            Unit rows; a row that lacks all of the modalities is zero.

        Raises:
            InputError: the model has no fusion, or it does not know a modality.
        """
        if self.fusion is None:
            raise InputError("model: built without fusion; set model.fusion to fuse modalities")
        here = torch.stack([each.present for each in members.values()])
        mean = torch.stack(list(rows.values())).sum(0) / here.sum(0).clamp(min=1)[:, None]
        # At initialisation fusion adds about as much as the mean holds.
        return unit_rows(mean + self.fusion(members) * self.embed_dim**-0.5, here.any(0))

    def logit_scale(self, first: Modality, second: Modality) -> Float[Tensor, ""]:
        """Returns the inverse temperature of an unordered pair, at most `max_logit_scale`.

        One of the pair may be a fused query; all fused queries of one target share a scale.

        Raises:
            InputError: the model has no such pair.
        """
        log_scale = self.log_scales[self._pair_key(first, second)]
        return clamped_exponential(log_scale, limit=self.max_logit_scale)

    def logit_bias(self, first: Modality, second: Modality) -> Float[Tensor, ""]:
        """Returns the bias of an unordered pair, of which one may be a fused query.

        Raises:
            InputError: the model has no such pair, or was built without biases.
        """
        key = self._pair_key(first, second)
        if key not in self.biases:
            raise InputError("model: built without biases; set loss.name = 'sigmoid' to have them")
        bias: Tensor = self.biases[key]
        return bias

    def pair_gate(self, first: Modality, second: Modality) -> Float[Tensor, " embed_dim"] | None:
        """Returns the gate of an unordered pair, of which one may be a fused query.

        All fused queries of one target share a gate, as they share a scale.

        Returns:
            A positive number for each dimension; None where the model compares by plain cosines.

        Raises:
            InputError: the model has no such pair.
        """
        key = self._pair_key(first, second)
        return None if self.gates is None else self.gates(key)

    def pair_rows(
        self,
        first: Modality,
        second: Modality,
        first_rows: Float[Tensor, "batch embed_dim"],
        second_rows: Float[Tensor, "other embed_dim"],
    ) -> tuple[Float[Tensor, "batch embed_dim"], Float[Tensor, "other embed_dim"]]:
        """Returns rows whose dot products are the similarities of a pair.

        What tells two texts apart is not what tells two motions apart. A gate per pair says what
        each dimension counts there: the similarity of x and y is cos(g * x, g * y), a cosine whose
        metric is diagonal and learned. It begins as the plain one, with gates of 1.

        Args:
            first: a modality or fused query.
            second: what it is compared with.
            first_rows: from `encode`.
            second_rows: from `encode`, of other rows as it may be.

        Returns:
            Unit rows through the pair's gate, or the very rows where the model has no gates; a row
            that lacks the modality stays zero.

        Raises:
            InputError: the model has no such pair.
        """
        gate = self.pair_gate(first, second)
        if gate is None:
            return first_rows, second_rows
        return (
            functional.normalize(first_rows * gate, dim=1),
            functional.normalize(second_rows * gate, dim=1),
        )

    def _pair_key(self, first: Modality, second: Modality) -> str:
        a, b = sorted((first, second), key=lambda name: "+" in name)
        pair = fused_name(sorted((a, b), key=self._position))
        key = _key(_fused_pair(a) if "+" in b else pair)
        if key not in self.log_scales:
            raise InputError(
                f"model: no temperature for '{first}' and '{second}'; "
                f"modalities are {', '.join(self.modalities)}, targets of fused queries "
                f"{', '.join(dict.fromkeys(q.target for q in self.fused_queries)) or 'none'}"
            )
        return key

    def _position(self, modality: Modality) -> int:
        return self.modalities.index(modality) if modality in self.modalities else -1


def tower_width(tower: nn.Module) -> int:
    """Returns the width that a tower declares.

    Raises:
        InputError: it declares none.
    """
    width = getattr(tower, "width", None)
    if not isinstance(width, int):
        raise InputError(
            f"tower {type(tower).__name__}: declares no integer 'width'; "
            "wanted the width of its pooled vector"
        )
    return width


def _fused_pair(target: Modality) -> str:
    return f"fused+{target}"


def _key(name: str) -> str:
    """Returns a name that torch accepts for a submodule: no dots, no attribute of its own."""
    quoted = name.replace("%", "%25").replace(".", "%2E")
    taken = hasattr(nn.ModuleDict(), quoted) or hasattr(nn.ParameterDict(), quoted)
    return f"{quoted}%" if taken else quoted
