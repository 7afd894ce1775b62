"""The runtime on a real bundle: hand-made graphs, run by ONNX Runtime."""

import numpy as np
import pytest

from jointspace.batch import TEXT, VISION
from jointspace.data.resize import resize_frame
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.errors import BundleError, ConfigError
from jointspace.robot.configuration_file import robot_config
from jointspace.robot.core.build import camera_of_topic, open_runtime, runtime_of_bundle
from jointspace.robot.core.images import RawPicture
from jointspace.robot.core.safety import State
from tests.deploy.bundles import DIM, GROWTH, PX, THRESHOLD, make_bundle, pictures, unit
from tests.robot.stand_ins import VELOCITY

TOPICS = {"image_topics": ["front/image", "wrist/image"]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("robot") / "bundle")


@pytest.fixture(scope="module")
def embedder(bundle):
    return BundleEmbedder.load(bundle)


def raw(pixels):
    height_px, width_px, _ = pixels.shape
    return RawPicture(
        np.ascontiguousarray(pixels[..., ::-1]).tobytes(),
        height_px=height_px,
        width_px=width_px,
        step=3 * width_px,
        encoding="bgr8",
    )


def test_pictures_from_bytes_to_a_decision_through_a_real_bundle(bundle, embedder):
    runtime = open_runtime(robot_config({**VELOCITY, **TOPICS, "bundle": str(bundle)}))
    assert runtime.cameras == ("front", "wrist")
    runtime.tick(0.0)
    runtime.on_command("push the red cube", now_s=0.0)
    seen = pictures(40, seed=3)
    similarities, verdict = [], "abstain"
    for step in range(1, 20):
        now_s = step / 20
        runtime.on_image(raw(seen[2 * step]), now_s=now_s, camera="front", source=step)
        runtime.on_image(raw(seen[2 * step + 1]), now_s=now_s, camera="wrist", source=-step)
        percept = runtime.perceive()
        assert percept.fault is None
        assert percept.sources == {"front": step, "wrist": -step}
        assert percept.frame_s == now_s
        shown = resize_frame(seen[2 * step + 1], image_px=PX)
        np.testing.assert_array_equal(percept.pictures["wrist"], shown)
        np.testing.assert_allclose(np.linalg.norm(percept.vision), 1, atol=1e-5)
        text = embedder.embed_texts(["push the red cube"])
        wanted = embedder.similarity(VISION, percept.vision, TEXT, text)[0]
        assert percept.similarity == pytest.approx(float(wanted))
        said = THRESHOLD.decide(percept.similarity)
        verdict = "accept" if (verdict, said) == ("accept", "abstain") else said
        assert percept.verdict == verdict
        decision = runtime.tick(now_s)
        # "push the red cube" is no name of the velocity decoder: whatever matches, nothing moves.
        assert decision.state is State.ABSTAINING
        similarities.append(percept.similarity)
    assert len(set(similarities)) > 5


def test_a_named_command_moves_through_a_real_bundle_and_a_cut_camera_stops_it(embedder):
    config = robot_config({**VELOCITY, **TOPICS, "match_required": False})
    runtime = runtime_of_bundle(config, embedder)
    runtime.tick(0.0)
    runtime.on_command("forward", now_s=0.0)
    seen = pictures(2)
    for step in range(1, 30):
        runtime.on_image(raw(seen[0]), now_s=step / 20, camera="front")
        if step <= 10:
            runtime.on_image(raw(seen[1]), now_s=step / 20, camera="wrist")
        assert runtime.perceive().fault is None
        decision = runtime.tick(step / 20)
        # The camera that fell silent counts, though the other goes on.
        assert decision.values.any() == (step / 20 <= 0.5 + config.image_timeout_s)
    assert decision.state is State.BLIND


def test_a_row_made_by_another_process_is_judged_as_the_bundles_own(embedder):
    config = robot_config({**VELOCITY, **TOPICS, "visual_input": "tensor_list"})
    runtime = runtime_of_bundle(config, embedder)
    runtime.on_command("pull the blue cup", now_s=0.0)
    row = unit(np.random.default_rng(0).normal(size=(1, DIM)))[0].astype(np.float32)
    runtime.on_embedding(row, now_s=0.1)
    percept = runtime.perceive()
    assert not percept.pictures
    text = embedder.embed_texts(["pull the blue cup"])
    assert percept.similarity == pytest.approx(
        float(embedder.similarity(VISION, row, TEXT, text)[0])
    )


def test_a_picture_that_the_bundle_refuses_is_a_fault_and_no_crash(embedder):
    runtime = runtime_of_bundle(robot_config({**VELOCITY, **TOPICS}), embedder)
    runtime.on_command("push the red cube", now_s=0.0)

    class Grey:
        def rgb(self):
            return np.zeros((8, 8, 1), dtype=np.uint8)

    runtime.on_image(Grey(), now_s=0.1, camera="front")
    assert runtime.perceive().fault
    assert runtime.tick(0.1).state is State.FAULT


def test_one_of_two_cameras_may_be_enough(embedder):
    runtime = runtime_of_bundle(robot_config({**VELOCITY, "cameras": ["wrist"]}), embedder)
    runtime.on_image(raw(pictures(1)[0]), now_s=0.1)
    assert runtime.perceive().sources.keys() == {"wrist"}


def test_what_the_bundle_does_not_have_is_refused_by_name(bundle, embedder, tmp_path):
    with pytest.raises(ConfigError, match=r"no 'wirst'\. Did you mean 'wrist'"):
        runtime_of_bundle(robot_config({"cameras": ["wirst"]}), embedder)
    with pytest.raises(ConfigError, match="'jointspace export'"):
        open_runtime(robot_config({}))
    with pytest.raises(BundleError):
        open_runtime(robot_config({"bundle": str(tmp_path)}))
    bare = make_bundle(tmp_path / "bare", thresholds={})
    with pytest.raises(ConfigError, match="no threshold of vision"):
        open_runtime(robot_config({**VELOCITY, "bundle": str(bare)}))


def test_each_topic_is_one_camera():
    config = robot_config(TOPICS)
    assert camera_of_topic(config, ("front", "wrist")) == {
        "front/image": "front",
        "wrist/image": "wrist",
    }
    with pytest.raises(ConfigError, match="expected 1 distinct ones"):
        camera_of_topic(config, ("front",))
    with pytest.raises(ConfigError, match="expected 2 distinct ones"):
        camera_of_topic(robot_config({"image_topics": ["a", "a"]}), ("front", "wrist"))


def test_a_bundle_that_knows_how_similarity_grows_is_judged_by_all_since_the_command(tmp_path):
    folder = make_bundle(tmp_path / "bundle", growth={VISION: GROWTH})
    embedder = BundleEmbedder.load(folder)
    assert embedder.growth == {VISION: GROWTH}
    config = robot_config({**VELOCITY, **TOPICS})
    runtime = runtime_of_bundle(config, embedder)
    seen = pictures(120, seed=3)
    stream = VisionStream(embedder, longest_s=GROWTH.longest_s)
    for step in range(60):
        now_s = step / 20
        runtime.tick(now_s)
        if step in (10, 30):  # the same sentence again goes on
            runtime.on_command("push the red cube", now_s=now_s)
        for camera, pixels in zip(("front", "wrist"), seen[2 * step : 2 * step + 2], strict=True):
            stream.add(camera, pixels, now_s)
            runtime.on_image(raw(pixels), now_s=now_s, camera=camera)
        percept = runtime.perceive()
        if step < 10:
            assert percept.elapsed_s is None
            continue
        row, span_s = stream.grown(0.5)
        text = embedder.embed_texts(["push the red cube"])
        wanted = embedder.similarity(VISION, row, TEXT, text)[0]
        assert percept.similarity == pytest.approx(float(wanted), abs=1e-6)
        assert percept.elapsed_s == span_s == pytest.approx(min(now_s - 0.5, 1.5), abs=0.051)
