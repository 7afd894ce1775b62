"""Writes a module as an ONNX file: torch's exporter, without its chatter and its traces."""

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jaxtyping
import torch
from torch import Tensor, nn

from jointspace.deploy.graph import TensorSpec
from jointspace.errors import ExportError, MissingExtraError
from jointspace.export.pooling import pooling_operators
from jointspace.storage import write_whole

OPSET = 18
"""Of all graphs: what torch's exporter writes, and TensorRT, OpenVINO and ONNX Runtime all read."""

_DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}

_TELLS_NOTHING = (
    "# The axis name: .* will not be used",  # two inputs share an axis, as they should
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # torch, of itself
)


def example_inputs(specs: Sequence[TensorSpec], *, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Returns inputs that are all valid, and whose numbers are all zeros.

    Args:
        specs: of the inputs.
        sizes: of the free axes.
    """
    made = []
    for spec in specs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape]
        fill = torch.ones if spec.dtype == "bool" else torch.zeros
        made.append(fill(shape, dtype=_DTYPES[spec.dtype]))
    return tuple(made)


def write_onnx(
    module: nn.Module,
    path: Path,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
) -> None:
    """Exports a module to an ONNX file, whole or not at all.

    Args:
        module: takes the inputs in order and returns a tuple of the outputs; left in evaluation
            mode.
        path: of the file.
        inputs: names, types and shapes; the named axes stay free.
        outputs: names and shapes, written into the file.
        sizes: of the free axes in the example that is traced.

    Raises:
        ExportError: torch's exporter cannot do it.
        MissingExtraError: `onnx` or `onnxscript` is not installed.
        StorageError: the file cannot be written.
    """
    _check_extra()
    arguments = example_inputs(inputs, sizes=sizes)
    axes = [
        {place: axis for place, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for spec in inputs
    ]
    parameters = inspect.signature(module.forward).parameters.values()
    is_variadic = any(each.kind == each.VAR_POSITIONAL for each in parameters)
    shapes = (tuple(axes),) if is_variadic else tuple(axes)
    with _tracing(), torch.inference_mode():
        try:
            program: Any = torch.onnx.export(
                module.eval(),
                arguments,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[spec.name for spec in inputs],
                output_names=[spec.name for spec in outputs],
                dynamic_shapes=shapes if any(axes) else None,
                custom_translation_table=pooling_operators(),
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"graph '{path.stem}': {_cause(error)}") from error
    proto = program.model_proto
    _clean(proto, outputs)
    write_whole(path, proto.SerializeToString(deterministic=True))


def _check_extra() -> None:
    for package in ("onnx", "onnxscript"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(package, "export") from error


@contextmanager
def _tracing() -> Iterator[None]:
    """Lets torch trace, and keeps quiet what the exporter says of itself, and nothing else."""
    chatter = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in chatter]
    checks_off = jaxtyping.config.jaxtyping_disable
    with warnings.catch_warnings():
        for message in _TELLS_NOTHING:
            warnings.filterwarnings("ignore", message=message)
        for logger in chatter:
            logger.setLevel(logging.ERROR)
        # Where shapes are checked at run time, as tests do, a check would fix what shall be free.
        jaxtyping.config.update("jaxtyping_disable", True)  # noqa: FBT003 -- of jaxtyping
        try:
            yield
        finally:
            for logger, level in zip(chatter, levels, strict=True):
                logger.setLevel(level)
            jaxtyping.config.update("jaxtyping_disable", checks_off)


def _clean(proto: Any, outputs: Sequence[TensorSpec]) -> None:
    """Takes out where on this machine each node came from, and names the axes of the outputs."""
    for each in (proto, proto.graph, *proto.functions):
        del each.metadata_props[:]
        each.doc_string = ""
    values = (*proto.graph.input, *proto.graph.output, *proto.graph.value_info)
    nodes = [*proto.graph.node, *(node for each in proto.functions for node in each.node)]
    for each in (*nodes, *values, *proto.graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""
    for value, spec in zip(proto.graph.output, outputs, strict=True):
        axes = value.type.tensor_type.shape.dim
        for axis, wanted in zip(axes, spec.shape, strict=True):
            if isinstance(wanted, str):
                axis.dim_param = wanted
            else:
                axis.dim_value = wanted


def _cause(error: BaseException) -> str:
    """Returns what lies at the bottom of an exporter's error, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"torch cannot export it ({type(error).__name__}: {text})"
