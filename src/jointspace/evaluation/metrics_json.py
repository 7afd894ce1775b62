"""The measurements as plain JSON, for scripts and for comparing runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.scales import core_results
from jointspace.evaluation.split_report import SplitReport

METRICS_VERSION = 2
"""Version of the layout of `metrics.json`; raised when a reader would have to change.

Version 1 held one split, whose `scales` stood at the top.
"""


def metrics_payload(splits: Sequence[SplitReport], *, about: Mapping[str, str]) -> dict[str, Any]:
    """Lays the measurements out for JSON. Intervals that do not exist are null.

    Layout: `format`, `version`, `about`, and under `splits` for each name `holds_out`, `core` (the
    six directions, each on its own scale), `scales` (for each the counts, `retrieval`,
    `instruction_accuracy`, `matching`, `geometry` and `notes`), `factors`, `groups`, `scenes` and
    `ceilings`. Lists hold a `query` (and `target`) and every number as `value`, `chance`, `low` and
    `high`.

    Args:
        splits: what was measured.
        about: what the reader should know of the run: data set, model.
    """
    return {
        "format": "jointspace metrics",
        "version": METRICS_VERSION,
        "about": dict(about),
        "splits": {split.name: _split(split) for split in splits},
    }


def _split(split: SplitReport) -> dict[str, Any]:
    return {
        "holds_out": split.holds_out,
        "core": [
            {
                "query": direction.query,
                "target": direction.target,
                "scale": found.scale,
                **_plain(found.metrics),
            }
            for direction, found in core_results(split.results).items()
        ],
        "scales": {name: _scale(evaluation) for name, evaluation in split.results.items()},
        "factors": [
            {"query": query, "factor": name, **_plain(accuracy)}
            for query, found in split.factors.items()
            for name, accuracy in found.items()
        ],
        "groups": {
            "factor": split.grouping,
            "values": [{"name": name, **_plain(each)} for name, each in split.groups.items()],
        },
        "scenes": [
            {"query": query, **_plain(matching)} for query, matching in split.scenes.items()
        ],
        "ceilings": [
            {"modality": modality, **_plain(ceiling)}
            for modality, ceiling in split.ceilings.items()
        ],
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
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
