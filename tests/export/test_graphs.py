"""Models as graphs: what they are called, what they take, and that they compute the same."""

import pytest

from jointspace.config import TextConfig, VisionConfig
from jointspace.export.graphs import export_graphs
from jointspace.export.parity import check_parity
from tests.export.robots import build, preprocessor


@pytest.fixture(scope="module")
def robot():
    return preprocessor(sensors=())


@pytest.fixture(scope="module")
def model(robot):
    """Built as that of configs/demo.toml is."""
    return build(
        robot,
        fusion="none",
        sensors=(),
        pair_metric="gated",
        vision=VisionConfig(channels=(8, 12), width=16, stem_stride=4),
        text=TextConfig(width=16, layers=1, pooling="attention+max"),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bundle")


@pytest.fixture(scope="module")
def graphs(model, robot, folder):
    return export_graphs(model, robot, folder)


def test_row_19_graphs_compute_what_the_model_computes(model, robot, folder, graphs):
    worst = check_parity(model, robot, folder, graphs)
    assert list(worst) == ["vision_frame", "vision", "text", "action"]
    assert max(worst.values()) < 1e-5
