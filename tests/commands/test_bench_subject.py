"""What `bench` measures: a bundle on what runs it, and the model that it was exported from."""

from functools import partial

import pytest
import torch

from jointspace import cli
from jointspace.batch import ACTION
from jointspace.commands import bench_subject
from jointspace.commands.bench_subject import bundle_pipelines, open_subject, torch_pipelines
from jointspace.deploy.bundle import read_manifest
from jointspace.deploy.workload import make_workload
from jointspace.errors import InputError, RunFolderError
from jointspace.export import plain
from jointspace.export.torch_stages import TorchStages
from jointspace.models.run_folder import load_run
from tests.commands.test_pipeline import TINY
from tests.deploy.bundles import make_bundle, preprocessor
from tests.factories import write_lerobot

PLAIN = (
    "train.num_steps=1",
    "model.fusion=none",
    "model.sensors=[]",
    "data.validation_fraction=0",
)
# The inputs of the run, but for the cameras, which the graphs here read at another size.
FITTING = {
    "names": ("text", "action"),
    "preprocessor": preprocessor(cameras=(), discrete={}, image_px=16),
    "fused_queries": {},
    "gates": {},
    "thresholds": {},
}


@pytest.fixture(autouse=True)
def one_engine(monkeypatch):
    """OpenVINO takes seconds to compile a graph."""
    monkeypatch.setattr(bench_subject, "installed_engines", lambda: ("onnxruntime",))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    data = write_lerobot(
        tmp_path_factory.mktemp("data") / "set", num_frames=14, image_px=(16, 16), state_dim=0
    )
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = folder.with_name("empty.toml")
    config.write_text("", encoding="utf-8")
    words = ["train", str(config), "--data", str(data.path), "--out", str(folder)]
    assert cli.main([*words, "--set", *TINY, *PLAIN]) == 0
    return folder


@pytest.fixture(scope="module")
def fitting(tmp_path_factory):
    """A bundle with the inputs of the run."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "fitting", **FITTING)


def names_of(subject):
    return [each.name for each in subject.pipelines]


def call_all(pipeline, preprocessor):
    calls = pipeline.open(make_workload(preprocessor, batch=2), 1)
    return {stage: call() for stage, call in calls.items()}


def test_a_bundle_alone_is_measured_without_torch(bundle):
    with open_subject(bundle, run=None, robot="", compiled=True) as subject:
        assert names_of(subject) == ["onnxruntime fp32"]
        assert subject.bundle == bundle
        (pipeline,) = subject.pipelines
        assert (pipeline.engine, pipeline.on_processor) == ("onnxruntime", True)
        assert {"vision frame", "end to end"} <= call_all(pipeline, subject.preprocessor).keys()


def test_a_bundle_is_measured_beside_the_run_that_it_was_exported_from(fitting, run_folder):
    with open_subject(fitting, run=run_folder, robot="factory", compiled=False) as subject:
        assert names_of(subject) == ["onnxruntime fp32", "torch eager"]
        ours, theirs = (call_all(each, subject.preprocessor) for each in subject.pipelines)
    assert theirs.keys() - {"end to end"} <= ours.keys()
    work = make_workload(subject.preprocessor, batch=2)
    model = load_run(run_folder).model
    expected = TorchStages(model, subject.preprocessor, work, compiled=False, device="cpu").calls()
    assert theirs["end to end"] == expected["end to end"]()


def test_a_run_is_exported_for_the_occasion_alone(run_folder, monkeypatch):
    given = []

    def export_plain(model, preprocessor, folder):
        given.append((model, preprocessor))
        return read_manifest(make_bundle(folder, **FITTING))

    monkeypatch.setattr(plain, "export_plain", export_plain)
    for run, robot in ((None, ""), (run_folder, "factory")):
        with open_subject(run_folder, run=run, robot=robot, compiled=False) as subject:
            assert names_of(subject) == ["onnxruntime fp32", "torch eager"]
            assert subject.manifest == read_manifest(subject.bundle)
            assert subject.preprocessor is given[-1][1]
        assert not subject.bundle.exists()
    weights = load_run(run_folder).model.state_dict()
    for model, of_robot in given:
        assert all(torch.equal(weights[name], each) for name, each in model.state_dict().items())
        assert of_robot.channels == {ACTION: 3}


def test_a_bundle_beside_another_run_is_refused(bundle, run_folder):
    match = rf"{run_folder}: its inputs differ from those of {bundle}"
    with (
        pytest.raises(InputError, match=match),
        open_subject(bundle, run=run_folder, robot="", compiled=False),
    ):
        pass


def test_a_robot_that_the_run_does_not_know_is_refused(fitting, run_folder):
    with (
        pytest.raises(InputError, match=r"no robot 'factry'\. Did you mean 'factory'\?"),
        open_subject(fitting, run=run_folder, robot="factry", compiled=False),
    ):
        pass


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with (
        pytest.raises(RunFolderError),
        open_subject(tmp_path, run=None, robot="", compiled=False),
    ):
        pass


def test_a_graphics_processor_is_measured_with_what_it_hands_on_what_it_lacks(bundle, monkeypatch):
    asked = []
    monkeypatch.setattr(bench_subject, "_open_bundle", lambda *given: asked.append(given))
    monkeypatch.setattr(
        "onnxruntime.get_available_providers",
        lambda: ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    found = bundle_pipelines(bundle, read_manifest(bundle))
    for pipeline in found:
        pipeline.open("work", 2)
    cuda = ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert [(each.name, each.on_processor) for each in found] == [
        ("onnxruntime fp32", True),
        ("onnxruntime fp32 cuda", False),
        ("onnxruntime fp32 tensorrt", False),
    ]
    assert asked == [
        (bundle, "onnxruntime", providers, "work", 2)
        for providers in (None, cuda, ("TensorrtExecutionProvider", *cuda))
    ]


def test_without_onnxruntime_the_other_engine_is_measured_alone(bundle, monkeypatch):
    monkeypatch.setattr(bench_subject, "installed_engines", lambda: ("openvino",))
    found = bundle_pipelines(bundle, read_manifest(bundle))
    assert [(each.name, each.engine) for each in found] == [("openvino fp32", "openvino")]


def test_torch_is_measured_eager_and_compiled_on_every_device_there_is(run_folder, monkeypatch):
    run = load_run(run_folder)
    pipelines = partial(torch_pipelines, run.model, run.preprocessor)
    names = {False: ("torch eager",), True: ("torch eager", "torch compile")}
    for compiled, expected in names.items():
        assert tuple(each.name for each in pipelines(compiled=compiled)) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = pipelines(compiled=True)
    assert [(each.name, each.on_processor, each.engine) for each in found] == [
        ("torch eager", True, None),
        ("torch compile", True, None),
        ("torch eager cuda", False, None),
        ("torch compile cuda", False, None),
    ]
