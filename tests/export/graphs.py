"""Small ONNX graphs, written node by node: no torch, no exporter."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PX = 8
CHANNELS = 6
WIDTH = 16


def save(path: Path, nodes, weights, *, inputs, outputs, dtype=TensorProto.FLOAT) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, dtype, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(_typed(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def _typed(value: np.ndarray) -> np.ndarray:
    return value.astype(np.int64 if value.dtype.kind == "i" else np.float32)


def convolution(path: Path, *, seed=0) -> Path:
    """`images` in 0..255 -> a grid -> `frame_vectors`."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Mul", ["images", "scale"], ["scaled"], name="scale"),
        helper.make_node("Conv", ["scaled", "stem"], ["grid"], name="stem", strides=[2, 2]),
        helper.make_node("Relu", ["grid"], ["positive"], name="relu"),
        helper.make_node("Flatten", ["positive"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "out", "bias"], ["frame_vectors"], name="out", transB=1),
    ]
    weights = {
        "scale": np.asarray(1 / 64),
        "stem": rng.normal(size=(CHANNELS, 3, 2, 2)),
        "out": rng.normal(size=(WIDTH, CHANNELS * (PX // 2) ** 2)),
        "bias": rng.normal(size=WIDTH),
    }
    return save(
        path,
        nodes,
        weights,
        inputs={"images": ["picture", 3, PX, PX]},
        outputs={"frame_vectors": ["picture", WIDTH]},
    )


def layers(path: Path, *, attention=False, seed=0) -> Path:
    """`trajectory` -> two layers -> `action_embedding`; with `attention`, also over its steps."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("MatMul", ["trajectory", "first"], ["hidden"], name="first"),
        helper.make_node("Relu", ["hidden"], ["steps"], name="relu"),
    ]
    if attention:
        nodes += [
            helper.make_node("Transpose", ["steps"], ["keys"], name="keys", perm=[0, 2, 1]),
            helper.make_node("MatMul", ["steps", "keys"], ["scores"], name="scores"),
            helper.make_node("Softmax", ["scores"], ["shares"], name="shares"),
            helper.make_node("MatMul", ["shares", "steps"], ["read"], name="read"),
        ]
    last = "read" if attention else "steps"
    nodes += [
        helper.make_node(
            "ReduceMax", [last, "steps_axis"], ["highest"], name="highest", keepdims=0
        ),
        helper.make_node("Gemm", ["highest", "second"], ["action_embedding"], name="second"),
    ]
    weights = {
        "first": rng.normal(size=(7, WIDTH)),
        "second": rng.normal(size=(WIDTH, WIDTH)),
        "steps_axis": np.asarray([1]),
    }
    return save(
        path,
        nodes,
        weights,
        inputs={"trajectory": ["batch", "time", 7]},
        outputs={"action_embedding": ["batch", WIDTH]},
    )


def words(path: Path, *, num_words=400, seed=0) -> Path:
    """`tokens` -> a table -> `text_embedding`; places are looked up in a small table."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["found"], name="table"),
        helper.make_node("Gather", ["small", "tokens"], ["place"], name="small"),
        helper.make_node("Add", ["found", "place"], ["sum"], name="sum"),
        helper.make_node("MatMul", ["sum", "out"], ["text_embedding"], name="out"),
    ]
    weights = {
        "table": rng.normal(size=(num_words, WIDTH)),
        "small": rng.normal(size=(8, WIDTH)),
        "out": rng.normal(size=(WIDTH, WIDTH)),
    }
    return save(
        path,
        nodes,
        weights,
        inputs={"tokens": ["batch", "time"]},
        outputs={"text_embedding": ["batch", "time", WIDTH]},
        dtype=TensorProto.INT64,
    )


def without_weights(path: Path) -> Path:
    return save(
        path,
        [helper.make_node("Relu", ["trajectory"], ["action_embedding"], name="relu")],
        {},
        inputs={"trajectory": ["batch", 7]},
        outputs={"action_embedding": ["batch", 7]},
    )


def pictures(count: int, *, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(count, 3, PX, PX)).astype(np.float32)


def kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def outputs_of(path: Path, **feeds: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]
