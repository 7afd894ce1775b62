"""Averaging into a grid in ONNX: one product, in the place of gathers for each cell."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32


def pooling_operators() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Returns how torch's exporter shall write what it would take apart into many gathers.

    ONNX has no adaptive pooling. Where the shape of the grid is fixed, it is a product with a
    constant.

    Returns:
        Operator of torch -> what writes it, for `torch.onnx.export`.

    Raises:
        ImportError: `onnx` or `onnxscript` is not installed.
    """
    import onnx  # noqa: PLC0415 -- an extra
    from onnxscript import opset18  # noqa: PLC0415 -- as above

    def constant(values: np.ndarray) -> Any:
        return opset18.Constant(value=onnx.numpy_helper.from_array(values))

    def adaptive_average(self: Any, output_size: Sequence[int]) -> Any:
        channels, *sides = (int(each) for each in self.shape[1:])
        flat = opset18.Reshape(self, constant(np.array([-1, channels, sides[0] * sides[1]])))
        averages = np.kron(*(averaging(*each) for each in zip(sides, output_size, strict=True)))
        cells = opset18.MatMul(flat, constant(averages.T.copy()))
        return opset18.Reshape(cells, constant(np.array([-1, channels, *output_size])))

    return {torch.ops.aten._adaptive_avg_pool2d.default: adaptive_average}


def averaging(length: int, cells: int) -> Float32[np.ndarray, "cells length"]:
    """Returns the product that averages a line into cells as `adaptive_avg_pool1d` does.

    Args:
        length: of the line.
        cells: how many; where they do not divide the line, neighbours share a place.
    """
    shares = np.zeros((cells, length), np.float32)
    for cell, row in enumerate(shares):
        first, behind = cell * length // cells, -(-(cell + 1) * length // cells)
        row[first:behind] = 1 / (behind - first)
    return shares
