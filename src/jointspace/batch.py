"""The types in the middle: what goes into a model (Batch) and what comes out of it (Embeddings).

Arrays of a `Batch` are NumPy arrays when `data` makes them and torch tensors inside a model; this
module imports neither framework's heavy half, so that the robot and the search page can use it
without torch.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any, NewType

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from jointspace.errors import InputError, did_you_mean

Modality = NewType("Modality", str)
"""A kind of input. The set is open: `Modality("force")` is as good a modality as the named ones."""

VISION = Modality("vision")
TEXT = Modality("text")
ACTION = Modality("action")
STATE = Modality("state")

CORE_MODALITIES = (VISION, TEXT, ACTION)

Pair = frozenset[Modality]
"""Two modalities that are compared, in either order; one of them may be a fused query."""

UNIT_NORM_TOLERANCE = 1e-3
"""How far the norm of a row of `Embeddings` may lie from 1 (half-precision towers round)."""


@dataclass(frozen=True, order=True)
class Direction:
    """A retrieval direction: rows of `query` search among rows of `target`."""

    query: Modality
    target: Modality

    def __str__(self) -> str:
        return f"{self.query}->{self.target}"


def directions(modalities: Iterable[Modality]) -> tuple[Direction, ...]:
    """Returns every ordered pair of distinct modalities."""
    return tuple(Direction(a, b) for a, b in permutations(modalities, 2))


SIX_DIRECTIONS = directions(CORE_MODALITIES)


def fused_name(modalities: Iterable[Modality]) -> Modality:
    """Names the fused query of several modalities: `vision+text`."""
    return Modality("+".join(modalities))


@dataclass(frozen=True)
class ModalityInput:
    """One modality of a batch: padded values, and beside them what is real and when it happened.

    Attributes:
        values: `vision`: uint8 RGB frames "batch time camera height width 3", or a frozen network's
            features of them, "batch time camera token channel". `text`: token ids
            "batch time". Continuous actions, state and other sensors: "batch time channel",
            normalised. Discrete action sequences: integer ids "batch time". Masked entries hold
            zeros, and no tower may depend on them.
        valid: True where a step is real: "batch time", for vision "batch time camera". A row
            without a single valid entry lacks the modality.
        time_s: seconds of each step since the start of the row's time span, "batch time"; None for
            text.
        embodiment: number of the robot that all of the rows are from, among those of a run of
            several robots; 0 in a run of one.
    """

    values: Shaped[Any, "batch time ..."]
    valid: Bool[Any, "batch time ..."]
    time_s: Float[Any, "batch time"] | None = None
    embodiment: int = 0

    @property
    def present(self) -> Bool[Any, " batch"]:
        """True for the rows that have this modality."""
        return self.valid.reshape(self.valid.shape[0], -1).any(1)

    def map(self, function: Callable[[Any], Any]) -> "ModalityInput":
        """Returns a copy with `function` applied to every array."""
        time_s = None if self.time_s is None else function(self.time_s)
        return ModalityInput(function(self.values), function(self.valid), time_s, self.embodiment)


@dataclass(frozen=True)
class RowIds:
    """Who each row is. Positives in the loss and ground truth in the metrics both come from here.

    Attributes:
        episode: episode id.
        instruction: id of the distinct instruction text, -1 where the row has no text.
        goal: id of the goal; paraphrases share it. Equal to `instruction` where the data names no
            goals.
        start_s: start of the row's time span within its episode, in seconds.
        stop_s: end of the span (exclusive), in seconds.
    """

    episode: Int[np.ndarray, " row"]
    instruction: Int[np.ndarray, " row"]
    goal: Int[np.ndarray, " row"]
    start_s: Float[np.ndarray, " row"]
    stop_s: Float[np.ndarray, " row"]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in _ROW_ID_FIELDS}
        if len(set(lengths.values())) > 1:
            raise InputError(f"row ids must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.episode)

    def take(self, index: Any) -> "RowIds":
        """Returns the rows at `index` (integers or a boolean mask)."""
        return RowIds(**{name: getattr(self, name)[index] for name in _ROW_ID_FIELDS})

    @staticmethod
    def concatenate(parts: Iterable["RowIds"]) -> "RowIds":
        """Joins row ids in order."""
        rows = list(parts)
        return RowIds(
            **{name: np.concatenate([getattr(p, name) for p in rows]) for name in _ROW_ID_FIELDS}
        )


_ROW_ID_FIELDS = ("episode", "instruction", "goal", "start_s", "stop_s")


@dataclass(frozen=True)
class Batch:
    """Model input: several modalities of the same rows, any of which a row may lack."""

    inputs: Mapping[Modality, ModalityInput]
    rows: RowIds

    def __post_init__(self) -> None:
        for modality, each in self.inputs.items():
            if each.values.shape[0] != len(self.rows):
                raise InputError(
                    f"batch: '{modality}' has {each.values.shape[0]} rows, "
                    f"the row ids {len(self.rows)}"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, modality: Modality) -> ModalityInput:
        try:
            return self.inputs[modality]
        except KeyError:
            raise InputError(
                f"batch: no modality '{modality}'.{did_you_mean(modality, self.inputs)}"
            ) from None

    def map(self, function: Callable[[Any], Any]) -> "Batch":
        """Returns a copy with `function` applied to every input array; row ids stay as they are."""
        return Batch({m: each.map(function) for m, each in self.inputs.items()}, self.rows)

    def of_embodiment(self, number: int) -> "Batch":
        """Returns a copy whose rows are all from one robot, by its number in the run."""
        inputs = {m: replace(each, embodiment=number) for m, each in self.inputs.items()}
        return Batch(inputs, self.rows)


def gated_rows(
    rows: Float[np.ndarray, "row dim"], gate: Float[np.ndarray, " dim"] | None
) -> Float[np.ndarray, "row dim"]:
    """Returns rows as a pair of modalities compares them: through its gate, with length 1 again.

    The dot product of two such rows is the similarity of the pair. One stored vector per item is
    enough for every pair, since these rows are made of it.

    Args:
        rows: unit rows; a zero row, which lacks its modality, stays zero.
        gate: one positive factor for each dimension; None gives the rows as they are.

    Returns:
        In the precision of the rows.

    Example:
        The similarity of two rows can be had without making either of them, as where an index
        holds plain rows: fold the gate into the query twice, and divide by the length of the
        gated target, which is one number to store beside each item.

        >>> x, y, gate = np.array([[0.6, 0.8]]), np.array([[0.8, 0.6]]), np.array([2.0, 1.0])
        >>> similarity = gated_rows(x, gate) @ gated_rows(y, gate).T
        >>> query = gate**2 * x / np.linalg.norm(gate * x, axis=1, keepdims=True)
        >>> bool(np.allclose(similarity, query @ y.T / np.linalg.norm(gate * y, axis=1)))
        True
    """
    if gate is None:
        return rows
    gated = rows.astype(np.float64) * gate
    lengths = np.sqrt((gated**2).sum(axis=1, keepdims=True))
    return np.asarray((gated / np.where(lengths > 0, lengths, 1)).astype(rows.dtype))


@dataclass(frozen=True)
class Embeddings:
    """Model output: unit rows per modality, aligned with their row ids.

    Attributes:
        vectors: modality -> "row dim". A row that lacks the modality is all zero.
        rows: the row ids, shared by all modalities.
        texts: instruction id -> text, for reports; may be empty.
        gates: what each dimension counts where a pair is compared, see `gated_rows`; a pair that is
            not there is compared by the cosine of its rows.
    """

    vectors: Mapping[Modality, Float[np.ndarray, "row dim"]]
    rows: RowIds
    texts: Mapping[int, str] = field(default_factory=dict)
    gates: Mapping[Pair, Float[np.ndarray, " dim"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for modality, vectors in self.vectors.items():
            if vectors.shape[0] != len(self.rows):
                raise InputError(
                    f"embeddings: '{modality}' has {vectors.shape[0]} rows, "
                    f"the row ids {len(self.rows)}"
                )
            norms = np.linalg.norm(vectors, axis=1)
            bad = ~((np.abs(norms - 1) <= UNIT_NORM_TOLERANCE) | (norms == 0))
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                raise InputError(
                    f"embeddings: row {row} of '{modality}' has norm {norms[row]:.4g}; "
                    "expected 1, or 0 for a missing modality"
                )
        for pair, gate in self.gates.items():
            if not (np.isfinite(gate) & (gate > 0)).all():
                raise InputError(
                    f"embeddings: the gate of {' and '.join(sorted(pair))} holds {gate.min():.4g}; "
                    "expected positive numbers"
                )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that have vectors."""
        return tuple(self.vectors)

    def present(self, modality: Modality) -> Bool[np.ndarray, " row"]:
        """True for the rows that have `modality`."""
        return np.asarray(self.vectors[modality].any(axis=1))

    def gate(self, first: Modality, second: Modality) -> Float[np.ndarray, " dim"] | None:
        """Returns the gate of a pair in either order; None where it has none."""
        return self.gates.get(frozenset((first, second)))

    def pair_rows(
        self, first: Modality, second: Modality, rows: Any = None, second_rows: Any = None
    ) -> tuple[Float[np.ndarray, "row dim"], Float[np.ndarray, "second_row dim"]]:
        """Returns rows of two modalities whose dot products are the pair's similarities.

        Args:
            first: a modality or fused query.
            second: what it is compared with.
            rows: which rows (integers or a boolean mask); None means all.
            second_rows: which rows of `second`; None means the same.

        Returns:
            Unit rows of each, through the pair's gate where it has one; a row that lacks the
            modality is zero.
        """
        gate = self.gate(first, second)
        index = slice(None) if rows is None else rows
        second_index = index if second_rows is None else second_rows
        return (
            gated_rows(self.vectors[first][index], gate),
            gated_rows(self.vectors[second][second_index], gate),
        )

    def take(self, index: Any) -> "Embeddings":
        """Returns the rows at `index` (integers or a boolean mask)."""
        vectors = {m: v[index] for m, v in self.vectors.items()}
        return Embeddings(vectors, self.rows.take(index), self.texts, self.gates)

    @staticmethod
    def concatenate(parts: Iterable["Embeddings"]) -> "Embeddings":
        """Joins embeddings of the same modalities in order.

        Raises:
            InputError: they have different gates, and so come from different models.
        """
        pieces = list(parts)
        gates = pieces[0].gates
        for piece in pieces[1:]:
            if piece.gates.keys() != gates.keys() or any(
                not np.array_equal(gate, gates[pair]) for pair, gate in piece.gates.items()
            ):
                raise InputError(
                    "embeddings: the parts have different gates; expected those of one model"
                )
        vectors = {m: np.concatenate([p.vectors[m] for p in pieces]) for m in pieces[0].modalities}
        texts = {k: v for p in pieces for k, v in p.texts.items()}
        return Embeddings(vectors, RowIds.concatenate(p.rows for p in pieces), texts, gates)
