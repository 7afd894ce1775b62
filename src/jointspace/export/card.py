"""The card of a bundle: what it takes, what was measured of it, and what was not."""

import platform
from collections.abc import Iterator, Mapping, Sequence

from jointspace import __version__
from jointspace.batch import Modality
from jointspace.data.preprocess import Preprocessor
from jointspace.evaluation.decision import GrowthThreshold
from jointspace.export.choose import Choice
from jointspace.export.gate import TOLERANCE, short
from jointspace.export.thresholds import StatedThreshold

_USE = """```python
from jointspace.deploy.runtime import BundleEmbedder

bundle = BundleEmbedder.load("path/to/{name}")  # NumPy and ONNX Runtime; no torch
text = bundle.embed_texts(["pick up the red block"])
```"""

_NOT_MEASURED = (
    "Success of a robot that acts by this space, robots and scenes that the data set does not "
    "show, and speed on other machines than the one of the export."
)


def bundle_card(
    name: str,
    preprocessor: Preprocessor,
    choice: Choice,
    thresholds: Mapping[str, Mapping[Modality, StatedThreshold]],
    *,
    growth: GrowthThreshold | None,
    dataset: str,
) -> str:
    """Writes the card; only what was measured is stated as a number.

    Args:
        name: of the bundle.
        preprocessor: of the run.
        choice: what ships.
        thresholds: name of the scale of rows -> modality -> from which similarity an instruction
            applies.
        growth: the same for pictures that come since an instruction was given.
        dataset: name of what it was trained on.

    Returns:
        Markdown.
    """
    seen = (
        f"- cameras: {', '.join(preprocessor.cameras) or 'none'}; pictures of "
        f"{preprocessor.image_px} px, {preprocessor.window_frames} a window of "
        f"{preprocessor.window_s:g} s"
    )
    engine = (
        f"- recommended engines: {', '.join(sorted(set(choice.engines.values())))}, of each graph "
        f"the one that was faster on the machine of the export ({platform.machine()}); either runs "
        "all of them"
    )
    parts = [
        f"# {name}",
        "A joint space of what a robot sees, is told and does, exported to run without torch.",
        f"- trained on: {dataset}\n{seen}\n{engine}",
        "## Use",
        _USE.format(name=name),
        "## Graphs",
        *_graphs(choice),
        "## Retrieval",
        *_retrieval(choice),
        "## Match thresholds",
        *_thresholds(thresholds),
        *_growth(growth),
        "## Not measured",
        _NOT_MEASURED,
        f"Written by jointspace {__version__}.",
    ]
    return "\n\n".join(parts) + "\n"


def _graphs(choice: Choice) -> Iterator[str]:
    yield (
        "Milliseconds of one call at batch 1, in turns with the other forms, the median: in "
        "float32 on ONNX Runtime, and as shipped on the engine of the graph."
    )
    rows = []
    for name, shipped in choice.chosen.items():
        before, after = map(_ms, choice.milliseconds(name))
        size = f"{shipped.num_bytes / 1e3:,.0f}"
        rows.append((name, shipped.graph.precision, choice.engines[name], size, before, after))
    yield _table(("graph", "precision", "engine", "KB", "fp32 ms", "shipped ms"), rows)


def _retrieval(choice: Choice) -> Iterator[str]:
    yield (
        f"On test episodes, float32 and as shipped. No number may lose more than {TOLERANCE:g}, "
        "or the form that loses it does not ship."
    )
    shipped = choice.shipped
    rows = []
    for direction, before in choice.reference.items():
        after = shipped[direction]
        cells = [f"{direction.query} -> {direction.target}", before.scale, str(before.num_queries)]
        cells += [short(each.ndcg_at_10) for each in (before, after)]
        cells += [short(each.recall_at_1) for each in (before, after)]
        rows.append(cells)
    yield _table(("direction", "rows", "queries", "nDCG@10", "shipped", "R@1", "shipped"), rows)
    if choice.refusals:
        yield f"Refused: {'; '.join(choice.refusals)}."


def _thresholds(thresholds: Mapping[str, Mapping[Modality, StatedThreshold]]) -> Iterator[str]:
    yield (
        "An instruction is accepted above the first similarity, rejected below the second, and "
        "neither in between. Rates of wrong pairs accepted and right pairs rejected, on episodes "
        "that were not trained on. The bundle judges single rows by those of windows."
    )
    rows = [
        (
            modality,
            scale,
            short(each.threshold.accept),
            short(each.threshold.reject),
            short(each.false_positive_rate),
            short(each.false_negative_rate),
            short(each.right_accepted),
            f"{each.calibrated_on}, {each.measured_on}",
        )
        for scale, found in thresholds.items()
        for modality, each in found.items()
    ]
    if not rows:
        yield "There are none: too few episodes that were not trained on, or no wrong instruction."
        return
    header = ("what", "rows", "accept above", "reject below", "wrong accepted", "right rejected")
    yield _table((*header, "right accepted", "calibrated on, measured on"), rows)


def _growth(growth: GrowthThreshold | None) -> Iterator[str]:
    if growth is None:
        return
    yield (
        f"While a robot moves, all that it saw since it was told is compared, up to the last "
        f"{growth.longest_s:.1f} s. An instruction is accepted above {growth.accept:.3f} at any "
        "time, and kept until it falls below the similarity of its time. Accepted: at any time "
        f"until then. Calibrated on {growth.calibrated_on}, measured on {growth.measured_on}."
    )
    rows = [
        (
            f"{stage.until_s:.1f}",
            short(stage.right_accepted),
            short(stage.wrong_accepted),
            f"{stage.reject:.3f}",
            short(stage.wrong_rejected),
            short(stage.right_rejected),
        )
        for stage in growth.stages
    ]
    header = ("until s", "right accepted", "wrong accepted", "reject below", "wrong rejected")
    yield _table((*header, "right rejected"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
