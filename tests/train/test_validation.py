"""The worst of the core directions, above chance, decides."""

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION, Direction, Embeddings, RowIds, directions
from jointspace.data.samples import SampleSet
from jointspace.errors import InputError
from jointspace.train.validation import DirectionScore, summarise, validate


class Rows(SampleSet):
    """A sample set without files: the ids are all that embedding by hand needs."""

    texts = {}  # noqa: RUF012 -- stands for a property
    rows = None

    def __init__(self, episode, goal, start_s):
        start = np.asarray(start_s, dtype=float)
        goal = np.asarray(goal)
        self.rows = RowIds(np.asarray(episode), goal, goal, start, start + 1)

    def __len__(self):
        return len(self.rows)


def embed_by_row(embedder, samples, *, modalities):
    """Modality `m` of a row is what `embedder.vectors[m]` makes of its ids."""
    vectors = {m: embedder.vectors[m](samples.rows).astype(np.float32) for m in modalities}
    return Embeddings(vectors, samples.rows, samples.texts)


class ByIds:
    embed_dim = 16

    def __init__(self, vectors):
        self.vectors = vectors
        self.modalities = (*vectors, "vision+text")

    def pair_gate(self, first, second):
        return None

    def embed(self, modality, batch):
        raise AssertionError


def one_hot(which):
    return lambda rows: np.eye(16)[which(rows)]


EPISODE = one_hot(lambda rows: rows.episode)
GOAL = one_hot(lambda rows: rows.goal)
CONSTANT = one_hot(lambda rows: np.zeros(len(rows), dtype=int))
WINDOWS = Rows([0, 1, 2, 3], [0, 0, 1, 1], [0, 0, 0, 0])
EPISODES = Rows([0, 1, 2, 3], [0, 0, 1, 1], [0, 0, 0, 0])


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    monkeypatch.setattr("jointspace.train.validation.embed_samples", embed_by_row)


def test_a_perfect_model_scores_one_and_a_collapsed_one_zero():
    perfect = ByIds({VISION: EPISODE, ACTION: EPISODE})
    result = validate(perfect, windows=WINDOWS, episodes=EPISODES)
    assert result.worst == pytest.approx(1.0)
    assert set(result.directions) == {"vision->action", "action->vision"}
    collapsed = ByIds({VISION: CONSTANT, TEXT: CONSTANT, ACTION: CONSTANT})
    result = validate(collapsed, windows=WINDOWS, episodes=EPISODES)
    assert len(result.directions) == 6
    for score in result.directions.values():
        assert score.above_chance == pytest.approx(0.0, abs=1e-9)


def test_text_is_measured_on_episodes_and_motion_on_windows():
    model = ByIds({VISION: GOAL, TEXT: GOAL, ACTION: GOAL})
    few = Rows([0, 1], [0, 1], [0, 0])
    result = validate(model, windows=few, episodes=EPISODES)
    assert result.directions["vision->text"].rows == "episodes"
    assert result.directions["vision->action"].rows == "windows"
    assert result.worst == pytest.approx(1.0)
    swapped = validate(model, windows=EPISODES, episodes=few)
    assert swapped.worst_direction in {"vision->action", "action->vision"}
    assert swapped.directions["vision->action"].mean_average_precision == pytest.approx(0.75)
    assert swapped.directions["vision->action"].recall_at_1 == pytest.approx(0.5)
    chance = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    assert swapped.worst == pytest.approx((0.75 - chance) / (1 - chance))


def test_without_windows_everything_is_measured_on_episodes():
    model = ByIds({VISION: EPISODE, TEXT: GOAL, ACTION: EPISODE})
    for windows in (None, Rows([0], [0], [0])):
        result = validate(model, windows=windows, episodes=EPISODES)
        assert {score.rows for score in result.directions.values()} == {"episodes"}
        assert len(result.directions) == 6


def test_one_instruction_leaves_the_directions_that_can_be_measured():
    model = ByIds({VISION: EPISODE, TEXT: GOAL, ACTION: EPISODE})
    same = Rows([0, 1, 2], [0, 0, 0], [0, 0, 0])
    result = validate(model, windows=same, episodes=same)
    assert set(result.directions) == {"vision->action", "action->vision"}


def test_nothing_to_measure_is_refused_with_a_cure():
    model = ByIds({VISION: EPISODE, TEXT: GOAL})
    same = Rows([0, 1, 2], [0, 0, 0], [0, 0, 0])
    with pytest.raises(InputError, match=r"same goal.*raise data\.validation_fraction, or set it"):
        validate(model, windows=same, episodes=same)


def score(value):
    return DirectionScore(value, value, value, "windows")


def test_the_worst_core_direction_decides_and_sensors_do_not():
    scores = {d: score(0.5 + 0.01 * i) for i, d in enumerate(directions((VISION, TEXT, ACTION)))}
    scores[Direction(STATE, VISION)] = score(-0.9)
    result = summarise(scores)
    assert result.worst == 0.5
    assert result.worst_direction == "vision->text"
    assert result.mean == pytest.approx(0.525)
    assert result.directions["state->vision"].above_chance == -0.9


def test_without_core_directions_all_of_them_decide():
    scores = {Direction(VISION, STATE): score(0.4), Direction(STATE, VISION): score(0.2)}
    assert summarise(scores).worst == 0.2
