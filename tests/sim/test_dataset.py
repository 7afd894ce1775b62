import json
import shutil

import numpy as np
import pytest

from jointspace.data.inspect import inspect_dataset
from jointspace.data.open import open_dataset
from jointspace.errors import InputError
from jointspace.sim.dataset import simulate_dataset
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.episodes import simulate_episode
from jointspace.sim.language import WORDINGS
from jointspace.sim.plan import SimulationPlan

PLAN = SimulationPlan(num_episodes=20, seed=3, image_px=32, block_episodes=6, noisy_fraction=0.4)


class StopSimulationError(Exception):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate_dataset(tmp_path_factory.mktemp("sim") / "data", PLAN).path


def content(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def stop_at(num_episodes):
    def progress(done, total):
        assert total == PLAN.num_episodes
        if done >= num_episodes:
            raise StopSimulationError

    return progress


def test_what_is_read_back_is_what_was_simulated(made):
    dataset = open_dataset(made)
    assert not dataset.findings
    assert len(dataset.episodes) == PLAN.num_episodes
    assert dataset.info.fps == 10
    env = TabletopEnv(cameras=("front",), image_px=32)
    for number in (0, 7, 19):
        record, episode = simulate_episode(env, PLAN, number), dataset.episodes[number]
        np.testing.assert_array_equal(record.action, episode.action)
        np.testing.assert_array_equal(record.state, episode.state)
        for name in ("instruction", "goal", "success", "split", "other_instructions"):
            assert getattr(record, name) == getattr(episode, name)
        assert {k: v for k, v in record.factors.items() if v} == {
            k: v for k, v in episode.factors.items() if v
        }


def test_inspection_finds_nothing_wrong(made):
    findings = inspect_dataset(made).findings
    assert not [finding for finding in findings if finding.severity != "note"]


def test_an_interrupted_call_is_continued_to_the_same_bytes(made, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(StopSimulationError):
        simulate_dataset(out, PLAN, progress=stop_at(12))
    assert not out.exists()
    again = simulate_dataset(out, PLAN)
    assert again.num_reused_blocks == 2
    assert content(out) == content(made)
    assert not (tmp_path / "data.partial").exists()


@pytest.mark.slow
def test_several_processes_make_the_same_bytes(made, tmp_path):
    simulate_dataset(tmp_path / "data", PLAN, num_workers=2)
    assert content(tmp_path / "data") == content(made)


def test_another_seed_makes_other_episodes(made):
    env = TabletopEnv(cameras=("front",), image_px=32)
    plan = SimulationPlan(num_episodes=20, seed=4, image_px=32, block_episodes=6)
    first = simulate_episode(env, plan, 0)
    assert first.goal != open_dataset(made).episodes[0].goal or len(first.action) != len(
        open_dataset(made).episodes[0].action
    )


def test_a_whole_data_set_is_left_as_it_is(made):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    again = simulate_dataset(made, PLAN)
    assert again.num_reused_blocks == PLAN.num_blocks
    assert before == {p: p.stat().st_mtime_ns for p in made.rglob("*")}


def test_the_manifest_names_plan_versions_and_splits(made):
    manifest = json.loads((made / "meta" / "simulation.json").read_text())
    assert manifest["plan"]["seed"] == 3
    assert manifest["plan"]["renderer"] == "ray"
    assert {"jointspace", "mujoco-core", "numpy", "av"} == set(manifest["versions"])
    info = json.loads((made / "meta" / "info.json").read_text())
    assert info["splits"] == manifest["splits"]


def test_held_out_wordings_and_combinations_occur_in_their_splits_alone(made):
    episodes = open_dataset(made).episodes
    openings = {
        split: {e.instruction for e in episodes if (e.split == split)}
        for split in {e.split for e in episodes}
    }

    def trained(text, skill):
        return any(
            all(part.split("}")[-1] in text for part in template.split("{"))
            for template in WORDINGS[skill].trained
        )

    for episode in episodes:
        is_trained = trained(episode.instruction, episode.factors["skill"])
        assert is_trained == (episode.split != "unseen_paraphrases")
    seen = {
        tuple(e.factors[k] for k in ("skill", "colour", "shape"))
        for e in episodes
        if e.split != "unseen_combinations"
    }
    for episode in episodes:
        combination = tuple(episode.factors[k] for k in ("skill", "colour", "shape"))
        assert (combination in seen) == (episode.split != "unseen_combinations")
    assert openings["unseen_paraphrases"].isdisjoint(openings["train"])


def test_other_instructions_are_of_other_goals_of_the_scene(made):
    for episode in open_dataset(made).episodes:
        assert episode.other_instructions
        assert episode.instruction not in episode.other_instructions


def test_another_plan_is_refused(made):
    plan = SimulationPlan(num_episodes=20, seed=5, image_px=32, block_episodes=6)
    with pytest.raises(InputError, match="plan seed = 3, asked for is 5"):
        simulate_dataset(made, plan)


def test_an_unfinished_data_set_of_another_version_is_refused(tmp_path):
    out = tmp_path / "data"
    with pytest.raises(StopSimulationError):
        simulate_dataset(out, PLAN, progress=stop_at(6))
    file = tmp_path / "data.partial" / "plan.json"
    file.write_text(file.read_text().replace('"mujoco-core": "', '"mujoco-core": "0.'))
    with pytest.raises(InputError, match="versions mujoco-core = '0"):
        simulate_dataset(out, PLAN)
    file.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        simulate_dataset(out, PLAN)
    file.unlink()
    with pytest.raises(InputError, match="something else than an unfinished"):
        simulate_dataset(out, PLAN)


def test_a_data_set_that_only_lacks_its_name_gets_it(made, tmp_path):
    shutil.copytree(made, tmp_path / "data.partial")
    simulate_dataset(tmp_path / "data", PLAN)
    assert content(tmp_path / "data") == content(made)


def test_other_content_is_never_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        simulate_dataset(tmp_path / "file", PLAN)
    with pytest.raises(InputError, match="holds no simulated data set"):
        simulate_dataset(tmp_path, PLAN)
    with pytest.raises(InputError, match="workers: got 0"):
        simulate_dataset(tmp_path / "new", PLAN, num_workers=0)
