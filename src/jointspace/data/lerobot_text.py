"""Which of the texts in a LeRobot data set is an episode's instruction."""

from collections.abc import Sequence

from jointspace.data.lerobot_meta import LerobotMeta
from jointspace.data.lerobot_tables import EpisodeRows
from jointspace.data.schema import Finding

LONG_TEXT = 500
"""Characters above which an instruction is named in the report."""

_FLAGS = frozenset(
    (
        *(
            "valid",
            "invalid",
            "good",
            "bad",
            "ok",
            "okay",
            "true",
            "false",
            "success",
            "successful",
        ),
        *("fail", "failed", "failure", "none", "null", "nan", "n/a", "na", "unknown", "default"),
        *("dummy", "test", "task", "todo", "untitled", "unlabeled", "unlabelled"),
    )
)


def is_flag(text: str) -> bool:
    """Tells whether a text is a mark of quality or a stopgap: `valid`, `n/a`, `3`."""
    word = text.strip().strip(".").casefold()
    return word in _FLAGS or word.isdecimal()


def find_instructions(
    rows: Sequence[EpisodeRows], meta: LerobotMeta
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Finds the instruction of every episode.

    In order of trust: a text column of the table, the text of its `task_index`, that of GR00T's
    annotation, the texts that the metadata lists for the episode. Quality flags are passed over.

    Args:
        rows: the episodes.
        meta: the metadata with the tasks.

    Returns:
        One text per episode, stripped, empty where there is none; and what was found.
    """
    texts = []
    findings: list[Finding] = []
    flags: dict[str, None] = {}
    silent = []
    for each in rows:
        by_index = [meta.tasks.get(i, "").strip() for i in each.task_indices]
        listed = meta.episodes[each.index].tasks if each.index in meta.episodes else ()
        others = [meta.tasks.get(i, "") for i in each.annotation_indices]
        candidates = [text.strip() for text in (each.text, *by_index, *others, *listed)]
        flags |= dict.fromkeys(text for text in candidates if text and is_flag(text))
        text = next((text for text in candidates if text and not is_flag(text)), "")
        texts.append(text)
        if not text:
            silent.append(each.index)
        changing = {text for text in by_index if text and not is_flag(text)}
        if len(changing) > 1:
            message = (
                f"the instruction changes within it ({len(changing)} texts); its first is used"
            )
            findings.append(Finding("warning", f"episode {each.index}", message))
    for flag in flags:
        message = f"the task '{flag}' is no instruction and is passed over"
        findings.append(Finding("note", "meta/tasks", message))
    if silent:
        message = (
            f"{len(silent)} of {len(rows)} episodes have no instruction, as episode {silent[0]}"
        )
        findings.append(Finding("warning", "instructions", message))
    findings.extend(unusual_texts(texts))
    return tuple(texts), tuple(findings)


def unusual_texts(texts: Sequence[str]) -> list[Finding]:
    """Names instructions that are very long, or hold characters beyond ASCII, each once."""
    findings = []
    for text in dict.fromkeys(texts):
        start = text if len(text) <= 40 else f"{text[:40]}..."
        if len(text) > LONG_TEXT:
            message = f"'{start}' has {len(text):,} characters"
            findings.append(Finding("note", "instructions", message))
        if not text.isascii():
            message = f"'{start}' has characters beyond ASCII"
            findings.append(Finding("note", "instructions", message))
    return findings
