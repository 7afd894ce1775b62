"""Graphs as files: that they compute what the model computes, and that a damaged one is found."""

import logging
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from jointspace.batch import ACTION, TEXT
from jointspace.config import TextConfig, VisionConfig
from jointspace.deploy.graph import STATIC
from jointspace.errors import ExportError
from jointspace.export.graphs import export_graphs, export_part, model_parts, static_part
from jointspace.export.onnx_file import OPSET
from jointspace.export.parity import GraphRunner, check_parity
from tests.export.robots import build, preprocessor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def robot():
    return preprocessor(sensors=())


@pytest.fixture(scope="module")
def model(robot):
    """Built as that of configs/demo.toml is."""
    return build(
        robot,
        fusion="none",
        sensors=(),
        pair_metric="gated",
        vision=VisionConfig(channels=(8, 12), width=16, stem_stride=4),
        text=TextConfig(width=16, layers=1, pooling="attention+max"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def graphs(model, robot, folder):
    return export_graphs(model, robot, folder)


@pytest.fixture
def action(graphs):
    return next(graph for graph in graphs if graph.name == ACTION)


def test_graphs_compute_what_the_model_computes(model, robot, folder, graphs):
    worst = check_parity(model, robot, folder, graphs)
    assert list(worst) == ["vision_frame", "vision", "text", "action"]
    assert min(worst.values()) > 0
    assert max(worst.values()) < 1e-5


def test_a_file_says_what_the_graph_says_and_nothing_of_this_machine(folder, graphs):
    for graph in graphs:
        content = (folder / graph.file).read_bytes()
        assert not [word for word in (b".py", b"site-packages", b"stack_trace") if word in content]
        proto = onnx.load_from_string(content)
        onnx.checker.check_model(proto, full_check=True)
        assert [(each.domain, each.version) for each in proto.opset_import] == [("", OPSET)]
        for specs, values in (
            (graph.inputs, proto.graph.input),
            (graph.outputs, proto.graph.output),
        ):
            assert [spec.name for spec in specs] == [value.name for value in values]
            for spec, value in zip(specs, values, strict=True):
                axes = value.type.tensor_type.shape.dim
                assert spec.shape == tuple(axis.dim_param or axis.dim_value for axis in axes)


def test_a_row_that_lacks_the_modality_is_zero_and_all_others_are_unit(folder, action):
    rows = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    valid = np.ones((3, 6), dtype=np.bool_)
    valid[1] = False
    made = run_action(folder, action, rows, valid)
    assert not made[1].any()
    np.testing.assert_allclose(np.linalg.norm(made[[0, 2]], axis=1), 1, atol=1e-6)


def test_what_is_masked_may_hold_anything(folder, action):
    rows = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
    valid = np.array([[True, False, True, True, False, False]] * 2)
    expected = run_action(folder, action, rows, valid)
    rows[~valid] = np.nan
    np.testing.assert_array_equal(run_action(folder, action, rows, valid), expected)


def test_readings_are_clipped_inside(folder, action, robot):
    normaliser = robot.normalisers[ACTION]
    far = np.broadcast_to(normaliser.centre + normaliser.scale * 5, (1, 3, 4)).copy()
    farther = far + 100 * normaliser.scale
    valid = np.ones((1, 3), dtype=np.bool_)
    np.testing.assert_allclose(
        run_action(folder, action, farther, valid),
        run_action(folder, action, far, valid),
        atol=1e-5,
    )


def run_action(folder, graph, rows, valid):
    time_s = np.broadcast_to(np.arange(rows.shape[1], dtype=np.float32) / 5, valid.shape)
    feeds = {"trajectory": rows, "valid": valid, "time_s": np.ascontiguousarray(time_s)}
    return GraphRunner(folder).run(graph, feeds)["action_embedding"]


def test_a_damaged_graph_is_named(model, robot, folder, graphs, tmp_path):
    shutil.copytree(folder, tmp_path / "bundle")
    file = tmp_path / "bundle" / "graphs" / "text.onnx"
    proto = onnx.load(file)
    largest = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    changed = numpy_helper.to_array(largest) * np.float32(1.01)
    largest.CopyFrom(numpy_helper.from_array(changed, largest.name))
    onnx.save(proto, file)
    with pytest.raises(ExportError, match=r"graph 'text': differs from the model by .* wanted at"):
        check_parity(model, robot, tmp_path / "bundle", graphs)
    changed[:] = np.nan
    largest.CopyFrom(numpy_helper.from_array(changed, largest.name))
    onnx.save(proto, file)
    with pytest.raises(ExportError, match="graph 'text': differs from the model by nan"):
        check_parity(model, robot, tmp_path / "bundle", graphs)
    file.write_bytes(b"no graph")
    with pytest.raises(ExportError, match="graph 'text': ONNX Runtime cannot run it"):
        check_parity(model, robot, tmp_path / "bundle", graphs)


def test_static_graphs_compute_the_same_in_one_row(model, robot, tmp_path, caplog):
    wanted = {TEXT, ACTION, "vision_frame", "vision"}
    parts = [static_part(p) for p in model_parts(model, robot) if p.name in wanted]
    with caplog.at_level(logging.WARNING):
        graphs = [export_part(part, tmp_path) for part in parts]
    assert not caplog.records  # the exporter talks to itself
    assert all(graph.name.startswith(STATIC) for graph in graphs)
    assert max(check_parity(model, robot, tmp_path, graphs).values()) < 1e-5
