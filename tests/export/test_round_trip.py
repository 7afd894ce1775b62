"""From a torch model through a bundle and back: the same rows by way of the same protocol."""

import numpy as np
import pytest

from jointspace.batch import ACTION, TEXT, VISION, Batch, Modality
from jointspace.config import TrajectoryConfig, VisionConfig
from jointspace.data.collate import Sample, Steps
from jointspace.deploy.bundle import staged_bundle, write_bundle
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.deploy.stream import VisionStream
from jointspace.evaluation.embedding import pair_gates
from jointspace.export.graphs import export_graphs
from jointspace.models.embed import TorchEmbedder
from tests.encoders.inputs import IMAGE_PX, NUM_ACTIONS
from tests.export.robots import build, preprocessor

# On a busy machine torch's exporter takes minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOLERANCE = 1e-4
SMALL = {"vision": VisionConfig(channels=(8, 12), width=16, stem_stride=4), "sensors": ()}
BUILDS = {
    "demo": {"pair_metric": "gated", "fusion": "none"},
    "fused": {
        "fusion": "early",
        "action": TrajectoryConfig(tower="discrete", width=16, num_actions=NUM_ACTIONS),
    },
}


def samples(made, *, seed=0):
    """Rows of several lengths that lack this and that."""
    rng = np.random.default_rng(seed)

    def steps(count):
        readings = {
            m: each.centre + each.scale * rng.normal(size=(count, each.dim)) * 3
            for m, each in made.normalisers.items()
        }
        readings |= {m: rng.integers(0, size, (count, 1)) for m, size in made.discrete.items()}
        time_s = np.arange(count) / made.fps
        return {m: Steps(each.astype(np.float32), time_s) for m, each in readings.items()}

    def frames(count):
        shape = (count, made.num_cameras, IMAGE_PX, IMAGE_PX, 3)
        return rng.integers(0, 256, shape, dtype=np.uint8)

    seen = np.array([[True, False], [True, True]])
    return [
        Sample(frames(3), None, np.arange(3) / made.fps, "push the ball", steps(7)),
        Sample(frames(2), seen, np.arange(2) / made.fps, "ball", steps(2)),
        Sample(text="the push, again and again"),
        Sample(frames(1), None, np.zeros(1), steps=steps(4)),
        Sample(),
    ]


@pytest.fixture(scope="module", params=list(BUILDS))
def pair(request, tmp_path_factory):
    """A torch embedder, and that of its bundle."""
    made = preprocessor(discrete=request.param == "fused", sensors=())
    model = build(made, **SMALL, **BUILDS[request.param])
    torch_embedder = TorchEmbedder(model)
    queries: dict[Modality, list[Modality]] = {}
    for query in model.fused_queries:
        queries.setdefault(query.name, []).append(query.target)
    folder = tmp_path_factory.mktemp("bundles") / request.param
    with staged_bundle(folder) as aside:
        write_bundle(
            aside,
            graphs=export_graphs(model, made, aside),
            preprocessor=made,
            model_id="0",
            fused_queries=queries,
            gates=pair_gates(torch_embedder, torch_embedder.modalities),
            card="# A space\n",
        )
    return torch_embedder, BundleEmbedder.load(folder)


def test_a_bundle_embeds_as_torch_does(pair):
    torch_embedder, embedder = pair
    assert embedder.modalities == torch_embedder.modalities
    assert embedder.embed_dim == torch_embedder.embed_dim
    for seed in range(3):
        batch = embedder.preprocessor.batch(samples(embedder.preprocessor, seed=seed))
        for some in (slice(None), slice(0, 1), slice(2, 5)):
            rows = batch.rows.take(some)
            part = Batch(
                {m: e.map(lambda array, s=some: array[s]) for m, e in batch.inputs.items()}, rows
            )
            for modality in embedder.modalities:
                expected = torch_embedder.embed(modality, part)
                found = embedder.embed(modality, part)
                np.testing.assert_allclose(found, expected, atol=TOLERANCE, err_msg=modality)
                np.testing.assert_array_equal(found.any(axis=1), expected.any(axis=1))


def test_gates_are_those_of_torch(pair):
    torch_embedder, embedder = pair
    gates = pair_gates(torch_embedder, torch_embedder.modalities)
    mine = pair_gates(embedder, embedder.modalities)
    assert mine.keys() == gates.keys()
    for key, gate in gates.items():
        np.testing.assert_array_equal(mine[key], gate)


def test_raw_readings_pictures_and_words_give_the_rows_of_torch(pair):
    torch_embedder, embedder = pair
    made = embedder.preprocessor
    given = samples(made)
    batch = made.batch(given)
    raw, row = given[0].steps[ACTION], torch_embedder.embed(ACTION, batch)[0]
    values = raw.values[:, 0].astype(np.int64) if made.discrete else raw.values
    found = embedder.embed_steps(ACTION, values[None], None, raw.time_s[None])
    np.testing.assert_allclose(found[0], row, atol=TOLERANCE)
    texts = [each.text for each in given[:3]]
    expected = torch_embedder.embed(TEXT, batch)[:3]
    np.testing.assert_allclose(embedder.embed_texts(texts), expected, atol=TOLERANCE)
    stream = VisionStream(embedder)
    for number, pictures in enumerate(given[0].frames[:2]):
        for camera, picture in zip(made.cameras, pictures, strict=True):
            stream.add(camera, picture, 7 + number / made.fps)
    two = Sample(given[0].frames[:2], None, given[0].frames_time_s[:2])
    row = torch_embedder.embed(VISION, made.batch([two]))[0]
    np.testing.assert_allclose(stream.embedding(7.2).row, row, atol=TOLERANCE)
