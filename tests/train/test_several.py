"""Runs of several robots: what they train on, write, continue, refuse, and start from."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from jointspace.batch import ACTION, STATE, TEXT, VISION, Modality
from jointspace.data.embodiments import DataSource
from jointspace.data.frames import prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.samples import SampleSet
from jointspace.errors import ConfigError, DataError, InputError, RunFolderError
from jointspace.models.embed import TorchEmbedder
from jointspace.models.hub import JointSpace
from jointspace.models.run_data import choose_data
from jointspace.models.run_folder import load_run
from jointspace.train.checkpointing import checkpoints
from jointspace.train.logs import read_log
from jointspace.train.loop import train
from jointspace.train.prepare import prepare
from jointspace.train.sampling import weights_seed
from jointspace.train.setup import PreparedRun
from tests.factories import write_lerobot, write_robots
from tests.train.test_setup import CONFIG, configured

FORCE = Modality("observation.force")
BOTH = configured(
    model={"sensors": ("state", FORCE)},
    augment={"paraphrase": 0.5, "camera_dropout": 0.3, "erase": 0.2},
    train={"balance": "goal"},
)
LONGER = configured(model={"sensors": ("state", FORCE)}, train={"num_steps": 8})


def sources(*paths):
    return [DataSource.parse(each) for each in paths]


def prepared(config, *paths, out, resume=False):
    return prepare(config, data=sources(*paths), out=out, resume=resume, show_progress=False)


def trained(config, *paths, out, resume=False):
    return train(config, data=sources(*paths), out=out, resume=resume, show_progress=False)


def refused(error, match, config, *paths, out, resume=False):
    with pytest.raises(error, match=match) as caught:
        trained(config, *paths, out=out, resume=resume)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    arm, rover = write_robots(tmp_path_factory.mktemp("robots"))
    return arm.path, rover.path


@pytest.fixture(scope="module")
def finished(tmp_path_factory, robots):
    return trained(BOTH, *robots, out=tmp_path_factory.mktemp("runs") / "both")


def embedded(run, path):
    """Unit rows of every window of a data set, by modality, as `embed` makes them."""
    dataset = open_dataset(path)
    own = choose_data(run.data, dataset, run=run.folder)
    preprocessor = own.preprocessor
    dataset, store = prepare_frames(dataset, image_px=16, cameras=preprocessor.cameras)
    windows = SampleSet.of_windows(
        dataset, store, preprocessor, episodes=range(len(dataset.episodes))
    )
    embedder = TorchEmbedder(run.model, only=preprocessor.modalities)
    batch = windows.batch(range(len(windows)))
    return {m: embedder.embed(m, batch) for m in embedder.modalities}


def test_a_step_trains_on_one_robot_with_its_own_channels_rate_and_cameras(robots, tmp_path):
    run = prepared(LONGER, *robots, out=tmp_path / "run")
    batches = [run.batch_at(step) for step in range(8)]
    for batch, embodiment in zip(batches, [0, 1] * 4, strict=True):
        assert {each.embodiment for each in batch.inputs.values()} == {embodiment}
        channels, cameras = ((3, 1), (5, 2))[embodiment]
        assert batch[ACTION].values.shape[2] == channels
        assert batch[VISION].values.shape[2] == cameras
        assert set(batch.inputs) == {VISION, TEXT, ACTION, (STATE, FORCE)[embodiment]}
    # Times are in seconds: steps of the rover are half as far apart.
    windows = [b for b in batches if b[VISION].values.shape[1] == 1]
    steps_s = {w[ACTION].embodiment: np.diff(w[ACTION].time_s[0])[0] for w in windows}
    assert steps_s == {0: pytest.approx(0.1), 1: pytest.approx(0.05)}
    assert not list(tmp_path.iterdir()), "nothing is written before the first step"


def test_statistics_are_those_of_each_robot_and_the_vocabulary_is_shared(robots, tmp_path):
    several = prepared(BOTH, *robots, out=tmp_path / "run")
    for path, run in zip(robots, several.runs, strict=True):
        alone = prepare(
            configured(model={"sensors": run.config.model.sensors}),
            data=path,
            out=tmp_path / "alone",
            resume=False,
            show_progress=False,
        )
        assert run.splits == alone.splits
        for modality, normaliser in alone.preprocessor.normalisers.items():
            np.testing.assert_array_equal(
                run.preprocessor.normalisers[modality].scale, normaliser.scale
            )
    one, two = (run.preprocessor.tokenizer for run in several.runs)
    assert one is two


def test_the_same_text_has_the_same_id_in_every_data_set(robots, tmp_path):
    other = write_lerobot(
        tmp_path / "other",
        num_episodes=6,
        num_frames=14,
        image_px=(16, 16),
        instructions=("push the ball to the left", "a text of its own"),
        seed=8,
    )
    run = prepared(BOTH, *robots, other.path, out=tmp_path / "run")
    for own in run.runs:
        rows, texts = own.train_episodes.rows, own.train_episodes.texts
        told = {e.index: e.instruction for e in own.dataset.episodes}
        assert [texts[i] for i in rows.instruction] == [told[i] for i in rows.episode]
        assert texts == run.runs[0].train_episodes.texts
        np.testing.assert_array_equal(rows.goal, rows.instruction)
    assert len(run.texts.instructions) == 4


def test_weights_share_the_steps_out(robots, tmp_path):
    config = dataclasses.replace(
        BOTH, data=dataclasses.replace(BOTH.data, mixture_weights=(3.0, 1.0))
    )
    run = prepared(config, *robots, out=tmp_path / "run")
    assert [run.batch_at(step)[ACTION].embodiment for step in range(4)].count(0) == 3


def test_the_first_steps_of_every_data_set_can_train_vision_and_text_alone(robots, tmp_path):
    config = configured(train={"vision_text_fraction": 0.5, "num_steps": 12})
    run = prepared(config, *robots, out=tmp_path / "run")
    kinds = [set(run.batch_at(step).inputs) == {VISION, TEXT} for step in range(12)]
    assert kinds == [True] * 6 + [False] * 6


def test_batches_are_those_that_each_data_set_would_train_on_alone(robots, tmp_path):
    run = prepared(LONGER, *robots, out=tmp_path / "run")
    alone = prepare(CONFIG, data=robots[0], out=tmp_path / "a", resume=False, show_progress=False)
    assert isinstance(alone, PreparedRun)
    for step in range(3):
        mixed, own = run.batch_at(2 * step), alone.batch_at(step)
        np.testing.assert_array_equal(mixed[VISION].values, own[VISION].values)
        np.testing.assert_array_equal(mixed.rows.start_s, own.rows.start_s)


def test_a_fine_tuning_of_everything_keeps_splits_and_statistics_of_what_it_has_seen(
    robots, finished, tmp_path
):
    new = write_lerobot(
        tmp_path / "new", num_episodes=6, num_frames=14, action_dim=7, image_px=(16, 16), seed=5
    ).path
    settings = dataclasses.replace(BOTH.train, start_from=str(finished.folder))
    split = dataclasses.replace(BOTH.data, split_seed=9)
    config = dataclasses.replace(BOTH, train=settings, data=split)
    out = tmp_path / "run"
    trained(config, new, robots[1], out=out)
    before, after = load_run(finished.folder), load_run(out)
    assert [(each.name, each.trained) for each in after.data] == [
        ("arm", False),
        ("new", True),
        ("rover", True),
    ]
    old, again = before.data[1], after.data[2]
    dataset = open_dataset(robots[1])
    assert again.splits(dataset) == old.splits(dataset)
    for modality, normaliser in old.preprocessor.normalisers.items():
        np.testing.assert_array_equal(
            again.preprocessor.normalisers[modality].centre, normaliser.centre
        )
    assert again.preprocessor.tokenizer.to_json() == old.preprocessor.tokenizer.to_json()
    moved = [
        name
        for name, value in before.model.state_dict().items()
        if not torch.equal(after.model.state_dict()[name], value)
    ]
    assert "towers.action.read.1.weight" in moved  # what all robots share
    assert "towers.action.read.0.0.weight" not in moved  # of the arm, which was not trained on


def test_a_run_that_went_on_with_its_own_data_set_can_be_given_away(robots, tmp_path):
    base, out = tmp_path / "base", tmp_path / "run"
    trained(CONFIG, robots[0], out=base)
    trained(configured(train={"start_from": str(base)}), robots[0], out=out)
    run = load_run(out)
    (run.data[0].report_folder / "metrics.json").write_text('{"splits": {}}')
    JointSpace.of_run(out).save_pretrained(tmp_path / "space")
    opened = JointSpace.from_pretrained(tmp_path / "space")
    assert opened.metrics == {"splits": {}}
    expected = embedded(run, robots[0])
    found = embedded(dataclasses.replace(run, model=opened.model), robots[0])
    for modality, vectors in expected.items():
        np.testing.assert_array_equal(found[modality], vectors)


def test_a_run_of_several_data_sets_is_not_given_away_as_a_space(finished):
    match = r"is a run of 2 data sets \(arm, rover\), but a space to give away is of one"
    with pytest.raises(RunFolderError, match=match):
        JointSpace.of_run(finished.folder)


def test_episodes_that_came_after_the_split_are_told(robots, finished, tmp_path):
    grown = write_lerobot(
        tmp_path / "arm", num_episodes=9, num_frames=14, image_px=(16, 16), seed=1
    )
    grown.change_info(robot_type="arm")
    settings = dataclasses.replace(BOTH.train, start_from=str(finished.folder))
    run = prepared(dataclasses.replace(BOTH, train=settings), grown.path, out=tmp_path / "run")
    (finding,) = [each for each in run.findings if "do not train" in each.message]
    assert str(finding).startswith("warning: arm: data.split: 3 of 9 episodes were not there")
    assert sorted(p for n in run.runs[0].splits.names for p in run.runs[0].splits.positions(n)) == [
        *range(6)
    ]


def test_a_run_to_start_from_must_have_the_same_model(robots, finished, tmp_path):
    for section, key, value in (("model", "embed_dim", 16), ("data", "image_px", 32)):
        changed = dataclasses.replace(getattr(BOTH, section), **{key: value})
        settings = dataclasses.replace(BOTH.train, start_from=str(finished.folder))
        config = dataclasses.replace(BOTH, train=settings, **{section: changed})
        match = rf"{section}\.{key}: is {value}, but {value // 2 if section == 'model' else 16} in"
        refused(ConfigError, match, config, robots[0], out=tmp_path / "run")
    settings = dataclasses.replace(BOTH.train, start_from=str(tmp_path))
    config = dataclasses.replace(BOTH, train=settings)
    refused(RunFolderError, "is no run folder", config, robots[0], out=tmp_path / "run")
    refused(
        ConfigError,
        "train.trainable: got 'adapters', expected train.start_from",
        configured(train={"trainable": "adapters"}),
        robots[0],
        out=tmp_path / "run",
    )


def test_gates_can_be_added_to_a_run_without_them_and_not_taken_away(robots, finished, tmp_path):
    settings = dataclasses.replace(BOTH.train, start_from=str(finished.folder))
    plain = dataclasses.replace(BOTH, train=settings)
    gated = dataclasses.replace(plain, model=dataclasses.replace(BOTH.model, pair_metric="gated"))
    trained(gated, *robots, out=tmp_path / "gated")
    run = load_run(tmp_path / "gated")
    assert not torch.equal(run.model.pair_gate(TEXT, VISION), torch.ones(8))
    settings = dataclasses.replace(BOTH.train, start_from=str(tmp_path / "gated"))
    plain = dataclasses.replace(BOTH, train=settings)
    match = r"model\.pair_metric: is 'cosine', but 'gated' in"
    refused(ConfigError, match, plain, *robots, out=tmp_path / "plain")


def test_a_run_folder_keeps_what_belongs_to_each_data_set(finished, robots):
    about = json.loads((finished.folder / "run.json").read_text())
    assert [each["name"] for each in about["embodiments"]] == ["arm", "rover"]
    assert [(each["name"], each["embodiment"]) for each in about["data"]] == [
        ("arm", "arm"),
        ("rover", "rover"),
    ]
    run = load_run(finished.folder)
    assert run.findings == finished.findings
    for number, (own, path) in enumerate(zip(run.data, robots, strict=True)):
        dataset = open_dataset(path)
        splits = own.splits(dataset)
        assert sorted([*splits.train, *splits.validation, *splits.test]) == list(range(6))
        assert own.preprocessor.embodiment == number
        assert choose_data(run.data, dataset, run=run.folder) == own
    saved = load_file(finished.folder / "model.safetensors")
    for name, value in run.model.state_dict().items():
        assert torch.equal(saved[name], value)
    rows = embedded(run, robots[1])
    assert STATE not in rows
    assert {VISION, TEXT, ACTION, FORCE} <= set(rows)
    for vectors in rows.values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    with pytest.raises(RunFolderError, match=r"is a run of 2 data sets \(arm, rover\); choose"):
        run.preprocessor  # noqa: B018 - reading it is the test


def test_what_a_robot_does_not_record_is_told(finished):
    told = {each.where: each.message for each in finished.findings}
    assert "observation.force: not recorded here" in told["arm: model.sensors"]
    assert "state: not recorded here" in told["rover: model.sensors"]


def test_validation_measures_every_robot_and_the_worst_decides(finished):
    records = [r for r in read_log(finished.folder / "log.jsonl") if r["kind"] == "validation"]
    scores = records[-1]["directions"]
    core = {
        f"{name}: {query}->{target}": scores[f"{name}: {query}->{target}"]["above_chance"]
        for name in ("arm", "rover")
        for query in (VISION, TEXT, ACTION)
        for target in (VISION, TEXT, ACTION)
        if query != target
    }
    assert records[-1]["worst"] == min(core.values())
    assert core[records[-1]["worst_direction"]] == records[-1]["worst"]
    assert records[-1]["mean"] == pytest.approx(np.mean(list(core.values())))


def test_a_run_that_is_continued_ends_as_one_that_never_stopped(finished, robots, tmp_path):
    out = tmp_path / "run"
    trained(BOTH, *robots, out=out)
    last = checkpoints(out / "checkpoints")[-1]
    assert last.name.endswith("4")
    shutil.rmtree(last)
    result = trained(BOTH, *robots, out=out, resume=True)
    assert (result.num_steps, result.best_step) == (finished.num_steps, finished.best_step)
    whole = load_file(finished.folder / "checkpoints" / last.name / "model.safetensors")
    again = load_file(last / "model.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_data_sets_of_one_robot_share_its_layers_and_statistics(tmp_path):
    for number, name in enumerate("ab"):
        write_lerobot(
            tmp_path / name, num_episodes=6, num_frames=14, image_px=(16, 16), seed=number
        )
    run = prepared(CONFIG, tmp_path / "a", tmp_path / "b", out=tmp_path / "run")
    assert [each.name for each in run.embodiments] == ["factory"]
    one, two = (each.preprocessor for each in run.runs)
    assert one.normalisers is two.normalisers
    readings = [
        each.dataset.episodes[position].action[:, 0]
        for each in run.runs
        for position in each.splits.train
    ]
    values = np.concatenate(readings).astype(np.float64)
    low, high = np.quantile(values, [0.01, 0.99])
    assert one.normalisers[ACTION].centre[0] == pytest.approx(np.clip(values, low, high).mean())
    weights = run.new_model().state_dict()
    assert len([name for name in weights if name.startswith("towers.action.read.0.")]) == 2
    apart = prepared(CONFIG, f"x={tmp_path / 'a'}", f"y={tmp_path / 'b'}", out=tmp_path / "run")
    assert [each.name for each in apart.embodiments] == ["x", "y"]


def test_one_data_set_makes_the_run_folder_of_before(robots, tmp_path):
    run = prepared(CONFIG, robots[0], out=tmp_path / "run")
    assert isinstance(run, PreparedRun)
    run = prepared(CONFIG, f"mine={robots[0]}", out=tmp_path / "run")
    run.create()
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["version"] == 1
    assert about["data"]["embodiment"]["name"] == "mine"
    assert not [name for name in run.new_model().state_dict() if ".embed.0." in name]


def test_what_cannot_be_trained_together_is_refused(robots, finished, tmp_path):
    arm, rover = robots
    out = tmp_path / "run"
    refused(ConfigError, "no data set to train on: name one with --data", BOTH, out=out)
    weights = configured(data={"mixture_weights": (1.0, 2.0, 3.0)})
    match = r"data\.mixture_weights: got 3 for 2 data sets; expected one for each"
    refused(ConfigError, match, weights, arm, rover, out=out)
    match = r"holds the same episodes as .*arm; name each data set once"
    refused(InputError, match, BOTH, arm, arm, out=out)
    copy = tmp_path / "copy"
    shutil.copytree(arm, copy)
    refused(InputError, match, BOTH, arm, rover, f"other={copy}", out=out)
    match = r"another data set of 'robot' differs \(10 and 20 steps per second\)"
    refused(ConfigError, match, BOTH, f"robot={arm}", f"robot={rover}", out=out)
    match = r"model\.sensors: no data set has 'sonar'\."
    refused(InputError, match, configured(model={"sensors": ("sonar",)}), arm, rover, out=out)
    match = r"data\.cameras: no data set has 'back'\."
    refused(InputError, match, configured(data={"cameras": ("back",)}), arm, rover, out=out)
    match = "rover: has none of the cameras of data.cameras: top"
    refused(InputError, match, configured(data={"cameras": ("top",)}), arm, rover, out=out)
    assert not out.exists()


def test_a_run_is_continued_with_its_own_data_sets_alone(robots, finished, tmp_path):
    arm, rover = robots
    match = r"the run is of other data sets; .* in their order: --data arm=.*arm --data rover="
    third = write_lerobot(tmp_path / "third", num_frames=14, image_px=(16, 16), seed=7).path
    refused(ConfigError, match, BOTH, arm, rover, third, out=finished.folder, resume=True)
    refused(ConfigError, match, BOTH, f"x={arm}", rover, out=finished.folder, resume=True)
    refused(
        DataError, "this is another data set", BOTH, rover, arm, out=finished.folder, resume=True
    )
    match = "holds a run of several data sets"
    refused(ConfigError, match, BOTH, arm, out=finished.folder, resume=True)
    prepared(CONFIG, arm, out=tmp_path / "one").create()
    match = "the run is of other data sets"
    refused(ConfigError, match, CONFIG, arm, rover, out=tmp_path / "one", resume=True)


def test_single_copies_between_data_sets_are_told(robots, tmp_path):
    arm = write_lerobot(tmp_path / "more", num_episodes=8, num_frames=14, image_px=(16, 16), seed=9)
    first = open_dataset(robots[0]).episodes[0]
    arm.change_column("action", [row.tolist() for row in first.action], episode=3)
    arm.change_column("observation.state", [row.tolist() for row in first.state], episode=3)
    run = prepared(CONFIG, robots[0], arm.path, out=tmp_path / "run")
    (finding,) = [each for each in run.findings if "are copies of episodes of" in each.message]
    assert finding.message.startswith("1 of 8 episodes")


@pytest.mark.parametrize("base", ["one", "both"])
def test_a_new_robot_is_learned_by_its_adapter_alone(base, robots, finished, tmp_path):
    arm, rover = robots
    start = finished.folder if base == "both" else tmp_path / "base"
    config = BOTH if base == "both" else CONFIG
    if base == "one":
        trained(config, arm, out=start)
    new = write_lerobot(
        tmp_path / "new",
        num_episodes=6,
        num_frames=14,
        action_dim=7,
        cameras=("observation.images.wrist",),
        image_px=(16, 16),
        seed=5,
        sensors={FORCE: 2},
    ).path
    settings = dataclasses.replace(
        config.train, start_from=str(start), trainable="adapters", learning_rate=0.01
    )
    config = dataclasses.replace(config, train=settings)
    before, out = load_run(start), tmp_path / "run"
    trained(config, new, out=out)
    after = load_run(out)
    own = 2 if base == "both" else 1
    torch.manual_seed(weights_seed(seed=config.seed))
    first = prepared(config, new, out=tmp_path / "unused").new_model().state_dict()
    last = after.model.state_dict()
    changed = {name for name in first if not torch.equal(first[name], last[name])}
    layers = {name.rpartition(f".{own}.")[0] for name in changed}
    assert layers >= {"towers.vision.camera", "towers.action.read.0", "towers.state.read.0"}
    assert all(f".{own}." in name for name in changed)
    assert sum(torch.numel(first[name]) for name in changed) < sum(map(torch.numel, first.values()))
    # The robots of before are embedded as before, bit by bit, from the new run folder.
    for path in (arm, rover) if base == "both" else (arm,):
        earlier, later = embedded(before, path), embedded(after, path)
        assert earlier.keys() == later.keys()
        for modality, vectors in earlier.items():
            np.testing.assert_array_equal(later[modality], vectors)
        dataset = open_dataset(path)
        assert choose_data(after.data, dataset, run=out).splits(dataset) == choose_data(
            before.data, dataset, run=start
        ).splits(dataset)
    assert set(embedded(after, new)) >= {VISION, TEXT, ACTION, STATE}
    again = trained(config, new, out=out, resume=True)
    assert again.num_steps == config.train.num_steps
    match = rf"is of embodiment 'arm', which {start} has been trained on"
    refused(ConfigError, match, config, arm, out=tmp_path / "no")
