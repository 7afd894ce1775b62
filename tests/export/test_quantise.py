import numpy as np
import onnx
import pytest

from jointspace.errors import InputError
from jointspace.export.quantise import quantise, schemes_of
from tests.export.graphs import (
    WIDTH,
    convolution,
    kinds,
    layers,
    outputs_of,
    pictures,
    without_weights,
    words,
)


def cosines(a, b):
    a, b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def one_by_one(name, values):
    return [{name: each[None]} for each in values]


def trajectories(count, *, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 5, 7)).astype(np.float32)


def test_convolutions_have_their_ranges_measured_beforehand(tmp_path):
    assert schemes_of(convolution(tmp_path / "graph.onnx")) == ("static", "static-all")


def test_matrices_and_attention_have_their_ranges_measured_as_they_come(tmp_path):
    assert schemes_of(layers(tmp_path / "plain.onnx")) == ("dynamic",)
    assert schemes_of(layers(tmp_path / "attention.onnx", attention=True)) == ("dynamic",)


def test_a_graph_without_weights_has_nothing_to_quantise(tmp_path):
    file = without_weights(tmp_path / "graph.onnx")
    assert schemes_of(file) == ()
    with pytest.raises(InputError, match=r"scheme is 'dynamic'; wanted one of none"):
        quantise(file, tmp_path / "out.onnx", scheme="dynamic", calibration=[])


@pytest.mark.parametrize("scheme", ["static", "static-all"])
def test_a_calibrated_convolution_keeps_its_directions(tmp_path, scheme):
    file, out = convolution(tmp_path / "graph.onnx"), tmp_path / "int8.onnx"
    quantise(file, out, scheme=scheme, calibration=one_by_one("images", pictures(16)))
    unseen = pictures(20, seed=1)
    before, after = outputs_of(file, images=unseen), outputs_of(out, images=unseen)
    assert after.dtype == np.float32
    assert cosines(before, after).min() > 0.99
    assert not np.array_equal(before, after)


def test_static_quantisation_is_unsigned_activations_and_signed_weights_per_channel(tmp_path):
    file, out = convolution(tmp_path / "graph.onnx"), tmp_path / "int8.onnx"
    quantise(file, out, scheme="static", calibration=one_by_one("images", pictures(4)))
    graph = onnx.load(out).graph
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm"} <= kinds(out)  # QDQ
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    scales = [n.input for n in graph.node if n.op_type == "DequantizeLinear"]
    weights = {
        names[0]: (stored[names[0]], stored[names[1]]) for names in scales if names[0] in stored
    }
    (weight, scale) = next(pair for name, pair in weights.items() if name.startswith("out"))
    assert weight.dtype == np.int8
    assert scale.shape == (WIDTH,)
    assert np.abs(weight).max() <= 64  # seven bits: no overflow without VNNI
    (zero_point,) = {stored[n.input[2]].dtype for n in graph.node if n.op_type == "QuantizeLinear"}
    assert zero_point == np.uint8


def test_static_quantisation_leaves_what_lies_between_products_alone(tmp_path):
    file = convolution(tmp_path / "graph.onnx")
    calibration = one_by_one("images", pictures(4))
    count = {}
    for scheme in ("static", "static-all"):
        out = tmp_path / f"{scheme}.onnx"
        quantise(file, out, scheme=scheme, calibration=calibration)
        count[scheme] = sum(n.op_type == "QuantizeLinear" for n in onnx.load(out).graph.node)
    assert count["static"] < count["static-all"]


@pytest.mark.parametrize("attention", [False, True])
def test_dynamic_quantisation_keeps_directions_and_products_of_activations(tmp_path, attention):
    file, out = layers(tmp_path / "graph.onnx", attention=attention), tmp_path / "int8.onnx"
    quantise(file, out, scheme="dynamic", calibration=[])
    unseen = trajectories(4)
    before, after = outputs_of(file, trajectory=unseen), outputs_of(out, trajectory=unseen)
    assert cosines(before, after).min() > 0.98
    plain = [n.name for n in onnx.load(out).graph.node if n.op_type in ("MatMul", "Gemm")]
    assert plain == (["scores", "read"] if attention else [])


def test_large_tables_of_words_become_int8_too(tmp_path):
    file, out = words(tmp_path / "graph.onnx"), tmp_path / "int8.onnx"
    quantise(file, out, scheme="dynamic", calibration=[])
    tokens = np.arange(8)[None]
    assert cosines(*(outputs_of(f, tokens=tokens) for f in (file, out))).min() > 0.98
    stored = {each.name: each for each in onnx.load(out).graph.initializer}
    assert stored["table_quantized"].data_type != onnx.TensorProto.FLOAT
    assert stored["small"].data_type == onnx.TensorProto.FLOAT
    assert out.stat().st_size < file.stat().st_size / 2


def test_warnings_that_nobody_can_act_on_stay_away(tmp_path, caplog):
    file = convolution(tmp_path / "graph.onnx")
    calibration = one_by_one("images", pictures(2))
    quantise(file, tmp_path / "out.onnx", scheme="static-all", calibration=calibration)
    assert not caplog.records


def test_inputs_and_outputs_keep_their_names_and_free_axes(tmp_path):
    file, out = convolution(tmp_path / "graph.onnx"), tmp_path / "int8.onnx"
    quantise(file, out, scheme="static-all", calibration=one_by_one("images", pictures(2)))
    before, after = onnx.load(file).graph, onnx.load(out).graph
    assert list(before.input) == list(after.input)
    assert [each.name for each in before.output] == [each.name for each in after.output]


def test_a_static_scheme_without_calibration_is_refused(tmp_path):
    file = convolution(tmp_path / "graph.onnx")
    with pytest.raises(InputError, match=r"graph.onnx: no calibration"):
        quantise(file, tmp_path / "out.onnx", scheme="static", calibration=[])
