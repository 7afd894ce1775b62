import json

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, VISION, Embeddings, Modality
from jointspace.errors import DataError, InputError
from jointspace.evaluation.ceiling import measure_ceilings, read_revealed
from jointspace.evaluation.factors import goal_factors
from tests.evaluation.reference import scores_of_order
from tests.evaluation.tabletop import tabletop, tabletop_space


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


@pytest.fixture(scope="module")
def factors(dataset):
    return goal_factors(dataset)


@pytest.fixture(scope="module")
def embeddings(dataset):
    return tabletop_space(dataset)


def test_a_ceiling_is_what_shuffling_within_the_known_factors_scores(embeddings, factors):
    ceiling = measure_ceilings(embeddings, factors, {ACTION: ("skill", "direction")})[ACTION]
    generator = np.random.default_rng(0)
    goal = embeddings.rows.goal
    known = list(zip(factors.of(goal, "skill"), factors.of(goal, "direction"), strict=True))
    texts = np.unique(embeddings.rows.instruction, return_index=True)[1]
    drawn = []
    for _ in range(60):
        for text in texts:
            order = sorted(generator.permutation(len(goal)), key=lambda r: known[r] != known[text])
            drawn.append(scores_of_order([goal[r] == goal[text] for r in order]))
    mean = np.mean(drawn, axis=0)
    assert ceiling.from_text.recall_at_1 == pytest.approx(mean[0], abs=0.02)
    assert ceiling.from_text.recall_at_5 == pytest.approx(mean[1], abs=0.03)
    assert ceiling.from_text.mean_average_precision == pytest.approx(mean[3], abs=0.02)
    # Each skill and direction has six goals, so that one text in six is right.
    assert ceiling.to_text.recall_at_1 == pytest.approx(1 / 6)
    assert (ceiling.revealed, ceiling.hidden) == (("skill", "direction"), ("colour", "shape"))


def test_knowing_nothing_is_chance_and_knowing_all_is_no_ceiling(embeddings, factors):
    nothing = measure_ceilings(embeddings, factors, {ACTION: ()})[ACTION]
    assert nothing.to_text.recall_at_1 == pytest.approx(1 / 30)
    assert measure_ceilings(embeddings, factors, {ACTION: factors.names}) == {}


def test_fused_queries_show_what_any_of_their_parts_shows(embeddings, factors):
    fused = Modality("action+state")
    seen = Modality("vision+action")
    vectors = {**embeddings.vectors, STATE: embeddings.vectors[ACTION]}
    vectors |= {fused: embeddings.vectors[ACTION], seen: embeddings.vectors[VISION]}
    more = Embeddings(vectors, embeddings.rows)
    found = measure_ceilings(more, factors, {ACTION: ("skill",), STATE: ("direction", "skill")})
    assert set(found) == {ACTION, STATE, fused}
    assert found[fused].revealed == ("skill", "direction")
    assert found[fused].to_text == found[STATE].to_text
    assert found[ACTION].to_text.recall_at_1 < found[STATE].to_text.recall_at_1


def test_without_texts_that_differ_there_is_no_ceiling(embeddings, factors):
    one = embeddings.take(embeddings.rows.goal == embeddings.rows.goal[0])
    assert measure_ceilings(one, factors, {ACTION: ("skill",)}) == {}


def test_unknown_factors_are_refused(embeddings, factors):
    with pytest.raises(InputError, match=r"'action': no factor 'skil'\. Did you mean 'skill'"):
        measure_ceilings(embeddings, factors, {ACTION: ("skil",)})


def test_the_manifest_says_what_is_revealed(tmp_path):
    assert read_revealed(tmp_path) == {}
    manifest = tmp_path / "meta" / "simulation.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"version": 1}))
    assert read_revealed(tmp_path) == {}
    manifest.write_text(json.dumps({"revealed_factors": {"action": ["skill", "direction"]}}))
    assert read_revealed(tmp_path) == {ACTION: ("skill", "direction")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "could not be read as JSON"),
        ("[]", "must map each modality to a list"),
        ('{"revealed_factors": {"action": "skill"}}', "got {'action': 'skill'}"),
        ('{"revealed_factors": ["skill"]}', "must map each modality"),
    ],
)
def test_a_broken_manifest_is_refused_with_its_name(tmp_path, content, message):
    manifest = tmp_path / "meta" / "simulation.json"
    manifest.parent.mkdir()
    manifest.write_text(content)
    with pytest.raises(DataError, match=f"simulation.json.*{message}"):
        read_revealed(tmp_path)
