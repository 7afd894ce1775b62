"""What demonstrations teach: colours, what an instruction is about, and moments."""

import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.policy.learn import Demonstration, fit_observer, fit_palette, observe_all
from jointspace.robot.policy.motion import actions_of
from tests.robot.policy.demonstrations import COLOURS, NUM_STEPS, demonstration
from tests.robot.policy.tiny import LAYOUT

NUM_EPISODES = 90
RECORDS = [demonstration(seed) for seed in range(NUM_EPISODES)]


def told(record):
    """A row that says which is the item and which the target."""
    words = record.instruction.split()
    row = np.zeros(2 * len(COLOURS), np.float32)
    row[list(COLOURS).index(words[2])] = 1
    row[len(COLOURS) + list(COLOURS).index(words[6])] = 1
    return row / np.linalg.norm(row)


def demonstrations(records=RECORDS):
    for record in records:
        pictures = np.stack([record.pictures[name] for name in ("front", "wrist")], axis=1)
        yield Demonstration(pictures, record.state, record.action, told(record))


@pytest.fixture(scope="module")
def palette():
    return fit_palette((each.pictures for each in demonstrations()), seed=0)


@pytest.fixture(scope="module")
def fitted(palette):
    return fit_observer(demonstrations(), palette, LAYOUT, seed=0)


@pytest.fixture(scope="module")
def observer(fitted):
    return fitted[0]


def test_the_palette_knows_the_colours_of_the_demonstrations(palette):
    for colour in COLOURS.values():
        assert np.abs(palette.colours - np.float32(colour)).max(1).min() < 2
    again = fit_palette((each.pictures for each in demonstrations()), seed=0)
    np.testing.assert_array_equal(palette.colours, again.colours)


def test_a_palette_is_made_of_the_first_demonstrations_and_reads_no_further():
    asked = []

    def endless():
        while True:
            asked.append(len(asked))
            colour = np.uint8(COLOURS["red"] if len(asked) <= 200 else COLOURS["blue"])
            yield np.broadcast_to(colour, (2, 1, 16, 16, 3))

    palette = fit_palette(endless(), seed=0)
    assert np.abs(palette.colours - np.float32(COLOURS["red"])).max() < 1e-3
    assert len(asked) == 201


def test_the_observer_learns_which_thing_is_meant_and_where_it_lies(palette, observer):
    assert observer.num_cameras == 2
    for record in (demonstration(seed) for seed in range(200, 210)):
        item, target = (record.instruction.split()[place] for place in (2, 6))
        relevance = observer.grounding.relevance(told(record))
        for relevant, name in zip(relevance, (item, target), strict=True):
            (word,) = palette.words(np.uint8([COLOURS[name]]))
            assert relevant.argmax() == word
            words = palette.words(record.pictures["front"][0])
            rows, columns = np.nonzero(words == word)
            place = 2 * np.array((columns.mean(), rows.mean())) / (words.shape[0] - 1) - 1
            lies_m = record.state[4 if name == item else 7, 8:10]
            np.testing.assert_allclose(observer.grounding.on_table(place), lies_m, atol=0.01)


def test_moments_are_what_is_seen_and_the_actions_that_follow(fitted):
    observer, relevances = fitted
    few = RECORDS[:3]
    moments = observe_all(demonstrations(few), observer, LAYOUT, relevances=relevances)
    assert moments.seen.shape == (3 * NUM_STEPS, observer.dim)
    np.testing.assert_array_equal(moments.episodes, np.repeat(range(3), NUM_STEPS))
    np.testing.assert_array_equal(moments.text_rows, [told(record) for record in few])
    followed = actions_of(moments.chunks[NUM_STEPS + 1], LAYOUT)
    np.testing.assert_allclose(followed, few[1].action[1:9], atol=1e-6)


def test_a_stride_leaves_out_other_steps_of_each_demonstration(fitted):
    observer, relevances = fitted
    whole = observe_all(demonstrations(RECORDS[:3]), observer, LAYOUT, relevances=relevances)
    thinned = observe_all(
        demonstrations(RECORDS[:3]), observer, LAYOUT, relevances=relevances, stride=4
    )
    kept = [*range(0, 10, 4), *range(11, 20, 4), *range(22, 30, 4)]
    np.testing.assert_array_equal(thinned.seen, whole.seen[kept])
    np.testing.assert_array_equal(thinned.chunks, whole.chunks[kept])
    np.testing.assert_array_equal(thinned.episodes, whole.episodes[kept])


def test_without_demonstrations_there_is_nothing_to_learn(palette):
    with pytest.raises(InputError, match="there are no demonstrations to learn from"):
        fit_observer([], palette, LAYOUT, seed=0)
