"""A contact sheet: a few instructions, and the episodes that each one retrieves, as pictures."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.data.frames import FrameStore
from jointspace.data.schema import RobotDataset
from jointspace.data.windows import clip_positions
from jointspace.errors import InputError, MissingExtraError
from jointspace.evaluation.factors import rows_with_text
from jointspace.evaluation.relevance import distinct_texts

NUM_QUERIES = 6
NUM_RESULTS = 4
NUM_FRAMES = 4

_COLUMNS = 2
_FRAME_PX = 216
_BORDER_PX = 10
_SEAM_PX = 4
_GAP_PX = 36
_MARGIN_PX = 8
_QUERY_PX, _CAPTION_PX = 34, 23
"""Sizes of the letters. The sheet is drawn for screens of two pixels per point, as all here."""

_INK, _SOFT, _RIGHT, _WRONG = "#1f2933", "#616e7c", "#1a9850", "#b3bcc6"


@dataclass(frozen=True)
class Retrieved:
    """An episode that a text retrieved.

    Attributes:
        frames: a few of its pictures, from first to last.
        caption: the episode's own instruction.
        is_right: whether it carries out what was asked for.
    """

    frames: UInt8[np.ndarray, "picture px px 3"]
    caption: str
    is_right: bool


@dataclass(frozen=True)
class ShownQuery:
    """A text, and the best-scoring episodes for it, the best first."""

    text: str
    results: tuple[Retrieved, ...]


def retrieve_examples(
    embeddings: Embeddings,
    dataset: RobotDataset,
    store: FrameStore,
    *,
    labels: Mapping[int, str] | None = None,
    camera: str | None = None,
    num_queries: int = NUM_QUERIES,
    num_results: int = NUM_RESULTS,
    seed: int = 0,
) -> tuple[ShownQuery, ...]:
    """Draws a few texts and retrieves episodes for them, whether they turn out well or not.

    Args:
        embeddings: one row per whole episode, with vision and text.
        dataset: the usable episodes.
        store: their pictures.
        labels: goal id -> the group that it belongs to, such as its skill: each drawn text is of
            another group, as far as there are enough. Without, each is of another goal.
        camera: which one's pictures to show; the first of the store by default.
        num_queries: texts to draw.
        num_results: episodes to show for each.
        seed: of the draw.

    Returns:
        The texts in the order of their groups; empty where no episode has both a text and
        pictures.

    Raises:
        InputError: the goals contradict the instructions, or there is no such camera.
    """
    if not {TEXT, VISION} <= set(embeddings.modalities) or not store.cameras:
        return ()
    camera = store.cameras[0] if camera is None else camera
    position_of = {episode.index: at for at, episode in enumerate(dataset.episodes)}
    rows = rows_with_text(embeddings, VISION)
    has_pictures = [
        camera in dataset.episodes[position_of[int(e)]].videos
        for e in embeddings.rows.episode[rows]
    ]
    rows = rows[np.asarray(has_pictures, dtype=np.bool_)]
    if not len(rows):
        return ()
    ids = embeddings.rows.take(rows)
    texts = distinct_texts(ids, positives="goal")
    groups = [(labels or {}).get(int(goal), "") or f"goal {goal}" for goal in texts.answers]
    vision, spoken = embeddings.pair_rows(VISION, TEXT, rows, rows[texts.row])
    shown = []
    for text in _drawn(groups, num_queries, np.random.default_rng(seed)):
        cosines = vision @ spoken[text]
        results = []
        for row in np.argsort(-cosines, kind="stable")[:num_results].tolist():
            position = position_of[int(ids.episode[row])]
            episode = dataset.episodes[position]
            at = clip_positions(episode.num_frames, NUM_FRAMES)
            results.append(
                Retrieved(
                    np.asarray(store.frames(position, camera)[at]),
                    episode.instruction,
                    bool(ids.goal[row] == texts.answers[text]),
                )
            )
        query = dataset.episodes[position_of[int(ids.episode[texts.row[text]])]].instruction
        shown.append(ShownQuery(query, tuple(results)))
    return tuple(shown)


def contact_sheet(queries: Sequence[ShownQuery]) -> bytes:
    """Draws texts and the episodes that they retrieved, as PNG.

    Results stand in the order of their scores, left to right and then down. A green frame is a
    right answer, a grey one a wrong answer, with the episode's own instruction below.

    Args:
        queries: at least one, each with at least one result of at least one picture.

    Raises:
        InputError: there is nothing to draw.
        MissingExtraError: matplotlib, whose letters are used, is not installed.
    """
    if not queries or any(not len(r.frames) for q in queries for r in q.results):
        raise InputError("contact sheet: every query needs a result, and every result a picture")
    num_frames = max(len(r.frames) for q in queries for r in q.results)
    cell_px = _strip_px(num_frames)
    width = 2 * _MARGIN_PX + _COLUMNS * cell_px + (_COLUMNS - 1) * _GAP_PX
    cell_height = _FRAME_PX + 2 * _BORDER_PX + 2 * _CAPTION_PX
    heights = [
        3 * _QUERY_PX + -(-len(query.results) // _COLUMNS) * (cell_height + _GAP_PX // 2)
        for query in queries
    ]
    sheet = Image.new("RGB", (width, sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    large, small = _font(_QUERY_PX, bold=True), _font(_CAPTION_PX)
    top = 0
    for query, height in zip(queries, heights, strict=True):
        title = _fitted(f"“{' '.join(query.text.split())}”", large, width - 2 * _MARGIN_PX)
        pen.text((_MARGIN_PX, top + _QUERY_PX // 2), title, fill=_INK, font=large)
        for number, result in enumerate(query.results):
            left = _MARGIN_PX + number % _COLUMNS * (cell_px + _GAP_PX)
            down = top + 2 * _QUERY_PX + number // _COLUMNS * (cell_height + _GAP_PX // 2)
            _draw_result(pen, sheet, result, number=number, at=(left, down), font=small)
        top += height
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw_result(
    pen: ImageDraw.ImageDraw,
    sheet: Image.Image,
    result: Retrieved,
    *,
    number: int,
    at: tuple[int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top = at
    width = _strip_px(len(result.frames))
    height = _FRAME_PX + 2 * _BORDER_PX
    colour = _RIGHT if result.is_right else _WRONG
    pen.rounded_rectangle((left, top, left + width - 1, top + height - 1), radius=12, fill=colour)
    for frame, pixels in enumerate(result.frames):
        picture = Image.fromarray(pixels).resize((_FRAME_PX, _FRAME_PX), Image.Resampling.LANCZOS)
        across = left + _BORDER_PX + frame * (_FRAME_PX + _SEAM_PX)
        sheet.paste(picture, (across, top + _BORDER_PX))
    caption = " ".join(result.caption.split()) or "(told nothing)"
    words = _fitted(f"{number + 1}. {caption}", font, width)
    ink = _INK if result.is_right else _SOFT
    pen.text((left + 2, top + height + _CAPTION_PX // 3), words, fill=ink, font=font)


def _strip_px(num_frames: int) -> int:
    return num_frames * (_FRAME_PX + _SEAM_PX) - _SEAM_PX + 2 * _BORDER_PX


def _drawn(groups: Sequence[str], most: int, generator: np.random.Generator) -> list[int]:
    """Places of texts of distinct groups, in the order of the groups' names."""
    names = sorted(set(groups))
    some = generator.permutation(len(names))[:most]
    drawn = []
    for name in sorted(names[i] for i in some):
        own = [place for place, group in enumerate(groups) if group == name]
        drawn.append(own[int(generator.integers(len(own)))])
    return drawn


def _fitted(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    """Cuts a text where it would run out of its place."""
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}…") > width_px:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _font(size_px: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The letters of matplotlib, which has those of more scripts than Pillow."""
    try:
        from matplotlib import get_data_path  # noqa: PLC0415 - only who wants pictures pays for it
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size_px)
