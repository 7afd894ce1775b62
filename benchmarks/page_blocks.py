"""Rewrites the marked blocks of a Markdown page, and leaves every other line as it is.

A block lies between `<!-- measured: NAME -->` and `<!-- end of NAME -->`, each on its own line.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from jointspace.errors import InputError
from jointspace.storage import write_whole


def rewrite_blocks(page: Path, blocks: Mapping[str, str]) -> list[str]:
    """Puts new text into the blocks of a page that are named.

    Args:
        page: the Markdown file.
        blocks: name -> text; those that the page does not mark are left out.

    Returns:
        The names that were rewritten.

    Raises:
        InputError: the page marks none of them.
        StorageError: the page could not be written.
    """
    text, written = page.read_text(encoding="utf-8"), []
    for name, content in blocks.items():
        marked = re.compile(
            rf"(<!-- measured: {re.escape(name)} -->\n).*?(<!-- end of {re.escape(name)} -->)",
            re.DOTALL,
        )
        body = f"\n{content.strip()}\n\n"
        text, count = marked.subn(lambda m, body=body: m[1] + body + m[2], text)
        written += [name] * bool(count)
    if not written:
        raise InputError(
            f"{page}: marks no block of {', '.join(blocks)}; a block begins with a line "
            f"'<!-- measured: {next(iter(blocks), 'NAME')} -->'"
        )
    write_whole(page, text)
    return written
