"""Curves from the training log."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TITLES: Mapping[str, str] = {
    "train/loss": "training loss",
    "train/pairs": "training loss of each direction",
    "train/fused": "training loss of fused queries",
    "validation/score": "validation, above chance",
    "validation/mean_average_precision": "validation mAP of each direction",
    "validation/recall_at_1": "validation R@1 of each direction",
    "train/logit_scale": "inverse temperature of each pair",
    "train/gradient_norm": "gradient norm",
    "train/learning_rate": "learning rate",
}
"""Panels in the order in which they are shown; numbers of other names follow with a plain title."""

_SHARED = {"validation/worst": "validation/score", "validation/mean": "validation/score"}
_LEFT_OUT = ("step", "elapsed_s", "waited_s", "above_chance")


@dataclass(frozen=True)
class Curve:
    """One number over the training steps.

    Attributes:
        name: which of the curves of its panel.
        steps: where it was logged.
        values: what it was; always finite.
    """

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def read_curves(log: Path) -> Mapping[str, tuple[Curve, ...]]:
    """Reads the curves of a `log.jsonl` and groups them into panels.

    Every finite number of a record becomes a point. Numbers of one mapping, as the losses of the
    directions, share a panel. Lines that are no JSON object with a `step` are passed over: a run
    that was killed leaves one.

    Args:
        log: the file; one that does not exist has no curves.

    Returns:
        Title of the panel -> its curves. A number that was logged only once draws no curve.
    """
    points: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in _records(log):
        for panel, name, value in _numbers(record):
            of_panel = points.setdefault(panel, {})
            of_panel.setdefault(name, []).append((float(record["step"]), value))
    known = [panel for panel in _TITLES if panel in points]
    panels = {}
    for panel in known + sorted(set(points) - set(known)):
        curves = tuple(
            Curve(name, *zip(*sorted(pairs), strict=True))
            for name, pairs in points[panel].items()
            if len(pairs) > 1
        )
        if curves:
            panels[_TITLES.get(panel, panel.replace("_", " "))] = curves
    return panels


def _records(log: Path) -> Iterator[Mapping[str, Any]]:
    if not log.exists():
        return
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("step"), int | float):
                yield record


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yields panel, name and value of each number: the panel is what the numbers have in common."""
    kind = record.get("kind", "train")
    for path, value in _leaves(record, ()):
        if path[-1] in _LEFT_OUT:
            continue
        # {"pairs": {"a->b": 1}} is curve a->b of pairs; a further level names the number itself.
        panel = f"{kind}/{path[0] if len(path) < 3 else path[-1]}"
        name = path[min(len(path) - 1, 1)]
        yield _SHARED.get(panel, panel), name.replace("->", " → "), value


def _leaves(
    record: Mapping[str, Any], above: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*above, name))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif math.isfinite(value):
            yield (*above, name), float(value)
