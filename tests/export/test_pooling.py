import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from jointspace.deploy.graph import TensorSpec
from jointspace.export.onnx_file import write_onnx
from jointspace.export.pooling import averaging


@pytest.mark.parametrize(("length", "cells"), [(7, 4), (14, 4), (16, 4), (5, 5), (9, 1), (3, 5)])
def test_a_line_is_averaged_as_torch_does(length, cells):
    line = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0))
    expected = functional.adaptive_avg_pool1d(line, cells)
    torch.testing.assert_close(line @ torch.from_numpy(averaging(length, cells)).T, expected)


class _Pooled(nn.Module):
    def forward(self, grids):
        return (functional.adaptive_avg_pool2d(grids, (4, 3)),)


def test_a_grid_is_averaged_by_one_product_whatever_the_number_of_pictures(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    module, path = _Pooled(), tmp_path / "pooled.onnx"
    spec = TensorSpec("grids", "float32", ("picture", 5, 7, 8))
    made = TensorSpec("cells", "float32", ("picture", 5, 4, 3))
    write_onnx(module, path, inputs=[spec], outputs=[made], sizes={"picture": 3})
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert sorted(kinds) == ["MatMul", "Reshape", "Reshape"]
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 4):
        grids = torch.randn(count, 5, 7, 8, generator=torch.Generator().manual_seed(count))
        cells = torch.from_numpy(session.run(None, {"grids": grids.numpy()})[0])
        torch.testing.assert_close(cells, module(grids)[0])
