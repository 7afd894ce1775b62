"""The measurements as plain JSON, for scripts and for comparing runs."""

import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from jointspace.evaluation.directions import Evaluation

METRICS_VERSION = 1
"""Version of the layout of `metrics.json`; raised when a reader would have to change."""


def metrics_payload(
    results: Mapping[str, Evaluation], *, about: Mapping[str, str]
) -> dict[str, Any]:
    """Lays the measurements out for JSON. Intervals that do not exist are null.

    Layout: `format`, `version`, `about`, and under `scales` for each name the counts, `retrieval`
    (a list with `query`, `target` and every metric as `value`, `chance`, `low`, `high`),
    `instruction_accuracy`, `matching` (the AUROC of right against wrong instructions), `geometry`
    and `notes`.

    Args:
        results: name of the scale of rows, as `windows` or `episodes` -> what was measured.
        about: what the reader should know of the run: data set, split, model.
    """
    return {
        "format": "jointspace metrics",
        "version": METRICS_VERSION,
        "about": dict(about),
        "scales": {name: _scale(evaluation) for name, evaluation in results.items()},
    }


def _scale(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "num_rows": evaluation.num_rows,
        "num_episodes": evaluation.num_episodes,
        "num_texts": evaluation.num_texts,
        "present": dict(evaluation.present),
        "positives": evaluation.positives,
        "product": evaluation.product,
        "confidence": evaluation.confidence,
        "retrieval": [
            {"query": direction.query, "target": direction.target, **_plain(metrics)}
            for direction, metrics in evaluation.retrieval.items()
        ],
        "instruction_accuracy": [
            {"query": modality, **_plain(accuracy)}
            for modality, accuracy in evaluation.accuracy.items()
        ],
        "matching": [
            {"query": modality, **_plain(quality)}
            for modality, quality in evaluation.matching.items()
        ],
        "geometry": {
            "pairs": [
                {"first": first, "second": second, **_plain(pair)}
                for (first, second), pair in evaluation.geometry.pairs.items()
            ],
            "uniformity": _plain(evaluation.geometry.uniformity),
        },
        "notes": list(evaluation.notes),
    }


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
