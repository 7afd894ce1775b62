"""One graph as a callable: ONNX Runtime, or OpenVINO with the same interface."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from jointspace.deploy.graph import FRAME_GRAPH, Graph
from jointspace.deploy.manifest import Engine
from jointspace.errors import BundleError, InputError, MissingExtraError

EngineChoice = Literal["auto", "onnxruntime", "openvino"]
"""`auto` takes what the bundle prefers, and what there is where that is not installed."""

_EXTRAS: dict[Engine, str] = {"onnxruntime": "deploy", "openvino": "openvino"}


@runtime_checkable
class GraphSession(Protocol):
    """A graph that is ready to run; may be called by several threads at once."""

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Computes the named outputs.

        Args:
            feeds: an array for each input of the graph, of its type.
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


def choose_engine(choice: EngineChoice, *, preferred: Engine = "onnxruntime") -> Engine:
    """Decides which engine runs the graphs.

    Args:
        choice: of the user.
        preferred: of the bundle, for `auto`.

    Returns:
        An engine that is installed.

    Raises:
        InputError: there is no such engine.
        MissingExtraError: the engine is not installed; for `auto`, none is.
    """
    if choice not in ("auto", *_EXTRAS):
        raise InputError(f"engine is '{choice}'; wanted one of auto, {', '.join(_EXTRAS)}")
    wanted: list[Engine] = [preferred, *_EXTRAS] if choice == "auto" else [choice]
    installed = installed_engines()
    for engine in wanted:
        if engine in installed:
            return engine
    raise MissingExtraError(wanted[-1], _EXTRAS[wanted[-1]])


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
        try:
            self._session = ort.InferenceSession(str(path), options, providers=chosen)
        except Exception as error:
            raise _not_loaded(path, "ONNX Runtime", error) from error

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        try:
            arrays = self._session.run(list(outputs), dict(feeds))
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
    every call what it could decide once.
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


def _inferred(
    request: Any, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    request.infer(dict(feeds))
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
