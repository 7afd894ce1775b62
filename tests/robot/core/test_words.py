"""What counts as a stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jointspace.robot.core.words import is_stop, normalised, without_fillers


@pytest.mark.parametrize(
    "text",
    [
        *("stop", "STOP", "Stop!", "  stop.  ", "stop now", "please stop", "robot, stop!!!"),
        *("halt", "Freeze!", "abort", "abort mission", "emergency stop", "Emergency!", "e-stop"),
        *(
            "E-STOP",
            "estop",
            "S.T.O.P.",
            "s t o p now",
            "stooooop",
            "sstop",
            "st\u200bop",
            "\uff33\uff34\uff2f\uff30",
        ),
        *("stop the robot", "stop moving", "wait, stop", "no no no stop", "you must stop"),
        *("cancel", "Cancel that.", "pause", "hold on", "hold still", "Hold!", "wait", "don't"),
        *("don\u2019t move", "do not move", "stand still", "stay", "no", "enough", "whoa", "quit"),
        *("Stopp!", "Arrête", "¡Alto!", "СТОП", "停", "请停下来", "止まれ", "ストップ", "멈춰"),
        *("", "   ", "...", "\n"),
    ],
)
def test_a_stop_is_heard_in_many_words(text):
    assert is_stop(text)


@pytest.mark.parametrize(
    "text",
    [
        *("pick up the red block", "go forward", "turn right now", "hold the cup", "stack it"),
        *("wait for the red block", "stay behind me", "push until it stops", "the top drawer"),
        *(
            "put the halter on the hook",
            "go to the store",
            "no, the other block",
            "kill the lights",
        ),
        *("a b c", "top", "step", "shop", "stopper", "pausing", "right", "please", "now"),
    ],
)
def test_a_command_is_no_stop(text):
    assert not is_stop(text)


@pytest.mark.parametrize(
    "text", ["stop the red block from rolling", "do not stop", "the stop sign"]
)
def test_a_stop_word_stops_whatever_else_the_sentence_says(text):
    assert is_stop(text)


def test_a_phrase_may_be_excepted_but_not_the_word_beside_it():
    exceptions = ("stop sign", "Bus-Stop")
    assert not is_stop("drive to the stop sign", exceptions=exceptions)
    assert not is_stop("go to the bus stop", exceptions=exceptions)
    assert is_stop("stop at the stop sign", exceptions=exceptions)
    assert is_stop("stop", exceptions=exceptions)


def test_an_exception_joins_no_words_into_a_stop():
    assert is_stop("st bus stop op", exceptions=()) is True
    assert is_stop("hold the bus stop on", exceptions=("the bus stop",)) is True  # "hold on": safe


@given(
    before=st.text(alphabet="abcdef ,.!", max_size=12),
    after=st.text(alphabet="abcdef ,.!", max_size=12),
    word=st.sampled_from(["stop", "Stop", "HALT", "freeze", "abort"]),
)
def test_a_stop_word_is_heard_anywhere_in_any_sentence(before, after, word):
    assert is_stop(f"{before} {word} {after}")


@given(st.text(max_size=40))
def test_any_text_is_normalised_to_words_and_stays_so(text):
    words = normalised(text)
    assert words == " ".join(words.split())
    assert normalised(words) == words
    assert isinstance(is_stop(text), bool)


def test_fillers_change_nothing():
    assert without_fillers("please robot hold on right now") == "hold on"
