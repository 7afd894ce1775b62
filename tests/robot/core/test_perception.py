"""Encode, compare, judge: and what is asked of every number on the way."""

import math

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.core.percept import Command, StateWindow
from jointspace.robot.core.perception import Band, Frame, Perception
from tests.robot.stand_ins import DIM, FakeEmbedder, FakeStream

PIXELS = np.zeros((4, 4, 3), dtype=np.uint8)
COMMAND = Command(1, "forward", 0.0)


def make_perception(embedder, *, cameras=("front",), **options):
    return Perception(
        embedder,
        make_stream=lambda: FakeStream(embedder),
        cameras=cameras,
        judge=Band(accept=0.5, reject=0.3),
        **options,
    )


def look(perception, time_s=1.0, camera="front", source=None):
    perception.look({camera: Frame(PIXELS, time_s, source)})


def test_there_is_no_percept_before_there_is_a_picture():
    assert make_perception(FakeEmbedder()).judge(COMMAND, None) is None


def test_a_percept_says_what_was_seen_when_and_how_well_it_matches():
    perception = make_perception(FakeEmbedder(similarity_value=0.75))
    look(perception, 1.0, source="header")
    states = StateWindow(np.zeros((2, 3)), np.array([0.5, 1.0]))
    percept = perception.judge(COMMAND, states)
    assert percept.frame_s == 1.0
    assert percept.sources == {"front": "header"}
    assert percept.similarity == 0.75
    assert percept.verdict == "accept"
    assert percept.command is COMMAND
    assert percept.states is states
    assert percept.encode_ms > 0
    assert np.linalg.norm(percept.vision) == np.linalg.norm(percept.text) == 1


def test_pictures_are_seen_without_a_command_too():
    perception = make_perception(FakeEmbedder())
    look(perception)
    percept = perception.judge(None, None)
    assert (percept.command, percept.similarity, percept.verdict) == (None, None, None)


def test_every_camera_must_have_sent_and_the_oldest_says_how_old_the_percept_is():
    perception = make_perception(FakeEmbedder(), cameras=("front", "wrist"))
    look(perception, 1.0, "front")
    assert perception.judge(COMMAND, None) is None
    look(perception, 1.2, "wrist")
    look(perception, 1.3, "wrist")
    assert perception.judge(COMMAND, None).frame_s == 1.0


def test_a_text_is_embedded_once_a_command_not_once_a_picture():
    embedder = FakeEmbedder()
    perception = make_perception(embedder)
    for step in range(5):
        look(perception, 1.0 + step)
        perception.judge(COMMAND, None)
    perception.reset()
    look(perception, 9.0)
    perception.judge(COMMAND, None)
    assert embedder.texts == ["forward"]


def test_remembered_texts_have_a_bound_and_the_newest_are_kept():
    embedder = FakeEmbedder()
    perception = make_perception(embedder)
    look(perception)
    for number in range(300):
        perception.judge(Command(number, f"go to {number}", 0.0), None)
    perception.judge(Command(299, "go to 299", 0.0), None)
    assert len(embedder.texts) == 300
    perception.judge(Command(0, "go to 0", 0.0), None)
    assert len(embedder.texts) == 301


def test_the_best_of_the_configured_instructions_is_reported():
    class Graded(FakeEmbedder):
        def similarity(self, query, query_row, target, target_rows):
            return np.linspace(0.1, 0.6, len(target_rows), dtype=np.float32)

    perception = make_perception(Graded(), instructions=("open it", "close it"))
    look(perception)
    percept = perception.judge(None, None)
    assert percept.best_instruction == "close it"
    assert percept.best_similarity == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("similarity", "verdict"),
    [(0.51, "accept"), (0.5, "abstain"), (0.3, "abstain"), (0.29, "reject"), (-1.0, "reject")],
)
def test_the_band_accepts_above_rejects_below_and_abstains_between(similarity, verdict):
    assert Band(accept=0.5, reject=0.3).decide(similarity) == verdict


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, 0.9])
def test_a_row_of_pictures_that_is_no_unit_row_is_refused(value):
    perception = make_perception(FakeEmbedder(row_value=value))
    with pytest.raises(InputError, match="the row of pictures has length"):
        look(perception)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_row_of_a_text_that_is_no_unit_row_is_refused(value):
    perception = make_perception(FakeEmbedder(text_value=value))
    look(perception)
    with pytest.raises(InputError, match="the row of text 'forward' has length"):
        perception.judge(COMMAND, None)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_similarity_that_is_not_finite_is_refused(value):
    perception = make_perception(FakeEmbedder(similarity_value=value))
    look(perception)
    with pytest.raises(InputError, match=r"similarity .* is not finite"):
        perception.judge(COMMAND, None)


def test_a_row_that_another_process_made_is_taken_in_place_of_pictures():
    perception = make_perception(FakeEmbedder())
    row = np.eye(1, DIM, dtype=np.float32)[0]
    perception.look_at_row(row, frame_s=2.0, source="header")
    percept = perception.judge(COMMAND, None)
    np.testing.assert_array_equal(percept.vision, row)
    assert percept.frame_s == 2.0
    assert percept.sources == {"front": "header"}


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (np.ones(3, dtype=np.float32), r"shape \(3,\), expected \(8,\)"),
        (np.ones(DIM, dtype=np.float32), "embedding message has length 2.8"),
        (np.full(DIM, np.nan, dtype=np.float32), "length nan"),
    ],
)
def test_a_row_of_another_length_or_shape_is_refused(row, match):
    with pytest.raises(InputError, match=match):
        make_perception(FakeEmbedder()).look_at_row(row, frame_s=0.0)
