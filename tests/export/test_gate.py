import dataclasses

import numpy as np
import pytest

from jointspace.batch import ACTION, SIX_DIRECTIONS, STATE, TEXT, VISION, Direction, Embeddings
from jointspace.errors import InputError
from jointspace.evaluation.scales import EPISODES, WINDOWS
from jointspace.export.gate import (
    direction_scores,
    gate,
    scores_json,
    scores_table,
    short,
)
from jointspace.export.quantise import quantise
from tests.evaluation.reference import row_ids, unit
from tests.export.graphs import convolution, outputs_of, pictures

MODALITIES = (VISION, TEXT, ACTION)


def space(*, count=40, noise=0.0, modalities=MODALITIES, seed=0):
    """Rows whose modalities agree up to noise, at both scales."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(count, 12))
    ids = row_ids(episode=np.arange(count), instruction=np.arange(count))
    vectors = {m: unit(shared + noise * rng.normal(size=shared.shape)) for m in modalities}
    return {scale: Embeddings(vectors, ids) for scale in (WINDOWS, EPISODES)}


def with_vision(rows, vectors):
    return {
        scale: dataclasses.replace(each, vectors={**each.vectors, VISION: vectors})
        for scale, each in rows.items()
    }


def test_all_six_directions_are_measured_each_on_its_own_rows():
    scores = direction_scores(space())
    assert set(scores) == set(SIX_DIRECTIONS)
    assert {d: s.scale for d, s in scores.items()} == {
        d: EPISODES if TEXT in (d.query, d.target) else WINDOWS for d in SIX_DIRECTIONS
    }
    assert all(each.recall_at_1 == each.ndcg_at_10 == 1 for each in scores.values())


def test_sensors_and_fused_queries_pass_the_gate_too():
    scores = direction_scores(space(modalities=(*MODALITIES, STATE, "vision+text")))
    assert Direction(STATE, VISION) in scores
    assert Direction("vision+text", ACTION) in scores


def test_nothing_lost_passes():
    result = gate("int8 vision", space(), space())
    assert result.passed
    assert result.refusals == ()
    assert result.largest_loss == 0


def test_a_loss_is_refused_by_name_with_both_numbers():
    reference = space()
    vectors = reference[EPISODES].vectors[VISION].copy()
    vectors[[0, 1]] = vectors[[1, 0]]  # two of forty pictures change places
    result = gate("int8 vision", reference, with_vision(reference, vectors))
    assert not result.passed
    assert "int8 vision: text->vision R@1 1.00 -> .950" in result.refusals
    assert result.largest_loss == pytest.approx(0.05)
    assert not any("text->action" in line for line in result.refusals)


def test_exactly_the_tolerance_passes_and_a_gain_too():
    reference = space()
    vectors = reference[EPISODES].vectors[VISION].copy()
    vectors[[0, 1]] = vectors[[1, 0]]
    worse = with_vision(reference, vectors)
    assert gate("int8 vision", reference, worse, tolerance=0.05).passed
    assert not gate("int8 vision", reference, worse, tolerance=0.049).passed
    assert gate("int8 vision", worse, reference).passed


def test_a_collapsed_variant_scores_chance_and_is_refused():
    reference = space()
    vectors = np.broadcast_to(unit(np.ones((1, 12))), (40, 12))
    result = gate("int8 vision", reference, with_vision(reference, vectors))
    assert "int8 vision: vision->text R@1 1.00 -> .025" in result.refusals


def test_a_direction_that_vanished_is_refused():
    reference = space()
    result = gate("int8 vision", reference, with_vision(reference, np.zeros((40, 12))))
    assert "int8 vision: text->vision cannot be measured any more" in result.refusals


def test_rows_of_something_else_are_no_variant():
    with pytest.raises(InputError, match=r"int8 vision: its windows are not those of the refer"):
        gate("int8 vision", space(), space(count=39))


def test_rows_without_any_direction_have_no_gate():
    only = space(modalities=(VISION,))
    with pytest.raises(InputError, match="no direction can be measured"):
        gate("int8 vision", only, only)


def test_scores_are_told_to_reader_and_program():
    scores = direction_scores(space())
    told = scores_json(scores, scores)
    assert told["text->vision"]["fp32"] == {"ndcg_at_10": 1.0, "recall_at_1": 1.0}
    assert scores_table(scores, scores).row_count == 6
    assert short(0.05) == ".050"


def test_row_18_a_broken_calibration_of_a_convolution_is_refused_by_name(tmp_path):
    """Calibrated on noise in a tiny range, every activation saturates."""
    file, seen = convolution(tmp_path / "graph.onnx"), pictures(40, seed=2)
    right = unit(outputs_of(file, images=seen))
    ids = row_ids(episode=np.arange(40), instruction=np.arange(40))
    reference = {EPISODES: Embeddings(dict.fromkeys(MODALITIES, right), ids)}
    passed = {}
    for name, scale in (("good", 1.0), ("broken", 1e-3)):
        out = tmp_path / f"{name}.onnx"
        calibration = [{"images": each[None] * np.float32(scale)} for each in pictures(16)]
        quantise(file, out, scheme="static", calibration=calibration)
        rows = with_vision(reference, unit(outputs_of(out, images=seen)))
        passed[name] = gate("int8 vision", reference, rows)
    assert passed["good"].passed
    assert passed["broken"].refusals[0].startswith("int8 vision: vision->text nDCG@10 1.00 -> .")
