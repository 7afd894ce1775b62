import numpy as np

from jointspace.evaluation.products import Float32Product, Int8Product
from jointspace.evaluation.ranking import count_ranks_both
from tests.evaluation.reference import unit


def _integer_matmul(query, target):
    assert query.dtype == target.dtype == np.int8
    return query.astype(np.int32) @ target.astype(np.int32).T


def test_float32_reuses_its_buffer_and_copies_no_float32_input():
    product = Float32Product()
    rows = unit(np.random.default_rng(0).standard_normal((5, 4)))
    assert product.prepare(rows) is rows
    first = product.scores(rows, rows)
    np.testing.assert_allclose(first, rows @ rows.T, rtol=1e-6)
    assert np.shares_memory(first, product.scores(rows[:2], rows[:3]))


def test_int8_fills_its_range_and_keeps_zero():
    prepared = Int8Product(_integer_matmul).prepare(np.array([[0.5, -0.25, 0.0]]))
    assert prepared.tolist() == [[127, -64, 0]]
    assert Int8Product(_integer_matmul).prepare(np.zeros((1, 2))).tolist() == [[0, 0]]


def test_int8_scores_are_near_the_cosine():
    generator = np.random.default_rng(0)
    rows, other = (unit(generator.standard_normal((300, 64))) for _ in range(2))
    product = Int8Product(_integer_matmul)
    scale = 127**2 / (np.abs(rows).max() * np.abs(other).max())
    scores = product.scores(product.prepare(rows), product.prepare(other)) / scale
    assert np.abs(scores - rows @ other.T).max() < 0.02


def test_int8_ranks_are_near_the_exact_ones():
    generator = np.random.default_rng(1)
    rows = unit(generator.standard_normal((300, 64)))
    other = unit(rows + 0.5 * generator.standard_normal((300, 64)))
    exact = count_ranks_both(rows, other)
    reduced = count_ranks_both(rows, other, product=Int8Product(_integer_matmul))
    for a, b in zip(exact, reduced, strict=True):
        assert abs((a.expected_rank <= 1).mean() - (b.expected_rank <= 1).mean()) < 0.02
        assert (a.expected_rank != b.expected_rank).any()
