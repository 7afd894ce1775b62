"""A trained run becomes a bundle, or is refused."""

import json
import os
import re
import signal
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from jointspace import cli
from jointspace.batch import ACTION, TEXT, VISION
from jointspace.commands import export
from jointspace.commands.arguments import Export
from jointspace.commands.opened_run import open_run
from jointspace.deploy.bundle import staged_bundle
from jointspace.deploy.runtime import BundleEmbedder
from jointspace.errors import InputError, RunFolderError
from jointspace.evaluation.embedding import embed_samples
from jointspace.evaluation.split_samples import split_samples
from jointspace.export import write
from jointspace.export.gate import direction_scores
from tests.commands.test_pipeline import TINY
from tests.factories import write_lerobot

TRAINED = (
    *TINY,
    "train.num_steps=80",
    "train.warmup_steps=5",
    "train.evaluate_every=80",
    "train.batch_size=24",
    "train.learning_rate=0.005",
    "model.fusion=none",
    "model.sensors=[]",
    "model.embed_dim=16",
    "model.vision.channels=[8,16]",
    "model.vision.width=32",
    "model.text.width=32",
    "model.action.width=32",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "set"
    write_lerobot(folder, num_episodes=48, num_frames=24, image_px=(16, 16), state_dim=0)
    return folder


@pytest.fixture(scope="module")
def run_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = folder.with_name("empty.toml")
    config.write_text("", encoding="utf-8")
    words = ["train", str(config), "--data", str(data), "--out", str(folder), "--set", *TRAINED]
    assert cli.main(words) == 0
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_row_18_a_run_becomes_a_bundle_that_embeds_as_was_measured(
    run_folder, data, tmp_path, capsys
):
    words = ["export", run_folder, "--out", tmp_path / "bundle", "--static", "--json"]
    assert cli.main([str(word) for word in words]) == 0
    told = json.loads(capsys.readouterr().out)
    files = [path for path in (tmp_path / "bundle").rglob("*") if path.is_file()]
    assert told["bytes"] == sum(path.stat().st_size for path in files)
    assert {str(path.relative_to(tmp_path / "bundle")) for path in files} >= {
        each["file"] for each in told["graphs"]
    }
    assert not [path for path in files if ".dynamic" in path.name or ".static" in path.name]
    shipped = {each["name"]: each["precision"] for each in told["graphs"]}
    assert {shipped[f"static/{name}"] for name in told["speed"]} == {"fp32"}

    embedder = BundleEmbedder.load(tmp_path / "bundle")
    assert set(embedder.modalities) == {VISION, TEXT, ACTION}
    assert set(embedder.manifest.retrieval) == set(told["retrieval"])
    opened = open_run(run_folder, data=data)
    samples = split_samples(
        opened.dataset, opened.store, embedder.preprocessor, episodes=opened.splits.test
    )
    measured = direction_scores({s: embed_samples(embedder, each) for s, each in samples.items()})
    assert len(measured) == 6
    for direction, scores in measured.items():
        before, after = (told["retrieval"][str(direction)][each] for each in ("fp32", "shipped"))
        assert after["recall_at_1"] == pytest.approx(scores.recall_at_1)
        assert after["ndcg_at_10"] == pytest.approx(scores.ndcg_at_10)
        assert before["recall_at_1"] - after["recall_at_1"] <= 0.01 + 1e-9
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "| vision -> text | episodes | 19 | 1.00 | 1.00 | 1.00 | 1.00 |" in card


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_broken_calibration_is_refused_by_name(run_folder, tmp_path, capsys, monkeypatch):
    real = write.record_feeds

    def broken(*arguments):
        """Noise in a tiny range around grey where pictures should be."""
        rng = np.random.default_rng(0)
        feeds = real(*arguments)
        noise = [
            {"images": rng.uniform(115, 115.01, each["images"].shape).astype(np.float32)}
            for each in feeds["vision_frame"]
        ]
        return {**feeds, "vision_frame": noise}

    monkeypatch.setattr(write, "record_feeds", broken)
    words = ["export", str(run_folder), "--out", str(tmp_path / "bundle"), "--precision", "int8"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    # Whichever engine was the faster one here is named behind the graph.
    assert "the gate refuses --precision int8: int8 vision_frame" in said
    lost = r"int8 vision_frame[^:]*: (vision->text|text->vision) (R@1|nDCG@10) 1\.00 -> \.\d"
    assert re.search(lost, said), said
    assert not (tmp_path / "bundle").exists()


def test_an_export_that_is_terminated_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def terminated(out, **settings):
        with staged_bundle(out) as aside:
            (aside / "graph.onnx").write_bytes(b"half a graph")
            os.kill(os.getpid(), signal.SIGTERM)

    config = SimpleNamespace(loss=SimpleNamespace(fused_weight=0.0))
    opened = MagicMock(run=SimpleNamespace(config=config, model=None))
    monkeypatch.setattr(export, "open_run", lambda folder, data: opened)
    monkeypatch.setattr(export, "_facts", lambda opened: {})
    monkeypatch.setattr(export, "export_bundle", terminated)
    words = ["export", str(tmp_path), "--data", str(tmp_path), "--out", str(tmp_path / "bundle")]
    assert cli.main(words) == 2
    assert "interrupted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "--threads must be at least 1, got 0"),
        ({"candidates": 1}, "--candidates must be at least 2, got 1"),
    ],
)
def test_numbers_that_are_too_small_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        export.run(Export(run=tmp_path, out=tmp_path / "bundle", **changes))


def test_a_run_of_several_robots_needs_one_of_them_named(tmp_path, monkeypatch):
    data = tuple(SimpleNamespace(path=tmp_path / name) for name in ("arm", "rover"))
    monkeypatch.setattr(export, "load_run", lambda folder: SimpleNamespace(data=data))
    with pytest.raises(RunFolderError, match=r"a bundle is of one robot; choose one with --data"):
        export.run(Export(run=tmp_path, out=tmp_path / "bundle"))
