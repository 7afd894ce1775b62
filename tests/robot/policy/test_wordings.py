import numpy as np
import pytest

from jointspace.errors import InputError
from jointspace.robot.policy.wordings import KnownWordings, distinct_rows


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_the_nearest_row_in_the_plane_through_the_nearest_known_ones():
    rows = unit(np.random.default_rng(0).normal(size=(120, 60)))
    asked = unit(np.random.default_rng(1).normal(size=60)).astype(np.float64)
    nearest = sorted(rows, key=lambda row: -float(row @ asked))[:50]
    centre = sum(row.astype(np.float64) for row in nearest) / 50
    # Weights by least squares, each drawn to zero as if by a row of the root of .1 more.
    columns = np.array(nearest).T - centre[:, None]
    system = np.vstack([columns, np.sqrt(0.1) * np.eye(50)])
    weights = np.linalg.lstsq(system, np.append(asked - centre, np.zeros(50)), rcond=None)[0]
    expected = centre + columns @ weights
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(KnownWordings(rows).nearest(asked), expected, atol=1e-6)


def test_things_that_never_came_together_are_both_kept():
    """Five colours lifted, three of them at five places: the plane holds all pairs."""
    colours, places = np.eye(10)[:5], np.eye(10)[5:]
    known = [c + p for i, c in enumerate(colours) for j, p in enumerate(places) if (i + j) % 3]
    read = KnownWordings(unit(known)).nearest(unit(colours[0] + places[3]))
    assert read.argsort()[-2:].tolist() in ([0, 8], [8, 0])
    assert read[[0, 8]].min() > 0.6


def test_a_known_wording_far_from_all_others_stays_as_it_is():
    known = KnownWordings(np.eye(8, dtype=np.float32))
    np.testing.assert_allclose(known.nearest(np.eye(8)[3]), np.eye(8)[3], atol=0.02)


def test_a_part_that_no_known_wording_has_is_left_out():
    known = KnownWordings(unit([[1, 0, 0], [0, 1, 0]]))
    assert known.nearest(unit([3, 0, 4]))[2] == 0
    assert np.linalg.norm(known.nearest(unit([3, 0, 4]))) == pytest.approx(1)


def test_an_instruction_told_twice_counts_once():
    rows = unit(np.random.default_rng(0).normal(size=(6, 8)))
    told = np.concatenate([rows, rows[:3] + np.float32(1e-7), rows[:1]])
    assert len(KnownWordings(distinct_rows(told)[0]).rows) == 6
    asked = unit(np.random.default_rng(1).normal(size=8))
    np.testing.assert_allclose(
        KnownWordings(distinct_rows(told)[0]).nearest(asked),
        KnownWordings(rows).nearest(asked),
        atol=1e-5,
    )


def test_no_instructions_are_refused():
    with pytest.raises(InputError, match="there are no instructions; expected at least one"):
        KnownWordings(np.zeros((0, 8), np.float32))
