import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, gated_rows
from jointspace.data.collate import Sample, Steps
from jointspace.data.resize import resize_frame
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stages import END_TO_END, FUSE, SHARED, BundleStages
from jointspace.deploy.workload import make_workload, message_rgb
from jointspace.export.plain import export_plain
from jointspace.export.torch_stages import TorchStages
from jointspace.models.embed import TorchEmbedder
from tests.export.robots import build, preprocessor


@pytest.fixture(scope="module")
def robot():
    return preprocessor()


@pytest.fixture(scope="module")
def model(robot):
    return build(robot)


def expected_similarities(model, robot, work):
    """The plain pipeline, row by row."""
    embedder = TorchEmbedder(model)
    found = []
    for row, text in enumerate(work.texts):
        frames = work.clips[row].copy()
        for camera in range(robot.num_cameras):
            message = work.messages[row * robot.num_cameras + camera]
            frames[-1, camera] = resize_frame(message_rgb(message), image_px=robot.image_px)
        values = work.steps[ACTION][row]
        steps = {ACTION: Steps(values, np.arange(len(values)) / robot.fps)}
        sample = Sample(frames=frames, frames_time_s=work.clip_time_s[row], text=text, steps=steps)
        batch = robot.batch([sample])
        rows = {m: embedder.embed(m, batch) for m in (VISION, ACTION, TEXT)}
        similarity = {}
        for modality in (VISION, ACTION):
            gate = embedder.pair_gate(modality, TEXT)
            similarity[modality] = float(
                gated_rows(rows[modality], gate)[0] @ gated_rows(rows[TEXT], gate)[0]
            )
        found.append(similarity)
    return found


@pytest.mark.parametrize("batch", [1, 3])
def test_eager_torch_goes_the_plain_way_and_has_every_stage_with_a_graph(robot, model, batch):
    work = make_workload(robot, batch=batch)
    calls = TorchStages(model, robot, work, compiled=False).calls()
    assert set(calls) == {
        "vision frame",
        "vision window",
        "text miss",
        "trajectory",
        "state",
        "fuse",
        "end to end",
    }
    for call in calls.values():
        call()
    for found, expected in zip(
        calls[END_TO_END](), expected_similarities(model, robot, work), strict=True
    ):
        assert found == pytest.approx(expected, abs=1e-5)


def test_the_way_of_compiled_modules_finds_the_same(robot, model, monkeypatch):
    compiled = []

    def compile_later(module, *, dynamic):
        compiled.append(dynamic)
        return module

    monkeypatch.setattr("torch.compile", compile_later)
    work = make_workload(robot, batch=2)
    calls = TorchStages(model, robot, work, compiled=True).calls()
    assert compiled == [False] * len(compiled)
    assert len(compiled) > 4
    for found, expected in zip(
        calls[END_TO_END](), expected_similarities(model, robot, work), strict=True
    ):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plain_export_has_the_same_stages_and_finds_the_same_similarities(tmp_path):
    robot = preprocessor(sensors=())
    model = build(robot, fusion="none", sensors=())
    export_plain(model, robot, tmp_path / "plain")
    work = make_workload(robot, batch=2)
    embedder = BundleEmbedder.load(tmp_path / "plain", engine="onnxruntime")
    calls = BundleStages(embedder, work).calls()
    torch_calls = TorchStages(model, robot, work, compiled=False).calls()
    assert set(calls) - set(SHARED) == set(torch_calls)
    assert FUSE not in calls
    for ours, theirs in zip(calls[END_TO_END](), torch_calls[END_TO_END](), strict=True):
        similarity = {modality: match.similarity for modality, match in ours.items()}
        assert similarity == pytest.approx(theirs, abs=1e-4)
