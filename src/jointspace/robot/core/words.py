"""Is this sentence a stop? Erring on the side of standing still."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

STOP_WORDS = frozenset(
    (
        *("stop", "stopp", "estop", "halt", "freeze", "abort", "whoa", "cease", "desist"),
        *("stehenbleiben", "arrete", "arretez", "detente", "fermati", "стоп"),
    )
)
"""Any of them, anywhere in a sentence, stops the robot."""

STOP_SIGNS = ("停", "止ま", "ストップ", "멈춰")
"""Of languages that write no spaces: any of them, anywhere in a sentence, stops the robot."""

STOP_PHRASES = frozenset(
    (
        *("cancel", "cancel that", "cancel it", "cancel everything", "pause", "quit", "enough"),
        *("stay", "stay there", "stay put", "stay still", "stand still", "stand down", "be still"),
        *("keep still", "hold", "hold on", "hold it", "hold still", "hold position", "wait"),
        *("wait a second", "wait a minute", "dont move", "do not move", "dont", "no", "no no"),
        *("emergency", "emergency off", "kill", "kill it", "kill switch", "e stop", "alto", "para"),
        *("pare", "basta", "no te muevas", "nicht bewegen", "ne bouge pas"),
    )
)
"""A sentence that says nothing else stops the robot; "hold the cup" is a command."""

_FILLERS = frozenset(
    (
        *(
            "please",
            "now",
            "robot",
            "hey",
            "ok",
            "okay",
            "right",
            "immediately",
            "at",
            "once",
            "oh",
        ),
        *("just", "god", "my", "quick", "quickly", "bitte", "the"),
    )
)
_APOSTROPHES = dict.fromkeys(map(ord, "'`\u2019\u00b4"))


def normalised(text: str) -> str:
    """Returns the text in lower case, without accents and punctuation, single spaces between words.

    Example:
        >>> normalised("  Arrête!!  Don't MOVE. ")
        'arrete dont move'
    """
    # Taken apart first: letters such as the mathematical capitals have no lower case of their own.
    lower = unicodedata.normalize("NFKD", text).casefold()
    decomposed = unicodedata.normalize("NFKD", lower)
    plain = "".join(
        c for c in decomposed if not (unicodedata.combining(c) or unicodedata.category(c) == "Cf")
    )
    plain = unicodedata.normalize("NFKC", plain.translate(_APOSTROPHES))
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


def without_fillers(words: str) -> str:
    """Returns normalised text without words that change nothing, such as "please"."""
    return " ".join(word for word in words.split() if word not in _FILLERS)


def is_stop(text: str, *, exceptions: Iterable[str] = ()) -> bool:
    """Says whether a sentence tells the robot to stop.

    A sentence does if any of its words is one of `STOP_WORDS`, whatever else it says: "stop the red
    block from rolling" and "do not stop" stop the robot as well. A stop that was not meant costs a
    second sentence ("keep the red block from rolling"); one that was not heard costs more. Letters
    that are drawn out ("stoooop") or spelt ("S.T.O.P.") count, and a sentence without any word
    is a stop too: who sends it clears the command.

    Args:
        text: the sentence as it came.
        exceptions: phrases that are passed over, such as "stop sign" and "bus stop".

    Example:
        >>> is_stop("Robot, STOP!"), is_stop("hold on"), is_stop("hold the cup"), is_stop("push it")
        (True, True, False, False)
    """
    words = normalised(text)
    if not words:
        return True
    padded = f" {words} "
    for phrase in exceptions:
        padded = padded.replace(f" {normalised(phrase)} ", " , ")
    kept = [word for word in padded.split() if word != ","]
    if any(_squeezed(word) in _SQUEEZED for word in (*kept, *_spelt(kept))):
        return True
    if any(sign in padded for sign in _SIGNS):
        return True
    rest = " ".join(kept)
    return (without_fillers(rest) or rest) in STOP_PHRASES


def _spelt(words: Sequence[str]) -> list[str]:
    """Words that are spelt: runs of single letters, joined."""
    marks = " ".join(word if len(word) == 1 else "," for word in words)
    return [run.replace(" ", "") for run in marks.split(",")]


def _squeezed(word: str) -> str:
    """The word with every run of a letter as one."""
    return re.sub(r"(.)\1+", r"\1", word)


_SQUEEZED = frozenset(_squeezed(normalised(word)) for word in STOP_WORDS)
_SIGNS = tuple(normalised(sign) for sign in STOP_SIGNS)
