import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION
from jointspace.data.resize import resize_frame
from jointspace.deploy.footprint import measure_footprint
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.session import open_session
from jointspace.deploy.stages import END_TO_END, BundleStages
from jointspace.deploy.workload import make_workload, message_rgb
from jointspace.errors import BundleError, InputError
from tests.deploy.bundles import CHANNELS, GRIP, PX, make_bundle, preprocessor

ALL = (
    "convert",
    "resize",
    "vision frame",
    "vision window",
    "text hit",
    "text miss",
    "trajectory",
    "grip",
    "fuse",
    "similarity",
    "end to end",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "made")


def stages(bundle, work):
    def opened(graph):
        return open_session(bundle, graph, engine="onnxruntime")

    embedder = BundleEmbedder.load(bundle, engine="onnxruntime")
    return BundleStages(embedder, work, open_graph=opened)


def test_rows_of_a_workload_are_what_the_model_reads_and_the_same_each_time():
    robot = preprocessor()
    work, again = (make_workload(robot, batch=3, seed=1) for _ in range(2))
    assert len(work) == 3
    assert len(work.messages) == 3 * 2
    assert message_rgb(work.messages[0]).shape == (480, 640, 3)
    assert work.clips.shape == (3, 4, 2, PX, PX, 3)
    np.testing.assert_allclose(work.clip_time_s[1], [0, 0.3, 0.6, 0.9], rtol=1e-6)
    assert work.steps[ACTION].shape == (3, 10, CHANNELS)
    assert abs(work.steps[ACTION][..., 2].mean() - 30) < 10  # raw units, not normalised
    assert work.steps[GRIP].shape == (3, 10)
    assert work.steps[GRIP].dtype == np.int64
    assert len(set(work.texts)) == 3
    np.testing.assert_array_equal(work.clips, again.clips)
    assert work.texts == again.texts
    assert make_workload(preprocessor(cameras=()), batch=1).clips is None
    with pytest.raises(InputError, match="batch is 0"):
        make_workload(robot, batch=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_stage_of_a_bundle_can_be_called_again_and_again(bundle, batch):
    calls = stages(bundle, make_workload(preprocessor(), batch=batch)).calls()
    assert tuple(calls) == ALL
    for call in calls.values():
        call()
        call()
    assert len(calls[END_TO_END]()) == batch


def test_the_whole_way_reads_the_newest_frame_of_each_camera_and_the_rows_own_text(bundle):
    work = make_workload(preprocessor(), batch=2)
    embedder = BundleEmbedder.load(bundle, engine="onnxruntime")
    decided = BundleStages(embedder, work).decide()
    clips = work.clips.copy()
    for number, message in enumerate(work.messages):
        row, camera = divmod(number, 2)
        clips[row, -1, camera] = resize_frame(message_rgb(message), image_px=PX)
    vectors = embedder.encode_frames(clips.reshape(-1, *clips.shape[3:]))
    rows = embedder.embed_frames(vectors.reshape(*clips.shape[:3], -1), time_s=work.clip_time_s)
    actions = embedder.embed_steps(ACTION, work.steps[ACTION])
    texts = embedder.embed_texts(work.texts)
    for number, found in enumerate(decided):
        assert set(found) == {VISION, ACTION}
        for modality, each in ((VISION, rows), (ACTION, actions)):
            (expected,) = embedder.similarity(modality, each[number], TEXT, texts[number][None])
            assert found[modality].similarity == pytest.approx(float(expected), abs=1e-6)
        seen = found[VISION]
        assert seen.decision == embedder.thresholds[VISION].decide(seen.similarity)


def test_stages_that_a_bundle_lacks_are_left_out(bundle, tmp_path):
    work = make_workload(preprocessor(), batch=1)
    embedder = BundleEmbedder.load(bundle, engine="onnxruntime")
    assert set(BundleStages(embedder, work).calls()) == set(ALL) - {"fuse"}
    blind = preprocessor(cameras=())
    make_bundle(
        tmp_path / "blind",
        names=("text", "action"),
        preprocessor=blind,
        fused_queries={},
        thresholds={},
    )
    calls = stages(tmp_path / "blind", make_workload(blind, batch=2)).calls()
    assert tuple(calls) == ("text hit", "text miss", "trajectory", "similarity", "end to end")
    assert [set(each) for each in calls[END_TO_END]()] == [{ACTION}] * 2


@pytest.mark.slow
def test_a_process_of_its_own_tells_what_it_needs(bundle, tmp_path):
    found = measure_footprint(bundle, engine="onnxruntime")
    assert found.import_s > 0
    assert found.load_s > 0
    assert set(found.stages_mib) == set(ALL) - {"fuse"}
    assert 20 < found.loaded_mib <= found.stages_mib[END_TO_END] <= found.peak_mib
    with pytest.raises(BundleError, match=r"that runs it on onnxruntime failed: .*manifest"):
        measure_footprint(tmp_path, engine="onnxruntime")
