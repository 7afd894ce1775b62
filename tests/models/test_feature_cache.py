"""Cached features and the live pass are one: in what a model embeds, and in when they are made."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jointspace.batch import TEXT, VISION, ModalityInput
from jointspace.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrajectoryConfig,
    VisionConfig,
)
from jointspace.data.frames import FrameStore
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.encoders.pretrained_vision import PretrainedFrameEncoder
from jointspace.models.embed import TorchEmbedder
from jointspace.models.feature_cache import remember_texts, vision_features
from jointspace.models.run_folder import build_run_model
from tests.data.memory_dataset import make_dataset, make_episode
from tests.encoders.pretrained import PX, save_text, save_tokenizer, save_vision

CAMERAS = ("top", "wrist")
TEXTS = ("put the cube down", "push it", "put it on the cube")


@pytest.fixture
def dataset():
    episodes = [
        make_episode(index, num_frames=6, cameras=CAMERAS, instruction=TEXTS[index % 3])
        for index in range(4)
    ]
    return make_dataset(episodes, cameras=CAMERAS)


@pytest.fixture
def store(dataset, tmp_path):
    folder, rng, files = tmp_path / "frames", np.random.default_rng(0), {}
    folder.mkdir()
    for episode in dataset.episodes:
        for camera, span in episode.videos.items():
            frames = rng.integers(0, 256, (episode.num_frames, PX, PX, 3), dtype=np.uint8)
            files[span.path, ""] = folder / f"{episode.index}-{camera}.npy"
            np.save(files[span.path, ""], frames)
    return FrameStore([e.videos for e in dataset.episodes], files, cameras=CAMERAS, image_px=PX)


@pytest.fixture
def config(tmp_path):
    vision = save_vision(tmp_path / "vision", "dinov2")
    text = save_text(tmp_path / "text", "bert")
    words = sorted({word for each in TEXTS for word in each.split()})
    save_tokenizer(tmp_path / "text", words)
    return RunConfig(
        data=DataConfig(image_px=PX, window_s=0.3, window_frames=2, max_tokens=12),
        model=ModelConfig(
            embed_dim=8,
            sensors=(),
            fusion_heads=2,
            vision=VisionConfig(
                tower="pretrained", pretrained=vision, width=16, grid=2, cache_features="float32"
            ),
            text=TextConfig(tower="sentence", pretrained=text, width=16),
            action=TrajectoryConfig(width=16),
        ),
    )


@pytest.fixture
def preprocessor(dataset, config):
    return Preprocessor.fit(dataset, train=[0, 1, 2, 3], config=config.data, text=config.model.text)


@pytest.fixture
def made(dataset, store, config, preprocessor):
    return SimpleNamespace(dataset=dataset, store=store, config=config, preprocessor=preprocessor)


def windows(made, pictures):
    return SampleSet.of_windows(made.dataset, pictures, made.preprocessor, episodes=range(4))


def changed(config, **vision):
    model = dataclasses.replace(
        config.model, vision=dataclasses.replace(config.model.vision, **vision)
    )
    return dataclasses.replace(config, model=model)


def count_passes(monkeypatch, kind, method):
    """Counts what a pretrained network is asked to read."""
    original, asked = getattr(kind, method), []

    def counting(self, first, *others):
        asked.append(len(first))
        return original(self, first, *others)

    monkeypatch.setattr(kind, method, counting)
    return asked


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_cached_features_and_the_live_pass_embed_alike(made, tmp_path, dtype, tolerance):
    config = changed(made.config, cache_features=dtype)
    features = vision_features(config, made.store, cache_dir=tmp_path / "cache")
    torch.manual_seed(0)
    embedder = TorchEmbedder(build_run_model(config, made.preprocessor))
    live, cached = (
        embedder.embed(VISION, rows.batch(range(len(rows))))
        for rows in (windows(made, each) for each in (made.store, features))
    )
    np.testing.assert_allclose(np.linalg.norm(live, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(cached, live, atol=tolerance)
    assert np.abs(live[0] - live[1]).max() > 5 * tolerance


def test_a_second_run_costs_no_pass_and_changed_weights_cost_all(
    store, config, tmp_path, monkeypatch
):
    asked = count_passes(monkeypatch, PretrainedFrameEncoder, "features")
    cache = tmp_path / "cache"
    first = vision_features(config, store, cache_dir=cache)
    assert sum(asked) == 4 * 2 * 6
    asked.clear()
    vision_features(config, store, cache_dir=cache)
    assert not asked
    other = changed(config, pretrained=save_vision(tmp_path / "vision", "dinov2", seed=9))
    second = vision_features(other, store, cache_dir=cache)
    assert sum(asked) == 4 * 2 * 6
    assert not np.allclose(second.frames(0, "top"), first.frames(0, "top"))


@pytest.mark.parametrize("what", ["grid", "normalisation"])
def test_another_grid_or_normalisation_costs_all(store, config, tmp_path, monkeypatch, what):
    cache = tmp_path / "cache"
    vision_features(config, store, cache_dir=cache)
    asked = count_passes(monkeypatch, PretrainedFrameEncoder, "features")
    if what == "grid":
        config = changed(config, grid=1)
    else:
        save_vision(tmp_path / "vision", "dinov2", mean=(0.1, 0.1, 0.1))
    vision_features(config, store, cache_dir=cache)
    assert sum(asked) == 4 * 2 * 6


def test_without_a_cache_the_pictures_themselves_are_read(store, config):
    assert vision_features(changed(config, cache_features="off"), store) is store


def test_training_rows_of_features_reach_the_adapter_alone(made, tmp_path, monkeypatch):
    features = vision_features(made.config, made.store, cache_dir=tmp_path / "cache")
    model = build_run_model(made.config, made.preprocessor)
    asked = count_passes(monkeypatch, PretrainedFrameEncoder, "features")
    rows = windows(made, features)
    batch = rows.batch(range(len(rows))).map(torch.from_numpy)
    model(batch).embeddings[VISION].square().sum().backward()
    assert not asked
    frame = model.towers["vision"].frame
    assert all(p.grad is not None for p in frame.summary.parameters())
    assert all(p.grad is None for p in frame.backbone.parameters())


def test_instructions_are_read_once_and_found_on_disk_by_the_next_run(made, tmp_path, monkeypatch):
    rows, tokenizer = windows(made, made.store), made.preprocessor.tokenizer
    batch, cache = rows.batch(range(len(rows))), tmp_path / "cache"
    torch.manual_seed(0)
    model = build_run_model(made.config, made.preprocessor)
    live = TorchEmbedder(model).embed(TEXT, batch)
    asked = count_passes(monkeypatch, type(model.towers["text"].backbone), "forward")
    assert remember_texts(model, tokenizer, (*TEXTS, TEXTS[0]), cache_dir=cache) == 3
    assert asked == [1, 1, 1]
    asked.clear()
    np.testing.assert_allclose(TorchEmbedder(model).embed(TEXT, batch), live, atol=1e-5)
    twin = build_run_model(made.config, made.preprocessor)
    twin.load_state_dict(model.state_dict())
    assert remember_texts(twin, tokenizer, TEXTS[::-1], cache_dir=cache) == 3
    np.testing.assert_array_equal(
        TorchEmbedder(twin).embed(TEXT, batch), TorchEmbedder(model).embed(TEXT, batch)
    )
    assert not asked


def test_texts_that_are_remembered_do_not_hinder_learning(config, preprocessor, dataset, tmp_path):
    model = build_run_model(config, preprocessor)
    remember_texts(model, preprocessor.tokenizer, TEXTS, cache_dir=tmp_path)
    ids, valid = (torch.from_numpy(each) for each in preprocessor.tokenizer.encode(TEXTS))
    model.towers["text"](ModalityInput(ids, valid)).pooled.square().sum().backward()
    assert all(p.grad.any() for p in model.towers["text"].adapter.parameters())


@pytest.mark.parametrize("text", ["transformer", "trained", "nothing"])
def test_other_text_towers_remember_nothing(config, dataset, tmp_path, text):
    settings = {"transformer": {"tower": "transformer"}, "trained": {"trainable": "full"}}
    changes = dataclasses.replace(config.model.text, **settings.get(text, {}))
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, text=changes))
    preprocessor = Preprocessor.fit(dataset, train=[0, 1], config=config.data, text=changes)
    model = build_run_model(config, preprocessor)
    texts = () if text == "nothing" else TEXTS
    assert remember_texts(model, preprocessor.tokenizer, texts, cache_dir=tmp_path) == 0
