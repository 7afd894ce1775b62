"""Small ONNX graphs, written node by node: no torch, no exporter."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

PX = 8
CHANNELS = 6
WIDTH = 16


def save(path: Path, nodes, weights, *, inputs, outputs) -> Path:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


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
    nodes.append(helper.make_node("MatMul", [last, "second"], ["action_embedding"], name="second"))
    weights = {"first": rng.normal(size=(7, WIDTH)), "second": rng.normal(size=(WIDTH, WIDTH))}
    return save(
        path,
        nodes,
        weights,
        inputs={"trajectory": ["batch", "time", 7]},
        outputs={"action_embedding": ["batch", "time", WIDTH]},
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
