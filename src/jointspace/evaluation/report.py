"""The report of an evaluation: metrics.json, report.md, report.html and the pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jointspace.errors import InputError
from jointspace.evaluation.contact_sheet import ShownQuery, contact_sheet
from jointspace.evaluation.document import (
    Block,
    Document,
    Fold,
    Heading,
    Paragraph,
    Picture,
    render_html,
    render_markdown,
)
from jointspace.evaluation.metrics_json import metrics_payload
from jointspace.evaluation.plots import training_curves
from jointspace.evaluation.report_factors import ceiling_blocks, factor_blocks, scene_blocks
from jointspace.evaluation.report_pictures import recall_picture, space_pictures
from jointspace.evaluation.report_summary import summary_blocks
from jointspace.evaluation.report_text import (
    about_blocks,
    accuracy_blocks,
    geometry_blocks,
    glossary_blocks,
    intro_blocks,
    retrieval_blocks,
    scale_title,
)
from jointspace.evaluation.split_report import SplitReport
from jointspace.evaluation.training_log import read_curves
from jointspace.storage import write_whole

METRICS_FILE = "metrics.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"


@dataclass(frozen=True)
class ReportFiles:
    """What `write_report` wrote."""

    metrics: Path
    markdown: Path
    html: Path
    pictures: tuple[Path, ...]


def write_report(
    splits: Sequence[SplitReport],
    folder: Path,
    *,
    examples: Sequence[ShownQuery] = (),
    log: Path | None = None,
    about: Mapping[str, str] | None = None,
    title: str = "How well does this joint space retrieve?",
    pictures: bool = True,
) -> ReportFiles:
    """Writes the measurements for scripts and for people. Each file is written whole or not at all.

    Args:
        splits: what was measured, the most important split first.
        folder: where the files go; made if missing.
        examples: texts and the episodes of the first split that they retrieve, for the contact
            sheet.
        log: the training log (`log.jsonl`), for the curves.
        about: what the reader should know of the run: data set, model.
        title: of the page.
        pictures: False draws none, and needs no matplotlib.

    Returns:
        The paths of the files.

    Raises:
        InputError: there is no split, or two have one name.
        MissingExtraError: pictures are wanted and matplotlib is not installed.
        StorageError: a file could not be written.
    """
    names = [split.name for split in splits]
    if not splits:
        raise InputError("nothing was measured: a report needs at least one split")
    if len(set(names)) < len(names):
        raise InputError(f"splits of one report need different names, got {names}")
    confidence = next(iter(splits[0].results.values())).confidence
    blocks = intro_blocks(confidence) + summary_blocks(splits)
    if pictures and examples:
        blocks += _example_blocks(examples, splits[0])
    blocks += about_blocks(about or {})
    for split in splits:
        blocks += _split_blocks(split, alone=len(splits) == 1, pictures=pictures)
    if pictures and log is not None:
        blocks += _training_pictures(log)
    document = Document(title, tuple(blocks + glossary_blocks()))
    payload = metrics_payload(splits, about=about or {})
    drawn = _pictures_in(blocks)
    for picture in drawn:
        write_whole(folder / picture.file_name, picture.png)
    write_whole(folder / MARKDOWN_FILE, render_markdown(document))
    write_whole(folder / HTML_FILE, render_html(document))
    # Last, so that metrics.json stands only beside a whole report.
    write_whole(
        folder / METRICS_FILE,
        json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
    return ReportFiles(
        metrics=folder / METRICS_FILE,
        markdown=folder / MARKDOWN_FILE,
        html=folder / HTML_FILE,
        pictures=tuple(folder / picture.file_name for picture in drawn),
    )


def _example_blocks(examples: Sequence[ShownQuery], split: SplitReport) -> list[Block]:
    name = split.name.replace("_", " ")
    drawn = f"one of each {split.grouping}" if split.grouping else "one of each goal"
    return [
        Heading("What it finds when it is told"),
        Picture(
            "contact-sheet.png",
            contact_sheet(examples),
            f"Texts drawn at random ({drawn}, as far as there is room), and the episodes of "
            f"{name} whose pictures score best for them, each from its first picture to its last. "
            "Green: it does what the text asks for. Grey: it does something else, as the line "
            "below says.",
        ),
    ]


def _split_blocks(split: SplitReport, *, alone: bool, pictures: bool) -> list[Block]:
    """All of one split; of several, the long tables and the pictures are folded away."""
    about: list[Block] = [*factor_blocks(split), *scene_blocks(split), *ceiling_blocks(split)]
    scales: list[Block] = []
    for name, evaluation in split.results.items():
        key = name if alone else f"{split.name}-{name}"
        title = scale_title(name, evaluation, single=alone and len(split.results) == 1)
        inside = retrieval_blocks(evaluation)
        if pictures and evaluation.retrieval:
            inside.append(recall_picture(key, evaluation))
        inside += accuracy_blocks(evaluation, split.embeddings.get(name))
        inside += geometry_blocks(evaluation)
        if pictures and name in split.embeddings:
            inside += space_pictures(key, split, name)
        scales += [Heading(title), *inside] if alone else [Fold(title, tuple(inside))]
    if alone:
        return [*([Heading("What is understood")] if about else []), *about, *scales]
    heading = Heading(f"Split: {split.name.replace('_', ' ')}")
    new = [Paragraph(f"New here: {split.holds_out}.")] if split.holds_out else []
    return [heading, *new, *about, *scales]


def _pictures_in(blocks: Sequence[Block]) -> list[Picture]:
    found: list[Picture] = []
    for block in blocks:
        if isinstance(block, Picture):
            found.append(block)
        elif isinstance(block, Fold):
            found += _pictures_in(block.blocks)
    return found


def _training_pictures(log: Path) -> list[Block]:
    panels = read_curves(log)
    if not panels:
        return []
    return [
        Heading("How training went"),
        Paragraph(
            "A loss that still falls at the end asks for more steps; a training loss that falls "
            "while the validation scores drop asks for fewer."
        ),
        Picture("training.png", training_curves(panels), "Curves from the training log."),
    ]
