from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings, Modality
from jointspace.errors import InputError
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.factors import (
    GoalFactors,
    factor_accuracy,
    goal_factors,
    retrieval_by_group,
)
from tests.evaluation.tabletop import tabletop, tabletop_space

QUICK = Resampling(num_resamples=50)


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


@pytest.fixture(scope="module")
def factors(dataset):
    return goal_factors(dataset)


@pytest.fixture(scope="module")
def embeddings(dataset):
    return tabletop_space(dataset)


def by_loop(embeddings, query, factors, name):
    """Hits and chances by comparing every row with every distinct text, ties shared out."""
    rows, seen = embeddings.rows, {}
    for row, instruction in enumerate(rows.instruction.tolist()):
        seen.setdefault(instruction, row)
    hits, chances = [], []
    for row in range(len(rows)):
        own = factors.values[int(rows.goal[row])].get(name, "")
        if not own:
            continue
        scores = [
            float(embeddings.vectors[query][row] @ embeddings.vectors[TEXT][t])
            for t in seen.values()
        ]
        same = [factors.values[int(rows.goal[t])].get(name, "") == own for t in seen.values()]
        best = [s for score, s in zip(scores, same, strict=True) if score > max(scores) - 1e-6]
        hits.append(sum(best) / len(best))
        chances.append(sum(same) / len(same))
    return np.mean(hits), np.mean(chances), len(hits)


@pytest.mark.parametrize("query", [VISION, ACTION])
def test_accuracy_equals_a_loop_over_rows_and_texts(embeddings, factors, query):
    measured = factor_accuracy(embeddings, query, factors, resampling=QUICK)
    assert list(measured) == ["skill", "colour", "shape", "direction"]
    for name, each in measured.items():
        hits, chance, count = by_loop(embeddings, query, factors, name)
        assert each.accuracy.value == pytest.approx(hits)
        assert each.accuracy.chance == pytest.approx(chance)
        assert each.num_rows == count
        assert each.accuracy.low <= each.accuracy.value <= each.accuracy.high


def test_what_a_modality_does_not_show_stays_near_chance(embeddings, factors):
    vision = factor_accuracy(embeddings, VISION, factors, resampling=QUICK)
    action = factor_accuracy(embeddings, ACTION, factors, resampling=QUICK)
    assert vision["colour"].accuracy.value > 0.9
    assert action["skill"].accuracy.value > 0.9
    assert action["colour"].accuracy.low < 0.4


def test_a_factor_counts_only_where_it_applies(embeddings, factors):
    direction = factor_accuracy(embeddings, VISION, factors, resampling=QUICK)["direction"]
    pushes = [g for g, v in factors.values.items() if v["skill"] == "push"]
    assert direction.num_rows == np.isin(embeddings.rows.goal, pushes).sum()
    assert direction.num_values == 2
    assert direction.majority == 0.5
    assert direction.accuracy.chance == pytest.approx(0.2)  # 6 of 30 goals push to that side


def test_a_collapsed_model_scores_chance(embeddings, factors):
    same = np.tile(embeddings.vectors[TEXT][:1], (len(embeddings), 1))
    collapsed = Embeddings({VISION: same, TEXT: same}, embeddings.rows)
    for each in factor_accuracy(collapsed, VISION, factors, resampling=QUICK).values():
        assert each.accuracy.value == pytest.approx(each.accuracy.chance)


def test_factors_with_one_value_are_left_out(embeddings, factors):
    lifts = [goal for goal, values in factors.values.items() if values["skill"] == "lift"]
    rows = embeddings.take(np.isin(embeddings.rows.goal, lifts))
    assert set(factor_accuracy(rows, VISION, factors, resampling=QUICK)) == {"colour", "shape"}


def test_goals_without_factors_are_none(dataset):
    bare = replace(dataset, episodes=tuple(replace(e, factors={}) for e in dataset.episodes))
    assert goal_factors(bare) is None


def test_a_factor_in_which_episodes_of_a_goal_differ_says_nothing_of_it(dataset):
    first = dataset.episodes[0]
    odd = replace(first, factors={**first.factors, "colour": "pink"})
    changed = goal_factors(replace(dataset, episodes=(odd, *dataset.episodes[1:])))
    goal = dataset.goals.index(first.goal)
    assert "colour" not in changed.values[goal]
    assert changed.values[goal]["skill"] == "lift"


def test_unnamed_goals_are_the_instructions(dataset):
    unnamed = replace(dataset, episodes=tuple(replace(e, goal="") for e in dataset.episodes))
    found = goal_factors(unnamed)
    for episode in unnamed.episodes:
        goal = unnamed.instructions.index(episode.instruction)
        assert found.of([goal], "colour") == [episode.factors["colour"]]


def test_unknown_factors_and_modalities_are_refused(embeddings, factors):
    with pytest.raises(InputError, match=r"no factor 'color'\. Did you mean 'colour'"):
        factors.of([0], "color")
    with pytest.raises(InputError, match=r"no modality 'visoin'\. Did you mean 'vision'"):
        factor_accuracy(embeddings, Modality("visoin"), factors)
    fused = Embeddings(
        {**embeddings.vectors, Modality("vision+text"): embeddings.vectors[VISION]}, embeddings.rows
    )
    with pytest.raises(InputError, match="holds the text itself"):
        factor_accuracy(fused, Modality("vision+text"), factors)


def test_the_grouping_factor_is_the_skill_or_else_the_coarsest_that_every_goal_has(factors):
    assert factors.grouping == "skill"
    values = {
        goal: {**{k: v for k, v in each.items() if k != "skill"}}
        for goal, each in factors.values.items()
    }
    assert GoalFactors(("colour", "shape", "direction"), values).grouping == "shape"
    assert GoalFactors(("direction",), values).grouping == ""


def test_retrieval_by_group_averages_the_texts_of_each_group(embeddings, factors):
    groups = retrieval_by_group(embeddings, ACTION, factors)
    assert list(groups) == ["lift", "push", "rotate", "touch"]
    assert [each.num_texts for each in groups.values()] == [12, 24, 12, 12]
    perfect = Embeddings(
        {VISION: embeddings.vectors[TEXT], TEXT: embeddings.vectors[TEXT]}, embeddings.rows
    )
    for each in retrieval_by_group(perfect, VISION, factors).values():
        assert each.recall_at_1 == each.mean_average_precision == pytest.approx(1)
        assert each.chance_recall_at_1 == pytest.approx(2 / len(embeddings))
        assert each.num_rows == 2
