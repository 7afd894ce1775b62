from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import (
    ACTION,
    SIX_DIRECTIONS,
    STATE,
    TEXT,
    VISION,
    Direction,
    Embeddings,
    Modality,
)
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.directions import evaluate_embeddings, parts_of
from tests.evaluation.reference import row_ids, toy_embeddings, unit

QUICK = Resampling(num_resamples=20)
FUSED = Modality("vision+text")


def test_all_six_directions_of_a_good_space_score_high():
    result = evaluate_embeddings(toy_embeddings(), resampling=QUICK)
    assert set(result.retrieval) == set(SIX_DIRECTIONS)
    for metrics in result.retrieval.values():
        assert metrics.recall_at_1.value > 0.9 > metrics.recall_at_1.chance
    assert (result.num_rows, result.num_episodes, result.num_texts) == (20, 20, 4)
    assert result.notes == ()


def test_each_distinct_text_counts_once_on_either_side():
    result = evaluate_embeddings(toy_embeddings(), resampling=QUICK)
    to_text = result.retrieval[Direction(VISION, TEXT)]
    assert (to_text.num_queries, to_text.num_targets, to_text.num_texts) == (20, 4, 4)
    from_text = result.retrieval[Direction(TEXT, VISION)]
    assert (from_text.num_queries, from_text.num_targets, from_text.num_texts) == (4, 20, 4)
    assert from_text.positives_per_query == 5
    assert from_text.num_episodes == to_text.num_episodes == 20
    between = result.retrieval[Direction(VISION, ACTION)]
    assert (between.num_targets, between.num_texts, between.positives_per_query) == (20, 0, 1)


def test_rows_that_lack_a_modality_are_left_out_of_its_directions_only():
    embeddings = toy_embeddings()
    embeddings.vectors[ACTION][:3] = 0
    embeddings.vectors[TEXT][2:5] = 0
    instruction = embeddings.rows.instruction.copy()
    instruction[2:5] = -1
    rows = replace(embeddings.rows, instruction=instruction, goal=instruction)
    result = evaluate_embeddings(replace(embeddings, rows=rows), resampling=QUICK)
    count = {str(d): (m.num_queries, m.num_targets) for d, m in result.retrieval.items()}
    assert count["vision->action"] == (17, 17)
    assert count["vision->text"] == (17, 4)
    assert count["text->action"] == (3, 15)
    assert result.present == {VISION: 20, TEXT: 17, ACTION: 17}


def test_paraphrases_of_a_goal_answer_for_each_other_unless_told_otherwise():
    # Two wordings of each goal, at the same place: which of them is meant cannot be told.
    embeddings = toy_embeddings(num_instructions=2, episodes_each=6)
    paraphrase = 2 * embeddings.rows.instruction + np.arange(12) % 2
    rows = replace(embeddings.rows, instruction=paraphrase)
    embeddings = replace(embeddings, rows=rows)
    direction = Direction(VISION, TEXT)
    by_goal = evaluate_embeddings(embeddings, resampling=QUICK).retrieval[direction]
    by_words = evaluate_embeddings(embeddings, positives="instruction", resampling=QUICK)
    assert by_goal.recall_at_1.value == 1
    assert by_goal.positives_per_query == 2
    assert by_words.retrieval[direction].recall_at_1.value == pytest.approx(0.5)


def test_fused_queries_search_what_is_not_part_of_them():
    result = evaluate_embeddings(toy_embeddings(fused=True), resampling=QUICK)
    fused = [d for d in result.retrieval if FUSED in {d.query, d.target}]
    assert fused == [Direction(FUSED, ACTION)]
    assert result.retrieval[fused[0]].recall_at_1.value > 0.9
    assert FUSED not in result.accuracy
    assert set(evaluate_embeddings(toy_embeddings()).retrieval) == set(SIX_DIRECTIONS)


def test_a_fused_query_needs_all_its_parts():
    embeddings = toy_embeddings(fused=True)
    embeddings.vectors[VISION][0] = 0
    result = evaluate_embeddings(embeddings, resampling=QUICK)
    assert result.retrieval[Direction(FUSED, ACTION)].num_queries == 19


def test_a_fused_query_without_text_is_classified_too():
    embeddings = toy_embeddings()
    both = Modality("vision+action")
    vectors = {**embeddings.vectors, both: embeddings.vectors[VISION]}
    result = evaluate_embeddings(replace(embeddings, vectors=vectors), resampling=QUICK)
    assert set(result.accuracy) == {VISION, ACTION, both}
    assert Direction(both, TEXT) in result.retrieval
    assert Direction(TEXT, both) not in result.retrieval


def test_overlapping_moments_are_no_wrong_answers_unless_told_otherwise():
    # Rows come in twins: the same moment a little later, and a vector nearly the same.
    generator = np.random.default_rng(0)
    first = unit(generator.standard_normal((20, 8))).repeat(2, axis=0)
    second = first[np.arange(40) ^ 1] + 0.01 * generator.standard_normal((40, 8))
    rows = row_ids(np.arange(40) // 2, start_s=np.arange(40) % 2 * 0.5)
    embeddings = Embeddings({VISION: first, STATE: unit(second)}, rows)
    strict, fair = (
        evaluate_embeddings(embeddings, ignore_overlap=ignore, resampling=QUICK).retrieval[
            Direction(VISION, STATE)
        ]
        for ignore in (False, True)
    )
    assert fair.recall_at_1.value == 1
    assert strict.recall_at_1.value < 0.8
    assert fair.recall_at_1.chance == pytest.approx(1 / 39)


def test_what_cannot_be_measured_is_said():
    embeddings = toy_embeddings(num_instructions=1)
    embeddings.vectors[ACTION][1:] = 0
    result = evaluate_embeddings(embeddings, resampling=QUICK)
    assert result.retrieval == {}
    assert result.accuracy == {}
    assert any("every row has the same goal" in note for note in result.notes)
    assert "vision->action: 1 rows have both; at least 2 are needed" in result.notes


def test_the_accuracy_is_that_of_the_first_text():
    # Three rows of text 0, one of text 1; one row of text 0 is taken for text 1.
    vision = unit([[1, 0], [1, 0.1], [0, 1], [0, 1]])
    instruction = np.array([0, 0, 0, 1])
    text = np.eye(2)[instruction]
    embeddings = Embeddings({VISION: vision, TEXT: text}, row_ids(range(4), instruction))
    accuracy = evaluate_embeddings(embeddings).accuracy[VISION]
    assert accuracy.accuracy.value == pytest.approx(3 / 4)
    assert accuracy.accuracy.chance == pytest.approx(1 / 2)
    assert accuracy.majority == pytest.approx(3 / 4)
    assert accuracy.per_instruction == pytest.approx({0: 2 / 3, 1: 1})
    assert accuracy.balanced.value == pytest.approx((2 / 3 + 1) / 2)
    assert accuracy.balanced.chance == pytest.approx(1 / 2)
    for estimate in (accuracy.accuracy, accuracy.balanced):
        assert estimate.low < estimate.value < estimate.high
    assert (accuracy.num_rows, accuracy.num_texts, accuracy.num_episodes) == (4, 2, 4)


def test_a_collapsed_space_is_as_accurate_as_a_guess():
    embeddings = toy_embeddings()
    vectors = {m: np.repeat(unit([[1.0, 2, 3]]), 20, axis=0) for m in embeddings.modalities}
    result = evaluate_embeddings(replace(embeddings, vectors=vectors), resampling=QUICK)
    assert result.accuracy[VISION].accuracy.value == pytest.approx(1 / 4)
    for metrics in result.retrieval.values():
        assert metrics.recall_at_1.value == pytest.approx(metrics.recall_at_1.chance)
        assert metrics.tie_rate == 1


def test_no_rows_are_refused():
    with pytest.raises(InputError, match="no row"):
        evaluate_embeddings(toy_embeddings().take(np.arange(0)))


def test_parts_of_a_fused_query_are_its_modalities():
    assert parts_of(FUSED) == (VISION, TEXT)
    assert parts_of(ACTION) == (ACTION,)
