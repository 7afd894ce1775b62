import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.errors import InputError
from jointspace.evaluation.contact_sheet import (
    NUM_FRAMES,
    Retrieved,
    ShownQuery,
    contact_sheet,
    retrieve_examples,
)
from jointspace.evaluation.factors import goal_factors
from tests.evaluation.tabletop import PX, tabletop, tabletop_space, tabletop_store

GREEN, GREY = (26, 152, 80), (179, 188, 198)


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


@pytest.fixture(scope="module")
def embeddings(dataset):
    return tabletop_space(dataset)


@pytest.fixture(scope="module")
def store(dataset, tmp_path_factory):
    return tabletop_store(dataset, tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def labels(dataset):
    return {goal: each["skill"] for goal, each in goal_factors(dataset).values.items()}


def test_one_text_of_each_skill_retrieves_the_best_scoring_episodes(
    dataset, embeddings, store, labels
):
    shown = retrieve_examples(embeddings, dataset, store, labels=labels, num_queries=3)
    of_text = {e.instruction: e for e in dataset.episodes}
    skills = [of_text[query.text].factors["skill"] for query in shown]
    assert len(skills) == 3
    assert skills == sorted(set(skills))
    for query in shown:
        asked = of_text[query.text]
        row = [e.instruction for e in dataset.episodes].index(query.text)
        scores = embeddings.vectors[VISION] @ embeddings.vectors[TEXT][row]
        best = [dataset.episodes[i] for i in np.argsort(-scores)[:4]]
        assert [each.caption for each in query.results] == [e.instruction for e in best]
        assert [each.is_right for each in query.results] == [e.goal == asked.goal for e in best]
        position = dataset.episodes.index(best[0])
        frames = store.frames(position, "front")
        assert query.results[0].frames.shape == (NUM_FRAMES, PX, PX, 3)
        np.testing.assert_array_equal(query.results[0].frames[[0, -1]], frames[[0, -1]])


def test_the_draw_depends_on_the_seed_alone(dataset, embeddings, store, labels):
    def texts(seed):
        shown = retrieve_examples(embeddings, dataset, store, labels=labels, seed=seed)
        return [query.text for query in shown]

    assert texts(0) == texts(0)
    assert len({tuple(texts(seed)) for seed in range(5)}) > 1


def test_without_labels_each_text_is_of_another_goal(dataset, embeddings, store):
    shown = retrieve_examples(embeddings, dataset, store, num_queries=6)
    goal = {e.instruction: e.goal for e in dataset.episodes}
    assert len({goal[query.text] for query in shown}) == 6


def test_without_texts_or_pictures_there_are_no_examples(dataset, embeddings, store):
    mute = Embeddings({VISION: embeddings.vectors[VISION]}, embeddings.rows)
    assert retrieve_examples(mute, dataset, store) == ()
    dark = replace(dataset, episodes=tuple(replace(e, videos={}) for e in dataset.episodes))
    assert retrieve_examples(embeddings, dark, store) == ()


def test_right_answers_have_a_green_frame_and_wrong_ones_a_grey_one():
    frames = np.full((4, 8, 8, 3), 20, dtype=np.uint8)
    results = tuple(Retrieved(frames, "do it", is_right) for is_right in (True, False, False))
    with Image.open(io.BytesIO(contact_sheet([ShownQuery("do it", results)]))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    green = (pixels == GREEN).all(axis=2)
    grey = (pixels == GREY).all(axis=2)
    assert green[:, : pixels.shape[1] // 2].any()
    assert not green[:, pixels.shape[1] // 2 :].any()
    assert grey.sum() == pytest.approx(2 * green.sum(), rel=0.01)
    assert (pixels == 20).all(axis=2).sum() == 3 * 4 * 216**2


def test_odd_texts_and_short_episodes_can_be_drawn():
    short = Retrieved(np.zeros((1, 8, 8, 3), dtype=np.uint8), "", is_right=False)
    text = "拿起 $x$ " + "very long " * 50
    png = contact_sheet([ShownQuery(text, (short,)), ShownQuery("a\nb", (short,) * 5)])
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"


def test_a_query_without_pictures_is_refused():
    empty = Retrieved(np.zeros((0, 8, 8, 3), dtype=np.uint8), "do it", is_right=True)
    for queries in ([], [ShownQuery("do it", (empty,))]):
        with pytest.raises(InputError, match="every query needs a result"):
            contact_sheet(queries)
