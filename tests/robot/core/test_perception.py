"""Encode, compare, judge: and what is asked of every number on the way."""

import math
from dataclasses import replace

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.core.percept import Command, StateWindow
from jointspace.robot.core.perception import Band, Frame, Perception
from tests.deploy import bundles
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


def verdicts(perception, embedder, similarities, *, command=COMMAND, start_s=1.0):
    found = []
    for step, similarity in enumerate(similarities):
        embedder.similarity_value = similarity
        look(perception, start_s + step)
        found.append(perception.judge(command, None).verdict)
    return found


def test_what_was_accepted_is_kept_until_it_falls_below_the_band():
    embedder = FakeEmbedder()
    perception = make_perception(embedder)
    seen = verdicts(perception, embedder, [0.4, 0.6, 0.4, 0.31, 0.29, 0.4, 0.6])
    assert seen == ["abstain", "accept", "accept", "accept", "reject", "abstain", "accept"]


def test_another_command_or_a_fresh_start_begins_without_what_was_accepted():
    embedder = FakeEmbedder()
    perception = make_perception(embedder)
    assert verdicts(perception, embedder, [0.6, 0.4]) == ["accept", "accept"]
    other = Command(2, "turn left", 3.0)
    assert verdicts(perception, embedder, [0.4], command=other, start_s=9.0) == ["abstain"]
    assert verdicts(perception, embedder, [0.6], command=other, start_s=10.0) == ["accept"]
    perception.reset()
    assert verdicts(perception, embedder, [0.4], command=other, start_s=11.0) == ["abstain"]


def test_what_was_accepted_is_forgotten_after_a_gap_between_pictures():
    embedder = FakeEmbedder()
    perception = make_perception(embedder, longest_gap_s=0.5)
    look(perception, 0.0)
    embedder.similarity_value = 0.6
    assert perception.judge(COMMAND, None).verdict == "accept"
    embedder.similarity_value = 0.4
    for time_s, verdict in ((0.5, "accept"), (1.01, "abstain")):
        look(perception, time_s)
        assert perception.judge(COMMAND, None).verdict == verdict
    row = np.eye(1, DIM, dtype=np.float32)[0]
    for time_s, similarity, verdict in (
        (1.1, 0.6, "accept"),
        (1.5, 0.4, "accept"),
        (3.0, 0.4, "abstain"),
    ):
        embedder.similarity_value = similarity
        perception.look_at_row(row, frame_s=time_s)
        assert perception.judge(COMMAND, None).verdict == verdict


GROWTH = replace(
    bundles.GROWTH,
    accept=0.8,
    stages=tuple(
        replace(bundles.GROWTH.stages[0], until_s=until_s, reject=reject)
        for until_s, reject in ((2.0, 0.1), (4.0, 0.7))
    ),
)


def test_pictures_since_the_command_are_judged_by_the_threshold_of_their_time():
    embedder = FakeEmbedder()
    perception = make_perception(embedder, growth=GROWTH)
    told = Command(1, "forward", 10.0)
    assert verdicts(perception, embedder, [0.6] * 4, command=told, start_s=10.0) == [
        "abstain",
        "abstain",
        "abstain",
        "reject",  # three seconds after the command
    ]
    assert perception.judge(told, None).elapsed_s == pytest.approx(3.0)
    assert perception.judge(None, None).elapsed_s is None


def test_a_command_that_is_repeated_goes_on_and_another_one_starts_anew():
    embedder = FakeEmbedder(similarity_value=0.6)
    perception = make_perception(embedder, growth=GROWTH)
    look(perception, 10.0)
    perception.judge(Command(1, "forward", 10.0), None)
    look(perception, 13.0)
    again = perception.judge(Command(1, "forward", 12.9), None)
    assert (again.verdict, again.elapsed_s) == ("reject", 3.0)
    other = perception.judge(Command(2, "turn left", 12.5), None)
    assert (other.verdict, other.elapsed_s) == ("abstain", 0.5)


def test_a_row_that_came_ready_made_is_judged_by_the_threshold_of_windows():
    perception = make_perception(FakeEmbedder(similarity_value=0.6), growth=GROWTH)
    row = np.zeros(DIM, np.float32)
    row[0] = 1
    perception.look_at_row(row, frame_s=1.0)
    percept = perception.judge(COMMAND, None)
    assert (percept.verdict, percept.elapsed_s) == ("accept", None)
