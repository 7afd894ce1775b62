import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jointspace.batch import ACTION, STATE, TEXT, VISION, Modality
from jointspace.config import DataConfig, TextConfig
from jointspace.data.collate import Sample, Steps
from jointspace.data.normalise import Normaliser
from jointspace.data.open import open_dataset
from jointspace.data.preprocess import PREPROCESSING_FILE, Preprocessor
from jointspace.data.splits import split_dataset
from jointspace.errors import InputError, MissingExtraError, RunFolderError
from tests.data.memory_dataset import PX, make_dataset, make_episode

FORCE = Modality("observation.force")


def dataset_with_everything(num_episodes=4, *, cameras=("top",)):
    rng = np.random.default_rng(0)
    episodes = [
        make_episode(
            i,
            instruction=("put the ball", "push the cube")[i % 2],
            state=rng.normal(5, 2, size=(12, 2)).astype(np.float32),
            sensors={FORCE: rng.normal(-3, 9, size=(12, 1)).astype(np.float32)},
        )
        for i in range(num_episodes)
    ]
    return make_dataset(episodes, cameras=cameras, state_dim=2, sensors={FORCE: 1})


def fit(dataset, train=(0, 1), *, sensors=("state", FORCE), **kwargs):
    return Preprocessor.fit(
        dataset,
        train=train,
        config=DataConfig(image_px=PX),
        text=kwargs.pop("text", TextConfig()),
        sensors=sensors,
        **kwargs,
    )


def full_sample(episode, *, length=5):
    time_s = episode.time_s[:length]
    return Sample(
        frames=np.full((1, 1, PX, PX, 3), 9, dtype=np.uint8),
        frames_time_s=np.zeros(1),
        text=episode.instruction,
        steps={
            ACTION: Steps(episode.action[:length], time_s),
            STATE: Steps(episode.state[:length], time_s),
            FORCE: Steps(episode.sensors[FORCE][:length], time_s),
        },
        episode=episode.index,
        instruction=0,
    )


def test_statistics_and_words_come_from_the_training_episodes_alone():
    dataset = dataset_with_everything()
    preprocessor = fit(dataset, train=[1, 3])
    actions = [dataset.episodes[i].action for i in (1, 3)]
    expected = Normaliser.fit(actions, name="action")
    np.testing.assert_array_equal(preprocessor.normalisers[ACTION].centre, expected.centre)
    assert preprocessor.tokenizer.words == ("cube", "push", "the")


def test_it_tells_what_a_model_needs_to_know():
    preprocessor = fit(dataset_with_everything())
    assert preprocessor.modalities == (VISION, TEXT, ACTION, STATE, FORCE)
    assert preprocessor.sensors == (STATE, FORCE)
    assert preprocessor.channels == {ACTION: 3, STATE: 2, FORCE: 1}
    assert preprocessor.num_cameras == 1
    assert (preprocessor.fps, preprocessor.window_s) == (10.0, 1.0)


def test_a_batch_holds_normalised_readings_tokens_pictures_and_ids():
    dataset = dataset_with_everything()
    preprocessor = fit(dataset)
    episode = dataset.episodes[2]
    batch = preprocessor.batch([full_sample(episode), full_sample(episode, length=3)])
    for modality, raw in (
        (ACTION, episode.action),
        (STATE, episode.state),
        (FORCE, episode.sensors[FORCE]),
    ):
        normaliser = preprocessor.normalisers[modality]
        expected = np.clip((raw[:5] - normaliser.centre) / normaliser.scale, -5, 5)
        np.testing.assert_allclose(batch[modality].values[0], expected, rtol=1e-5, atol=1e-6)
        assert not batch[modality].values[1, 3:].any()
        np.testing.assert_allclose(batch[modality].time_s[0], [0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    ids, _ = preprocessor.tokenizer.encode([episode.instruction])
    np.testing.assert_array_equal(batch[TEXT].values, np.repeat(ids, 2, axis=0))
    assert (batch[VISION].values == 9).all()
    assert batch.rows.episode.tolist() == [2, 2]


def test_a_row_may_lack_any_part():
    dataset = dataset_with_everything()
    batch = fit(dataset).batch([full_sample(dataset.episodes[0]), Sample(), Sample(text="")])
    for modality in (VISION, ACTION, STATE, FORCE):
        assert batch[modality].present.tolist() == [True, False, False]
        assert not batch[modality].values[1:].any()
    assert batch[TEXT].present.tolist() == [True, False, True]


def test_no_row_with_text_still_makes_token_arrays():
    batch = fit(dataset_with_everything()).batch([Sample(), Sample()])
    assert batch[TEXT].values.shape == (2, 1)
    assert not batch[TEXT].valid.any()


def test_a_data_set_without_cameras_has_no_vision():
    preprocessor = fit(dataset_with_everything(cameras=()))
    assert VISION not in preprocessor.modalities
    assert VISION not in preprocessor.batch([Sample()]).inputs


def discrete_dataset(values):
    column = np.asarray(values, dtype=np.float32)[:, None]
    return make_dataset([make_episode(0, action=column), make_episode(1, action=column[::-1])])


def test_discrete_actions_become_ids_and_are_not_normalised():
    dataset = discrete_dataset([0, 3, 2, 1])
    preprocessor = fit(dataset, sensors=(), discrete={"action": 4})
    steps = Steps(dataset.episodes[0].action, dataset.episodes[0].time_s)
    batch = preprocessor.batch([Sample(steps={ACTION: steps}), Sample()])
    assert batch[ACTION].values.dtype == np.int64
    assert batch[ACTION].values.tolist() == [[0, 3, 2, 1], [0, 0, 0, 0]]
    assert batch[ACTION].valid.tolist() == [[True] * 4, [False] * 4]
    assert preprocessor.channels == {}
    assert preprocessor.modalities == (TEXT, ACTION)


@pytest.mark.parametrize("values", [[0, 4], [-1, 0], [0.5, 1]])
def test_what_is_no_discrete_action_is_refused(values):
    with pytest.raises(InputError, match=r"'action': discrete ids must be whole .* \[0, 4\)"):
        fit(discrete_dataset(values), sensors=(), discrete={"action": 4})


def test_several_values_per_step_are_no_discrete_action():
    with pytest.raises(InputError, match="'action' has 3 values per step, a discrete one has one"):
        fit(dataset_with_everything(), sensors=(), discrete={"action": 4})


def test_a_reading_that_is_not_finite_is_masked_and_left_out_of_the_statistics():
    dataset = dataset_with_everything()
    dataset.episodes[0].sensors[FORCE][3] = np.nan
    preprocessor = fit(dataset)
    assert np.isfinite(preprocessor.normalisers[FORCE].centre).all()
    batch = preprocessor.batch([full_sample(dataset.episodes[0])])
    assert batch[FORCE].valid.tolist() == [[True, True, True, False, True]]
    assert np.isfinite(batch[FORCE].values).all()


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        (("observation.forse",), "has no 'observation.forse'. Did you mean 'observation.force'?"),
        (("state", "x"), "has no 'x'. Known: observation.force, state."),
    ],
)
def test_a_sensor_that_is_not_there_is_named(sensors, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        fit(dataset_with_everything(), sensors=sensors)


def test_a_data_set_without_sensors_says_what_to_set():
    with pytest.raises(InputError, match=r"has no 'state'. It has no sensors at all: set sensors"):
        fit(make_dataset([make_episode(0)]), train=[0], sensors=("state",))


def test_a_sensor_without_any_finite_reading_is_named():
    dataset = dataset_with_everything()
    for episode in dataset.episodes:
        episode.sensors[FORCE][:] = np.nan
    with pytest.raises(InputError, match="no training episode has a finite reading of 'observ"):
        fit(dataset)


def test_fitting_on_nothing_is_refused():
    with pytest.raises(InputError, match="there are no training episodes to fit on"):
        fit(dataset_with_everything(), train=[])


def test_a_modality_that_was_not_trained_on_is_refused():
    preprocessor = fit(dataset_with_everything(), sensors=("state",))
    sample = Sample(steps={Modality("stat"): Steps(np.zeros((1, 2), np.float32), np.zeros(1))})
    with pytest.raises(InputError, match=r"no modality 'stat' in training. Did you mean 'state'\?"):
        preprocessor.batch([sample])


def test_a_stored_preprocessor_makes_the_same_batches(tmp_path):
    dataset = dataset_with_everything()
    preprocessor = fit(dataset)
    preprocessor.save(tmp_path / "run")
    again = Preprocessor.load(tmp_path / "run")
    samples = [full_sample(e) for e in dataset.episodes]
    one, other = preprocessor.batch(samples), again.batch(samples)
    assert list(one.inputs) == list(other.inputs)
    for modality in one.inputs:
        np.testing.assert_array_equal(one[modality].values, other[modality].values)
    for name in ("cameras", "fps", "window_s", "window_frames", "episode_frames", "max_tokens"):
        assert getattr(again, name) == getattr(preprocessor, name)


def test_a_stored_discrete_preprocessor_stays_discrete(tmp_path):
    dataset = discrete_dataset([0, 3, 2, 1])
    fit(dataset, sensors=(), discrete={"action": 4}).save(tmp_path)
    assert Preprocessor.load(tmp_path).discrete == {ACTION: 4}


def test_a_run_folder_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match=r"preprocessing.json: cannot be read"):
        Preprocessor.load(tmp_path)
    fit(dataset_with_everything()).save(tmp_path)
    path = tmp_path / PREPROCESSING_FILE
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in stored.items() if k not in ("fps", "image_px")}))
    with pytest.raises(RunFolderError, match=r"preprocessing.json: lacks image_px, fps"):
        Preprocessor.load(tmp_path)
    path.write_text(json.dumps(stored | {"version": 0}))
    with pytest.raises(RunFolderError, match="has format version 0"):
        Preprocessor.load(tmp_path)


def test_a_sentence_encoder_brings_its_own_tokenizer(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[UNK]": 0, "ball": 1}, unk_token="[UNK]")  # noqa: S106 - a word
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    text = TextConfig(tower="sentence", pretrained=str(tmp_path))
    preprocessor = fit(dataset_with_everything(), text=text)
    batch = preprocessor.batch([Sample(text="ball x")])
    assert batch[TEXT].values.tolist() == [[1, 0]]
    preprocessor.save(tmp_path / "run")
    (tmp_path / "tokenizer.json").unlink()
    assert Preprocessor.load(tmp_path / "run").batch([Sample(text="x ball")])[
        TEXT
    ].values.tolist() == [[0, 1]]


def test_a_sentence_encoder_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match="'tokenizers'"):
        fit(
            dataset_with_everything(),
            text=TextConfig(tower="sentence", pretrained=str(tmp_path)),
        )


@pytest.mark.parametrize("name", ["cr5_small_v21", "gr00t_sim_v20"])
def test_real_robot_data_comes_out_finite_and_of_unit_spread(samples_dir: Path, name):
    dataset = open_dataset(samples_dir / name)
    dataset = replace(dataset, info=replace(dataset.info, cameras=()))
    splits = split_dataset(dataset, config=DataConfig())
    preprocessor = fit(dataset, train=splits.train, sensors=("state",))
    samples = [
        Sample(steps={ACTION: Steps(e.action, e.time_s), STATE: Steps(e.state, e.time_s)})
        for e in (dataset.episodes[p] for p in splits.test)
    ]
    batch = preprocessor.batch(samples)
    for modality in (ACTION, STATE):
        values = batch[modality].values[batch[modality].valid]
        assert np.isfinite(values).all()
        moving = [d for d in range(values.shape[1]) if values[:, d].any()]
        assert 0.2 < values[:, moving].std() < 2
