"""What of a model becomes a graph, before any is written."""

import dataclasses

import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.config import TrajectoryConfig
from jointspace.export.graphs import model_parts, static_part
from tests.encoders.inputs import IMAGE_PX, NUM_ACTIONS
from tests.export.robots import build, preprocessor
from tests.models.batches import FORCE


def shapes(parts, name):
    (part,) = [each for each in parts if each.name == name]
    return (
        {spec.name: (spec.dtype, spec.shape) for spec in part.inputs},
        {spec.name: spec.shape for spec in part.outputs},
    )


def test_each_modality_is_a_graph_that_takes_raw_numbers():
    robot = preprocessor()
    parts = model_parts(build(robot, fusion="none"), robot)
    assert [part.name for part in parts] == ["vision_frame", "vision", "text", "action", "state"]
    assert shapes(parts, "vision_frame") == (
        {"images": ("float32", ("picture", 3, IMAGE_PX, IMAGE_PX))},
        {"frame_vectors": ("picture", 16)},
    )
    assert shapes(parts, "vision") == (
        {
            "frame_vectors": ("float32", ("batch", "time", 2, 16)),
            "valid": ("bool", ("batch", "time", 2)),
            "time_s": ("float32", ("batch", "time")),
        },
        {"images_embedding": ("batch", 16)},
    )
    assert shapes(parts, "text") == (
        {"tokens": ("int64", ("batch", "time")), "valid": ("bool", ("batch", "time"))},
        {"text_embedding": ("batch", 16)},
    )
    assert shapes(parts, "state") == (
        {
            "trajectory": ("float32", ("batch", "time", 3)),
            "valid": ("bool", ("batch", "time")),
            "time_s": ("float32", ("batch", "time")),
        },
        {"state_embedding": ("batch", 16)},
    )


def test_discrete_actions_are_ids():
    robot = preprocessor(discrete=True, sensors=())
    discrete = TrajectoryConfig(tower="discrete", width=16, num_actions=NUM_ACTIONS)
    parts = model_parts(build(robot, sensors=(), action=discrete), robot, fused=False)
    assert shapes(parts, "action")[0]["trajectory"] == ("int64", ("batch", "time"))


@pytest.mark.parametrize("fusion", ["late", "three-way"])
def test_fusion_over_tokens_takes_what_the_towers_return(fusion):
    robot = preprocessor()
    parts = model_parts(build(robot, fusion=fusion), robot)
    fused = [part for part in parts if part.name.startswith("fusion_")]
    assert {part.modality for part in fused} >= {"vision+text", "vision+action", "action+state"}
    inputs, outputs = shapes(parts, "fusion_vision+action")
    assert outputs == {"fused_embedding": ("batch", 16)}
    assert {name: shape for name, (_, shape) in inputs.items()} == {
        "images_embedding": ("batch", 16),
        "images_tokens": ("batch", "images_token", 16),
        "images_tokens_valid": ("batch", "images_token"),
        "action_embedding": ("batch", 16),
        "action_tokens": ("batch", 1, 16),
        "action_tokens_valid": ("batch", 1),
    }
    assert shapes(parts, "vision")[1] | shapes(parts, "action")[1] == {
        name: shape for name, (_, shape) in inputs.items()
    }


def test_early_fusion_takes_pooled_vectors():
    robot = preprocessor(sensors=())
    parts = model_parts(build(robot, fusion="early", sensors=()), robot)
    inputs, _ = shapes(parts, "fusion_text+action")
    assert inputs["text_pooled"] == ("float32", ("batch", 16))
    assert inputs["action_present"] == ("bool", ("batch",))
    assert len(inputs) == 6


def test_fused_queries_can_be_left_out():
    robot = preprocessor()
    parts = model_parts(build(robot, fusion="late"), robot, fused=False)
    assert not any(part.name.startswith("fusion_") for part in parts)
    assert all(len(part.outputs) == 1 for part in parts)


def test_one_picture_of_one_camera_has_a_graph_that_reads_it_whole():
    robot = preprocessor(sensors=(), cameras=("front",), window_frames=1)
    parts = model_parts(build(robot, sensors=()), robot)
    assert shapes(parts, "vision_image") == (
        {"images": ("float32", ("batch", 3, IMAGE_PX, IMAGE_PX))},
        {"images_embedding": ("batch", 16)},
    )


def test_static_parts_are_one_row_of_one_window():
    robot = preprocessor()
    parts = [static_part(each) for each in model_parts(build(robot, fusion="late"), robot)]
    assert parts[0].name == "static/vision_frame"
    assert not [
        axis for part in parts for spec in part.inputs for axis in spec.shape if axis == "batch"
    ]
    assert shapes(parts, "static/vision")[0]["frame_vectors"][1] == (1, 2, 2, 16)
    assert shapes(parts, "static/text")[0]["tokens"][1] == (1, 8)
    assert shapes(parts, "static/action")[0]["trajectory"][1] == (1, 5, 4)
    assert shapes(parts, "static/fusion_vision+text")[0]["images_tokens"][1] == (1, 4, 16)


def test_of_several_robots_the_parts_of_one_are_made():
    arm = preprocessor(sensors=(STATE, FORCE))
    rover = dataclasses.replace(preprocessor(sensors=(FORCE,), cameras=("front",)), embodiment=1)
    model = build((arm, rover), sensors=(STATE, FORCE))
    parts = model_parts(model, rover)
    assert {VISION, TEXT, ACTION, FORCE} <= {part.modality for part in parts}
    assert not [part.name for part in parts if STATE in part.name]
    assert shapes(parts, "vision")[0]["valid"][1] == ("batch", "time", 1)
    assert shapes(parts, FORCE)[1]["observation.force_embedding"] == ("batch", 16)
