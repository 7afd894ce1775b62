"""The words around the code: links that lead somewhere, commands that exist."""

import re
import shlex
from pathlib import Path

import pytest

from jointspace import cli
from jointspace.config import read_config
from jointspace.errors import JointspaceError

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def page_ids(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_links_and_pictures_of_a_page_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page_ids(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_commands_of_a_page_parse(page, monkeypatch):
    monkeypatch.setattr(cli, "_run", lambda parsed: None)
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in lines:
        words = shlex.split(re.split(r" [>|] ", line.removeprefix("$ "))[0], comments=True)
        if (
            words
            and words[0].split("/")[-1] == "jointspace"
            and {"--help", "--version"}.isdisjoint(words)
        ):
            try:
                cli._parse(words[1:])
            except JointspaceError as error:
                pytest.fail(f"{page_ids(page)}: {line}: {error}")
        elif words and words[0].startswith(("scripts/", ".ci/")):
            assert (ROOT / words[0]).is_file(), f"{page_ids(page)}: {line}"


@pytest.mark.parametrize("config", sorted(ROOT.glob("configs/*.toml")), ids=page_ids)
def test_the_configurations_that_ship_are_valid(config):
    read_config(config)


def test_the_page_on_the_textbook_names_the_test_of_every_correction():
    page = (ROOT / "docs" / "concepts" / "textbook.md").read_text(encoding="utf-8")
    tests = "\n".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/test_*.py"))
    written = set(re.findall(r"def (test_row_\d+_\w+)", tests))
    assert set(re.findall(r"`(test_row_\d+_\w+)`", page)) == written
