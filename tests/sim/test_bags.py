import numpy as np
import pytest

from jointspace.data.frames import decode_span
from jointspace.data.open import open_dataset
from jointspace.data.rosbag_episode import camera_topic
from jointspace.errors import InputError
from jointspace.sim.bags import simulate_bags
from jointspace.sim.dataset import simulate_dataset
from jointspace.sim.environment import TabletopEnv
from jointspace.sim.episodes import simulate_episode
from jointspace.sim.plan import SimulationPlan
from tests.data.bag_factory import messages

PLAN = SimulationPlan(num_episodes=20, seed=3, image_px=32, samples=1, block_episodes=8)


class StopSimulationError(Exception):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate_bags(tmp_path_factory.mktemp("sim") / "bags", PLAN)


def content(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_a_bag_holds_the_episode_of_its_number_without_loss(made):
    assert len(made.bags) == PLAN.num_episodes
    env = TabletopEnv(cameras=("front",), image_px=32, samples=1)
    for number in (0, 19):
        record, found = simulate_episode(env, PLAN, number), messages(made.bags[number])
        actions = np.stack([message.data for _, message in found["/action"]])
        np.testing.assert_array_equal(actions, record.action)
        pictures = [message.data for _, message in found[camera_topic("front")]]
        np.testing.assert_array_equal(
            np.stack(pictures).reshape(-1, 32, 32, 3), record.pictures["front"]
        )


def test_an_interrupted_call_is_continued_to_the_same_bytes(made, tmp_path):
    def stop(done, total):
        if done >= 8:
            raise StopSimulationError

    out = tmp_path / "bags"
    with pytest.raises(StopSimulationError):
        simulate_bags(out, PLAN, progress=stop)
    assert not out.exists()
    (tmp_path / "bags.partial" / ".episode_000009.1.tmp").mkdir()  # of a process that was killed
    simulate_bags(out, PLAN)
    assert content(out) == content(made.path)
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


def test_bags_that_are_there_are_kept_and_others_refused(made):
    before = {path: path.stat().st_mtime_ns for path in made.path.rglob("*")}
    simulate_bags(made.path, PLAN)
    assert {path: path.stat().st_mtime_ns for path in made.path.rglob("*")} == before
    with pytest.raises(InputError, match="plan seed = 3, asked for is 4"):
        simulate_bags(made.path, SimulationPlan(num_episodes=20, seed=4))
    with pytest.raises(InputError, match="workers: got 0"):
        simulate_bags(made.path, PLAN, num_workers=0)


@pytest.mark.slow
def test_bags_and_data_set_of_one_simulation_read_alike(made, tmp_path):
    bags = open_dataset(made.path)
    videos = open_dataset(simulate_dataset(tmp_path / "videos", PLAN).path)
    assert not bags.findings
    assert (bags.instructions, bags.goals) == (videos.instructions, videos.goals)
    for name in ("robot_type", "fps", "cameras", "action_names", "state_names", "sensors"):
        assert getattr(bags.info, name) == getattr(videos.info, name)
    for a, b in zip(bags.episodes, videos.episodes, strict=True):
        np.testing.assert_array_equal(a.action, b.action)
        np.testing.assert_array_equal(a.state, b.state)
        for name in ("index", "instruction", "goal", "success", "split", "other_instructions"):
            assert getattr(a, name) == getattr(b, name)
        assert {k: v for k, v in a.factors.items() if v} == {
            k: v for k, v in b.factors.items() if v
        }
    camera = "observation.images.front"
    pair = [decode_span(each.episodes[7].videos[camera]) for each in (bags, videos)]
    for lossless, encoded in zip(*pair, strict=True):
        assert np.abs(lossless.astype(int) - encoded).mean() < 6
