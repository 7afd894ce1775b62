"""What `jointspace evaluate` prints of a split."""

from rich.table import Table

from jointspace.evaluation.report_summary import ceiling_of
from jointspace.evaluation.retrieval import Estimate
from jointspace.evaluation.scales import core_results
from jointspace.evaluation.split_report import SplitReport
from jointspace.evaluation.wording import direction_name, number

_METRICS = (
    ("R@1", "recall_at_1"),
    ("R@5", "recall_at_5"),
    ("mAP", "mean_average_precision"),
)


def core_table(split: SplitReport) -> Table:
    """Returns the six directions, each on its own rows, with chance in brackets."""
    largest = max(split.results.values(), key=lambda each: each.num_episodes)
    title = (
        f"{split.name.replace('_', ' ')}: {largest.num_episodes} episodes, "
        f"{largest.num_texts} distinct instructions"
    )
    caption = "in brackets: what chance would score"
    if split.ceilings:
        caption += "; ≤ the most that the shown factors allow"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("direction")
    for heading in (*(name for name, _ in _METRICS), "among"):
        table.add_column(heading, justify="right")
    for direction, found in core_results(split.results).items():
        ceiling = ceiling_of(direction, split.ceilings)
        cells = []
        for _, name in _METRICS:
            most = "" if ceiling is None else f" ≤{number(getattr(ceiling, name))}"
            cells.append(_with_chance(getattr(found.metrics, name)) + most)
        among = f"{found.metrics.num_targets} "
        among += "texts" if direction.target == "text" else found.scale
        table.add_row(direction_name(direction), *cells, among)
    return table


def accuracy_lines(split: SplitReport) -> list[str]:
    """Says of each modality how often it finds the instruction, its factors, and its scene."""
    lines = []
    for modality, each in list(split.results.values())[-1].accuracy.items():
        lines.append(
            f"which instruction applies, from {_named(modality)}: {_with_chance(each.accuracy)}; "
            f"always the most frequent: {number(each.majority)}"
        )
    for modality, factors in split.factors.items():
        told = ", ".join(f"{name} {_with_chance(each.accuracy)}" for name, each in factors.items())
        lines.append(f"factors of the best text, from {_named(modality)}: {told}")
    for modality, scene in split.scenes.items():
        lines.append(
            f"right against wrong instructions of a scene, from {_named(modality)}: "
            f"AUROC {_with_chance(scene.auroc)}, right one first {_with_chance(scene.accuracy)}, "
            f"found at 1 % false {_with_chance(scene.true_positive_rate)}"
        )
    lines += [note for evaluation in split.results.values() for note in evaluation.notes]
    return lines


def _with_chance(estimate: Estimate) -> str:
    return f"{number(estimate.value)} ({number(estimate.chance)})"


def _named(modality: str) -> str:
    return modality.replace("+", " + ")
