"""The words and tables of the report, for a reader who sees these numbers for the first time."""

import math
from collections.abc import Mapping

from jointspace.batch import Embeddings
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.document import Block, Cell, Heading, Paragraph, Table, Terms
from jointspace.evaluation.matching import MatchQuality
from jointspace.evaluation.retrieval import Estimate, RetrievalMetrics
from jointspace.evaluation.wording import direction_name, number, place, shortened

_MAX_INSTRUCTIONS = 20

_GLOSSARY = (
    (
        "Right answer",
        """Between vision, action and state, only the row itself: this picture belongs to this
        movement. For a text, every row with the same goal. Each distinct text counts once. Moments
        of the same episode that overlap in time are neither right nor wrong.""",
    ),
    ("R@k", "Share of queries that find a right answer among the first k candidates."),
    (
        "mAP",
        """Mean average precision: how purely the right answers fill the top of the list. 1 means
        that all of them come first. With one right answer it is the mean of 1/rank.""",
    ),
    (
        "nDCG@10",
        """How well the first ten places are used, where higher places weigh more. 1 means that
        they hold as many right answers as they can.""",
    ),
    (
        "Rank",
        """Place of the best-placed right answer, counted from 1; smaller is better. The median is
        the typical query; the mean also feels the worst ones.""",
    ),
    (
        "Chance",
        """The exact average of ranking at random, for these very candidates. With few distinct
        texts it is high: of two, a blind guess is right half of the time.""",
    ),
    (
        "Match AUROC",
        """Compares single cosines: how often does a row with an instruction that applies to it
        score above some row with one that does not? 1 means that one threshold separates them,
        one half that the cosine says nothing. Closest wording is the harder test: only the wrong
        instructions that share most words with the right one count.""",
    ),
    (
        "Ceiling",
        """What knowing exactly the factors that one side shows, and nothing else, would score,
        averaged over the order of ties. A movement does not show the colour of what is moved.""",
    ),
    (
        "Interval",
        """Whole episodes are drawn anew, with replacement, and the number computed again; most of
        the results lie within the interval. Few episodes make it wide. The candidates stay fixed,
        except for text queries, where they are what is drawn.""",
    ),
)


def intro_blocks(confidence: float) -> list[Block]:
    """Says what this page is, and how to read its numbers."""
    return [
        Paragraph(
            "A joint space puts what a robot sees, is told and does into one set of vectors, so "
            "that each can search for the others. This page measures such searches on rows that "
            "the model was not trained on, if the split below says so."
        ),
        Paragraph(
            "Every number stands beside its chance level, which is what ranking at random would "
            f"reach, and in the detailed tables beside its {confidence:.0%} interval, from drawing "
            "the episodes anew many times. Blue numbers lie clearly off chance; grey ones may be "
            "luck."
        ),
    ]


def about_blocks(about: Mapping[str, str]) -> list[Block]:
    """Says of which run and which data the page is."""
    rows = tuple((Cell(key), Cell(value)) for key, value in about.items())
    return [Table(("about this run", ""), rows, kind="words")] if rows else []


def scale_title(name: str, evaluation: Evaluation, *, single: bool = False) -> str:
    """Names a scale of rows and its size."""
    size = (
        f"{evaluation.num_rows:,} rows, {evaluation.num_episodes:,} episodes, "
        f"{evaluation.num_texts:,} distinct instructions"
    )
    return f"Retrieval: {size}" if single else f"{name.capitalize()}: {size}"


def retrieval_blocks(evaluation: Evaluation) -> list[Block]:
    """The table of all directions, and what was left out."""
    blocks: list[Block] = []
    if evaluation.retrieval:
        rows = tuple(
            _retrieval_row(direction_name(direction), metrics)
            for direction, metrics in evaluation.retrieval.items()
        )
        header = ("direction", "R@1", "R@5", "R@10", "mAP", "nDCG@10", "median rank", "mean rank")
        blocks.append(
            Table(
                header,
                rows,
                "Below each number: its interval, then its chance level. vision → action reads: "
                "given a picture, find the movement that belongs to it.",
            )
        )
        tied = [
            f"{direction_name(d)} {m.tie_rate:.0%}"
            for d, m in evaluation.retrieval.items()
            if m.tie_rate > 0
        ]
        if tied:
            blocks.append(
                Paragraph(
                    "Queries whose result hangs on the order of equal scores (all numbers are "
                    f"averages over that order): {', '.join(tied)}. Many such ties mean that "
                    "different inputs get the same vector."
                )
            )
    if evaluation.notes:
        blocks.append(Paragraph(f"Not measured: {'; '.join(evaluation.notes)}."))
    return blocks


def accuracy_blocks(evaluation: Evaluation, embeddings: Embeddings | None) -> list[Block]:
    """Which instruction applies: over all rows, and by instruction where they are few."""
    if not evaluation.accuracy:
        return []
    rows = tuple(
        (
            Cell(str(modality).replace("+", " + "), f"{each.num_rows:,} rows"),
            estimate_cell(each.accuracy),
            estimate_cell(each.balanced),
            Cell(number(each.majority)),
            *_matching_cells(evaluation.matching.get(modality)),
        )
        for modality, each in evaluation.accuracy.items()
    )
    num_texts = max(each.num_texts for each in evaluation.accuracy.values())
    blocks: list[Block] = [
        Heading("Which instruction applies?", 3),
        Paragraph(
            f"Each row is compared with the {num_texts} distinct instructions of this split, and "
            "the best-scoring one is taken as the answer. The most frequent answer, always named, "
            "would reach the number in its column: a useful space lies above it. Match AUROC asks "
            "whether one cosine tells if an instruction applies. What cosine that takes differs "
            "from model to model, as the medians show: calibrate a threshold, never fix one."
        ),
        Table(
            (
                "from",
                "accuracy",
                "mean over instructions",
                "most frequent answer",
                "match AUROC",
                "closest wording",
                "median cosine",
            ),
            rows,
        ),
    ]
    if num_texts <= _MAX_INSTRUCTIONS and embeddings is not None:
        ids = sorted({i for each in evaluation.accuracy.values() for i in each.per_instruction})
        blocks.append(
            Table(
                ("accuracy on the rows of", *(f"from {m}" for m in evaluation.accuracy)),
                tuple(
                    (
                        Cell(shortened(embeddings.texts.get(i, f"instruction {i}"), longest=90)),
                        *(
                            Cell(number(each.per_instruction.get(i, float("nan"))))
                            for each in evaluation.accuracy.values()
                        ),
                    )
                    for i in ids
                ),
            )
        )
    return blocks


def geometry_blocks(evaluation: Evaluation) -> list[Block]:
    """The shape of the space in numbers."""
    geometry = evaluation.geometry
    if not geometry.uniformity:
        return []
    blocks: list[Block] = [Heading("The shape of the space", 3)]
    if geometry.pairs:
        rows = tuple(
            (
                Cell(f"{first} and {second}", f"{pair.num_rows:,} rows"),
                Cell(number(pair.alignment)),
                Cell(number(pair.gap)),
            )
            for (first, second), pair in geometry.pairs.items()
        )
        blocks.append(
            Table(
                ("pair", "alignment", "modality gap"),
                rows,
                "Alignment: mean squared distance between the two vectors of a row; 0 is perfect, "
                "2 is unrelated. Modality gap: distance between the centres of the two clouds.",
            )
        )
    spread = tuple(
        (Cell(str(modality)), Cell(number(value)))
        for modality, value in geometry.uniformity.items()
    )
    blocks.append(
        Table(
            ("modality", "uniformity"),
            spread,
            "How evenly the vectors spread: 0 means that all are one point, values near -4 an even "
            "spread. Distinct instructions count once.",
        )
    )
    return blocks


def glossary_blocks() -> list[Block]:
    """What each number means."""
    return [
        Heading("What the numbers mean"),
        Terms(tuple((word, " ".join(meaning.split())) for word, meaning in _GLOSSARY)),
    ]


def _retrieval_row(name: str, metrics: RetrievalMetrics) -> tuple[Cell, ...]:
    sizes = f"{metrics.num_queries:,} queries\n{metrics.num_targets:,} candidates"
    scores = (
        metrics.recall_at_1,
        metrics.recall_at_5,
        metrics.recall_at_10,
        metrics.mean_average_precision,
        metrics.ndcg_at_10,
    )
    return (
        Cell(name, sizes),
        *(estimate_cell(each) for each in scores),
        *(estimate_cell(each, is_rank=True) for each in (metrics.median_rank, metrics.mean_rank)),
    )


def _matching_cells(quality: MatchQuality | None) -> tuple[Cell, Cell, Cell]:
    """How well one cosine tells right from wrong instructions."""
    if quality is None:
        return Cell("none"), Cell("none"), Cell("none")
    closest = quality.auroc_closest
    return (
        estimate_cell(quality.auroc),
        Cell("none", "no texts") if closest is None else estimate_cell(closest),
        Cell(f"right {number(quality.median_right)}", f"wrong {number(quality.median_wrong)}"),
    )


def estimate_cell(
    estimate: Estimate,
    *,
    is_rank: bool = False,
    interval: bool = True,
) -> Cell:
    """Shows a number, and below it its interval and its chance.

    Args:
        estimate: the number.
        is_rank: smaller is better.
        interval: False leaves the interval out, where there are many numbers.
    """
    show = place if is_rank else number
    lines = [f"chance {show(estimate.chance)}"]
    if interval and not math.isnan(estimate.low):
        lines.insert(0, f"{show(estimate.low)} to {show(estimate.high)}")
    # Both count: resampled candidates may lie all to one side of the number itself.
    worst = max(estimate.high, estimate.value) if is_rank else min(estimate.low, estimate.value)
    off_chance = worst < estimate.chance if is_rank else worst > estimate.chance + 1e-9
    return Cell(show(estimate.value), "\n".join(lines), "clear" if off_chance else "unclear")
