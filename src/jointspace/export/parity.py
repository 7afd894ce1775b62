"""Proves that graphs compute what the model computes: rows of torch beside rows of ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from jointspace.batch import TEXT, VISION, Batch, Modality
from jointspace.data.preprocess import Preprocessor
from jointspace.deploy.graph import FRAME_GRAPH, FUSION, IMAGE_GRAPH, STATIC, Graph
from jointspace.errors import ExportError, MissingExtraError
from jointspace.export.trials import Trial, make_trial
from jointspace.models.embed import TorchEmbedder
from jointspace.models.joint import JointModel
from jointspace.models.tensors import to_numpy

TOLERANCE = 1e-4
"""The largest difference between two unit rows, or two vectors of a picture, in any number."""

_CASES = ((0, 1, 1), (4, 1, 7), (0, 2, 3), (0, 5, 6), (0, 9, 4))
"""Number of the first row, rows, and steps of what is compared; see `make_trial`."""

_STATIC_CASES = ((0, 1, 0), (1, 1, 0), (2, 1, 0), (4, 1, 0))
"""One row each; the steps are the graph's own."""

_Feeds = Mapping[str, np.ndarray]


class GraphRunner:
    """The graphs of a folder, run by ONNX Runtime on one thread that does not spin.

    Args:
        folder: of the bundle.

    Raises:
        MissingExtraError: `onnxruntime` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime  # noqa: PLC0415 -- an extra
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "deploy") from error
        self._runtime: Any = onnxruntime
        self._folder = folder
        self._sessions: dict[str, Any] = {}

    def run(self, graph: Graph, feeds: _Feeds) -> dict[str, np.ndarray]:
        """Returns the outputs of a graph by name.

        Args:
            graph: one of the folder's.
            feeds: its inputs by name; others are left out.

        Raises:
            ExportError: ONNX Runtime cannot load the graph or run it on these inputs.
        """
        names = [spec.name for spec in graph.outputs]
        try:
            session = self._sessions.get(graph.file) or self._open(graph)
            values = session.run(names, {spec.name: feeds[spec.name] for spec in graph.inputs})
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise ExportError(
                f"graph '{graph.name}': ONNX Runtime cannot run it: {error}"
            ) from error
        return dict(zip(names, values, strict=True))

    def _open(self, graph: Graph) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        session = self._runtime.InferenceSession(
            str(self._folder / graph.file), options, providers=["CPUExecutionProvider"]
        )
        self._sessions[graph.file] = session
        return session


def check_parity(
    model: JointModel,
    preprocessor: Preprocessor,
    folder: Path,
    graphs: Sequence[Graph],
    *,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> dict[str, float]:
    """Compares rows of the model with rows of its graphs on random inputs.

    Several numbers of rows and steps, gaps in what is real, rows that lack a modality (which are
    zero), readings far out of range. Graphs whose shapes are fixed are compared at those.

    Args:
        model: what was exported.
        preprocessor: of the robot that it was exported for.
        folder: of the bundle.
        graphs: all of the folder's, since vision's and fused rows go through several.
        tolerance: the largest absolute difference that passes; of vectors of pictures, whose length
            is not 1, relative to the largest number among them.
        seed: of the inputs.

    Returns:
        The largest difference of each graph, by its name.

    Raises:
        ExportError: a graph differs by more, or cannot be run; the message names it.
        MissingExtraError: `onnxruntime` is not installed.
    """
    runner = GraphRunner(folder)
    embedder = TorchEmbedder(model)
    generator = np.random.default_rng(seed)
    worst = dict.fromkeys((graph.name for graph in graphs), 0.0)
    for is_static in (False, True):
        family = [graph for graph in graphs if graph.is_static == is_static]
        for first, rows, time in _STATIC_CASES if is_static else _CASES:
            steps = _steps(preprocessor, family, time)
            trial = make_trial(
                preprocessor, first=first, rows=rows, steps=steps, generator=generator
            )
            known: dict[str, np.ndarray] = {}
            for graph in family:
                made = _outputs(graph, trial, known, runner)
                known |= made
                expected = _expected(graph, trial, model, embedder)
                difference = _difference(made[graph.outputs[0].name], expected)
                worst[graph.name] = max(worst[graph.name], difference)
                # Not "greater than": what is not a number must not pass.
                if not difference <= tolerance:
                    lengths = ", ".join(f"{m} {time}" for m, time in steps.items())
                    raise ExportError(
                        f"graph '{graph.name}': differs from the model by {difference:.3g} in "
                        f"batches of {rows} (steps: {lengths}); wanted at most {tolerance:.3g}"
                    )
    return worst


def _steps(preprocessor: Preprocessor, graphs: Sequence[Graph], time: int) -> dict[Modality, int]:
    """Returns the length of the time axis of every modality that has a graph."""
    steps = {}
    for graph in graphs:
        if graph.name.removeprefix(STATIC) == graph.modality:
            axis = graph.inputs[0].shape[1]
            longest = preprocessor.max_tokens if graph.modality == TEXT else time
            steps[graph.modality] = min(time, longest) if isinstance(axis, str) else axis
    return steps


def _outputs(
    graph: Graph, trial: Trial, known: Mapping[str, np.ndarray], runner: GraphRunner
) -> dict[str, np.ndarray]:
    """Runs a graph on a trial; graphs that read others' outputs find them among the known ones."""
    name = graph.name.removeprefix(STATIC)
    if name in (FRAME_GRAPH, IMAGE_GRAPH):
        pictures = _first_pictures(trial) if name == IMAGE_GRAPH else _pictures(trial)
        images = pictures.transpose(0, 3, 1, 2).astype(np.float32)
        size = graph.inputs[0].shape[0]
        parts = [images] if isinstance(size, str) else list(images[:, None])
        made = [runner.run(graph, {"images": part}) for part in parts]
        return {key: np.concatenate([each[key] for each in made]) for key in made[0]}
    if name.startswith(FUSION):
        return runner.run(graph, known)
    inputs = trial.batch[graph.modality]
    feeds = {"valid": inputs.valid, "time_s": inputs.time_s}
    if graph.modality == VISION:
        vectors = known["frame_vectors"]
        feeds["frame_vectors"] = vectors.reshape(*inputs.valid.shape, vectors.shape[1])
    elif graph.modality == TEXT:
        feeds["tokens"] = inputs.values
    else:
        feeds["trajectory"] = trial.raw[graph.modality]
    return runner.run(graph, feeds)


def _expected(
    graph: Graph, trial: Trial, model: JointModel, embedder: TorchEmbedder
) -> Float32[np.ndarray, "row width"]:
    """Returns what the model makes of what `_outputs` runs the graph on."""
    name = graph.name.removeprefix(STATIC)
    if name == FRAME_GRAPH:
        frame: Any = model.tower(VISION)
        with torch.inference_mode():
            return to_numpy(frame.frame(torch.from_numpy(_pictures(trial))))
    if name == IMAGE_GRAPH:
        pictures = _first_pictures(trial)[:, None, None]
        valid = np.ones(pictures.shape[:3], dtype=np.bool_)
        alone = replace(
            trial.batch[VISION],
            values=pictures,
            valid=valid,
            time_s=np.zeros(valid.shape[:2], np.float32),
        )
        return embedder.embed(VISION, Batch({VISION: alone}, trial.batch.rows))
    return embedder.embed(graph.modality, trial.batch)


def _pictures(trial: Trial) -> UInt8[np.ndarray, "picture px px 3"]:
    values = trial.batch[VISION].values
    return values.reshape(-1, *values.shape[3:])


def _first_pictures(trial: Trial) -> UInt8[np.ndarray, "row px px 3"]:
    return np.ascontiguousarray(trial.batch[VISION].values[:, 0, 0])


def _difference(got: np.ndarray, expected: np.ndarray) -> float:
    largest = float(np.abs(expected).max(initial=1.0))
    return float(np.abs(got - expected).max(initial=0.0)) / largest
