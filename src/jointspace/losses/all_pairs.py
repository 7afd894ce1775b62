"""Every pair of the modalities of a batch, and who belongs to whom in it."""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from jointspace.batch import TEXT, Modality, RowIds
from jointspace.losses.pairing import Pairing, Side
from jointspace.losses.relations import OVERLAP_THRESHOLD, Ignore, Positives

PairRows = Callable[[Modality, Modality, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Turns the rows of two modalities into those that the pair compares by their dot products."""


def plain_rows(
    first: Modality,  # noqa: ARG001 - a `PairRows`
    second: Modality,  # noqa: ARG001
    first_rows: Float[Tensor, "row dim"],
    second_rows: Float[Tensor, "other dim"],
) -> tuple[Float[Tensor, "row dim"], Float[Tensor, "other dim"]]:
    """Returns the rows as they are: every pair compares the same."""
    return first_rows, second_rows


def pair_all(
    names: Mapping[Modality, object],
    rows: RowIds,
    *,
    present: Mapping[Modality, Bool[Tensor, " row"]],
    positives: Positives = "ids",
    ignore: Ignore = "overlap",
    overlap: float = OVERLAP_THRESHOLD,
    text_only: Mapping[Modality, Bool[Tensor, " row"]] | None = None,
) -> Iterator[tuple[Modality, Modality, Pairing]]:
    """Yields every unordered pair of modalities, and who belongs to whom in it.

    Args:
        names: modalities and fused queries.
        rows: ids of the rows.
        present: rows that have each modality; the others take no part in its pairs, not even as
            negatives.
        positives: see `relations.relate`.
        ignore: see `relations.relate`.
        overlap: see `relations.relate`.
        text_only: see `relations.compare_all`.

    Yields:
        The two, and their pairing. Pairs that fewer than two rows have are left out: nothing can
        be compared.
    """
    sides: dict[bytes, Side] = {}
    known: dict[tuple[bytes, ...], Pairing] = {}
    nowhere = np.zeros(len(rows), dtype=bool)
    here = {name: present[name].detach().cpu().numpy() for name in names}
    only = {} if text_only is None else {m: each.cpu().numpy() for m, each in text_only.items()}
    for first, second in combinations(names, 2):
        keep = here[first] & here[second]
        if keep.sum() < 2:
            continue
        by_goal = [only.get(name, nowhere) | (TEXT in {first, second}) for name in (first, second)]
        # Most pairs of a batch, and most sides of a pair, are alike: what one has worked out serves
        # the others.
        key = tuple(keep.tobytes() + mask.tobytes() for mask in by_goal)
        for name, mask in zip(key, by_goal, strict=True):
            if name not in sides:
                sides[name] = Side.of(rows, by_goal=mask, keep=None if keep.all() else keep)
        if key not in known:
            query, target = (sides[name] for name in key)
            known[key] = Pairing(query, target, positives, ignore, overlap)
        yield first, second, known[key]
