"""What the best possible model could score where one side does not show all that texts name."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jointspace.batch import TEXT, Direction, Embeddings, Modality
from jointspace.errors import DataError, InputError, did_you_mean
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.factors import GoalFactors, rows_with_text

MANIFEST_FILE = Path("meta") / "simulation.json"
"""Where a simulated data set says what it is, within its folder."""

REVEALED_KEY = "revealed_factors"
"""Its entry that says which factors a modality shows."""

_KNOWING = Modality("knowing")
"""Stands for the modality: a plain one, so that it is also searched."""

Revealed = Mapping[Modality, tuple[str, ...]]
"""Modality -> the factors of the goal that it shows; a modality that is not there shows all."""


@dataclass(frozen=True)
class CeilingScores:
    """What knowing the revealed factors, and nothing else, scores in one direction.

    Attributes:
        recall_at_1: share of queries with a right answer first.
        recall_at_5: ... among the first five.
        mean_average_precision: how purely right answers fill the top.
    """

    recall_at_1: float
    recall_at_5: float
    mean_average_precision: float


@dataclass(frozen=True)
class Ceiling:
    """The highest scores between text and a modality that shows only some of the factors.

    Attributes:
        revealed: the factors that the modality shows.
        hidden: the others.
        to_text: of the modality searching texts; R@1 is the accuracy of choosing the instruction.
        from_text: of texts searching the modality.
    """

    revealed: tuple[str, ...]
    hidden: tuple[str, ...]
    to_text: CeilingScores
    from_text: CeilingScores


def measure_ceilings(
    embeddings: Embeddings, factors: GoalFactors, revealed: Revealed
) -> dict[Modality, Ceiling]:
    """Computes what a model that knows the revealed factors and nothing else would score.

    Every row and every text is replaced by the values of the revealed factors: where they agree,
    the cosine is 1, elsewhere 0. The same evaluation then counts ties in expectation, so that the
    numbers are exact.

    Args:
        embeddings: what was measured; only its row ids count, and which modalities are present.
        factors: of the goals.
        revealed: the factors that each modality shows.

    Returns:
        One for each modality of `revealed` that the embeddings have and that hides a factor, and
        for each fused query of such modalities alone, which shows what any of its parts shows.

    Raises:
        InputError: a factor is unknown, or the goals contradict the instructions.
    """
    for modality, names in revealed.items():
        for name in names:
            if name not in factors.names:
                known = did_you_mean(name, factors.names)
                raise InputError(f"revealed factors of '{modality}': no factor '{name}'.{known}")
    found = {}
    for modality in embeddings.modalities:
        parts = [Modality(part) for part in modality.split("+")]
        if not all(part in revealed for part in parts):
            continue
        shown = {name for part in parts for name in revealed[part]}
        hidden = tuple(name for name in factors.names if name not in shown)
        names = tuple(name for name in factors.names if name in shown)
        ceiling = _measure(embeddings, modality, factors, names, hidden) if hidden else None
        if ceiling is not None:
            found[modality] = ceiling
    return found


def read_revealed(folder: Path) -> Revealed:
    """Reads from a data set's manifest which factors each modality shows.

    Args:
        folder: of the data set.

    Returns:
        Empty where there is no manifest, or it does not say.

    Raises:
        DataError: the manifest is no JSON object, or the entry is not a list of names for each
            modality.
    """
    path = folder / MANIFEST_FILE
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(path, f"could not be read as JSON: {error}") from error
    entry = payload.get(REVEALED_KEY, {}) if isinstance(payload, dict) else None
    if not isinstance(entry, dict) or not all(_is_names(each) for each in entry.values()):
        raise DataError(
            path,
            f'"{REVEALED_KEY}" must map each modality to a list of factors, as '
            f'{{"action": ["skill"]}}; got {entry!r}',
        )
    return {Modality(modality): tuple(names) for modality, names in entry.items()}


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _measure(
    embeddings: Embeddings,
    modality: Modality,
    factors: GoalFactors,
    names: tuple[str, ...],
    hidden: tuple[str, ...],
) -> Ceiling | None:
    rows = embeddings.rows.take(rows_with_text(embeddings, modality))
    if not len(rows):
        return None
    known = {name: factors.of(rows.goal, name) for name in names}
    kinds: dict[tuple[str, ...], int] = {}
    place = [
        kinds.setdefault(tuple(values[row] for values in known.values()), len(kinds))
        for row in range(len(rows))
    ]
    # One axis for each combination, so that cosines are exactly 1 or 0 and ties are exact.
    vectors = np.eye(len(kinds), dtype=np.float32)[place]
    measured = evaluate_embeddings(
        Embeddings({_KNOWING: vectors, TEXT: vectors}, rows), resampling=Resampling(num_resamples=0)
    ).retrieval
    scores = {}
    for direction in (Direction(_KNOWING, TEXT), Direction(TEXT, _KNOWING)):
        if direction not in measured:
            return None
        metrics = measured[direction]
        scores[direction.query] = CeilingScores(
            metrics.recall_at_1.value,
            metrics.recall_at_5.value,
            metrics.mean_average_precision.value,
        )
    return Ceiling(names, hidden, scores[_KNOWING], scores[TEXT])
