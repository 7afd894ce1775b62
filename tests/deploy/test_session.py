import inspect
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from jointspace.deploy import session
from jointspace.deploy.session import choose_engines, installed_engines, open_session, used_feeds
from jointspace.errors import BundleError, InputError, MissingExtraError
from tests.deploy import bundles

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture
def graph(tmp_path):
    return bundles.write_graph(tmp_path, "text")


FEEDS = {"tokens": np.array([[4, 5]]), "valid": np.ones((1, 2), bool)}


def test_the_choice_of_the_bundle_is_taken_where_it_is_installed(monkeypatch, caplog):
    installed = {"onnxruntime"}
    monkeypatch.setattr(session, "find_spec", lambda name: name if name in installed else None)
    graphs, preferred = ("vision", "text"), {"vision": "openvino"}

    def found(choice, **settings):
        return choose_engines(choice, graphs=graphs, **settings)

    assert found("auto") == dict.fromkeys(graphs, "onnxruntime")
    assert not caplog.records
    assert found("auto", preferred=preferred) == dict.fromkeys(graphs, "onnxruntime")
    (said,) = caplog.messages
    assert "openvino is not installed, on which 1 of 2 graphs" in said
    assert "pip install 'jointspace[openvino]'" in said
    assert installed_engines() == ("onnxruntime",)
    installed.add("openvino")
    assert installed_engines() == ("onnxruntime", "openvino")
    mixed = {"vision": "openvino", "text": "onnxruntime"}
    assert found("auto", preferred=preferred) == mixed
    assert found("onnxruntime", preferred=preferred) == dict.fromkeys(graphs, "onnxruntime")
    assert found("openvino") == dict.fromkeys(graphs, "openvino")
    installed.remove("onnxruntime")
    assert found("auto") == dict.fromkeys(graphs, "openvino")
    installed.clear()
    with pytest.raises(
        MissingExtraError, match=r"'openvino': pip install 'jointspace\[openvino\]'"
    ):
        found("openvino")
    with pytest.raises(MissingExtraError, match="jointspace"):
        found("auto")


def test_an_unknown_engine_is_refused():
    with pytest.raises(InputError, match="engine is 'tensorrt'; wanted one of auto, onnxruntime"):
        # without the tests' own check of types
        inspect.unwrap(choose_engines)("tensorrt", graphs=())


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_returns_what_is_asked_for_in_any_shape(tmp_path, graph, engine):
    pytest.importorskip(engine)
    opened = open_session(tmp_path, graph, engine=engine, num_threads=2)
    for rows, time in ((1, 2), (3, 1), (1, 7)):
        tokens = np.random.default_rng(0).integers(0, 9, (rows, time))
        valid = np.ones((rows, time), bool)
        out = opened.run({"tokens": tokens, "valid": valid}, ["text_embedding"])
        expected = bundles.unit(bundles.text_weights()[tokens].sum(axis=1))
        np.testing.assert_allclose(out["text_embedding"], expected, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_engine_refuses_is_an_error_of_input(tmp_path, graph, engine):
    pytest.importorskip(engine)
    opened = open_session(tmp_path, graph, engine=engine)
    odd = {"words": FEEDS["tokens"], "valid": FEEDS["valid"]}
    with pytest.raises(InputError, match=r"graph 'text': the engine refuses words int64\[1, 2\]"):
        opened.run(odd, ["text_embedding"])
    assert opened.run(FEEDS, ["text_embedding"])["text_embedding"].shape == (1, bundles.DIM)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_no_graph_is_refused(tmp_path, graph, engine):
    pytest.importorskip(engine)
    (tmp_path / graph.file).write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"text\.onnx: .* cannot load it"):
        open_session(tmp_path, graph, engine=engine)


def test_impossible_settings_are_refused(tmp_path, graph):
    with pytest.raises(InputError, match="num_threads is 0"):
        open_session(tmp_path, graph, engine="onnxruntime", num_threads=0)
    with pytest.raises(InputError, match=r"has no 'AbacusExecutionProvider' here; it has .*CPU"):
        open_session(tmp_path, graph, engine="onnxruntime", providers=["AbacusExecutionProvider"])
    with pytest.raises(InputError, match="only ONNX Runtime has providers"):
        open_session(tmp_path, graph, engine="openvino", providers=["CPUExecutionProvider"])
    opened = open_session(tmp_path, graph, engine="onnxruntime", providers=["CPUExecutionProvider"])
    assert opened.run(FEEDS, ["text_embedding"])


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_that_is_not_installed_says_the_cure(tmp_path, graph, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(MissingExtraError, match=f"'{engine}': pip install"):
        open_session(tmp_path, graph, engine=engine)


def test_arrays_are_brought_to_the_types_of_the_graph_and_their_shapes_checked(graph):
    arrays = {"tokens": np.zeros((4, 2), np.int32)[::2], "valid": np.ones((2, 2), bool), "more": 1}
    feeds = used_feeds(graph, arrays)
    assert list(feeds) == ["tokens", "valid"]
    assert feeds["tokens"].dtype == np.int64
    assert feeds["tokens"].flags.c_contiguous
    with pytest.raises(
        InputError, match=r"'text': got 'tokens' of shape .3,.; wanted .batch, time"
    ):
        used_feeds(graph, arrays | {"tokens": np.zeros(3)})
    fixed = replace(graph, inputs=(replace(graph.inputs[0], shape=("batch", 5)),))
    with pytest.raises(InputError, match=r"'tokens' of shape \(2, 2\); wanted \(batch, 5\)"):
        used_feeds(fixed, arrays)


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_are_read_alike_alone_and_together(tmp_path, engine):
    frames = bundles.write_graph(tmp_path, "vision_frame")
    opened = open_session(tmp_path, frames, engine=engine)
    shape = (3, bundles.PX, bundles.PX, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (name,) = (each.name for each in frames.outputs)
    together = opened.run({"images": images}, [name])[name]
    alone = [opened.run({"images": each[None]}, [name])[name][0] for each in images]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert len({row.tobytes() for row in together}) == 3
    expected = images.transpose(0, 3, 1, 2).reshape(3, -1) @ bundles.PICTURE_WEIGHTS
    np.testing.assert_allclose(together, expected, rtol=1e-4)


_SIGNALLED = """
import gc, os, signal, sys
from pathlib import Path
from jointspace.deploy.runtime import BundleEmbedder
from tests.deploy import bundles

folder = bundles.make_bundle(Path(sys.argv[1]) / "bundle")
embedder = BundleEmbedder.load(folder, engine="openvino")
del embedder
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_is_heard_after_a_session_of_openvino_has_gone(tmp_path):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", _SIGNALLED, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "heard\n"), ended.stderr
