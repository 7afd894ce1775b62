import itertools
import re

import numpy as np
import pytest

from jointspace.sim.goals import SKILLS, Goal
from jointspace.sim.language import WORDINGS, factors, goal_name, say, sentences
from jointspace.sim.layout import COLOURS, CONTAINER_KINDS, OBJECT_KINDS, Item


def _item(colour, kind):
    return Item(name="object0", kind=kind, colour=colour, half_m=0.025, place=(0.5, 0.0))


def _goals():
    """Every goal that words can tell apart."""
    for colour, kind in itertools.product(COLOURS, OBJECT_KINDS):
        item = _item(colour, kind)
        yield Goal("lift", item)
        yield Goal("touch", item)
        yield from (Goal("push", item, direction=d) for d in ("left", "right", "away", "toward"))
        yield from (Goal("rotate", item, direction=d) for d in ("clockwise", "counterclockwise"))
        for other in COLOURS:
            if other == colour:
                continue
            yield from (Goal("put", item, _item(other, each)) for each in CONTAINER_KINDS)
            for base in OBJECT_KINDS:
                yield Goal("stack", item, _item(other, base))
                for side in ("left", "right"):
                    yield Goal("beside", item, _item(other, base), side)
    yield from (Goal("press", _item(colour, "button")) for colour in COLOURS)


GOALS = list(_goals())


def test_no_sentence_means_two_goals():
    meaning = {}
    for goal in GOALS:
        for sentence in sentences(goal) + sentences(goal, held_out=True):
            assert meaning.setdefault(sentence, goal) == goal, sentence
    assert len(meaning) > 15_000


def test_no_name_means_two_goals():
    assert len({goal_name(goal) for goal in GOALS}) == len(GOALS)


def test_every_skill_has_seven_wordings_of_which_two_are_held_out():
    assert tuple(WORDINGS) == SKILLS
    for wordings in WORDINGS.values():
        assert len(wordings.trained) >= 5
        assert len(wordings.held_out) >= 2
        assert len({*wordings.trained, *wordings.held_out}) >= 7


def test_held_out_wordings_are_more_than_a_word_away_from_every_trained_one():
    for wordings in WORDINGS.values():
        for held_out in wordings.held_out:
            words = set(re.findall(r"\w+", re.sub(r"\{\w+\}", "", held_out)))
            for trained in wordings.trained:
                known = set(re.findall(r"\w+", re.sub(r"\{\w+\}", "", trained)))
                assert words - known, held_out


def test_sentences_are_whole():
    for goal in GOALS:
        for sentence in sentences(goal) + sentences(goal, held_out=True):
            assert f"the {goal.item.colour} {goal.item.kind}" in sentence
            if goal.target is not None:
                assert f"the {goal.target.colour} {goal.target.kind}" in sentence
            assert not re.search(r"[{}]|  |the the|^ | $", sentence), sentence


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [("bowl", {"in", "into"}, {"on", "onto"}), ("plate", {"on", "onto"}, {"in", "into"})],
)
def test_things_go_in_bowls_and_on_plates(kind, right, wrong):
    goal = Goal("put", _item("red", "ball"), _item("blue", kind))
    for sentence in sentences(goal):
        assert set(sentence.split()) & right
        assert not set(sentence.split()) & wrong


@pytest.mark.parametrize("held_out", [False, True])
def test_every_wording_is_reached_and_none_of_the_others(held_out):
    rng = np.random.default_rng(0)
    for skill in SKILLS:
        goal = next(goal for goal in GOALS if goal.skill == skill)
        said = {say(goal, rng, held_out=held_out) for _ in range(200)}
        assert said == set(sentences(goal, held_out=held_out))
        assert not said & set(sentences(goal, held_out=not held_out))


@pytest.mark.parametrize(
    ("goal", "name", "expected"),
    [
        (
            Goal("put", _item("red", "block"), _item("blue", "bowl")),
            "put red block in blue bowl",
            ("put", "red", "block", "", "blue bowl"),
        ),
        (
            Goal("put", _item("red", "block"), _item("blue", "tray")),
            "put red block on blue tray",
            ("put", "red", "block", "", "blue tray"),
        ),
        (
            Goal("beside", _item("pink", "ball"), _item("cyan", "block"), "left"),
            "place pink ball left of cyan block",
            ("beside", "pink", "ball", "left", "cyan block"),
        ),
        (
            Goal("stack", _item("red", "block"), _item("blue", "cylinder")),
            "stack red block on blue cylinder",
            ("stack", "red", "block", "", "blue cylinder"),
        ),
        (
            Goal("rotate", _item("red", "block"), direction="clockwise"),
            "rotate red block clockwise",
            ("rotate", "red", "block", "clockwise", ""),
        ),
        (
            Goal("press", _item("red", "button")),
            "press red button",
            ("press", "red", "button", "", ""),
        ),
    ],
)
def test_goals_have_one_name_and_their_factors(goal, name, expected):
    assert goal_name(goal) == name
    assert factors(goal) == dict(
        zip(("skill", "colour", "shape", "direction", "target"), expected, strict=True)
    )
