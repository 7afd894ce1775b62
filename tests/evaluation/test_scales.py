import pytest

from jointspace.batch import ACTION, SIX_DIRECTIONS, TEXT, VISION, Direction
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.scales import core_results, is_read_on, without_duration
from tests.evaluation.reference import toy_embeddings


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_embeddings(toy_embeddings(fused=True), resampling=Resampling(num_resamples=0))


def test_text_is_read_on_episodes_and_the_rest_on_windows():
    spoken, seen = Direction(TEXT, VISION), Direction(VISION, ACTION)
    assert is_read_on(spoken, "episodes", has_windows=True)
    assert not is_read_on(spoken, "windows", has_windows=True)
    assert is_read_on(seen, "windows", has_windows=True)
    assert not is_read_on(seen, "episodes", has_windows=True)
    assert is_read_on(seen, "episodes", has_windows=False)


def test_the_core_results_are_the_six_directions_each_on_its_own_rows(evaluation):
    both = core_results({"windows": evaluation, "episodes": evaluation})
    assert tuple(both) == SIX_DIRECTIONS
    assert [d for d, each in both.items() if each.scale == "windows"] == [
        Direction(VISION, ACTION),
        Direction(ACTION, VISION),
    ]
    alone = core_results({"episodes": evaluation})
    assert {each.scale for each in alone.values()} == {"episodes"}
    assert set(core_results({"windows": evaluation})) == {
        Direction(VISION, ACTION),
        Direction(ACTION, VISION),
    }


def test_without_duration_only_directions_with_text_are_left(evaluation):
    left = without_duration(evaluation)
    assert left.retrieval
    assert all(TEXT in {d.query, d.target} for d in left.retrieval)
    assert "duration" in left.notes[-1]
