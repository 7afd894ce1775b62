"""A space that is given away embeds as its run does, and its card states what was measured."""

import dataclasses
import json
import shutil
import sys
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from jointspace.batch import TEXT, VISION
from jointspace.commands import push, save
from jointspace.commands.arguments import Push, Save
from jointspace.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrajectoryConfig,
    VisionConfig,
)
from jointspace.data.collate import Sample
from jointspace.data.preprocess import Preprocessor
from jointspace.data.splits import Splits
from jointspace.errors import ConfigError, InputError, MissingExtraError, RunFolderError
from jointspace.models.checkpoint import save_weights
from jointspace.models.hub import JointSpace
from jointspace.models.run_folder import build_run_model, create_run, load_run
from tests.data.memory_dataset import CAMERAS, make_dataset, make_episode
from tests.encoders.pretrained import PX, save_text, save_tokenizer, save_vision

WORDS = ("put", "the", "cube", "down")


def estimate(value, chance=0.1, low=0.4, high=0.6):
    return {"value": value, "chance": chance, "low": low, "high": high}


def direction(query, target, value):
    metrics = {"recall_at_1": estimate(value), "recall_at_5": estimate(0.9)}
    metrics["mean_average_precision"] = estimate(value + 0.1, low=None, high=None)
    return {"query": query, "target": target, "scale": "episodes", "num_targets": 12, **metrics}


METRICS = {
    "format": "jointspace metrics",
    "version": 2,
    "about": {"run": "/home/me/run", "data set": "/home/me/my data/table top (LeRobot v3.0, arm)"},
    "splits": {
        "test": {
            "holds_out": "the episodes",
            "core": [direction("vision", "text", 0.5), direction("text", "vision", 0.25)],
        }
    },
}


@pytest.fixture
def towers(tmp_path):
    text = save_text(tmp_path / "text", "bert")
    save_tokenizer(tmp_path / "text", WORDS)
    return save_vision(tmp_path / "vision", "siglip"), text


@pytest.fixture
def run_folder(tmp_path, towers):
    """A run whose towers are pretrained and lie in folders, with random weights behind them."""
    vision, text = towers
    config = RunConfig(
        data=DataConfig(image_px=PX, window_s=0.5, max_tokens=12),
        model=ModelConfig(
            embed_dim=8,
            sensors=(),
            fusion="none",
            pair_metric="gated",
            vision=VisionConfig(tower="pretrained", pretrained=vision, width=16, grid=2),
            text=TextConfig(tower="sentence", pretrained=text, width=16),
            action=TrajectoryConfig(width=16),
        ),
    )
    episodes = [make_episode(i, instruction="put the cube", cameras=CAMERAS) for i in range(3)]
    dataset = make_dataset(episodes, cameras=CAMERAS)
    preprocessor = Preprocessor.fit(
        dataset, train=[0, 1], config=config.data, text=config.model.text
    )
    splits = Splits(train=(0, 1), validation=(), test=(2,))
    folder = tmp_path / "run"
    create_run(folder, config=config, preprocessor=preprocessor, splits=splits, dataset=dataset)
    torch.manual_seed(3)
    model = build_run_model(config, preprocessor)
    for each in model.gates.parameters():
        each.data += torch.randn_like(each)
    save_weights(model, folder / "model.safetensors")
    return folder


def measured(folder):
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    return folder


def vectors(space):
    """What a space makes of the same raw rows."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            frames=rng.integers(0, 256, (2, 2, PX, PX, 3), dtype=np.uint8),
            frames_time_s=np.array([0.0, 0.5]),
            text=text,
        )
        for text in ("put the cube down", "cube", "")
    ]
    batch = space.preprocessor.batch(samples)
    return {m: space.embedder.embed(m, batch) for m in (VISION, TEXT)}


def header(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1]), card.split("---\n", 2)[2]


def test_a_space_that_was_saved_embeds_as_its_run(run_folder, tmp_path, towers):
    expected = vectors(JointSpace.of_run(run_folder))
    gate = JointSpace.of_run(run_folder).embedder.pair_gate(TEXT, VISION)
    saved = JointSpace.of_run(run_folder).save_pretrained(tmp_path / "space")
    for source in towers:  # the space is whole by itself, wherever it is moved
        shutil.rmtree(source)
    shutil.move(saved, tmp_path / "elsewhere")
    opened = JointSpace.from_pretrained(tmp_path / "elsewhere")
    found = vectors(opened)
    np.testing.assert_array_equal(opened.embedder.pair_gate(TEXT, VISION), gate)
    for modality in (VISION, TEXT):
        np.testing.assert_array_equal(found[modality], expected[modality])


def test_a_space_that_was_opened_can_be_saved_again(run_folder, tmp_path):
    first = JointSpace.of_run(measured(run_folder)).save_pretrained(tmp_path / "first", name="x")
    JointSpace.from_pretrained(first).save_pretrained(tmp_path / "second", name="x")
    JointSpace.from_pretrained(first).save_pretrained(first, name="x")
    for file in sorted(path for path in first.rglob("*") if path.is_file()):
        twin = tmp_path / "second" / file.relative_to(first)
        assert twin.read_bytes() == file.read_bytes(), file.name


def test_a_run_folder_is_opened_as_it_is(run_folder):
    expected = vectors(JointSpace.of_run(run_folder))
    found = vectors(JointSpace.from_pretrained(str(run_folder)))
    np.testing.assert_array_equal(found[VISION], expected[VISION])


def test_a_saved_space_holds_these_files_and_no_place_of_this_machine(run_folder, tmp_path):
    folder = JointSpace.of_run(measured(run_folder)).save_pretrained(tmp_path / "space")
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "config.json",
        "config.toml",
        "metrics.json",
        "model.safetensors",
        "preprocessing.json",
        "pretrained",
    }
    for name in ("README.md", "config.json", "config.toml", "metrics.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert str(tmp_path) not in text, name
        assert "/home/me" not in text, name
    about = json.loads((folder / "metrics.json").read_text())["about"]
    assert about == {"data set": "table top (LeRobot v3.0, arm)"}


def test_a_network_of_the_hub_stays_a_reference(run_folder, tmp_path):
    space = JointSpace.of_run(run_folder)
    model = dataclasses.replace(
        space.config.model,
        text=dataclasses.replace(space.config.model.text, pretrained="owner/sentences"),
    )
    space = dataclasses.replace(space, config=dataclasses.replace(space.config, model=model))
    folder = space.save_pretrained(tmp_path / "space")
    assert 'pretrained = "owner/sentences"' in (folder / "config.toml").read_text()
    assert [path.name for path in (folder / "pretrained").iterdir()] == ["vision"]
    assert header(folder)[0]["base_model"] == ["owner/sentences"]


def test_the_card_states_what_was_measured_and_what_was_not(run_folder, tmp_path):
    space = dataclasses.replace(
        JointSpace.of_run(measured(run_folder)), license="mit", datasets=("owner/table",)
    )
    top, text = header(space.save_pretrained(tmp_path / "space", name="arm: space"))
    assert top["license"] == "mit"
    assert top["datasets"] == ["owner/table"]
    assert {"jointspace", "robotics"} <= set(top["tags"])
    assert "mean_average_precision" in top["metrics"]
    assert "| vision -> text | episodes | 12 | 0.500 (0.100; 0.400 to 0.600) |" in text
    assert "| 0.350 (0.100) |" in text
    assert "Not measured on this split: vision->action, text->action, action->vision" in text
    assert "Held out: the episodes." in text
    card = huggingface_hub.ModelCard.load(tmp_path / "space" / "README.md")
    assert card.data.model_name == "arm: space"
    found = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert found["text -> vision R@1"] == 0.25
    assert found["vision -> text mAP"] == 0.6


def test_the_card_of_a_run_that_nobody_measured_says_so(run_folder, tmp_path):
    space = dataclasses.replace(JointSpace.of_run(run_folder), datasets=("my_data",))
    top, text = header(space.save_pretrained(tmp_path / "space"))
    assert "Nothing was measured. `jointspace evaluate RUN" in text
    assert "licence: not stated" in text
    assert "trained on: my_data" in text
    assert "compared through the gate of each pair" in text
    assert top["license"] == "unknown"
    assert not {"metrics", "model-index", "datasets"} & set(top)  # a folder's name is no id
    assert not (tmp_path / "space" / "metrics.json").exists()


def test_towers_that_were_trained_from_scratch_are_named_so(run_folder, tmp_path):
    space = JointSpace.of_run(run_folder)
    config = dataclasses.replace(
        space.config,
        model=dataclasses.replace(
            space.config.model,
            vision=VisionConfig(),
            text=TextConfig(tower="transformer"),
            pair_metric="cosine",
        ),
    )
    folder = dataclasses.replace(space, config=config).save_pretrained(tmp_path / "space")
    assert header(folder)[1].count("trained from scratch") == 2
    assert "gate" not in header(folder)[1]
    assert not (folder / "pretrained").exists()


def test_a_changed_network_in_a_saved_space_is_refused(run_folder, tmp_path):
    folder = JointSpace.of_run(run_folder).save_pretrained(tmp_path / "space")
    save_text(folder / "pretrained" / "text", "bert", seed=8)
    with pytest.raises(RunFolderError, match=r"text tower: .* but this model was trained on"):
        JointSpace.from_pretrained(folder)


def test_other_folders_are_refused(run_folder, tmp_path):
    with pytest.raises(RunFolderError, match=r"neither config.json nor run.json; wanted a folder"):
        JointSpace.from_pretrained(tmp_path)
    with pytest.raises(RunFolderError, match="holds a run; choose another folder"):
        JointSpace.of_run(run_folder).save_pretrained(run_folder)
    folder = JointSpace.of_run(run_folder).save_pretrained(tmp_path / "space")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**about, "version": 99}))
    with pytest.raises(RunFolderError, match="format version 99"):
        JointSpace.from_pretrained(folder)
    (run_folder / "metrics.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"metrics.json: is no valid JSON"):
        JointSpace.of_run(run_folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Stands in for the hub: what is uploaded lies in a folder, from where it is downloaded."""
    there = SimpleNamespace(folder=tmp_path / "hub", repositories={}, failure=None)

    class Api:
        def __init__(self, **about):
            assert about["library_name"] == "jointspace"

        def create_repo(self, repo_id, *, private, exist_ok):
            if there.failure:
                raise there.failure
            there.repositories[repo_id] = private

        def upload_folder(self, *, repo_id, folder_path, commit_message, revision):
            shutil.copytree(folder_path, there.folder / repo_id)
            return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")

    def download(repo_id, *, revision, local_files_only, allow_patterns):
        if not (there.folder / repo_id).is_dir():
            raise LocalEntryNotFoundError("no such model\nand no network")
        names = {path.name for path in (there.folder / repo_id).iterdir()}
        assert {pattern.split("/")[0] for pattern in allow_patterns} | {"README.md"} >= names
        return str(there.folder / repo_id)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return there


def test_what_was_pushed_is_opened_by_its_id(run_folder, hub):
    space = JointSpace.of_run(measured(run_folder))
    assert space.push_to_hub("owner/space", private=True) == "hub/owner/space/commit/1"
    assert hub.repositories == {"owner/space": True}
    top, text = header(hub.folder / "owner/space")
    assert top["model-index"][0]["name"] == "space"
    assert 'JointSpace.from_pretrained("owner/space")' in text
    found = JointSpace.from_pretrained("owner/space", revision="main")
    np.testing.assert_array_equal(vectors(found)[TEXT], vectors(space)[TEXT])
    assert found.metrics["splits"] == METRICS["splits"]


@pytest.mark.parametrize(
    "failure", [OSError("403 Forbidden\nwhy"), HfHubHTTPError.__bases__[0]("403 Forbidden")]
)
def test_a_refusal_of_the_hub_says_what_to_do(run_folder, hub, failure):
    hub.failure = failure
    with pytest.raises(InputError, match=r"not uploaded \(403 Forbidden\).*`hf auth login`"):
        JointSpace.of_run(run_folder).push_to_hub("owner/space")


def test_a_model_that_the_hub_does_not_have_is_named(hub):
    with pytest.raises(InputError, match=r"'owner/none' is no folder here.*\(no such model\)"):
        JointSpace.from_pretrained("owner/none")


def test_a_missing_package_names_the_extra(run_folder, monkeypatch):
    space = JointSpace.of_run(run_folder)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[pretrained\]'"):
        JointSpace.from_pretrained("owner/space")
    with pytest.raises(MissingExtraError, match=r"pip install 'jointspace\[pretrained\]'"):
        space.push_to_hub("owner/space")


def test_the_commands_save_and_push(run_folder, tmp_path, hub):
    told = save.run(Save(run=run_folder, out=tmp_path / "space", license="mit"))
    assert told.to_json() == {"folder": str(tmp_path / "space"), "measured": False}
    assert "its card has no numbers" in told.render()
    assert JointSpace.from_pretrained(tmp_path / "space").license == "mit"
    done = push.run(Push(run=tmp_path / "space", id="owner/space", dataset=("owner/table",)))
    assert "its card has no numbers" in done.render()
    top, _ = header(hub.folder / "owner/space")
    assert (top["license"], top["datasets"]) == ("mit", ["owner/table"])
    measured(run_folder)
    done = push.run(Push(run=run_folder, id="owner/other"))
    assert done.to_json() == {
        "id": "owner/other",
        "commit_url": "hub/owner/other/commit/1",
        "measured": True,
    }
    with pytest.raises(RunFolderError, match="no such folder; wanted a run or a saved space"):
        push.run(Push(run=tmp_path / "none", id="owner/space"))


def test_a_run_whose_configuration_no_longer_fits_is_refused(run_folder):
    config = run_folder / "config.toml"
    config.write_text(config.read_text().replace("image_px = 32", "image_px = 36"))
    with pytest.raises(ConfigError, match="image_px is 36"):
        load_run(run_folder)
