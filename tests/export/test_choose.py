from pathlib import Path

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Embeddings
from jointspace.deploy.graph import Graph, graph_file
from jointspace.errors import GateError
from jointspace.evaluation.scales import EPISODES
from jointspace.export.bench import GateBench
from jointspace.export.choose import TOGETHER, choose
from jointspace.export.gate import Gate, gate
from jointspace.export.variants import Variant
from tests.evaluation.reference import row_ids, unit

ORT, OPENVINO = "onnxruntime", "openvino"


def form(name, *, scheme=None, **ms):
    precision = "fp32" if scheme is None else "int8"
    file = graph_file(name) if scheme is None else f"{name}.{scheme}.onnx"
    graph = Graph(name, name.split("_")[0], file, precision, (), ())
    return Variant(graph, scheme, 10, {each: float(value) for each, value in ms.items()})


class ScriptedBench(GateBench):
    """Lets pass what is not named, on the engines that it is not named for."""

    def __init__(self, *, refused=(), together_needs=()):
        rows = unit(np.random.default_rng(0).normal(size=(8, 4)))
        ids = row_ids(episode=np.arange(8), instruction=np.arange(8))
        self.reference = {EPISODES: Embeddings(dict.fromkeys((VISION, TEXT, ACTION), rows), ids)}
        self.scores = gate("fp32", self.reference, self.reference).reference
        self.refused = refused
        self.together_needs = set(together_needs)
        self.asked = []

    def gate(self, name, changed, *, engines):
        self.asked.append((name, engines))
        loses = any((graph.file, engines[each]) in self.refused for each, graph in changed.items())
        if name.startswith(TOGETHER):
            shipped = {graph.name for graph in changed.values() if graph.precision == "int8"}
            loses = bool(self.together_needs) and self.together_needs <= shipped
        failure = "loses too much" if loses else ""
        return Gate(name, self.scores, {} if failure else self.scores, failure=failure)

    def rows(self, changed, *, engines):
        return self.reference


def chosen(choice):
    return {name: each.scheme or "fp32" for name, each in choice.chosen.items()}


def test_the_fastest_form_that_passes_ships():
    forms = [
        form("vision_frame", onnxruntime=3),
        form("vision_frame", scheme="static", onnxruntime=2),
        form("vision_frame", scheme="static-all", onnxruntime=1),
    ]
    choice = choose({"vision_frame": forms}, ScriptedBench())
    assert chosen(choice) == {"vision_frame": "static-all"}
    bench = ScriptedBench(refused=[("vision_frame.static-all.onnx", ORT)])
    choice = choose({"vision_frame": forms}, bench)
    assert chosen(choice) == {"vision_frame": "static"}
    assert choice.refusals == ("int8 vision_frame: loses too much",)


def test_a_form_that_is_hardly_faster_stays_float32_and_is_not_even_gated():
    bench = ScriptedBench()
    forms = [form("text", onnxruntime=1), form("text", scheme="dynamic", onnxruntime=0.97)]
    assert chosen(choose({"text": forms}, bench)) == {"text": "fp32"}
    assert bench.asked == [(TOGETHER, {"text": ORT})]


def test_float32_is_what_is_left_where_everything_is_refused():
    forms = [form("text", onnxruntime=2), form("text", scheme="dynamic", onnxruntime=1)]
    bench = ScriptedBench(refused=[("text.dynamic.onnx", ORT)])
    assert chosen(choose({"text": forms}, bench)) == {"text": "fp32"}


def test_forms_that_lose_too_much_together_go_back_one_by_one():
    variants = {
        name: [form(name, onnxruntime=2), form(name, scheme="dynamic", onnxruntime=1)]
        for name in ("text", "action")
    }
    bench = ScriptedBench(together_needs=("text", "action"))
    choice = choose(variants, bench)
    assert sorted(chosen(choice).values()) == ["dynamic", "fp32"]
    assert choice.gates[-1].passed
    assert choice.refusals == (f"{TOGETHER}: loses too much",)


def test_forced_int8_ships_though_it_is_slower():
    forms = [form("text", onnxruntime=1), form("text", scheme="dynamic", onnxruntime=2)]
    choice = choose(
        {"text": forms, "action": [form("action", onnxruntime=1)]},
        ScriptedBench(),
        precision="int8",
    )
    assert chosen(choice) == {"text": "dynamic", "action": "fp32"}  # nothing to quantise there


@pytest.mark.parametrize("together", [(), ("text",)])
def test_forced_int8_that_is_refused_is_an_error_by_name(together):
    forms = [form("text", onnxruntime=2), form("text", scheme="dynamic", onnxruntime=1)]
    refused = () if together else [("text.dynamic.onnx", ORT)]
    bench = ScriptedBench(refused=refused, together_needs=together)
    name = TOGETHER if together else "int8 text"
    with pytest.raises(GateError, match=f"refuses --precision int8: {name}: loses too much"):
        choose({"text": forms}, bench, precision="int8")


def test_forced_float32_ships_whatever_is_faster():
    forms = [form("text", onnxruntime=2), form("text", scheme="dynamic", onnxruntime=1)]
    bench = ScriptedBench()
    assert chosen(choose({"text": forms}, bench, precision="fp32")) == {"text": "fp32"}


def test_each_graph_has_the_engine_that_is_faster_for_it():
    variants = {
        "text": [form("text", onnxruntime=2, openvino=3)],
        "action": [form("action", onnxruntime=4, openvino=2)],
    }
    choice = choose(variants, ScriptedBench(), engines=(ORT, OPENVINO))
    assert choice.engines == {"text": ORT, "action": OPENVINO}
    assert choice.speed_json()["action"]["engine"] == OPENVINO
    assert choice.milliseconds("action") == (4, 2)


def test_form_and_engine_of_a_graph_are_chosen_together():
    forms = [
        form("vision_frame", onnxruntime=9, openvino=8),
        form("vision_frame", scheme="static", onnxruntime=3, openvino=7),
        form("vision_frame", scheme="static-all", onnxruntime=4, openvino=2),
    ]
    choice = choose({"vision_frame": forms}, ScriptedBench(), engines=(ORT, OPENVINO))
    assert (chosen(choice), choice.engines) == (
        {"vision_frame": "static-all"},
        {"vision_frame": OPENVINO},
    )
    bench = ScriptedBench(refused=[("vision_frame.static-all.onnx", OPENVINO)])
    choice = choose({"vision_frame": forms}, bench, engines=(ORT, OPENVINO))
    assert (chosen(choice), choice.engines) == ({"vision_frame": "static"}, {"vision_frame": ORT})


def test_a_second_engine_is_recommended_only_where_all_graphs_together_gain():
    variants = {
        "text": [form("text", onnxruntime=1, openvino=0.5)],
        "action": [form("action", onnxruntime=20, openvino=20)],
        "fusion_text+action": [form("fusion_text+action", onnxruntime=9, openvino=1)],
    }
    bench = ScriptedBench()
    choice = choose(variants, bench, engines=(ORT, OPENVINO))
    assert set(choice.engines.values()) == {ORT}  # fused queries are asked rarely, and do not count


def test_float32_must_pass_on_another_engine_too():
    variants = {"text": [form("text", onnxruntime=2, openvino=1)]}
    bench = ScriptedBench(refused=[(graph_file("text"), OPENVINO)])
    choice = choose(variants, bench, engines=(ORT, OPENVINO))
    assert choice.engines == {"text": ORT}
    assert choice.refusals == ("fp32 text on openvino: loses too much",)


def test_what_ships_passes_on_onnx_runtime_too_whatever_is_recommended():
    forms = [
        form("text", onnxruntime=2, openvino=2),
        form("text", scheme="dynamic", onnxruntime=2, openvino=1),
    ]
    bench = ScriptedBench()
    choice = choose({"text": forms}, bench, engines=(ORT, OPENVINO))
    assert (chosen(choice), choice.engines) == ({"text": "dynamic"}, {"text": OPENVINO})
    together = [engines for name, engines in bench.asked if name.startswith(TOGETHER)]
    assert together[:2] == [{"text": OPENVINO}, {"text": ORT}]


def test_a_form_that_loses_too_much_on_onnx_runtime_does_not_ship_for_another_engine():
    class LosesOnOnnxRuntime(ScriptedBench):
        def gate(self, name, changed, *, engines):
            result = super().gate(name, changed, engines=engines)
            files = {graph.file for graph in changed.values()}
            if "text.dynamic.onnx" in files and set(engines.values()) == {ORT}:
                return Gate(name, self.scores, {}, failure="loses too much")
            return result

    variants = {
        "text": [
            form("text", onnxruntime=2, openvino=2),
            form("text", scheme="dynamic", onnxruntime=2, openvino=1),
        ],
        "action": [form("action", onnxruntime=4, openvino=1)],
    }
    choice = choose(variants, LosesOnOnnxRuntime(), engines=(ORT, OPENVINO))
    assert chosen(choice) == {"text": "fp32", "action": "fp32"}
    assert choice.engines == {"text": ORT, "action": OPENVINO}


def test_a_graph_that_no_training_row_reads_has_no_times_and_stays_float32():
    choice = choose({"text": [form("text")]}, ScriptedBench())
    assert chosen(choice) == {"text": "fp32"}
    assert choice.speed_json()["text"]["forms"][0]["ms"] == {}
    assert Path(choice.chosen["text"].graph.file).name == "text.onnx"
