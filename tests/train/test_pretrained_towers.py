"""A whole training on pretrained towers: what it stores, how it continues, what it refuses."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from jointspace.batch import TEXT, VISION
from jointspace.commands.opened_run import open_run
from jointspace.config import (
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrainConfig,
    TrajectoryConfig,
    VisionConfig,
    check_config,
)
from jointspace.data.feature_store import FeatureStore
from jointspace.data.samples import SampleSet
from jointspace.encoders.pretrained_vision import PretrainedFrameEncoder
from jointspace.errors import ConfigError, RunFolderError
from jointspace.models.run_folder import load_run
from jointspace.train.loop import train
from tests.encoders.pretrained import PX, save_text, save_tokenizer, save_vision
from tests.factories import INSTRUCTIONS, write_lerobot


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_lerobot(tmp_path_factory.mktemp("data") / "set", num_episodes=8).path


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp("towers")
    vision, text = save_vision(root / "vision", "siglip"), save_text(root / "text", "bert")
    save_tokenizer(root / "text", sorted({w for each in INSTRUCTIONS for w in each.split()}))
    return RunConfig(
        data=DataConfig(image_px=PX, episode_frames=3, max_tokens=12),
        model=ModelConfig(
            embed_dim=8,
            sensors=(),
            fusion="none",
            vision=VisionConfig(tower="pretrained", pretrained=vision, width=16, grid=2),
            text=TextConfig(tower="sentence", pretrained=text, width=16),
            action=TrajectoryConfig(width=16),
        ),
        loss=LossConfig(fused_weight=0.0),
        augment=AugmentConfig(shift_px=0, brightness=0.0, contrast=0.0),
        train=TrainConfig(
            precision="fp32", num_steps=4, batch_size=8, warmup_steps=1, evaluate_every=2
        ),
    )


def with_towers(config, *, vision=None, text=None):
    model = dataclasses.replace(
        config.model,
        vision=dataclasses.replace(config.model.vision, **(vision or {})),
        text=dataclasses.replace(config.model.text, **(text or {})),
    )
    return dataclasses.replace(config, model=model)


def fit(config, data, out, **settings):
    return train(config, data=data, out=out, show_progress=False, **settings)


def last_loss(folder):
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [each["loss"] for each in map(json.loads, lines) if each["kind"] == "train"][-1]


def test_frozen_towers_are_in_no_file_of_the_run_and_come_back(config, data, tmp_path):
    result = fit(config, data, tmp_path / "run")
    files = sorted((tmp_path / "run").rglob("model.safetensors"))
    assert len(files) == 3  # the best, and two checkpoints
    for file in files:
        inside = {name for name in load_file(file) if "backbone" in name}
        assert inside == {
            "towers.text.backbone.fingerprint",
            "towers.vision.frame.backbone.fingerprint",
        }
    assert not any("cache_features" in each.where for each in result.findings)
    opened = open_run(tmp_path / "run", data=data)
    assert opened.seen is opened.store
    assert opened.run.model.towers["text"].num_known == len(INSTRUCTIONS)


def test_a_run_whose_frozen_tower_was_changed_is_refused(config, data, tmp_path):
    folder = tmp_path / "vision"
    shutil.copytree(config.model.vision.pretrained, folder)
    moved = with_towers(config, vision={"pretrained": str(folder)})
    fit(moved, data, tmp_path / "run")
    load_run(tmp_path / "run")
    save_vision(folder, "siglip", seed=5)
    with pytest.raises(RunFolderError, match=r"vision tower: .* holds weights \w+, but this model"):
        load_run(tmp_path / "run")


def test_a_network_that_was_frozen_can_be_trained_through_afterwards(config, data, tmp_path):
    cached = with_towers(config, vision={"cache_features": "float32"})
    fit(cached, data, tmp_path / "frozen")

    def after(base, **vision):
        settings = dataclasses.replace(config.train, start_from=str(tmp_path / base), num_steps=2)
        return dataclasses.replace(with_towers(config, vision=vision), train=settings)

    layers = {"trainable": "last-layers", "num_trainable_layers": 1}
    fit(after("frozen", **layers), data, tmp_path / "through")
    model = load_run(tmp_path / "through").model
    name = next(n for n in model.state_dict() if ".backbone.network." in n and "weight" in n)
    plain = load_run(tmp_path / "frozen").model.get_parameter(name)
    assert plain.shape == model.get_parameter(name).shape
    assert not torch.equal(plain, model.get_parameter(name))
    with pytest.raises(ConfigError, match=r"vision\.trainable: is 'frozen', but 'last-layers' in"):
        fit(after("through"), data, tmp_path / "back")


def test_an_epoch_on_cached_features_costs_no_pass(config, data, tmp_path, monkeypatch):
    cached = with_towers(config, vision={"cache_features": "float32"})
    result = fit(cached, data, tmp_path / "first")
    note = next(each for each in result.findings if "cache_features" in each.where)
    assert note.message.startswith("192 pictures x 5 x 32 in float32: 123 kB in ")
    monkeypatch.setattr(PretrainedFrameEncoder, "features", None)  # calling it would fail
    fit(cached, data, tmp_path / "second")
    opened = open_run(tmp_path / "second", data=data)
    assert isinstance(opened.seen, FeatureStore)
    rows = SampleSet.of_episodes(
        opened.dataset, opened.seen, opened.run.preprocessor, episodes=range(4)
    )
    assert np.isfinite(opened.embedder.embed(VISION, rows.batch(range(4)))).all()


def test_cached_features_train_as_live_ones(config, data, tmp_path):
    # Noise is drawn after the changes to pixels, which are not drawn where there are none.
    config = with_towers(config, text={"word_dropout": 0.0})
    config = dataclasses.replace(
        config, augment=dataclasses.replace(config.augment, step_noise=0.0)
    )
    live, cached = tmp_path / "live", tmp_path / "cached"
    fit(config, data, live)
    fit(with_towers(config, vision={"cache_features": "float32"}), data, cached)
    losses = [last_loss(each) for each in (live, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    expected = load_file(live / "model.safetensors")
    for name, weights in load_file(cached / "model.safetensors").items():
        # Where a gradient is nearly nothing, its sign, and with it a step, may be another.
        assert np.abs(weights.astype(float) - expected[name]).mean() < 1e-4, name


@pytest.mark.parametrize("trainable", ["frozen", "last-layers"])
def test_a_run_that_was_stopped_continues_bit_by_bit(config, data, tmp_path, trainable):
    settings = {"trainable": trainable, "num_trainable_layers": 1}
    config = with_towers(config, vision=settings, text=settings)
    whole, part = tmp_path / "whole", tmp_path / "part"
    fit(config, data, whole)
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "step-0000004")
    (part / "model.safetensors").unlink()
    fit(config, data, part, resume=True)
    expected = load_file(whole / "checkpoints" / "step-0000004" / "model.safetensors")
    found = load_file(part / "checkpoints" / "step-0000004" / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    inside = [name for name in found if "backbone.network" in name]
    assert bool(inside) == (trainable != "frozen")


def test_what_was_trained_through_comes_back(config, data, tmp_path):
    settings = {"trainable": "full"}
    fit(with_towers(config, vision=settings, text=settings), data, tmp_path / "run")
    first, second = (open_run(tmp_path / "run", data=data) for _ in range(2))
    rows = SampleSet.of_episodes(
        first.dataset, first.seen, first.run.preprocessor, episodes=range(4)
    )
    batch = rows.batch(range(4))
    for modality in (VISION, TEXT):
        np.testing.assert_array_equal(
            first.embedder.embed(modality, batch), second.embedder.embed(modality, batch)
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vision": {"cache_features": "float16", "trainable": "full"}},
            "trainable 'full'; expected 'off', since only a pretrained, frozen network",
        ),
        (
            {"vision": {"cache_features": "float16", "tower": "convolution"}},
            "model.vision.tower is 'convolution'",
        ),
    ],
)
def test_features_are_cached_of_a_frozen_network_only(config, changes, message):
    with pytest.raises(ConfigError, match=message):
        check_config(with_towers(config, **changes))


def test_cached_features_and_changed_pixels_exclude_each_other(config):
    cached = with_towers(config, vision={"cache_features": "float16"})
    check_config(cached)
    mixed = dataclasses.replace(
        cached, augment=AugmentConfig(brightness=0.0, contrast=0.0, erase=0.2)
    )
    with pytest.raises(
        ConfigError,
        match=r"augment.shift_px = 4 and augment.erase = 0.2 would change pictures",
    ):
        check_config(mixed)


def test_a_text_longer_than_the_network_reads_is_refused_at_once(config, data, tmp_path):
    long = dataclasses.replace(config, data=dataclasses.replace(config.data, max_tokens=17))
    with pytest.raises(ConfigError, match=r"data.max_tokens is 17, but .* reads at most 16 tokens"):
        fit(long, data, tmp_path / "run")


def test_a_picture_size_that_the_network_does_not_read_is_refused_at_once(config, data, tmp_path):
    odd = dataclasses.replace(config, data=dataclasses.replace(config.data, image_px=36))
    with pytest.raises(ConfigError, match=r"image_px is 36; wanted 32, or another multiple"):
        fit(odd, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
