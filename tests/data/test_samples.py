import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION
from jointspace.config import AugmentConfig, DataConfig, TextConfig
from jointspace.data.frames import prepare_frames
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import Preprocessor
from jointspace.data.samples import SampleSet
from jointspace.data.splits import split_dataset
from jointspace.data.windows import Window
from jointspace.errors import InputError
from jointspace.train.row_generator import RowGenerator
from tests.data.memory_dataset import CAMERAS, PX, make_dataset, make_episode, make_store
from tests.factories import write_lerobot

CONFIG = DataConfig(image_px=PX, window_s=0.5, stride_s=0.2, window_frames=2, episode_frames=4)


def ramp(length, scale=1.0):
    """Readings whose value tells the step."""
    return (np.arange(length, dtype=np.float32) * scale)[:, None].repeat(2, axis=1)


@pytest.fixture
def parts(tmp_path):
    """Three episodes: of the second the wrist camera is missing, of the third text and state."""
    episodes = [
        make_episode(10, action=ramp(12), instruction="b", state=ramp(12, 2), cameras=CAMERAS),
        make_episode(11, action=ramp(9), instruction="a", state=ramp(9, 2), cameras=CAMERAS[:1]),
        make_episode(12, action=ramp(7), cameras=CAMERAS),
    ]
    dataset = make_dataset(episodes, cameras=CAMERAS, state_dim=2)
    preprocessor = Preprocessor.fit(
        dataset, train=[0, 1, 2], config=CONFIG, text=TextConfig(), sensors=("state",)
    )
    return dataset, make_store(dataset, tmp_path), preprocessor


def evaluation_set(parts):
    return SampleSet.of_windows(*parts, episodes=[0, 1, 2])


def training_set(parts, **changes):
    return SampleSet.of_windows(
        *parts,
        episodes=[0, 1, 2],
        stride_s=0.2,
        augment=replace(AugmentConfig(), **changes),
        word_dropout=0.3,
    )


OFF = {
    "shift_px": 0,
    "brightness": 0.0,
    "contrast": 0.0,
    "step_noise": 0.0,
    "start_jitter_s": 0.0,
    "frame_jitter": 0.0,
}


def test_evaluation_windows_do_not_overlap_and_are_the_same_each_time(parts):
    rows = evaluation_set(parts)
    assert rows.windows == (Window(0, 0, 5), Window(0, 5, 10), Window(1, 0, 5), Window(2, 0, 5))
    one, again = rows.batch(range(4)), rows.batch(range(4))
    for modality in one.inputs:
        np.testing.assert_array_equal(one[modality].values, again[modality].values)


def test_row_ids_name_episode_instruction_and_span(parts):
    rows = evaluation_set(parts).rows
    assert rows.episode.tolist() == [10, 10, 11, 12]
    assert rows.instruction.tolist() == [1, 1, 0, -1]
    assert rows.goal.tolist() == rows.instruction.tolist()
    np.testing.assert_allclose(rows.start_s, [0.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(rows.stop_s, [0.5, 1.0, 0.5, 0.5])


def test_paraphrases_share_the_goal_of_their_rows_and_not_the_instruction():
    texts = [("grab it", "lift"), ("push it", "push"), ("pick it up", "lift"), ("", "lift")]
    dataset = make_dataset(
        [make_episode(i, instruction=text, goal=goal) for i, (text, goal) in enumerate(texts)]
    )
    preprocessor = Preprocessor.fit(dataset, train=[0], config=CONFIG, text=TextConfig())
    samples = SampleSet.of_episodes(dataset, None, preprocessor, episodes=range(4))
    for ids in (samples.rows, samples.batch(range(4)).rows):
        assert ids.instruction.tolist() == [0, 2, 1, -1]
        assert ids.goal.tolist() == [0, 1, 0, -1]


def test_an_instruction_with_two_goals_does_not_contradict_itself_in_the_rows():
    dataset = make_dataset(
        [make_episode(i, instruction="do it", goal=goal) for i, goal in enumerate(("lift", "push"))]
    )
    preprocessor = Preprocessor.fit(dataset, train=[0], config=CONFIG, text=TextConfig())
    samples = SampleSet.of_episodes(dataset, None, preprocessor, episodes=range(2))
    assert samples.rows.goal.tolist() == samples.batch([0, 1]).rows.goal.tolist() == [0, 0]


def test_the_ids_of_a_batch_are_those_of_its_rows_in_the_order_asked_for(parts):
    rows = evaluation_set(parts)
    batch, chosen = rows.batch([3, 1, 1]), rows.rows.take([3, 1, 1])
    for name in ("episode", "instruction", "goal", "start_s", "stop_s"):
        np.testing.assert_array_equal(getattr(batch.rows, name), getattr(chosen, name))
    assert rows.texts == {0: "a", 1: "b"}
    assert len(rows) == 4


def test_pictures_readings_and_text_of_a_row_belong_to_the_same_steps(parts):
    sample = evaluation_set(parts).sample(1)
    assert sample.frames[:, :, 0, 0].tolist() == [
        [[10, 0, 5], [10, 1, 5]],
        [[10, 0, 9], [10, 1, 9]],
    ]
    np.testing.assert_allclose(sample.frames_time_s, [0.0, 0.4])
    assert sample.steps[ACTION].values[:, 0].tolist() == [5, 6, 7, 8, 9]
    assert sample.steps[STATE].values[:, 0].tolist() == [10, 12, 14, 16, 18]
    np.testing.assert_allclose(sample.steps[ACTION].time_s, [0.0, 0.1, 0.2, 0.3, 0.4])
    assert sample.text == "b"


def test_what_a_row_lacks_is_masked(parts):
    batch = evaluation_set(parts).batch([0, 2, 3])
    assert batch[VISION].valid[:, 0].tolist() == [[True, True], [True, False], [True, True]]
    assert not batch[VISION].values[1, :, 1].any()
    assert batch[STATE].present.tolist() == [True, True, False]
    assert batch[TEXT].present.tolist() == [True, True, False]
    assert batch[ACTION].present.all()


def test_a_batch_is_what_the_preprocessor_makes_of_the_samples(parts):
    rows = evaluation_set(parts)
    batch = rows.batch([2, 0])
    expected = parts[2].batch([rows.sample(2), rows.sample(0)])
    for modality in expected.inputs:
        np.testing.assert_array_equal(batch[modality].values, expected[modality].values)
        np.testing.assert_array_equal(batch[modality].valid, expected[modality].valid)


def test_a_single_picture_is_the_one_at_the_start_of_the_window(parts):
    dataset, store, preprocessor = parts
    rows = SampleSet.of_windows(
        dataset, store, replace(preprocessor, window_frames=1), episodes=[0], stride_s=0.3
    )
    assert [rows.sample(i).frames[0, 0, 0, 0, 2] for i in range(3)] == [0, 3, 6]


def test_whole_episodes_are_one_row_each_with_pictures_from_first_to_last(parts):
    rows = SampleSet.of_episodes(*parts, episodes=[2, 0])
    assert rows.rows.episode.tolist() == [12, 10]
    batch = rows.batch([0, 1])
    assert batch[VISION].values[:, :, 0, 0, 0, 2].tolist() == [[0, 2, 4, 6], [0, 4, 7, 11]]
    assert batch[ACTION].valid.sum(axis=1).tolist() == [7, 12]


def test_equal_generators_give_equal_batches_whatever_was_drawn_before(parts):
    rows = training_set(parts)
    one = rows.batch([0, 1, 2, 5], rng=np.random.default_rng((7, 3)))
    rows.batch([1], rng=np.random.default_rng(0))
    again = rows.batch([0, 1, 2, 5], rng=np.random.default_rng((7, 3)))
    other = rows.batch([0, 1, 2, 5], rng=np.random.default_rng((7, 4)))
    for modality in one.inputs:
        np.testing.assert_array_equal(one[modality].values, again[modality].values)
    for modality in (VISION, ACTION, STATE):
        assert one[modality].values.tobytes() != other[modality].values.tobytes()


def test_without_a_generator_a_training_set_reads_rows_undisturbed(parts):
    calm = SampleSet.of_windows(*parts, episodes=[0, 1, 2], stride_s=0.2).batch(range(5))
    batch = training_set(parts).batch(range(5))
    for modality in calm.inputs:
        np.testing.assert_array_equal(batch[modality].values, calm[modality].values)


def test_start_jitter_moves_pictures_readings_and_ids_together_within_the_episode(parts):
    rows = training_set(parts, **(OFF | {"start_jitter_s": 0.3}))
    starts = set()
    for seed in range(20):
        batch = rows.batch(range(len(rows)), rng=np.random.default_rng(seed))
        first = np.rint(batch.rows.start_s * 10).astype(int)
        np.testing.assert_array_equal(batch[VISION].values[:, 0, 0, 0, 0, 2], first)
        action = parts[2].normalisers[ACTION].inverse(batch[ACTION].values)[..., 0]
        np.testing.assert_allclose(action[:, 0], first, atol=1e-4)
        np.testing.assert_allclose(action[:, 4], first + 4, atol=1e-4)
        np.testing.assert_allclose(batch.rows.stop_s - batch.rows.start_s, 0.5)
        assert (np.abs(first - rows.rows.start_s * 10) <= 3.001).all()
        starts |= set(first[:4].tolist())
    assert starts == set(range(8))


def test_frame_jitter_moves_the_pictures_of_a_clip_and_their_times(parts):
    dataset, store, preprocessor = parts
    rows = SampleSet.of_episodes(
        dataset,
        store,
        preprocessor,
        episodes=[0],
        augment=AugmentConfig(**(OFF | {"frame_jitter": 1.0})),
    )
    seen = set()
    for seed in range(20):
        batch = rows.batch([0], rng=np.random.default_rng(seed))
        at = batch[VISION].values[0, :, 0, 0, 0, 2].astype(int)
        np.testing.assert_allclose(batch[VISION].time_s[0], at / 10, atol=1e-6)
        assert (np.diff(at) >= 0).all()
        seen.add(tuple(at.tolist()))
    assert len(seen) > 5


@pytest.mark.parametrize(("fraction", "wanted"), [(1.0, 4), (0.75, 3), (0.5, 2), (0.01, 2)])
def test_training_rows_can_have_fewer_pictures_than_evaluation_reads(parts, fraction, wanted):
    dataset, store, preprocessor = parts
    rows = SampleSet.of_episodes(
        dataset,
        store,
        preprocessor,
        episodes=[0],
        augment=AugmentConfig(**(OFF | {"frame_fraction": fraction})),
    )
    assert preprocessor.episode_frames == 4
    trained = rows.batch([0], rng=np.random.default_rng(0))
    assert trained[VISION].values.shape[1] == wanted
    assert rows.batch([0])[VISION].values.shape[1] == 4
    at = trained[VISION].values[0, :, 0, 0, 0, 2].astype(int)
    assert at[0] == 0
    assert at[-1] == dataset.episodes[0].num_frames - 1


LIFT = ("grab it", "lift it", "pick it up", "raise it")
TOLD = (*LIFT[:3], "push it", "shove it", "open", "")


def paraphrasing_set(probability, *, episodes=range(7)):
    """Episodes 0..2 lift, 3 and 4 push, 5 and 6 do what nothing else does; 7 is another lift."""
    goals = ["lift"] * 3 + ["push"] * 2 + ["open", ""] + ["lift"]
    dataset = make_dataset(
        [
            make_episode(i, instruction=text, goal=goal)
            for i, (text, goal) in enumerate(zip((*TOLD, LIFT[3]), goals, strict=True))
        ]
    )
    preprocessor = Preprocessor.fit(dataset, train=episodes, config=CONFIG, text=TextConfig())
    return SampleSet.of_episodes(
        dataset,
        None,
        preprocessor,
        episodes=episodes,
        augment=AugmentConfig(**OFF, paraphrase=probability),
    )


def told(samples, batch):
    """The texts of a batch: by the ids of its rows, which must be those of its words."""
    texts = [samples.texts.get(i) for i in batch.rows.instruction.tolist()]
    tokenizer = samples.preprocessor.tokenizer
    wanted = {text: tokenizer.encode([text])[0][0].tolist() for text in {*texts} - {None}}
    for row, text in enumerate(texts):
        ids, valid = batch[TEXT].values[row], batch[TEXT].valid[row]
        assert ids[valid].tolist() == wanted.get(text, [])
    return texts


def test_a_certain_paraphrase_is_another_wording_of_the_goal_each_equally_often():
    samples = paraphrasing_set(1.0)
    rows = np.tile(np.arange(7), 600)
    batch = samples.batch(rows, rng=np.random.default_rng(0))
    assert batch.rows.goal.tolist() == samples.rows.goal[rows].tolist()
    assert batch.rows.episode.tolist() == rows.tolist()
    texts = told(samples, batch)
    seen = [Counter(texts[row::7]) for row in range(7)]
    for row in range(3):
        assert set(seen[row]) == {*LIFT[:3]} - {LIFT[row]}, "never its own, never a held-out one"
        assert abs(seen[row][LIFT[(row + 1) % 3]] - 300) < 60
    assert seen[3:] == [{"shove it": 600}, {"push it": 600}, {"open": 600}, {None: 600}]


def test_rows_are_paraphrased_at_the_rate_asked_for_and_not_without_a_generator():
    samples = paraphrasing_set(0.3)
    texts = told(samples, samples.batch([0] * 1000, rng=np.random.default_rng(1)))
    assert abs(sum(text != TOLD[0] for text in texts) - 300) < 60
    assert told(samples, samples.batch(range(7))) == [*TOLD[:6], None]
    assert samples.sample(0).text == TOLD[0]


def test_the_wording_of_a_row_depends_on_no_other_row():
    samples = paraphrasing_set(0.5)
    whole = samples.batch([0, 6, 1, 2, 0], rng=RowGenerator((1, 2), rows=np.arange(5)))
    for row, index in enumerate([0, 6, 1, 2, 0]):
        alone = samples.batch([index], rng=RowGenerator((1, 2), rows=np.array([row])))
        assert alone.rows.instruction[0] == whole.rows.instruction[row]


def test_without_paraphrases_generators_draw_what_they_drew_before(parts):
    calm, other = np.random.default_rng(3), np.random.default_rng(3)
    training_set(parts, **OFF).batch([0, 1], rng=calm)
    training_set(parts, **OFF, paraphrase=0.4).batch([0, 1], rng=other)
    other_after, calm_after = other.random(), calm.random()
    assert other_after != calm_after
    reference = np.random.default_rng(3)
    reference.uniform(size=2)  # where windows start
    reference.uniform(size=(2, 2))  # pictures of the clips
    reference.integers(0, 0, size=(2, 2), endpoint=True)  # shifts
    reference.uniform(size=(2, 2))  # brightness and contrast
    tokens = training_set(parts, **OFF).batch([0, 1])[TEXT].values
    reference.random((2, *tokens.shape))  # words
    assert calm_after == reference.random()


def test_a_data_set_without_cameras_needs_no_store():
    dataset = make_dataset([make_episode(0, instruction="a")])
    preprocessor = Preprocessor.fit(dataset, train=[0], config=CONFIG, text=TextConfig())
    batch = SampleSet.of_windows(dataset, None, preprocessor, episodes=[0]).batch([0, 1])
    assert set(batch.inputs) == {TEXT, ACTION}


def test_rows_that_cannot_be_made_are_refused(parts):
    dataset, store, preprocessor = parts
    with pytest.raises(InputError, match="none of 3 episodes is as long as a window of 9 s"):
        SampleSet.of_windows(
            dataset, store, replace(preprocessor, window_s=9.0), episodes=[0, 1, 2]
        )
    with pytest.raises(InputError, match=r"a picture store is needed for the cameras \['top', "):
        SampleSet.of_windows(dataset, None, preprocessor, episodes=[0])
    with pytest.raises(InputError, match="store has 16 px, the preprocessor expects 32 px"):
        SampleSet.of_windows(dataset, store, replace(preprocessor, image_px=32), episodes=[0])
    with pytest.raises(InputError, match=r"augment.shift_px is 16, but the pictures have 16 px"):
        SampleSet.of_episodes(
            dataset, store, preprocessor, episodes=[0], augment=AugmentConfig(shift_px=16)
        )
    with pytest.raises(InputError, match=r"Window\(episode=0, start=0, stop=13\) lies outside"):
        SampleSet(dataset, store, preprocessor, [Window(0, 0, 13)], clip_frames=1)
    with pytest.raises(InputError, match="clip_frames must be at least 1, got 0"):
        SampleSet(dataset, store, preprocessor, [], clip_frames=0)


@pytest.mark.parametrize("index", [-1, 4])
def test_a_row_that_does_not_exist_is_refused(parts, index):
    with pytest.raises(InputError, match=f"row {index} does not exist: there are 4"):
        evaluation_set(parts).batch([0, index])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_written_data_set_goes_all_the_way_to_a_batch(tmp_path, version):
    written = write_lerobot(tmp_path / "set", version=version, num_episodes=4, num_frames=12)
    dataset, store = prepare_frames(open_dataset(tmp_path / "set"), image_px=PX)
    config = replace(CONFIG, validation_fraction=0.25, test_fraction=0.25)
    splits = split_dataset(dataset, config=config)
    preprocessor = Preprocessor.fit(
        dataset, train=splits.train, config=config, text=TextConfig(), sensors=("state",)
    )
    rows = SampleSet.of_windows(dataset, store, preprocessor, episodes=splits.test)
    assert len(rows) == 2
    batch = rows.batch([0, 1])
    (position,) = splits.test
    np.testing.assert_array_equal(
        batch[VISION].values[1, 0, 0], store.frames(position, dataset.info.cameras[0])[5]
    )
    expected = preprocessor.normalisers[ACTION].apply(written.actions[position][5:10])
    np.testing.assert_allclose(batch[ACTION].values[1], expected, atol=1e-6)
    assert rows.sample(0).text == written.instructions[position]


def test_no_part_of_data_imports_torch():
    names = ("windows", "splits", "normalise", "tokenizer", "preprocess", "samples", "augment")
    code = ";".join(f"import jointspace.data.{name}" for name in names)
    code += ";import sys;sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
