"""The report of an evaluation: metrics.json, report.md, report.html and the pictures."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jointspace.batch import CORE_MODALITIES, Direction, Embeddings
from jointspace.errors import InputError
from jointspace.evaluation.directions import Evaluation
from jointspace.evaluation.document import (
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    render_html,
    render_markdown,
)
from jointspace.evaluation.metrics_json import metrics_payload
from jointspace.evaluation.plots import (
    recall_chart,
    similarity_matrices,
    space_map,
    training_curves,
)
from jointspace.evaluation.report_text import (
    about_blocks,
    accuracy_blocks,
    geometry_blocks,
    glossary_blocks,
    retrieval_blocks,
    scale_heading,
)
from jointspace.evaluation.training_log import read_curves
from jointspace.storage import write_whole

METRICS_FILE = "metrics.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"
_MAX_MATRICES = 3


@dataclass(frozen=True)
class ReportFiles:
    """What `write_report` wrote."""

    metrics: Path
    markdown: Path
    html: Path
    pictures: tuple[Path, ...]


def write_report(
    results: Mapping[str, Evaluation],
    folder: Path,
    *,
    embeddings: Mapping[str, Embeddings] | None = None,
    log: Path | None = None,
    about: Mapping[str, str] | None = None,
    title: str = "How well does this joint space retrieve?",
    pictures: bool = True,
) -> ReportFiles:
    """Writes the measurements for scripts and for people. Each file is written whole or not at all.

    Args:
        results: name of the scale of rows, as `windows` or `episodes` -> what was measured.
        folder: where the files go; made if missing.
        embeddings: the rows behind each scale, by the same names, for the pictures of the space.
        log: the training log (`log.jsonl`), for the curves.
        about: what the reader should know of the run: data set, split, model.
        title: of the page.
        pictures: False draws none, and needs no matplotlib.

    Returns:
        The paths of the files.

    Raises:
        InputError: there are no results, or embeddings of a scale without results.
        MissingExtraError: pictures are wanted and matplotlib is not installed.
        StorageError: a file could not be written.
    """
    embeddings = {} if embeddings is None else embeddings
    if not results:
        raise InputError("nothing was measured: a report needs the results of at least one scale")
    if unknown := sorted(set(embeddings) - set(results)):
        raise InputError(f"embeddings of {unknown} have no results; results are of {list(results)}")
    blocks: list[Block] = about_blocks(results, about or {})
    for name, evaluation in results.items():
        blocks.append(scale_heading(name, evaluation, single=len(results) == 1))
        blocks += retrieval_blocks(evaluation)
        if pictures and evaluation.retrieval:
            blocks.append(_recall_picture(name, evaluation))
        blocks += accuracy_blocks(evaluation, embeddings.get(name))
        blocks += geometry_blocks(evaluation)
        if pictures and name in embeddings:
            blocks += _space_pictures(name, embeddings[name], evaluation)
    if pictures and log is not None:
        blocks += _training_pictures(log)
    document = Document(title, tuple(blocks + glossary_blocks()))
    payload = metrics_payload(results, about=about or {})
    drawn = [block for block in blocks if isinstance(block, Picture)]
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


def _recall_picture(name: str, evaluation: Evaluation) -> Picture:
    return Picture(
        f"recall-{name}.png",
        recall_chart(evaluation),
        "How often a right answer is among the first 1, 5 and 10. The further a dot lies from its "
        "black tick, the more the space knows; a line that touches the tick may be luck.",
    )


def _space_pictures(name: str, embeddings: Embeddings, evaluation: Evaluation) -> list[Block]:
    blocks: list[Block] = []
    pairs = _matrix_pairs(evaluation)
    if pairs:
        blocks.append(
            Picture(
                f"similarity-{name}.png",
                similarity_matrices(embeddings, pairs),
                "Similarity of every row with every row, ordered by instruction and then by "
                "episode. A bright diagonal: rows find themselves. Bright blocks between the white "
                "lines: rows of one instruction are alike.",
            )
        )
    if any(evaluation.present.values()):
        blocks.append(
            Picture(
                f"map-{name}.png",
                space_map(embeddings),
                "The space flattened to the two directions in which it varies most. What lies "
                "apart here lies apart in the space; what overlaps here may still lie apart in it.",
            )
        )
    if blocks:
        blocks.insert(0, Heading("What the space looks like", 3))
    return blocks


def _matrix_pairs(evaluation: Evaluation) -> list[Direction]:
    """The pairs worth a picture: the core modalities first, each pair once."""
    pairs: list[Direction] = []
    rank = {modality: place for place, modality in enumerate(CORE_MODALITIES)}
    measured = [d for d in evaluation.retrieval if "+" not in d.query]
    for direction in sorted(measured, key=lambda d: rank.get(d.query, 9) + rank.get(d.target, 9)):
        if Direction(direction.target, direction.query) not in pairs:
            pairs.append(direction)
    return pairs[:_MAX_MATRICES]


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
