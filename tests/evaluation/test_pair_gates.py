"""Every measurement of a gated pair is that of its gated rows, as if they were plain ones."""

from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Direction, Embeddings, Modality, gated_rows
from jointspace.evaluation.bootstrap import Resampling
from jointspace.evaluation.contact_sheet import retrieve_examples
from jointspace.evaluation.directions import evaluate_embeddings
from jointspace.evaluation.factors import factor_accuracy, goal_factors, retrieval_by_group
from jointspace.evaluation.scene import SceneAlternatives, scene_matching
from jointspace.evaluation.space_plots import similarity_matrices
from tests.evaluation.reference import unit
from tests.evaluation.tabletop import (
    tabletop,
    tabletop_alternatives,
    tabletop_space,
    tabletop_store,
)

QUICK = Resampling(num_resamples=20)
FUSED = Modality("vision+action")
PAIRS = [*combinations((VISION, TEXT, ACTION), 2), (FUSED, TEXT)]


@pytest.fixture(scope="module")
def dataset():
    return tabletop()


@pytest.fixture(scope="module")
def gated(dataset):
    """A space of four gates, so uneven that each changes who is found."""
    plain = tabletop_space(dataset, noise=0.5)
    generator = np.random.default_rng(3)
    gates = {frozenset(p): np.exp(1.5 * generator.standard_normal(24)) for p in PAIRS}
    vectors = dict(plain.vectors)
    vectors[FUSED] = unit(vectors[VISION] + vectors[ACTION])
    vectors[ACTION][5] = 0
    return Embeddings(vectors, plain.rows, plain.texts, gates)


def by_hand(embeddings, first, second):
    """The pair alone, its rows gated before."""
    gate = embeddings.gates[frozenset((first, second))]
    vectors = {m: gated_rows(embeddings.vectors[m], gate) for m in (first, second)}
    if "+" in first:  # what a fused query is made of decides which rows count
        vectors |= {Modality(m): embeddings.vectors[Modality(m)] for m in first.split("+")}
    return Embeddings(vectors, embeddings.rows, embeddings.texts)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_retrieval_matching_and_geometry_are_those_of_the_gated_rows(gated, first, second):
    measured = evaluate_embeddings(gated, resampling=QUICK)
    wanted = evaluate_embeddings(by_hand(gated, first, second), resampling=QUICK)
    plain = evaluate_embeddings(
        Embeddings(gated.vectors, gated.rows, gated.texts), resampling=QUICK
    )
    both_ways = [Direction(first, second)]
    both_ways += [] if "+" in first else [Direction(second, first)]
    for direction in both_ways:
        assert measured.retrieval[direction] == wanted.retrieval[direction]
        assert measured.retrieval[direction] != plain.retrieval[direction]
    for query in {first, second} - {TEXT} if TEXT in {first, second} else ():
        assert measured.matching[query] == wanted.matching[query]
        assert measured.accuracy[query] == wanted.accuracy[query]
    if "+" not in first:
        assert measured.geometry.pairs[first, second] == wanted.geometry.pairs[first, second]
        assert measured.geometry.uniformity == plain.geometry.uniformity


@pytest.mark.parametrize("query", [VISION, ACTION, FUSED])
def test_factors_groups_and_scenes_are_those_of_the_gated_rows(dataset, gated, query):
    wanted, factors = by_hand(gated, query, TEXT), goal_factors(dataset)
    plain = Embeddings(gated.vectors, gated.rows, gated.texts)
    of_text = tabletop_alternatives(dataset, plain)
    gate = gated.gates[frozenset((query, TEXT))]
    gated_text = SceneAlternatives(
        of_text.texts, {t: gated_rows(v[None], gate)[0] for t, v in of_text.vectors.items()}
    )

    def measure(embeddings, alternatives):
        return (
            factor_accuracy(embeddings, query, factors, resampling=QUICK),
            retrieval_by_group(embeddings, query, factors),
            asdict(scene_matching(embeddings, query, alternatives, resampling=QUICK)),
        )

    found, expected = measure(gated, of_text), measure(wanted, gated_text)
    assert found == expected
    for own, other in zip(found, measure(plain, of_text), strict=True):
        assert own != other


def test_examples_and_pictures_are_those_of_the_gated_rows(dataset, gated, tmp_path):
    pytest.importorskip("matplotlib")
    store, wanted = tabletop_store(dataset, tmp_path), by_hand(gated, VISION, TEXT)
    plain = Embeddings(gated.vectors, gated.rows, gated.texts)

    def captions(embeddings):
        shown = retrieve_examples(embeddings, dataset, store)
        return [[each.caption for each in query.results] for query in shown]

    def picture(embeddings):
        return similarity_matrices(embeddings, [Direction(TEXT, VISION)])

    for draw in (captions, picture):
        assert draw(gated) == draw(wanted) != draw(plain)
