"""What a graph takes and returns, and how it is written down."""

import json

import pytest

from jointspace.batch import TEXT, VISION, Modality
from jointspace.deploy.graph import Graph, TensorSpec, fusion_graph, graph_file, output_name
from jointspace.errors import InputError

TEXT_GRAPH = Graph(
    name="text",
    modality=TEXT,
    file="graphs/text.onnx",
    precision="fp32",
    inputs=(
        TensorSpec("tokens", "int64", ("batch", "time")),
        TensorSpec("valid", "bool", ("batch", "time")),
    ),
    outputs=(TensorSpec("text_embedding", "float32", ("batch", 128)),),
)


def test_a_graph_comes_back_from_json_as_it_went():
    assert Graph.from_json(json.loads(json.dumps(TEXT_GRAPH.to_json()))) == TEXT_GRAPH


@pytest.mark.parametrize("change", [{"file": None}, {"colour": "red"}])
def test_a_graph_with_other_keys_is_refused(change):
    stored = {k: v for k, v in (TEXT_GRAPH.to_json() | change).items() if v is not None}
    with pytest.raises(InputError, match="wanted name, modality, file, precision"):
        Graph.from_json(stored)


def test_a_static_graph_is_known_by_its_name():
    assert not TEXT_GRAPH.is_static
    assert Graph("static/text", TEXT, "", "fp32", (), ()).is_static


def test_a_fused_query_names_its_members():
    assert TEXT_GRAPH.members == (TEXT,)
    query = Modality("vision+text")
    assert Graph(fusion_graph(query), query, "", "fp32", (), ()).members == (VISION, TEXT)


def test_a_file_name_is_safe_whatever_the_modality_is_called():
    assert graph_file("text") == "graphs/text.onnx"
    assert graph_file("static/observation.force") == "graphs/static/observation.force.onnx"
    assert graph_file("fusion_vision+text") == "graphs/fusion_vision+text.onnx"
    assert graph_file("../a:b") == "graphs/..%2Fa%3Ab.onnx"


def test_outputs_are_named_after_their_modality():
    assert output_name(VISION) == "images_embedding"
    assert output_name(TEXT, "tokens_valid") == "text_tokens_valid"
