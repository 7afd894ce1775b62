import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.policy.wordings import KnownWordings


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_what_is_nearest_counts_by_its_similarity():
    rows = unit(np.random.default_rng(0).normal(size=(40, 8)))
    asked = unit(np.random.default_rng(1).normal(size=8))
    cosines = sorted(((float(row @ asked), row) for row in rows), key=lambda pair: -pair[0])[:5]
    expected = sum(np.exp(cosine / 0.05) * row.astype(np.float64) for cosine, row in cosines)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(KnownWordings(rows).nearest(asked), expected, atol=1e-6)


def test_a_known_wording_far_from_all_others_stays_as_it_is():
    known = KnownWordings(np.eye(8, dtype=np.float32))
    np.testing.assert_allclose(known.nearest(np.eye(8)[3]), np.eye(8)[3], atol=1e-6)


def test_a_part_that_no_known_wording_has_is_left_out():
    known = KnownWordings(unit([[1, 0, 0], [0, 1, 0]]))
    assert known.nearest(unit([3, 0, 4]))[2] == 0
    assert np.linalg.norm(known.nearest(unit([3, 0, 4]))) == pytest.approx(1)


def test_an_instruction_told_twice_counts_once():
    rows = unit(np.random.default_rng(0).normal(size=(6, 8)))
    told = np.concatenate([rows, rows[:3] + np.float32(1e-7), rows[:1]])
    assert len(KnownWordings.of(told).rows) == 6
    asked = unit(np.random.default_rng(1).normal(size=8))
    np.testing.assert_allclose(
        KnownWordings.of(told).nearest(asked), KnownWordings(rows).nearest(asked), atol=1e-5
    )


def test_no_instructions_are_refused():
    with pytest.raises(InputError, match="there are no instructions; expected at least one"):
        KnownWordings(np.zeros((0, 8), np.float32))
