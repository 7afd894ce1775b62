from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings, Modality
from jointspace.errors import InputError
from jointspace.evaluation import matching
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.matching import match_quality, match_scores
from tests.evaluation.reference import row_ids, toy_embeddings, unit

QUICK = Resampling(num_resamples=20)


def as_set(scores):
    columns = (scores.row, scores.instruction, scores.right)
    return set(zip(*(c.tolist() for c in columns), strict=True))


def test_every_row_meets_every_text_once_and_right_is_what_the_goals_say():
    embeddings = toy_embeddings(num_instructions=3, episodes_each=2)
    embeddings = replace(
        embeddings, rows=replace(embeddings.rows, goal=np.array([7, 7, 7, 7, 9, 9]))
    )
    by_goal = match_scores(embeddings, VISION)
    instruction, goal = embeddings.rows.instruction, embeddings.rows.goal
    goal_of = dict(zip(instruction.tolist(), goal.tolist(), strict=True))
    assert len(by_goal) == 18
    assert as_set(by_goal) == {(r, i, goal[r] == goal_of[i]) for r in range(6) for i in range(3)}
    by_words = match_scores(embeddings, VISION, positives="instruction")
    assert as_set(by_words) == {(r, i, instruction[r] == i) for r in range(6) for i in range(3)}
    text = {int(i): embeddings.vectors[TEXT][r] for r, i in enumerate(instruction)}
    for scores in (by_goal, by_words):
        cosines = [
            embeddings.vectors[VISION][r] @ text[i]
            for r, i in zip(scores.row, scores.instruction.tolist(), strict=True)
        ]
        np.testing.assert_allclose(scores.similarity, cosines, atol=1e-6)
        np.testing.assert_array_equal(scores.episode, embeddings.rows.episode[scores.row])


def test_similarities_do_not_depend_on_the_block(monkeypatch):
    whole = match_scores(toy_embeddings(), ACTION)
    monkeypatch.setattr(matching, "_BLOCK_NUMBERS", 30)
    np.testing.assert_allclose(
        match_scores(toy_embeddings(), ACTION).similarity, whole.similarity, atol=1e-6
    )


def test_rows_without_text_or_without_the_modality_are_left_out():
    embeddings = toy_embeddings()
    embeddings.vectors[VISION][0] = 0
    embeddings.vectors[TEXT][1] = 0
    instruction = embeddings.rows.instruction.copy()
    instruction[1:3] = -1
    rows = replace(embeddings.rows, instruction=instruction, goal=instruction)
    scores = match_scores(replace(embeddings, rows=rows), VISION)
    assert set(scores.row.tolist()) == set(range(3, 20))
    assert set(scores.instruction.tolist()) == set(range(4))


def test_the_closest_wrong_instructions_share_most_words():
    texts = {0: "open the drawer", 1: "Close the drawer", 2: "push the red button", 3: "wave"}
    instruction = np.arange(4)
    vectors = {m: unit(np.eye(4)) for m in (VISION, TEXT)}
    embeddings = Embeddings(vectors, row_ids(range(4), instruction), texts)
    wrong = {p[:2] for p in as_set(match_scores(embeddings, VISION, wrong="closest")) if not p[2]}
    # "wave" shares no word with any: all are equally far.
    assert wrong == {(0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}
    # A paraphrase is no wrong instruction.
    one_goal = replace(embeddings.rows, goal=np.array([0, 0, 2, 3]))
    scores = match_scores(replace(embeddings, rows=one_goal), VISION, wrong="closest")
    wrong = {p[:2] for p in as_set(scores) if not p[2]}
    assert wrong == {(0, 2), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}


def test_of_too_many_closest_instructions_sixteen_are_drawn():
    embeddings = toy_embeddings(num_instructions=20, episodes_each=1)
    texts = {i: f"word{i}" for i in range(20)}
    scores = match_scores(replace(embeddings, texts=texts), VISION, wrong="closest")
    np.testing.assert_array_equal(np.bincount(scores.row[~scores.right]), np.full(20, 16))


@pytest.mark.parametrize("wrong", ["every", "closest"])
def test_where_wrong_pairs_are_too_many_some_are_drawn_and_all_right_ones_stay(wrong):
    embeddings = toy_embeddings(num_instructions=10, episodes_each=4)
    every = match_scores(embeddings, VISION, wrong=wrong)
    some = match_scores(embeddings, VISION, wrong=wrong, max_pairs=120)
    assert 60 < (~some.right).sum() <= 120 < (~every.right).sum()
    assert as_set(some) < as_set(every)
    assert some.right.sum() == every.right.sum() == 40
    again = match_scores(embeddings, VISION, wrong=wrong, max_pairs=120)
    np.testing.assert_array_equal(some.instruction, again.instruction)


def test_a_good_space_separates_and_a_collapsed_one_scores_chance():
    good = match_quality(toy_embeddings(noise=0.01), VISION, resampling=QUICK)
    assert good.auroc.value > 0.95 > good.auroc.chance
    assert good.median_right > 0.7
    assert good.median_wrong < 0.5
    assert (good.num_right, good.num_wrong, good.num_episodes) == (20, 60, 20)
    embeddings = toy_embeddings()
    vectors = {m: np.repeat(unit([[1.0, 2, 3]]), 20, axis=0) for m in embeddings.modalities}
    flat = match_quality(replace(embeddings, vectors=vectors), VISION, resampling=QUICK)
    assert flat.auroc.value == flat.auroc_closest.value == 0.5


def test_closely_worded_wrong_instructions_are_the_harder_test():
    # Texts of one verb lie close together, so that rows are taken for the wrong one of them.
    generator = np.random.default_rng(0)
    verb = np.repeat(unit(generator.standard_normal((4, 12))), 3, axis=0)
    text = unit(verb + 0.2 * unit(generator.standard_normal((12, 12))))
    instruction = np.repeat(np.arange(12), 5)
    vision = unit(text[instruction] + 0.5 * unit(generator.standard_normal((60, 12))))
    texts = {i: f"{('open', 'push', 'lift', 'turn')[i // 3]} thing{i}" for i in range(12)}
    vectors = {VISION: vision, TEXT: text[instruction]}
    embeddings = Embeddings(vectors, row_ids(range(60), instruction), texts)
    quality = match_quality(embeddings, VISION, resampling=QUICK)
    assert quality.auroc_closest.value < quality.auroc.value - 0.05
    assert match_quality(replace(embeddings, texts={}), VISION).auroc_closest is None


def test_an_evaluation_says_how_well_each_modality_matches_its_texts():
    both = Modality("vision+action")
    embeddings = toy_embeddings(fused=True)
    vectors = {**embeddings.vectors, both: embeddings.vectors[VISION]}
    embeddings = replace(embeddings, vectors=vectors)
    result = evaluate_embeddings(embeddings, resampling=QUICK)
    assert set(result.matching) == set(result.accuracy) == {VISION, ACTION, both}
    assert result.matching[VISION] == match_quality(embeddings, VISION, resampling=QUICK)


def test_what_cannot_be_matched_is_refused():
    embeddings = toy_embeddings(fused=True)
    with pytest.raises(InputError, match=r"no modality 'visoin'.*Did you mean 'vision'"):
        match_scores(embeddings, Modality("visoin"))
    with pytest.raises(InputError, match="holds the text itself"):
        match_scores(embeddings, Modality("vision+text"))
    with pytest.raises(InputError, match=r"every row has the same goal.*no wrong pair"):
        match_scores(toy_embeddings(num_instructions=1), VISION)
    with pytest.raises(InputError, match="no text for instruction 0"):
        match_scores(replace(embeddings, texts={}), VISION, wrong="closest")
    embeddings.vectors[ACTION][:] = 0
    with pytest.raises(InputError, match="no row has both"):
        match_scores(embeddings, ACTION)


@pytest.mark.usefixtures("unchecked_shapes")
def test_scores_of_different_lengths_are_refused():
    scores = match_scores(toy_embeddings(), VISION)
    with pytest.raises(InputError, match="must have one length"):
        replace(scores, right=scores.right[:3])


def test_a_similarity_that_is_not_finite_is_named():
    embeddings = toy_embeddings()
    embeddings.vectors[VISION][2] = np.nan
    with pytest.raises(InputError, match="row 2 of 'vision' and instruction 0 is not finite"):
        match_scores(embeddings, VISION)
