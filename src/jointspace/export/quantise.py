"""Int8 copies of graphs: how each is quantised follows from what it contains."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from jointspace.errors import InputError

Scheme = Literal["static", "static-all", "dynamic"]
"""How a graph becomes int8.

`static` measures the range of every activation beforehand and quantises products (convolutions and
matrices); `static-all` also what lies between them. `dynamic` quantises weights beforehand and
activations as they come.
"""

Feeds = Mapping[str, np.ndarray]
"""Name of an input of a graph -> its array."""

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_ATTENTION = ("Attention", "MultiHeadAttention", "Softmax")

_SMALLEST_TABLE = 4096
"""Numbers in a table of embeddings from which on it is worth quantising."""


def schemes_of(graph_file: Path) -> tuple[Scheme, ...]:
    """Returns how a graph can be quantised, by what it contains.

    Attention is sensitive to the ranges of its activations, which differ from text to text: they
    are measured as they come. Convolutions are an integer product only where ranges are fixed
    beforehand. A graph without weights in a product has nothing to quantise.

    Args:
        graph_file: an ONNX graph in float32.

    Returns:
        The schemes; more than one where only a measurement tells which is faster, none where there
        is nothing to quantise.
    """
    model = onnx.load(graph_file)
    kinds = Counter(node.op_type for node in model.graph.node)
    if any(kinds[kind] for kind in _ATTENTION):
        return ("dynamic",) if _weighted(model) else ()
    if kinds["Conv"]:
        return ("static", "static-all")
    return ("dynamic",) if _weighted(model) else ()


def quantise(
    graph_file: Path, out_file: Path, *, scheme: Scheme, calibration: Sequence[Feeds]
) -> None:
    """Writes an int8 copy of a graph; inputs and outputs keep their names and types.

    Weights are signed, one scale per channel, in seven bits: processors without VNNI add pairs of
    products in 16 bits, which eight would overflow, and a bundle gives the same vectors everywhere.
    Activations are unsigned, which is what the fast kernels take; the format is QDQ, which both
    ONNX Runtime and OpenVINO read.

    Args:
        graph_file: an ONNX graph in float32.
        out_file: the file to write.
        scheme: one of `schemes_of(graph_file)`.
        calibration: inputs of the graph as it will meet them; the static schemes take the ranges of
            the activations from them.

    Raises:
        InputError: the scheme is not one of the graph's, or is static and there is no calibration.
    """
    schemes = schemes_of(graph_file)
    if scheme not in schemes:
        raise InputError(
            f"{graph_file.name}: scheme is '{scheme}'; wanted one of {', '.join(schemes) or 'none'}"
        )
    if scheme != "dynamic" and not calibration:
        raise InputError(f"{graph_file.name}: no calibration; wanted inputs of training rows")
    with tempfile.TemporaryDirectory() as folder, _without_chatter():
        prepared = Path(folder) / graph_file.name
        # Symbolic shapes cannot be followed through the resampling in time; plain ones suffice.
        quant_pre_process(graph_file, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        weighted = _weighted(model)
        if scheme == "dynamic":
            tables = {node.name for node in model.graph.node if node.op_type == "Gather"}
            # What to leave out, not what to take: a Gemm becomes a MatMul of another name first.
            quantize_dynamic(
                prepared,
                out_file,
                op_types_to_quantize=["Gather", "MatMul", "Gemm"],
                nodes_to_exclude=sorted(tables.difference(weighted)),
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
        else:
            everything = scheme == "static-all"
            quantize_static(
                prepared,
                out_file,
                _Calibration(calibration),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=None if everything else list(_PRODUCTS),
                nodes_to_quantize=None if everything else weighted,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )


@contextmanager
def _without_chatter() -> Iterator[None]:
    """Keeps ONNX Runtime's warnings from the root logger: of weights with one axis, and of itself.

    The gate tells whether a graph was quantised well, and nobody can act on them.
    """
    root = logging.getLogger()

    def is_ours(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in Path(record.pathname).parts

    root.addFilter(is_ours)
    try:
        yield
    finally:
        root.removeFilter(is_ours)


class _Calibration(CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime has no types
    """Hands the calibration to ONNX Runtime one by one."""

    def __init__(self, calibration: Sequence[Feeds]) -> None:
        self._left: Iterator[Feeds] = iter(calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        feeds = next(self._left, None)
        return None if feeds is None else dict(feeds)


def _weighted(model: onnx.ModelProto) -> list[str]:
    """Names the nodes that read weights: products, and tables of embeddings.

    Products of two activations, as in attention and in resampling over time, are left as they are.
    """
    graph = model.graph
    weights = {
        each.name: int(np.prod(each.dims))
        for each in graph.initializer
        if each.data_type == onnx.TensorProto.FLOAT and len(each.dims) > 1
    }
    # A weight may reach its product through the node that transposes it.
    through = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type in ("Transpose", "Identity")
    }
    found = []
    for node in graph.node:
        names = [through.get(name, name) for name in node.input]
        if node.op_type in _PRODUCTS:
            if any(name in weights for name in names):
                found.append(node.name)
        elif node.op_type == "Gather" and weights.get(names[0], 0) >= _SMALLEST_TABLE:
            found.append(node.name)
    return found
