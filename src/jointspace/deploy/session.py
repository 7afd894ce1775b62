"""One graph as a callable: ONNX Runtime, or OpenVINO with the same interface."""

import logging
from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from jointspace.deploy.graph import FRAME_GRAPH, Graph
from jointspace.deploy.manifest import Engine
from jointspace.errors import BundleError, InputError, MissingExtraError

EngineChoice = Literal["auto", "onnxruntime", "openvino"]
"""`auto` takes for each graph what the bundle prefers, and what there is where that is missing."""

_EXTRAS: dict[Engine, str] = {"onnxruntime": "deploy", "openvino": "openvino"}

_LOG = logging.getLogger(__name__)


@runtime_checkable
class GraphSession(Protocol):
    """A graph that is ready to run; may be called by several threads at once."""

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Computes the named outputs.

        Args:
            feeds: an array for each input of the graph, of its type; the graph of single pictures
                takes them as they are, uint8 "picture px px 3", and each engine lays them out.
            outputs: which outputs.

        Returns:
            The outputs by name, the caller's own.

        Raises:
            InputError: the engine refuses the arrays.
        """
        ...


def installed_engines() -> tuple[Engine, ...]:
    """Returns the engines that there are here, ONNX Runtime first."""
    return tuple(engine for engine in _EXTRAS if find_spec(engine) is not None)


def choose_engines(
    choice: EngineChoice, *, graphs: Iterable[str], preferred: Mapping[str, Engine] | None = None
) -> dict[str, Engine]:
    """Decides which engine runs each graph.

    Where one that the bundle prefers is not installed, that is said once in the log, and the other
    engine runs its graphs: every graph runs on either.

    Args:
        choice: of the user.
        graphs: names of the graphs.
        preferred: of the bundle, for `auto`: name of a graph -> engine; ONNX Runtime for others.

    Returns:
        Name of each graph -> an engine that is installed.

    Raises:
        InputError: there is no such engine.
        MissingExtraError: the engine is not installed; for `auto`, none is.
    """
    if choice not in ("auto", *_EXTRAS):
        raise InputError(f"engine is '{choice}'; wanted one of auto, {', '.join(_EXTRAS)}")
    installed = installed_engines()
    names = tuple(graphs)
    if choice != "auto":
        if choice not in installed:
            raise MissingExtraError(choice, _EXTRAS[choice])
        return dict.fromkeys(names, choice)
    if not installed:
        raise MissingExtraError("onnxruntime", _EXTRAS["onnxruntime"])
    chosen: dict[str, Engine] = {}
    missing: Counter[Engine] = Counter()
    for name in names:
        engine = (preferred or {}).get(name, "onnxruntime")
        if engine not in installed:
            missing[engine] += 1
            engine = installed[0]
        chosen[name] = engine
    for engine, count in missing.items():
        _LOG.warning(
            "%s is not installed, on which %d of %d graphs of this bundle were measured to be "
            "faster: %s runs them; pip install 'jointspace[%s]' for the other",
            engine,
            count,
            len(names),
            installed[0],
            _EXTRAS[engine],
        )
    return chosen


def open_session(
    folder: Path,
    graph: Graph,
    *,
    engine: Engine,
    num_threads: int = 1,
    providers: Sequence[str] | None = None,
) -> GraphSession:
    """Loads a graph.

    Args:
        folder: the bundle.
        graph: which of its graphs.
        engine: what runs it.
        num_threads: how many threads a call may use. One, without waiting threads that spin, is
            the default: on a shared machine more of them make the slowest calls far slower.
        providers: of ONNX Runtime, such as `CUDAExecutionProvider`; None means the processor.

    Returns:
        The graph, ready to run.

    Raises:
        InputError: `num_threads` is below 1, a provider is not there, or providers are given to
            OpenVINO, which has none.
        BundleError: the engine cannot load the graph.
        MissingExtraError: the engine is not installed.
    """
    if num_threads < 1:
        raise InputError(f"num_threads is {num_threads}; wanted at least 1")
    if engine == "openvino":
        if providers is not None:
            raise InputError(
                f"providers are {list(providers)}, but only ONNX Runtime has providers; "
                "leave them out, or choose the engine 'onnxruntime'"
            )
        return _OpenVinoSession(folder / graph.file, graph, num_threads=num_threads)
    return _OnnxSession(folder / graph.file, graph, num_threads=num_threads, providers=providers)


class _OnnxSession:
    """ONNX Runtime: in order, bounded threads, and memory that goes back after each call."""

    def __init__(
        self, path: Path, graph: Graph, *, num_threads: int, providers: Sequence[str] | None
    ) -> None:
        ort = _imported("onnxruntime")
        available = ort.get_available_providers()
        chosen = list(providers or ["CPUExecutionProvider"])
        missing = [each for each in chosen if each not in available]
        if missing:
            raise InputError(
                f"providers: ONNX Runtime has no '{missing[0]}' here; it has {', '.join(available)}"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # An arena keeps the most that any call ever needed, and a plan of memory is kept for every
        # shape that ever came: with free axes neither has a bound. Pictures come in few shapes.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = graph.name == FRAME_GRAPH
        options.log_severity_level = 3  # errors alone
        self._name = graph.name
        self._is_frame = graph.name == FRAME_GRAPH
        try:
            self._session = ort.InferenceSession(str(path), options, providers=chosen)
        except Exception as error:
            raise _not_loaded(path, "ONNX Runtime", error) from error

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        given = dict(feeds)
        if self._is_frame:
            given = {name: as_images(pictures) for name, pictures in feeds.items()}
        try:
            arrays = self._session.run(list(outputs), given)
        except Exception as error:
            raise _refused(self._name, feeds, error) from error
        return dict(zip(outputs, arrays, strict=True))


@cache
def _openvino_core(openvino: Any) -> Any:
    """Returns OpenVINO's core, the same one as long as the process lives.

    It gives the thread that loads it a stack for signal handlers, and frees that with itself, but
    does not take it back: the next signal, such as the SIGTERM that a robot is stopped with, would
    crash the process (OpenVINO 2026.4).
    """
    return openvino.Core()


class _OpenVinoSession:
    """OpenVINO on the processor.

    A request computes for one caller at a time; as many are kept as there ever were callers at
    once. Pictures are read one by one, with all shapes fixed: with a free axis, OpenVINO decides at
    every call what it could decide once. It reads them where they lie, and converts them itself.
    """

    def __init__(self, path: Path, graph: Graph, *, num_threads: int) -> None:
        openvino = _imported("openvino")
        # Said in full, since by itself OpenVINO takes bfloat16 where the processor has it.
        precision = "bf16" if graph.precision == "bf16" else "f32"
        settings = {
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned to a core that another process uses, a call waits for it: on a busy machine of
            # two cores that took 11 ms where it takes 0.7 without.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        self._name = graph.name
        self._is_frame = graph.name == FRAME_GRAPH
        try:
            core = _openvino_core(openvino)
            model = core.read_model(str(path))
            if self._is_frame:
                model.reshape({each.name: [1, *each.shape[1:]] for each in graph.inputs})
                model = _reading_pictures(openvino, model)
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise _not_loaded(path, "OpenVINO", error) from error
        self._idle: deque[Any] = deque()

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            if not self._is_frame:
                return _inferred(request, feeds, outputs)
            (images,) = feeds.values()
            rows = [
                _inferred(request, dict.fromkeys(feeds, images[row : row + 1]), outputs)
                for row in range(len(images))
            ]
            return {name: np.concatenate([row[name] for row in rows]) for name in outputs}
        except Exception as error:
            raise _refused(self._name, feeds, error) from error
        finally:
            self._idle.append(request)


def as_images(
    pictures: UInt8[np.ndarray, "picture px px 3"],
) -> Float32[np.ndarray, "picture 3 px px"]:
    """Lays pictures out as the graphs read them."""
    # In this order a third of the time: one byte is moved, not four.
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32)


def _reading_pictures(openvino: Any, model: Any) -> Any:
    """Lets a graph of OpenVINO take pictures as they come, which saves a copy and a pass."""
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _inferred(
    request: Any, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    request.infer(dict(feeds), share_inputs=True)
    # The next call writes where these lie.
    return {name: request.get_tensor(name).data.copy() for name in outputs}


def used_feeds(graph: Graph, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Picks the inputs of a graph from arrays by name.

    Args:
        graph: says what it takes.
        arrays: at least its inputs.

    Returns:
        The inputs, contiguous and of the graph's types.

    Raises:
        InputError: an array has another shape. Engines are not to be relied on here: OpenVINO takes
            any.
    """
    feeds = {}
    for each in graph.inputs:
        array = np.ascontiguousarray(arrays[each.name], dtype=each.dtype)
        pairs = zip(each.shape, array.shape, strict=False)
        if array.ndim != len(each.shape) or any(a != b for a, b in pairs if isinstance(a, int)):
            raise InputError(
                f"graph '{graph.name}': got '{each.name}' of shape {array.shape}; wanted "
                f"({', '.join(map(str, each.shape))})"
            )
        feeds[each.name] = array
    return feeds


def missing_inputs(graph: Graph, available: Collection[str]) -> tuple[str, ...]:
    """Returns the inputs of a graph that are not available."""
    return tuple(each.name for each in graph.inputs if each.name not in available)


def _imported(engine: Engine) -> Any:
    try:
        return import_module(engine)
    except ImportError as error:
        raise MissingExtraError(engine, _EXTRAS[engine]) from error


def _not_loaded(path: Path, engine: str, error: Exception) -> BundleError:
    return BundleError(
        f"{path}: {engine} cannot load it ({_first_line(error)}); use the engine that the bundle "
        "was exported for, a newer one, or export again"
    )


def _refused(name: str, feeds: Mapping[str, np.ndarray], error: Exception) -> InputError:
    shapes = ", ".join(f"{key} {each.dtype}{list(each.shape)}" for key, each in feeds.items())
    return InputError(f"graph '{name}': the engine refuses {shapes} ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
