"""Embeddings and the gates of their pairs."""

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings, gated_rows
from jointspace.errors import InputError
from tests.evaluation.reference import row_ids, unit

PAIR = frozenset((VISION, TEXT))


@pytest.fixture
def gate():
    return np.random.default_rng(1).uniform(0.2, 3, 5).astype(np.float32)


@pytest.fixture
def embeddings(gate):
    generator = np.random.default_rng(0)
    vectors = {m: unit(generator.standard_normal((6, 5))) for m in (VISION, TEXT, ACTION)}
    vectors[VISION][2] = 0
    return Embeddings(vectors, row_ids(range(6)), {0: "lift"}, {PAIR: gate})


def test_rows_of_a_pair_have_the_similarity_of_a_plain_loop(embeddings, gate):
    for first, second in ((VISION, TEXT), (TEXT, VISION)):
        x, y = embeddings.pair_rows(first, second, [0, 3, 4], [5, 2])
        assert x.dtype == np.float32
        for i, a in enumerate((0, 3, 4)):
            for j, b in enumerate((5, 2)):
                p, q = (
                    [float(g) * float(v) for g, v in zip(gate, row, strict=True)]
                    for row in (embeddings.vectors[first][a], embeddings.vectors[second][b])
                )
                lengths = np.sqrt(sum(v * v for v in p) * sum(v * v for v in q))
                product = sum(v * w for v, w in zip(p, q, strict=True))
                wanted = product / lengths if lengths else 0
                assert float(x[i] @ y[j]) == pytest.approx(wanted, abs=1e-6)


def test_a_row_without_the_modality_stays_zero(embeddings):
    x, _ = embeddings.pair_rows(VISION, TEXT)
    assert not x[2].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(x, 2, 0), axis=1), 1, rtol=1e-6)


def test_a_pair_without_a_gate_is_compared_by_its_rows_themselves(embeddings):
    x, y = embeddings.pair_rows(VISION, ACTION, slice(1, 4))
    assert np.shares_memory(x, embeddings.vectors[VISION])
    np.testing.assert_array_equal(y, embeddings.vectors[ACTION][1:4])
    assert embeddings.gate(ACTION, VISION) is None


def test_gates_of_ones_are_the_plain_cosine(embeddings):
    rows = embeddings.vectors[VISION]
    np.testing.assert_allclose(gated_rows(rows, np.ones(5, np.float32)), rows, atol=1e-7)


def test_an_index_of_plain_rows_can_be_searched_through_a_gate(embeddings, gate):
    """What the documentation says of one stored vector per item."""
    x, y = embeddings.vectors[TEXT], np.delete(embeddings.vectors[VISION], 2, 0)
    query = gate**2 * x / np.linalg.norm(gate * x, axis=1, keepdims=True)
    stored = np.linalg.norm(gate * y, axis=1)
    wanted = gated_rows(x, gate) @ gated_rows(y, gate).T
    np.testing.assert_allclose(query @ y.T / stored, wanted, atol=1e-6)


def test_gates_survive_taking_and_joining_rows(embeddings, gate):
    parts = [embeddings.take([0, 1]), embeddings.take(np.arange(6) > 3)]
    joined = Embeddings.concatenate(parts)
    assert len(joined) == 4
    np.testing.assert_array_equal(joined.gate(TEXT, VISION), gate)


def test_rows_of_different_models_are_not_joined(embeddings, gate):
    for gates in ({}, {PAIR: gate * 2}):
        other = Embeddings(embeddings.vectors, embeddings.rows, gates=gates)
        with pytest.raises(InputError, match="the parts have different gates"):
            Embeddings.concatenate([embeddings, other])


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_gates_that_are_not_positive_are_refused(embeddings, gate, value):
    gate[3] = value
    with pytest.raises(InputError, match="the gate of text and vision holds"):
        Embeddings(embeddings.vectors, embeddings.rows, gates={PAIR: gate})
