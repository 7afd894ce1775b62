from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import TEXT, VISION, Embeddings
from jointspace.data.samples import SampleSet
from jointspace.data.windows import Window
from jointspace.deploy.towers import Towers
from jointspace.errors import InputError
from jointspace.export.growth import (
    NUM_STAGES,
    TIMES_PER_STAGE,
    GrowingRows,
    Recorded,
    calibrate_growth,
    growing_rows,
    growth_times,
)
from tests.data.memory_dataset import CAMERAS, FPS, PX, make_dataset, make_episode, make_store
from tests.deploy import bundles
from tests.evaluation.reference import row_ids, unit

COUNT = NUM_STAGES * TIMES_PER_STAGE


def growing(count, *, seed, num_goals=5):
    """Rows that show nothing at first, some a wrong goal for a moment, and their own at the end."""
    rng = np.random.default_rng(seed)
    goals = np.random.default_rng(99).normal(size=(num_goals, 16))
    goal = np.arange(count) % num_goals
    part = np.linspace(0, 1, COUNT)[:, None, None]
    noise = rng.normal(size=(count, 16))
    vision = part * goals[goal] + 0.5 * (1.2 - part) * noise
    misled = np.arange(0, count, 4)
    vision[COUNT // 2, misled] = goals[(goal[misled] + 1) % num_goals] + 0.3 * noise[misled]
    vision = unit(vision.reshape(-1, 16))
    texts = unit(goals[goal]).astype(np.float32)
    whole = Embeddings(
        {VISION: texts, TEXT: texts}, row_ids(episode=np.arange(count), instruction=goal)
    )
    time_s = np.arange(1, COUNT + 1) / 10
    return GrowingRows(time_s, vision.reshape(COUNT, count, 16).astype(np.float32), whole)


@pytest.fixture(scope="module")
def parts():
    return {"validation": growing(60, seed=0), "test": growing(80, seed=1)}


def wrong_ever(rows, accept):
    """Share of wrong instructions above `accept` at any time, every episode weighing alike."""
    best = np.max([each @ rows.whole.vectors[TEXT][:5].T for each in rows.vision], axis=0)
    wrong = np.arange(len(best))[:, None] % 5 != np.arange(5)
    return np.mean([(row[its] > accept).mean() for row, its in zip(best, wrong, strict=True)])


def test_wrong_instructions_are_bounded_over_the_whole_motion(parts):
    found = calibrate_growth(parts, error_rate=0.05)
    assert (found.calibrated_on, found.measured_on, found.num_episodes) == (
        "validation",
        "test",
        60,
    )
    expected = wrong_ever(parts["test"], found.accept)
    assert found.stages[-1].wrong_accepted == pytest.approx(expected)
    assert 0 < found.stages[-1].wrong_accepted < 0.12
    middle = found.stages[NUM_STAGES // 2 - 1].wrong_accepted
    assert middle < found.stages[NUM_STAGES // 2].wrong_accepted  # misled for a moment, and counted
    assert wrong_ever(parts["validation"], found.accept) * 60 / 61 + 1 / 61 <= 0.05 + 1e-9


def test_what_shows_nothing_yet_is_not_rejected_and_what_has_shown_all_is(parts):
    found = calibrate_growth(parts, error_rate=0.05)
    assert found.longest_s == pytest.approx(COUNT / 10)
    first, last = found.stages[0], found.stages[-1]
    assert first.reject < last.reject <= found.accept
    assert first.wrong_rejected < 0.3
    assert last.wrong_rejected > 0.9
    accepted = [each.right_accepted for each in found.stages]
    assert accepted == sorted(accepted)
    assert first.right_accepted < 0.2
    assert last.right_accepted > 0.9
    assert max(each.right_rejected for each in found.stages) < 0.15


def test_a_split_with_too_few_episodes_leaves_it_to_the_next(parts):
    few = {"validation": growing(10, seed=0), "test": parts["test"]}
    assert calibrate_growth(few, error_rate=0.05).calibrated_on == "test"
    with pytest.raises(InputError, match=r"test: .*too few for a rate of 0\.05"):
        calibrate_growth({"test": growing(10, seed=0)}, error_rate=0.05)


def test_rows_are_those_of_episodes_that_are_so_far(tmp_path):
    episodes = [
        make_episode(0, num_frames=26, cameras=CAMERAS),
        make_episode(1, num_frames=9, cameras=CAMERAS[:1]),
        make_episode(2, num_frames=9),
    ]
    dataset = make_dataset(episodes, cameras=CAMERAS)
    store = make_store(dataset, tmp_path)
    robot = bundles.preprocessor(cameras=CAMERAS, image_px=PX, discrete={})
    weights = np.random.default_rng(0).normal(size=(3 * PX * PX, bundles.WIDTH))
    graphs = [bundles.write_graph(tmp_path, name) for name in ("vision_frame", "vision")]

    class Smaller(Towers):
        """Reads pictures of another size than the hand-made graph."""

        def encode_frames(self, pictures):
            return (pictures.reshape(len(pictures), -1) @ weights).astype(np.float32)

    towers = Smaller(tmp_path, graphs=graphs, preprocessor=robot, engine="onnxruntime")
    time_s = np.array([0.3, 0.84, 2.0, 2.5])
    nothing = Embeddings({}, row_ids(episode=np.arange(3), instruction=np.zeros(3, int)))
    found = growing_rows(
        towers,
        Recorded(dataset, store, robot),
        episodes=[0, 1, 2],
        time_s=time_s,
        whole=nothing,
    )
    assert not found.vision[:, 2].any()
    for position, lasts in ((0, 26), (1, 9)):
        for number, at_s in enumerate(time_s):
            steps = min(lasts, round(at_s * FPS) + 1)
            rows = SampleSet(
                dataset,
                store,
                robot,
                [Window(position, 0, steps)],
                clip_frames=robot.episode_frames,
            )
            expected = towers.embed(VISION, rows.batch([0]))[0]
            np.testing.assert_allclose(found.vision[number, position], expected, atol=1e-5)


def test_times_are_regular_and_end_where_nearly_all_episodes_are_over():
    dataset = make_dataset([make_episode(i, num_frames=10 + i) for i in range(21)])
    times = growth_times(dataset, range(21))
    assert len(times) == COUNT
    np.testing.assert_allclose(np.diff(times), times[0])
    assert times[-1] == pytest.approx((10 + 19 - 1) / FPS)
    short = replace(dataset, episodes=(make_episode(0, num_frames=1),))
    assert growth_times(short, [0])[-1] == pytest.approx(1 / FPS)
