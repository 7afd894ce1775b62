import math
from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION
from jointspace.errors import InputError
from jointspace.evaluation.alignment import (
    alignment,
    measure_geometry,
    modality_gap,
    uniformity,
)
from tests.evaluation.reference import toy_embeddings, unit


def test_alignment_equals_a_plain_loop():
    generator = np.random.default_rng(0)
    first, second = (unit(generator.standard_normal((7, 5)), np.float64) for _ in range(2))
    for alpha in (1.0, 2.0, 3.0):
        wanted = sum(math.dist(a, b) ** alpha for a, b in zip(first, second, strict=True)) / 7
        assert alignment(first, second, alpha=alpha) == pytest.approx(wanted)
    assert alignment(first, first) == 0


def test_uniformity_equals_a_plain_loop_over_blocks(monkeypatch):
    monkeypatch.setattr("jointspace.evaluation.alignment._BLOCK_ROWS", 4)
    rows = unit(np.random.default_rng(1).standard_normal((11, 5)), np.float64)
    kernels = [math.exp(-3 * math.dist(rows[i], rows[j]) ** 2) for i in range(11) for j in range(i)]
    assert uniformity(rows, t=3.0) == pytest.approx(math.log(sum(kernels) / len(kernels)))


def test_a_collapsed_space_has_uniformity_zero():
    assert uniformity(np.repeat(unit([[1.0, 2, 3]]), 5, axis=0)) == pytest.approx(0, abs=1e-6)


def test_many_rows_are_sampled_with_a_fixed_seed():
    rows = unit(np.random.default_rng(2).standard_normal((400, 8)))
    sampled = uniformity(rows, max_rows=200)
    assert sampled == uniformity(rows, max_rows=200)
    assert sampled == pytest.approx(uniformity(rows), abs=0.05)
    assert sampled != uniformity(rows)


def test_the_gap_is_the_distance_of_the_centres():
    first = np.array([[1.0, 0], [0, 1]])
    assert modality_gap(first, -first) == pytest.approx(math.sqrt(2))
    assert modality_gap(first, first[::-1]) == 0


def test_the_geometry_counts_each_text_once_and_pairs_only_rows_that_have_both():
    embeddings = toy_embeddings(num_instructions=3)
    embeddings.vectors[ACTION][:4] = 0
    geometry = measure_geometry(embeddings)
    assert geometry.pairs[VISION, ACTION].num_rows == 11
    assert geometry.pairs[VISION, ACTION].alignment == pytest.approx(
        alignment(embeddings.vectors[VISION][4:], embeddings.vectors[ACTION][4:])
    )
    assert geometry.uniformity[TEXT] == pytest.approx(
        uniformity(embeddings.vectors[TEXT][[0, 5, 10]])
    )


def test_a_single_text_has_no_uniformity_and_missing_rows_no_pair():
    embeddings = toy_embeddings(num_instructions=1)
    vectors = {**embeddings.vectors, ACTION: np.zeros_like(embeddings.vectors[ACTION])}
    geometry = measure_geometry(replace(embeddings, vectors=vectors))
    assert math.isnan(geometry.uniformity[TEXT])
    assert (VISION, ACTION) not in geometry.pairs


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alignment(np.eye(2), np.eye(3)), "row-aligned"),
        (lambda: alignment(np.empty((0, 2)), np.empty((0, 2))), "at least one row"),
        (lambda: uniformity(np.eye(2)[:1]), "at least two rows, got 1"),
        (lambda: modality_gap(np.eye(2), np.empty((0, 2))), "both sides, got 2 and 0"),
    ],
)
def test_too_little_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
