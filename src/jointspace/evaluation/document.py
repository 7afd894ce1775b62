"""A report as a list of blocks, rendered as Markdown or as one self-contained HTML page."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal


@dataclass(frozen=True)
class Cell:
    """A table cell: a value, a smaller note below it, and how sure the value is.

    Attributes:
        value: what is read first.
        note: what belongs beside it, as chance and interval; may have several lines.
        tone: `clear` where the number lies clearly off chance, `unclear` where it may be chance.
    """

    value: str
    note: str = ""
    tone: Literal["plain", "clear", "unclear"] = "plain"


@dataclass(frozen=True)
class Heading:
    """A heading below the title; `level` 2 is the highest."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it.

    Attributes:
        header: names of the columns.
        rows: as many cells each.
        caption: what a cell holds.
        kind: `numbers` are set flush right, `words` flush left.
        groups: names over the columns after the first, each with the number of columns it spans.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    kind: Literal["numbers", "words"] = "numbers"
    groups: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Terms:
    """Words and what they mean."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Picture:
    """A PNG, the file name it has in the folder, and what there is to see."""

    file_name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows only when asked to; Markdown shows them below their summary."""

    summary: str
    blocks: tuple["Block", ...]


_LINE = "\n"

Block = Heading | Paragraph | Table | Terms | Picture | Fold


@dataclass(frozen=True)
class Document:
    """A titled list of blocks."""

    title: str
    blocks: tuple[Block, ...]


def render_markdown(document: Document) -> str:
    """Renders for reading in a terminal or on a code host; pictures are links to the files."""
    parts = [f"# {_escape_markdown(document.title)}"]
    parts += [_markdown_block(block) for block in document.blocks]
    return "\n\n".join(parts) + "\n"


def render_html(document: Document) -> str:
    """Renders one page that needs nothing else: styles and pictures are inside it."""
    title = html.escape(document.title)
    body = "\n".join(_html_block(block) for block in document.blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _markdown_block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_escape_markdown(block.text)}"
        case Paragraph():
            return _escape_markdown(block.text)
        case Table():
            return _markdown_table(block)
        case Terms():
            return "\n".join(
                f"- **{_escape_markdown(word)}**: {_escape_markdown(meaning)}"
                for word, meaning in block.entries
            )
        case Picture():
            caption = _escape_markdown(block.caption)
            return f"![{caption}]({block.file_name})\n\n*{caption}*"
        case Fold():
            parts = [f"**{_escape_markdown(block.summary)}**", *map(_markdown_block, block.blocks)]
            return "\n\n".join(parts)


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    def text(cell: Cell) -> str:
        note = f" ({_escape_markdown(cell.note.replace(_LINE, ', '))})" if cell.note else ""
        return _escape_markdown(cell.value) + note

    rule = ["---", *["---:" if table.kind == "numbers" else "---"] * (len(table.header) - 1)]
    lines = [line([_escape_markdown(h) for h in _full_names(table)]), line(rule)]
    lines += [line([text(cell) for cell in row]) for row in table.rows]
    caption = f"\n\n{_escape_markdown(table.caption)}" if table.caption else ""
    return "\n".join(lines) + caption


def _full_names(table: Table) -> list[str]:
    """The names of the columns, those under a group with its name before them."""
    over = [name for name, span in table.groups for _ in range(span)]
    over = ["", *over, *[""] * len(table.header)]
    return [f"{o}: {h}" if o else h for o, h in zip(over, table.header, strict=False)]


def _escape_markdown(text: str) -> str:
    """Keeps data out of the markup: an instruction may hold pipes, stars, tags or line breaks."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _html_block(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{html.escape(block.text)}</p>"
        case Table():
            return _html_table(block)
        case Terms():
            entries = "".join(
                f"<dt>{html.escape(word)}</dt><dd>{html.escape(meaning)}</dd>"
                for word, meaning in block.entries
            )
            return f"<dl>{entries}</dl>"
        case Picture():
            data = base64.b64encode(block.png).decode("ascii")
            caption = html.escape(block.caption)
            return (
                f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
                f"<figcaption>{caption}</figcaption></figure>"
            )
        case Fold():
            inside = "\n".join(map(_html_block, block.blocks))
            summary = html.escape(block.summary)
            return f"<details><summary>{summary}</summary>\n{inside}\n</details>"


def _html_table(table: Table) -> str:
    starts = list(accumulate((span for _, span in table.groups), initial=1))[:-1]
    header = "".join(
        f"<th{_START if i in starts else ''}>{html.escape(name)}</th>"
        for i, name in enumerate(table.header)
    )
    groups = "".join(
        f'<th class="group" colspan="{span}">{html.escape(name)}</th>'
        for name, span in table.groups
    )
    over = f'<tr><th class="group"></th>{groups}</tr>' if groups else ""
    rows = "".join(
        "<tr>"
        + "".join(_html_cell(c, first=i == 0, start=i in starts) for i, c in enumerate(row))
        + "</tr>"
        for row in table.rows
    )
    caption = f"<figcaption>{html.escape(table.caption)}</figcaption>" if table.caption else ""
    kind = f"{table.kind} dense" if table.groups else table.kind
    return (
        f'<figure class="table"><div><table class="{kind}"><thead>{over}<tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{caption}</figure>"
    )


def _html_cell(cell: Cell, *, first: bool, start: bool = False) -> str:
    tag = "th" if first else "td"
    kind = f"{cell.tone} start" if start else cell.tone
    note = f"<small>{html.escape(cell.note).replace(_LINE, '<br>')}</small>" if cell.note else ""
    return f'<{tag} class="{kind}"><span>{html.escape(cell.value)}</span>{note}</{tag}>'


_START = ' class="start"'

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #616e7c; --line: #e4e7eb; --blue: #0b5a8f; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1rem; letter-spacing: -.015em; }
h2 { font-size: 1.35rem; margin: 3rem 0 .6rem; padding-top: 1.2rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 2rem 0 .4rem; }
p, dl { max-width: 44rem; margin: .5rem 0 1rem; }
figure { margin: 1.2rem 0 2rem; }
figure.table > div { overflow-x: auto; }
img { display: block; max-width: 100%; height: auto; }
figcaption { max-width: 44rem; margin-top: .5rem; color: var(--soft); font-size: .875rem; }
table { border-collapse: collapse; min-width: 30rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem 0 .45rem 1.35rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 11.5rem; }
thead th { font-size: .8125rem; color: var(--soft); font-weight: 600; border-bottom-width: 2px; }
tbody th { font-weight: 600; }
.dense th, .dense td { padding-left: .8rem; }
.dense th:first-child { padding-left: 0; min-width: 8.5rem; }
.dense th.start, .dense td.start, .dense th.group { padding-left: 1.7rem; }
th.group { text-align: left; color: var(--ink); font-size: .9375rem; border: 0; padding-bottom: 0; }
details { margin: 1rem 0; border: 1px solid var(--line); border-radius: .5rem; padding: 0 1.1rem; }
summary { cursor: pointer; font-weight: 600; padding: .7rem 0; }
summary:hover { color: var(--blue); }
.words td, .words th { text-align: left; white-space: normal; }
td span { font-size: 1rem; }
td small, th small { display: block; color: var(--soft); font-size: .75rem; font-weight: 400; }
td.clear span { color: var(--blue); font-weight: 650; }
td.unclear span { color: var(--soft); }
dt { font-weight: 600; margin-top: .8rem; }
dd { margin: .1rem 0 0; color: var(--ink); }
@media print { main { padding: 0; max-width: none; } figure { break-inside: avoid; } }
"""
