import dataclasses

import numpy as np
import onnx
import pytest

from jointspace.batch import ACTION, TEXT
from jointspace.deploy.graph import runtime_graphs
from jointspace.deploy.towers import Towers
from jointspace.embedder import Embedder
from jointspace.errors import InputError
from jointspace.evaluation.scales import EPISODES, WINDOWS
from jointspace.evaluation.split_samples import split_samples
from jointspace.export.bench import GateBench, GraphEmbedder
from jointspace.export.calibration import at_batch_1, calibration_batches, record_feeds
from jointspace.export.variants import make_variants
from tests.data.memory_dataset import make_dataset, make_episode
from tests.deploy import bundles

TEXTS = ("push the red cube", "pull the blue cup", "push the blue cup", "pull the red cube")


class WithoutGates:
    embed_dim = bundles.DIM
    modalities = (TEXT, ACTION)

    def embed(self, modality, batch):
        raise NotImplementedError

    def pair_gate(self, first, second):
        return None


@pytest.fixture
def robot():
    return bundles.preprocessor(cameras=(), discrete={})


@pytest.fixture
def dataset():
    episodes = [
        make_episode(number, instruction=TEXTS[number % len(TEXTS)], num_frames=25)
        for number in range(12)
    ]
    return make_dataset(episodes)


@pytest.fixture
def graphs(tmp_path):
    return [bundles.write_graph(tmp_path, name) for name in ("text", "action")]


@pytest.fixture
def bench(tmp_path, graphs, robot, dataset):
    samples = split_samples(dataset, None, robot, episodes=range(8))
    return GateBench(tmp_path, graphs, robot, samples, model=WithoutGates())


def with_weights(folder, graph, change):
    """A copy of a graph with its weights changed."""
    model = onnx.load(folder / graph.file)
    (weights,) = [each for each in model.graph.initializer if each.name == "weights"]
    changed = change(onnx.numpy_helper.to_array(weights)).astype(np.float32)
    weights.CopyFrom(onnx.numpy_helper.from_array(changed, "weights"))
    file = graph.file.replace(".onnx", ".changed.onnx")
    onnx.save(model, folder / file)
    return dataclasses.replace(graph, file=file, precision="int8")


def test_rows_are_measured_at_both_scales(bench):
    assert list(bench.reference) == [WINDOWS, EPISODES]
    assert len(bench.reference[WINDOWS]) == 16
    assert {str(each) for each in bench.scores} == {"text->action", "action->text"}


def test_float32_beside_itself_loses_nothing(bench, graphs):
    result = bench.gate("fp32", {"text": graphs[0]}, engines={})
    assert result.passed
    assert result.largest_loss == 0


def test_a_changed_graph_is_put_beside_float32(bench, graphs, tmp_path):
    rng = np.random.default_rng(0)
    changed = with_weights(tmp_path, graphs[0], lambda w: rng.normal(size=w.shape))
    rows = bench.rows({"text": changed}, engines={})
    before, after = bench.reference[EPISODES], rows[EPISODES]
    assert after.vectors[ACTION] is before.vectors[ACTION]  # not touched, not embedded again
    assert not np.allclose(after.vectors[TEXT], before.vectors[TEXT], atol=0.1)


def test_a_graph_that_gives_no_rows_is_refused_by_name(bench, graphs, tmp_path):
    changed = with_weights(tmp_path, graphs[0], lambda w: w * np.nan)
    result = bench.gate("int8 text", {"text": changed}, engines={})
    assert not result.passed
    assert result.refusals[0].startswith("int8 text: graph 'text': returned a row")


def test_graphs_are_an_embedder(bench, graphs, tmp_path, robot):
    towers = Towers(tmp_path, graphs=graphs, preprocessor=robot, engine="onnxruntime")
    assert isinstance(GraphEmbedder(towers, WithoutGates()), Embedder)


def test_rows_without_any_direction_are_no_bench(tmp_path, graphs, robot, dataset):
    samples = split_samples(dataset, None, robot, episodes=[0])
    with pytest.raises(InputError, match="no direction can be measured"):
        GateBench(tmp_path, graphs, robot, samples, model=WithoutGates())


def test_calibration_is_of_training_rows_and_the_same_each_time(robot, dataset):
    def rows(seed):
        made = calibration_batches(
            dataset, None, robot, train=(9, 10, 11), num_rows={WINDOWS: 4, EPISODES: 2}, seed=seed
        )
        return [(int(b.rows.episode[0]), float(b.rows.start_s[0]), len(b)) for b in made]

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)
    assert {episode for episode, _, _ in rows(0)} <= {9, 10, 11}
    assert [count for _, _, count in rows(0)] == [1] * 6


def test_what_graphs_are_given_is_written_down(tmp_path, graphs, robot, dataset):
    batches = calibration_batches(dataset, None, robot, train=range(12), seed=0)
    feeds = record_feeds(tmp_path, graphs, robot, batches)
    assert set(feeds) == {"text", "action"}
    assert len(feeds["text"]) == len(feeds["action"]) == len(batches)
    raw = robot.normalisers[ACTION].inverse(batches[0][ACTION].values)
    np.testing.assert_allclose(feeds["action"][0]["trajectory"], raw, rtol=1e-5)


def test_pictures_are_thinned_and_fused_queries_count_their_members_once(tmp_path):
    names = ("vision_frame", "vision", "text", "fusion_vision+text")
    robot = bundles.preprocessor()
    graphs = [bundles.write_graph(tmp_path, name) for name in names]
    given = bundles.batch(robot)
    feeds = record_feeds(tmp_path, graphs, robot, [given, given])
    assert {name: len(each) for name, each in feeds.items()} == dict.fromkeys(names, 2)
    assert len(feeds["vision_frame"][0]["images"]) <= 4
    assert at_batch_1("vision_frame", feeds["vision_frame"])["images"].shape[0] == 1


def test_every_form_of_a_graph_is_timed_on_every_engine(tmp_path, graphs, robot, dataset):
    batches = calibration_batches(dataset, None, robot, train=range(12))
    feeds = record_feeds(tmp_path, graphs, robot, batches)
    found = make_variants(tmp_path, graphs, feeds, engines=("onnxruntime",), budget_s=0.01)
    assert [each.scheme for each in found["action"]] == [None, "dynamic"]
    assert found["action"][1].name == "int8 action"
    assert (tmp_path / found["action"][1].graph.file).stat().st_size == found["action"][1].num_bytes
    for forms in found.values():
        assert all(each.ms["onnxruntime"] > 0 for each in forms)


def test_without_int8_and_without_inputs_there_is_float32_alone(tmp_path, graphs):
    none = {"text": [], "action": []}
    found = make_variants(tmp_path, graphs, none, engines=("onnxruntime",))
    assert [len(each) for each in found.values()] == [1, 1]
    assert found["text"][0].ms == {}


def test_graphs_for_other_engines_stay_as_they_are(graphs):
    static = dataclasses.replace(graphs[0], name="static/text")
    image = dataclasses.replace(graphs[0], name="vision_image")
    assert runtime_graphs([*graphs, static, image]) == tuple(graphs)
