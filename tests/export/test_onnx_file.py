"""What the extra is for, and what is missing without it."""

import sys

import pytest
from torch import nn

from jointspace.deploy.graph import TensorSpec
from jointspace.errors import MissingExtraError
from jointspace.export.onnx_file import example_inputs, write_onnx
from jointspace.export.parity import GraphRunner


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_without_the_extra_nothing_is_exported(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=rf"'{package}': pip install 'jointspace\[export\]'"
    ):
        write_onnx(nn.Identity(), tmp_path / "x.onnx", inputs=(), outputs=(), sizes={})


def test_without_the_extra_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[deploy\]'"):
        GraphRunner(tmp_path)


def test_what_is_traced_is_valid_and_of_the_wanted_sizes():
    specs = (TensorSpec("valid", "bool", ("batch", 3)), TensorSpec("tokens", "int64", ("batch",)))
    valid, tokens = example_inputs(specs, sizes={"batch": 2})
    assert valid.tolist() == [[True] * 3] * 2
    assert tokens.tolist() == [0, 0]
