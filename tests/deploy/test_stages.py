import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.data.resize import resize_frame
from jointspace.deploy.footprint import measure_footprint
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.session import open_session
from jointspace.deploy.stages import END_TO_END, SHARED, BundleStages
from jointspace.deploy.workload import make_workload, message_rgb
from jointspace.errors import BundleError, InputError
from jointspace.export.plain import export_plain
from jointspace.export.torch_stages import TorchStages
from tests.export.robots import build, preprocessor

ALL = (
    "convert",
    "resize",
    "vision frame",
    "vision window",
    "text hit",
    "text miss",
    "trajectory",
    "state",
    "fuse",
    "similarity",
    "end to end",
)


@pytest.fixture(scope="module")
def robot():
    return preprocessor()


@pytest.fixture(scope="module")
def model(robot):
    return build(robot)


@pytest.fixture(scope="module")
def bundle(robot, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    export_plain(model, robot, folder)
    return folder


def stages(bundle, work):
    def opened(graph):
        return open_session(bundle, graph, engine="onnxruntime")

    return BundleStages(BundleEmbedder.load(bundle), work, open_graph=opened)


def test_rows_of_a_workload_are_what_the_model_reads_and_the_same_each_time(robot):
    work, again = (make_workload(robot, batch=3, seed=1) for _ in range(2))
    assert len(work) == 3
    assert len(work.messages) == 3 * 2
    assert message_rgb(work.messages[0]).shape == (480, 640, 3)
    assert work.clips.shape == (3, 2, 2, robot.image_px, robot.image_px, 3)
    np.testing.assert_allclose(work.clip_time_s[1], [0, 0.8])
    assert set(work.steps) == {ACTION, STATE}
    assert work.steps[ACTION].shape[:2] == (3, 5)
    assert len(set(work.texts)) == 3
    np.testing.assert_array_equal(work.clips, again.clips)
    assert work.texts == again.texts
    ids = make_workload(preprocessor(discrete=True), batch=2).steps[ACTION]
    assert ids.dtype == np.int64
    assert make_workload(preprocessor(cameras=()), batch=1).clips is None
    with pytest.raises(InputError, match="batch is 0"):
        make_workload(robot, batch=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_bundle_and_torch_have_the_same_stages_and_find_the_same_similarities(
    robot, model, bundle, batch
):
    work = make_workload(robot, batch=batch)
    of_bundle = stages(bundle, work)
    calls = of_bundle.calls()
    assert tuple(calls) == ALL
    torch_calls = TorchStages(model, robot, work, compiled=False).calls()
    assert set(torch_calls) == set(ALL) - set(SHARED)
    for call in (*calls.values(), *torch_calls.values()):
        call()
    decided, compared = calls[END_TO_END](), torch_calls[END_TO_END]()
    assert len(decided) == len(compared) == batch
    for ours, theirs in zip(decided, compared, strict=True):
        assert set(ours) == set(theirs) == {VISION, ACTION}
        for modality, similarity in theirs.items():
            assert ours[modality].similarity == pytest.approx(similarity, abs=1e-4)


def test_the_whole_way_reads_the_newest_frame_of_each_camera_and_the_instruction(robot, bundle):
    work = make_workload(robot, batch=1)
    embedder = BundleEmbedder.load(bundle)
    (decided,) = BundleStages(embedder, work).decide()
    clip = work.clips.copy()
    for camera, message in enumerate(work.messages):
        clip[0, -1, camera] = resize_frame(message_rgb(message), image_px=robot.image_px)
    vectors = embedder.encode_frames(clip.reshape(-1, *clip.shape[3:])).reshape(*clip.shape[:3], -1)
    row = embedder.embed_frames(vectors, time_s=work.clip_time_s)[0]
    text = embedder.embed_texts(work.texts)
    expected = embedder.similarity(VISION, row, TEXT, text)[0]
    assert decided[VISION].similarity == pytest.approx(float(expected), abs=1e-5)


def test_without_graphs_to_open_there_is_no_stage_that_fuses(robot, bundle):
    calls = BundleStages(BundleEmbedder.load(bundle), make_workload(robot, batch=1)).calls()
    assert set(calls) == set(ALL) - {"fuse"}


def test_a_model_without_cameras_has_the_stages_of_what_it_has(tmp_path):
    blind = preprocessor(cameras=())
    changes = {"fusion": "none"}
    export_plain(build(blind, **changes), blind, tmp_path / "blind")
    work = make_workload(blind, batch=2)
    calls = stages(tmp_path / "blind", work).calls()
    assert set(calls) == {
        "text hit",
        "text miss",
        "trajectory",
        "state",
        "similarity",
        "end to end",
    }
    assert [set(each) for each in calls[END_TO_END]()] == [{ACTION}] * 2


@pytest.mark.slow
def test_a_process_of_its_own_tells_what_it_needs(bundle, tmp_path):
    found = measure_footprint(bundle, engine="onnxruntime")
    assert found.import_s > 0
    assert found.load_s > 0
    assert set(found.stages_mib) == set(ALL) - {"fuse"}
    assert 20 < found.loaded_mib <= found.stages_mib[END_TO_END] <= found.peak_mib
    with pytest.raises(
        BundleError, match="a process that runs it on onnxruntime failed: .*manifest"
    ):
        measure_footprint(tmp_path, engine="onnxruntime")
