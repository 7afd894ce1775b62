"""What the report says of factors, scenes and ceilings of one split."""

from collections.abc import Sequence

from jointspace.evaluation.ceiling import Ceiling
from jointspace.evaluation.document import Block, Cell, Heading, Paragraph, Table
from jointspace.evaluation.report_text import estimate_cell
from jointspace.evaluation.split_report import SplitReport
from jointspace.evaluation.wording import number


def factor_blocks(split: SplitReport) -> list[Block]:
    """Which parts of an instruction each modality tells, and which skills are found best."""
    blocks: list[Block] = []
    if split.factors:
        queries = list(split.factors)
        names = dict.fromkeys(name for found in split.factors.values() for name in found)
        rows = []
        for name in names:
            any_query = next(f[name] for f in split.factors.values() if name in f)
            cells = [Cell(name, f"{any_query.num_rows:,} rows, {any_query.num_values} values")]
            for query in queries:
                found = split.factors[query].get(name)
                cells.append(Cell("none") if found is None else estimate_cell(found.accuracy))
            rows.append((*cells, Cell(number(any_query.majority))))
        blocks += [
            Heading("Which part of the instruction is understood?", 3),
            Table(
                ("factor", *(f"from {q.replace('+', ' + ')}" for q in queries), "most frequent"),
                tuple(rows),
                "The best-scoring text is taken as the answer, and right for a factor if it names "
                "the row's value. Chance is a text drawn at random; the last column is what naming "
                "the most frequent value would reach.",
            ),
        ]
    if split.groups:
        blocks.append(
            Table(
                (
                    f"rows found by text, by {split.grouping}",
                    "R@1",
                    "mAP",
                    "texts",
                    "right rows each",
                ),
                tuple(
                    (
                        Cell(name),
                        Cell(number(each.recall_at_1), f"chance {number(each.chance_recall_at_1)}"),
                        Cell(
                            number(each.mean_average_precision),
                            f"chance {number(each.chance_average_precision)}",
                        ),
                        Cell(f"{each.num_texts:,}"),
                        Cell(f"{each.num_rows:.1f}"),
                    )
                    for name, each in split.groups.items()
                ),
            )
        )
    return blocks


def scene_blocks(split: SplitReport) -> list[Block]:
    """The right instruction against the others of the same scene."""
    if not split.scenes:
        return []
    rows = tuple(
        (
            Cell(str(query).replace("+", " + "), f"{each.num_rows:,} rows"),
            estimate_cell(each.auroc),
            estimate_cell(each.true_positive_rate),
            estimate_cell(each.accuracy),
            Cell(f"{each.num_wrong / each.num_rows:.1f}"),
        )
        for query, each in split.scenes.items()
    )
    return [
        Heading("Right against wrong instructions of the same scene", 3),
        Table(
            (
                "from",
                "match AUROC",
                "right ones found at 1 % false",
                "own instruction first",
                "others per scene",
            ),
            rows,
            "Each row is compared with its own instruction and with others that the robot could "
            "have been told in the very same scene. What lies on the table fits all of them, so "
            "that only what is done to what tells them apart. AUROC: how often a right pair scores "
            "above a wrong one, over all scenes. Found at 1 % false: how many of the right pairs "
            "lie above a threshold that at most one in a hundred wrong pairs exceeds.",
        ),
    ]


def ceiling_blocks(split: SplitReport) -> list[Block]:
    """Where a perfect model would end, and why."""
    return [
        Paragraph(_ceiling_sentence(str(modality), ceiling))
        for modality, ceiling in split.ceilings.items()
    ]


def _ceiling_sentence(modality: str, ceiling: Ceiling) -> str:
    name = modality.replace("+", " and ")
    shows = _listed(ceiling.revealed) if ceiling.revealed else "nothing of the goal"
    return (
        f"Ceiling of {name}: it shows {shows}, but not {_listed(ceiling.hidden)}, which the "
        "instructions name. Whoever knew exactly what it shows, and nothing else, would score "
        f"mAP {number(ceiling.from_text.mean_average_precision)} and R@1 "
        f"{number(ceiling.from_text.recall_at_1)} from text to {name}, and mAP "
        f"{number(ceiling.to_text.mean_average_precision)} and R@1 "
        f"{number(ceiling.to_text.recall_at_1)} from {name} to text, averaged over the "
        "order of ties. More than that is luck, or comes from what else goes with a goal, such as "
        "where things stood."
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
