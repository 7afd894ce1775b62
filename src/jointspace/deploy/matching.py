"""Does the instruction apply to what the robot sees or does? A bundle's calibrated answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Shaped

from jointspace.batch import TEXT, Modality
from jointspace.errors import InputError, did_you_mean
from jointspace.evaluation.decision import Decision, MatchThreshold


@dataclass(frozen=True)
class Match:
    """One row compared with one instruction.

    Attributes:
        similarity: through the gate of their pair, in [-1, 1].
        decision: what the threshold says of it; between its two ends it abstains.
    """

    similarity: float
    decision: Decision


@runtime_checkable
class Comparer(Protocol):
    """What matching asks of a `BundleEmbedder`."""

    @property
    def thresholds(self) -> Mapping[Modality, MatchThreshold]:
        """Calibrated thresholds by query modality."""
        ...

    def similarity(
        self,
        query: Modality,
        query_row: Shaped[np.ndarray, "..."],
        target: Modality,
        target_rows: Shaped[np.ndarray, "..."],
    ) -> Float32[np.ndarray, " target"]:
        """Compares one row with others."""
        ...


class Matcher:
    """Judges rows of one modality against instructions, by the threshold that comes with a bundle.

    Args:
        embedder: compares, and has the thresholds.
        query: the modality (or fused query without text) of the rows.
        threshold: another one than the bundle's, as calibrated on the robot's own episodes.

    Raises:
        InputError: there is no threshold for the modality, or the given one is for another.
    """

    def __init__(
        self, embedder: Comparer, query: Modality, *, threshold: MatchThreshold | None = None
    ) -> None:
        chosen = embedder.thresholds.get(query) if threshold is None else threshold
        if chosen is None:
            raise InputError(
                f"bundle: no calibrated threshold for '{query}'."
                f"{did_you_mean(query, embedder.thresholds)} Export with the data set "
                "(--data), or give a threshold"
            )
        if chosen.query != query:
            raise InputError(f"the threshold is for '{chosen.query}'; wanted one for '{query}'")
        self.query = query
        self.threshold = chosen
        self._embedder = embedder

    def match(self, row: Shaped[np.ndarray, "..."], text_row: Shaped[np.ndarray, "..."]) -> Match:
        """Judges one row against one instruction.

        Args:
            row: of the query modality, "dim".
            text_row: of the instruction, "dim".

        Returns:
            Similarity and decision.

        Raises:
            InputError: a row is zero, since it then lacks its modality; has another width; or is
                not finite.
        """
        for modality, each in ((self.query, row), (TEXT, text_row)):
            if not each.any():
                raise InputError(f"'{modality}': got a zero row, which lacks it; nothing to judge")
        similarity = float(self._embedder.similarity(self.query, row, TEXT, text_row[None])[0])
        return Match(similarity, self.threshold.decide(similarity))
