"""Every tower and fusion that a configuration can choose, as graphs beside the model."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from jointspace.batch import ACTION, STATE
from jointspace.config import TextConfig, TrajectoryConfig, VisionConfig
from jointspace.data.tokenizer import HubTokenizer
from jointspace.deploy.graph import Graph, TensorSpec
from jointspace.errors import ExportError
from jointspace.export.graphs import export_part, model_parts
from jointspace.export.onnx_file import write_onnx
from jointspace.export.parity import GraphRunner, check_parity
from jointspace.export.recurrent import RecurrentOperator
from tests.encoders.inputs import NUM_ACTIONS
from tests.encoders.pretrained import PX, save_text, save_tokenizer, save_vision
from tests.export.robots import build, preprocessor
from tests.models.batches import FORCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def worst_difference(model, robot, folder, *, names):
    """Exports some parts alone, since each takes seconds."""
    parts = [part for part in model_parts(model, robot) if part.name in names]
    assert len(parts) == len(names)
    graphs = [export_part(part, folder) for part in parts]
    return max(check_parity(model, robot, folder, graphs).values())


@pytest.mark.parametrize("tower", ["transformer", "convolution", "command", "discrete", "sequence"])
def test_towers_of_steps(tower, tmp_path):
    robot = preprocessor(sensors=(), discrete=tower in {"discrete", "sequence"})
    action = TrajectoryConfig(tower=tower, width=16, num_actions=NUM_ACTIONS)
    model = build(robot, fusion="none", sensors=(), action=action)
    assert worst_difference(model, robot, tmp_path, names={ACTION}) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"vision": VisionConfig(channels=(8, 12), width=16, pooling="attention")},
        {"vision": VisionConfig(channels=(8, 12), width=16, temporal_layers=1)},
        {"name": "efficient"},
    ],
    ids=["attention", "temporal", "efficient"],
)
def test_vision_towers(changes, tmp_path):
    robot = preprocessor(sensors=())
    model = build(robot, fusion="none", sensors=(), **changes)
    assert worst_difference(model, robot, tmp_path, names={"vision_frame", "vision"}) < 1e-5


def test_one_picture_of_one_camera(tmp_path):
    robot = preprocessor(sensors=(), cameras=("front",), window_frames=1)
    model = build(robot, fusion="none", sensors=())
    assert worst_difference(model, robot, tmp_path, names={"vision_image"}) < 1e-5


@pytest.mark.parametrize("network", ["siglip", "dinov2"])
def test_pretrained_vision(network, tmp_path):
    """Of another size than it was trained on, so that its positions are interpolated."""
    vision = VisionConfig(
        tower="pretrained", pretrained=save_vision(tmp_path, network), width=16, grid=2
    )
    robot = preprocessor(sensors=(), image_px=PX * 3 // 2)
    model = build(robot, fusion="none", sensors=(), vision=vision)
    assert worst_difference(model, robot, tmp_path, names={"vision_frame"}) < 1e-5


@pytest.mark.parametrize("network", ["bert", "siglip text"])
def test_sentence_encoders(network, tmp_path):
    text = TextConfig(tower="sentence", pretrained=save_text(tmp_path, network), width=16)
    save_tokenizer(tmp_path, ["push", "the", "ball"])
    tokenizer = HubTokenizer.read(str(tmp_path), max_tokens=8)
    robot = preprocessor(sensors=(), tokenizer=tokenizer)
    model = build(robot, fusion="none", sensors=(), text=text)
    assert worst_difference(model, robot, tmp_path, names={"text"}) < 1e-5


@pytest.mark.parametrize("fusion", ["early", "late", "three-way"])
def test_fused_queries(fusion, tmp_path):
    robot = preprocessor()
    model = build(robot, fusion=fusion)
    names = {"text", "state", "fusion_text+state"}
    assert worst_difference(model, robot, tmp_path, names=names) < 1e-5


def test_one_of_several_robots(tmp_path):
    arm = preprocessor(sensors=(STATE, FORCE))
    rover = dataclasses.replace(preprocessor(sensors=(FORCE,), cameras=("front",)), embodiment=1)
    model = build((arm, rover), name="vision-language", fusion="none", sensors=(STATE, FORCE))
    names = {"vision_frame", "vision", FORCE}
    assert worst_difference(model, rover, tmp_path, names=names) < 1e-5


@pytest.mark.parametrize("network", [nn.GRU, nn.LSTM])
def test_a_recurrent_operator_computes_what_torch_computes(network, tmp_path):
    torch.manual_seed(0)
    recurrent = network(6, 6, num_layers=2, batch_first=True).eval()
    inputs = (TensorSpec("steps", "float32", ("batch", "time", 6)),)
    outputs = (TensorSpec("states", "float32", ("batch", "time", 6)),)
    graph = Graph("recurrent", ACTION, "recurrent.onnx", "fp32", inputs, outputs)
    write_onnx(
        FirstOf(RecurrentOperator(recurrent)),
        tmp_path / graph.file,
        inputs=inputs,
        outputs=outputs,
        sizes={"batch": 3, "time": 4},
    )
    steps = torch.randn(2, 7, 6)
    got = GraphRunner(tmp_path).run(graph, {"steps": steps.numpy()})["states"]
    np.testing.assert_allclose(got, recurrent(steps)[0].detach().numpy(), atol=1e-6)


class FirstOf(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, steps):
        return (self.module(steps)[0],)


class Undecided(nn.Module):
    def forward(self, steps):
        return (steps if bool(steps.sum() > 0) else -steps,)


def test_what_cannot_be_exported_is_named(tmp_path):
    specs = (TensorSpec("steps", "float32", ("batch", 6)),)
    with pytest.raises(ExportError, match="graph 'undecided': torch cannot export it"):
        write_onnx(
            Undecided(),
            tmp_path / "undecided.onnx",
            inputs=specs,
            outputs=(TensorSpec("out", "float32", ("batch", 6)),),
            sizes={"batch": 3},
        )
    assert not list(tmp_path.iterdir())
