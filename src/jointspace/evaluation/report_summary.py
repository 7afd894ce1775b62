"""The top of a report: the six directions, and what is understood, one column group per split."""

from collections.abc import Mapping, Sequence

from jointspace.batch import ACTION, SIX_DIRECTIONS, TEXT, VISION, Direction, Modality
from jointspace.evaluation.ceiling import Ceiling, CeilingScores
from jointspace.evaluation.document import Block, Cell, Heading, Paragraph, Table
from jointspace.evaluation.report_text import estimate_cell
from jointspace.evaluation.retrieval import Estimate, RetrievalMetrics
from jointspace.evaluation.scales import WINDOWS, CoreResult, core_results
from jointspace.evaluation.split_report import SplitReport
from jointspace.evaluation.wording import direction_name, number

_CORE_METRICS = (
    ("R@1", "recall_at_1"),
    ("R@5", "recall_at_5"),
    ("mAP", "mean_average_precision"),
)


def summary_blocks(splits: Sequence[SplitReport]) -> list[Block]:
    """The compact tables of all splits, and the first one in words.

    Args:
        splits: at least one; the first is the one that matters most.
    """
    core = {split.name: core_results(split.results) for split in splits}
    blocks: list[Block] = []
    if any(core.values()):
        blocks.append(Heading("At a glance"))
        if sentences := _in_words(splits[0], core[splits[0].name]):
            blocks.append(Paragraph(sentences))
        blocks.append(_core_table(splits, core))
    if understood := _understood(splits):
        blocks.append(understood)
    if len(splits) > 1 and any(split.holds_out for split in splits):
        blocks.append(
            Table(
                ("split", "what is new in it", "episodes", "texts"),
                tuple(_split_row(split) for split in splits),
                kind="words",
            )
        )
    return blocks


def ceiling_of(direction: Direction, ceilings: Mapping[Modality, Ceiling]) -> CeilingScores | None:
    """Returns the highest scores that one direction allows; None where it has no ceiling."""
    if direction.target == TEXT and direction.query in ceilings:
        return ceilings[direction.query].to_text
    if direction.query == TEXT and direction.target in ceilings:
        return ceilings[direction.target].from_text
    return None


def _core_table(
    splits: Sequence[SplitReport], core: Mapping[str, Mapping[Direction, CoreResult]]
) -> Table:
    measured = [d for d in SIX_DIRECTIONS if any(d in found for found in core.values())]
    capped = any(split.ceilings for split in splits)
    rows = []
    for direction in measured:
        scale = next(found[direction].scale for found in core.values() if direction in found)
        cells = [Cell(direction_name(direction), f"on {scale}")]
        for split in splits:
            found = core[split.name].get(direction)
            ceiling = ceiling_of(direction, split.ceilings)
            cells += (
                [Cell("none")] * len(_CORE_METRICS) if found is None else _cells(found, ceiling)
            )
        rows.append(tuple(cells))
    return Table(
        ("direction", *([name for name, _ in _CORE_METRICS] * len(splits))),
        tuple(rows),
        "vision → action reads: given pictures, find the movement that belongs to them. Directions "
        "with text are read on whole episodes, the others on windows, each its own right answer. "
        "Below each number: vs what ranking at random would reach, of how many candidates"
        + (", and ≤ the ceiling of what that side shows, explained below." if capped else "."),
        groups=tuple((split.name.replace("_", " "), len(_CORE_METRICS)) for split in splits),
    )


def _cells(found: CoreResult, ceiling: CeilingScores | None) -> list[Cell]:
    cells = []
    for place, (_, name) in enumerate(_CORE_METRICS):
        estimate: Estimate = getattr(found.metrics, name)
        among = f"of {found.metrics.num_targets:,}" if place == 0 else ""
        most = "" if ceiling is None else f"≤ {number(getattr(ceiling, name))}"
        tone = estimate_cell(estimate).tone
        lines = [f"vs {number(estimate.chance)}", most, among]
        cells.append(Cell(number(estimate.value), "\n".join(filter(None, lines)), tone))
    return cells


def _in_words(split: SplitReport, core: Mapping[Direction, CoreResult]) -> str:
    sentences = []
    if (found := core.get(Direction(VISION, ACTION))) is not None:
        rows = "pictures of a moment" if found.scale == WINDOWS else "pictures of an episode"
        sentences.append(
            f"Shown {rows}, it picks the movement that belongs to them out of "
            f"{found.metrics.num_targets:,} at the first try in {_percent(found.metrics)}"
        )
    if (found := core.get(Direction(TEXT, VISION))) is not None:
        sentences.append(
            f"told an instruction, the first of {found.metrics.num_targets:,} episodes that it "
            f"picks by their pictures is a right one in {_percent(found.metrics)}"
        )
    scene = split.scenes.get(VISION)
    if scene is not None:
        sentences.append(
            "of the instructions that its scene allows, it gives an episode its own in "
            f"{scene.accuracy.value:.0%} (guessing: {scene.accuracy.chance:.0%})"
        )
    if not sentences:
        return ""
    text = "; ".join(sentences)
    return f"In words, on {split.name.replace('_', ' ')}: {text[0].lower()}{text[1:]}."


def _percent(metrics: RetrievalMetrics) -> str:
    chance = metrics.recall_at_1.chance
    guessing = f"{chance:.0%}" if chance >= 0.1 else f"{chance:.1%}"
    return f"{metrics.recall_at_1.value:.0%} of cases (guessing: {guessing})"


def _understood(splits: Sequence[SplitReport]) -> Table | None:
    """The instruction, each of its factors and its scene, as vision tells them."""
    query = next(
        (m for m in (VISION, ACTION) if any(m in s.factors or m in s.scenes for s in splits)), None
    )
    if query is None:
        return None
    names = dict.fromkeys(name for split in splits for name in split.factors.get(query, {}))
    rows = []
    for name in names:
        found = [split.factors.get(query, {}).get(name) for split in splits]
        cells = (
            Cell("none") if f is None else estimate_cell(f.accuracy, interval=False) for f in found
        )
        rows.append((Cell(f"{name} of the best text"), *cells))
    for what, field in (
        ("own instruction, of its scene's", "accuracy"),
        ("match AUROC, within scenes", "auroc"),
        ("right ones found at 1 % false, within scenes", "true_positive_rate"),
    ):
        scenes = [split.scenes.get(query) for split in splits]
        if any(scene is not None for scene in scenes):
            cells = (
                Cell("none") if s is None else estimate_cell(getattr(s, field), interval=False)
                for s in scenes
            )
            rows.append((Cell(what), *cells))
    return Table(
        (f"understood from {query}", *(split.name.replace("_", " ") for split in splits)),
        tuple(rows),
        "Share of episodes for which the best-scoring text names the right thing; how surely the "
        "right instruction scores above others that the same scene allows; and how many right "
        "ones lie above a threshold that one in a hundred of those others exceeds.",
    )


def _split_row(split: SplitReport) -> tuple[Cell, ...]:
    largest = max(split.results.values(), key=lambda each: each.num_episodes)
    return (
        Cell(split.name.replace("_", " ")),
        Cell(split.holds_out or "not said"),
        Cell(f"{largest.num_episodes:,}"),
        Cell(f"{largest.num_texts:,}"),
    )
