"""Bundles of hand-made graphs, and plain NumPy that computes the same rows."""

from pathlib import Path

import numpy as np
import onnx

from jointspace.batch import ACTION, TEXT, VISION, Batch, Modality, RowIds
from jointspace.data.collate import Sample, Steps
from jointspace.data.normalise import Normaliser
from jointspace.data.preprocess import Preprocessor
from jointspace.data.tokenizer import Tokenizer
from jointspace.deploy.bundle import staged_bundle, write_bundle
from jointspace.deploy.graph import Graph, TensorSpec, graph_file
from jointspace.evaluation.decision import GrowthStage, GrowthThreshold, MatchThreshold

PX, WIDTH, DIM, CHANNELS, CAMERAS = 8, 6, 5, 3, ("front", "wrist")
FPS, WINDOW_S, WINDOW_FRAMES = 10.0, 1.0, 4
GRIP = Modality("grip")
FUSED = Modality("vision+text")
NUM_GRIPS = 4
DTYPES = {"float32": "float", "int64": "int64", "bool": "bool"}

_rng = np.random.default_rng(7)
PICTURE_WEIGHTS = (_rng.normal(size=(3 * PX * PX, WIDTH)) / 500).astype(np.float32)
VISION_WEIGHTS = _rng.normal(size=(WIDTH, DIM)).astype(np.float32)
ACTION_WEIGHTS = _rng.normal(size=(CHANNELS, DIM)).astype(np.float32)
GRIP_WEIGHTS = _rng.normal(size=(NUM_GRIPS, DIM)).astype(np.float32)
CENTRE, SCALE = np.float32([1, -2, 30]), np.float32([0.5, 2, 10])
GATES = {
    frozenset((VISION, TEXT)): _rng.uniform(0.5, 2, DIM).astype(np.float32),
    frozenset((VISION, ACTION)): _rng.uniform(0.5, 2, DIM).astype(np.float32),
    frozenset((TEXT, ACTION)): _rng.uniform(0.5, 2, DIM).astype(np.float32),
    frozenset((FUSED, ACTION)): _rng.uniform(0.5, 2, DIM).astype(np.float32),
}
THRESHOLD = MatchThreshold(
    query=VISION,
    accept=0.6,
    reject=0.2,
    asked_false_positive_rate=0.05,
    asked_false_negative_rate=0.05,
    false_positive_rate=0.04,
    false_negative_rate=0.03,
    right_accepted=0.8,
    num_right=100,
    num_wrong=900,
    num_episodes=50,
)
GROWTH = GrowthThreshold(
    query=VISION,
    accept=0.6,
    stages=tuple(
        GrowthStage(
            until_s=until_s,
            reject=reject,
            wrong_accepted=0.04,
            right_accepted=0.8,
            wrong_rejected=0.9,
            right_rejected=0.03,
        )
        for until_s, reject in ((0.5, -0.2), (1.5, 0.4))
    ),
    asked_wrong_accepted=0.05,
    asked_right_rejected=0.05,
    calibrated_on="validation",
    measured_on="test",
    num_episodes=50,
)


def preprocessor(**changes) -> Preprocessor:
    settings = {
        "image_px": PX,
        "cameras": CAMERAS,
        "fps": FPS,
        "window_s": WINDOW_S,
        "window_frames": WINDOW_FRAMES,
        "episode_frames": 6,
        "max_tokens": 8,
        "tokenizer": Tokenizer.fit(["push the red cube", "pull the blue cup"], max_tokens=8),
        "normalisers": {ACTION: Normaliser(CENTRE, SCALE, np.full(3, -5, "f"), np.full(3, 5, "f"))},
        "discrete": {GRIP: NUM_GRIPS},
    }
    return Preprocessor(**settings | changes)


def text_weights() -> np.ndarray:
    shape = (preprocessor().tokenizer.vocab_size, DIM)
    return np.random.default_rng(8).normal(size=shape).astype(np.float32)


# Every tower sums over what is valid, later steps more, and normalises.
_SUM = """
    mask = Cast<to=1>(valid)
    one = Constant<value_float=1.0>()
    last = Constant<value_ints=[-1]>()
    first = Constant<value_ints=[1]>()
"""
_UNIT = """
    tiny = Constant<value_float=1e-12>()
    length = ReduceL2<keepdims=1>(total, last)
    safe = Max(length, tiny)
    {output} = Div(total, safe)
"""
_STEPS = """
    later = Add(time_s, one)
    factor = Mul(mask, later)
    column = Unsqueeze(factor, last)
    shown = Mul(column, vectors)
    total = ReduceSum<keepdims=0>(shown, first)
"""
BODIES = {
    "vision_frame": """
        flat = Flatten<axis=1>(images)
        frame_vectors = MatMul(flat, weights)
    """,
    "vision": _SUM
    + """
        later = Add(time_s, one)
        latercolumn = Unsqueeze(later, last)
        factor = Mul(mask, latercolumn)
        column = Unsqueeze(factor, last)
        shown = Mul(column, frame_vectors)
        both = Constant<value_ints=[1, 2]>()
        summed = ReduceSum<keepdims=0>(shown, both)
        total = MatMul(summed, weights)
    """
    + _UNIT.format(output="images_embedding"),
    "text": _SUM
    + """
        vectors = Gather(weights, tokens)
        column = Unsqueeze(mask, last)
        shown = Mul(column, vectors)
        total = ReduceSum<keepdims=0>(shown, first)
    """
    + _UNIT.format(output="text_embedding"),
    "action": """
        moved = Sub(trajectory, centre)
        scaled = Div(moved, scale)
        low = Constant<value_float=-5.0>()
        high = Constant<value_float=5.0>()
        normal = Clip(scaled, low, high)
        vectors = MatMul(normal, weights)
    """
    + _SUM
    + _STEPS
    + _UNIT.format(output="action_embedding"),
    "grip": "vectors = Gather(weights, trajectory)"
    + _SUM
    + _STEPS
    + _UNIT.format(output="grip_embedding"),
    "fusion_vision+text": """
        last = Constant<value_ints=[-1]>()
        total = Add(images_embedding, text_embedding)
    """
    + _UNIT.format(output="fused_embedding"),
}
_TIMES = TensorSpec("time_s", "float32", ("batch", "time"))
_VALID = TensorSpec("valid", "bool", ("batch", "time"))


def _rows(name: str) -> TensorSpec:
    return TensorSpec(name, "float32", ("batch", DIM))


def _spec(name: str) -> tuple[str, list[TensorSpec], list[TensorSpec], dict[str, np.ndarray]]:
    """Modality, inputs, outputs and weights of a graph."""
    if name == "vision_frame":
        inputs = [TensorSpec("images", "float32", ("picture", 3, PX, PX))]
        outputs = [TensorSpec("frame_vectors", "float32", ("picture", WIDTH))]
        return VISION, inputs, outputs, {"weights": PICTURE_WEIGHTS}
    if name == "vision":
        axes = ("batch", "time", "camera")
        inputs = [
            TensorSpec("frame_vectors", "float32", (*axes, WIDTH)),
            TensorSpec("valid", "bool", axes),
            _TIMES,
        ]
        return VISION, inputs, [_rows("images_embedding")], {"weights": VISION_WEIGHTS}
    if name == "text":
        inputs = [TensorSpec("tokens", "int64", ("batch", "time")), _VALID]
        return TEXT, inputs, [_rows("text_embedding")], {"weights": text_weights()}
    if name == "action":
        shape = ("batch", "time", CHANNELS)
        weights = {"weights": ACTION_WEIGHTS, "centre": CENTRE, "scale": SCALE}
        inputs = [TensorSpec("trajectory", "float32", shape), _VALID, _TIMES]
        return ACTION, inputs, [_rows("action_embedding")], weights
    if name == "grip":
        inputs = [TensorSpec("trajectory", "int64", ("batch", "time")), _VALID, _TIMES]
        return GRIP, inputs, [_rows("grip_embedding")], {"weights": GRIP_WEIGHTS}
    inputs = [_rows("images_embedding"), _rows("text_embedding")]
    return FUSED, inputs, [_rows("fused_embedding")], {}


def write_graph(folder: Path, name: str, *, precision: str = "fp32") -> Graph:
    """Writes one of `BODIES`, and describes it."""
    modality, inputs, outputs, weights = _spec(name)

    def signature(sides: list[TensorSpec]) -> str:
        return ", ".join(
            f"{DTYPES[each.dtype]}[{','.join(map(str, each.shape))}] {each.name}" for each in sides
        )

    text = (
        '<ir_version: 9, opset_import: ["" : 18]>\n'
        f"tower ({signature(inputs)}) => ({signature(outputs)}) {{ {BODIES[name]} }}"
    )
    model = onnx.parser.parse_model(text)
    for each, values in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, each))
    onnx.checker.check_model(model, full_check=True)
    path = folder / graph_file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return Graph(
        name, Modality(modality), graph_file(name), precision, tuple(inputs), tuple(outputs)
    )


def make_bundle(folder: Path, *, names=tuple(BODIES), precision="fp32", **changes) -> Path:
    """Writes a bundle that can be loaded."""
    settings = {
        "preprocessor": preprocessor(),
        "model_id": "0123abcd",
        "fused_queries": {FUSED: (ACTION,)},
        "gates": GATES,
        "thresholds": {VISION: THRESHOLD},
        "retrieval": {"vision->text": {"fp32": 0.5, "shipped": 0.5}},
        "card": "# A space\n",
        "facts": {"steps": 10},
        "dataset": "factory",
    }
    with staged_bundle(folder) as aside:
        graphs = [write_graph(aside, name, precision=precision) for name in names]
        write_bundle(aside, graphs=graphs, **settings | changes)
    return folder


def pictures(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, PX, PX, 3), dtype=np.uint8)


def batch(made: Preprocessor | None = None) -> Batch:
    """Three rows: everything, only a text and a short trajectory, nothing."""
    made = made or preprocessor()
    frames = pictures(6, seed=1).reshape(3, 2, PX, PX, 3)
    seen = np.ones((3, 2), dtype=bool)
    seen[1, 1] = False
    rng = np.random.default_rng(2)
    action = (CENTRE + SCALE * rng.normal(size=(5, CHANNELS))).astype(np.float32)
    action[3] = 1e4  # clipped
    steps = {
        ACTION: Steps(action, np.arange(5) / FPS),
        GRIP: Steps(np.float32([[1], [3], [0]]), np.arange(3) / FPS),
    }
    return made.batch(
        [
            Sample(frames, seen, np.arange(3) / FPS, "push the red cube", steps),
            Sample(text="pull the cup", steps={ACTION: Steps(action[:2], np.arange(2) / FPS)}),
            Sample(),
        ]
    )


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def expected_rows(modality: str, given: Batch) -> np.ndarray:
    """What the graphs compute, from a batch and with loops."""
    if modality == FUSED:
        return unit(expected_rows(VISION, given) + expected_rows(TEXT, given))
    each = given[Modality(modality)]
    rows = np.zeros((len(given), DIM))
    for row, step in np.argwhere(each.valid.reshape(*each.valid.shape[:2], -1).any(axis=2)):
        value, factor = each.values[row, step], 1.0
        if each.time_s is not None:
            factor += each.time_s[row, step]
        if modality == VISION:
            for camera in np.flatnonzero(each.valid[row, step]):
                flat = value[camera].astype(float).transpose(2, 0, 1).reshape(-1)
                rows[row] += factor * (flat @ PICTURE_WEIGHTS @ VISION_WEIGHTS)
        elif modality == TEXT:
            rows[row] += text_weights()[value]
        elif modality == GRIP:
            rows[row] += factor * GRIP_WEIGHTS[value]
        else:
            rows[row] += factor * (value @ ACTION_WEIGHTS)
    return unit(rows)


def row_ids(count: int) -> RowIds:
    number = np.arange(count)
    return RowIds(number, number, number, np.zeros(count), np.ones(count))
