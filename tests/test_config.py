"""Configuration files: read strictly, checked, written back the same."""

import dataclasses
import subprocess
import sys

import pytest

from jointspace.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrainConfig,
    TrajectoryConfig,
    VisionConfig,
    check_config,
    read_config,
    write_config,
)
from jointspace.errors import ConfigError


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_an_empty_file_gives_the_defaults(config_file):
    assert read_config(config_file("")) == RunConfig()


def test_a_file_names_only_what_it_changes(config_file):
    text = """
    seed = 3
    [data]
    cameras = ["wrist", "top"]
    window_s = 2
    [model.vision]
    channels = [8, 16]
    [loss]
    name = "triplet"
    """
    config = read_config(config_file(text))
    assert config == RunConfig(
        seed=3,
        data=DataConfig(cameras=("wrist", "top"), window_s=2.0),
        model=ModelConfig(vision=VisionConfig(channels=(8, 16))),
        loss=LossConfig(name="triplet"),
    )
    assert isinstance(config.data.window_s, float)


def test_a_run_configured_before_failures_were_known_leaves_them_out(config_file):
    config = read_config(config_file('[data]\nsplit = "episode"\n'))
    assert (config.data.split, config.data.failures) == ("episode", "leave-out")
    assert RunConfig().data.split == "auto"


def test_what_is_written_reads_back_equal(config_file):
    config = RunConfig(
        seed=2**32 - 1,
        data=DataConfig(cameras=('a"b\\c', "Kamera ü\U0001f916"), window_s=1e-05),
        model=ModelConfig(sensors=(), text=TextConfig(tower="sentence", pretrained="a\nb\x7f")),
        train=TrainConfig(learning_rate=3.3e-4),
    )
    assert read_config(config_file(write_config(config))) == config
    assert read_config(config_file(write_config(RunConfig()))) == RunConfig()


def test_every_key_is_written():
    text = write_config(RunConfig())
    for section in (DataConfig, TrainConfig, LossConfig, TextConfig, TrajectoryConfig):
        for field in dataclasses.fields(section):
            assert f"\n{field.name} = " in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nnum_stepz = 3", r"run\.toml: train\.num_stepz: unknown key.*'num_steps'\?"),
        ("sead = 3", r"run\.toml: sead: unknown key\. Did you mean 'seed'\?"),
        ("[model.vision]\nwidht = 3", r"model\.vision\.widht: unknown key\. .*'width'\?"),
        ("[train]\nnum_steps = '3'", r"train\.num_steps: got '3', expected an integer"),
        ("[train]\nnum_steps = 3.0", r"train\.num_steps: got 3\.0, expected an integer"),
        ("[train]\nnum_steps = true", r"train\.num_steps: got True, expected an integer"),
        ("[train]\ntext_on_windows = 1", r"text_on_windows: got 1, expected true or false"),
        ("[data]\nwindow_s = '1'", r"data\.window_s: got '1', expected a number"),
        ("[data]\ncameras = 'wrist'", r"data\.cameras: got 'wrist', expected a list"),
        ("[data]\ncameras = [1]", r"data\.cameras: got 1, expected text"),
        ("[train]\ndevice = 0", r"train\.device: got 0, expected text"),
        ("train = 3", r"train: got 3, expected a table"),
        ("[model.text]\ntower = 'sentense'", r"model\.text\.tower: .* Did you mean 'sentence'\?"),
        ("[data]\nsplit = 'shiped'", r"data\.split: .* 'instruction'\. Did you mean 'shipped'\?"),
        ("[data]\nfailures = 'leave'", r"data\.failures: .* expected one of 'leave-out', 'keep'"),
        (
            "[loss]\nname = 3",
            r"loss\.name: got 3, expected one of 'contrastive', 'sigmoid', 'triplet'",
        ),
        ("[train\n", r"run\.toml: is no valid TOML: .*line 1"),
        ("[train]\nnum_steps = 0", r"train\.num_steps: got 0, expected a value in \[1, inf\)"),
        ("[train]\nlearning_rate = nan", r"learning_rate: got nan, expected a value in \(0, 10\]"),
        ("[model.vision]\nchannels = [8, 0]", r"channels: got 0, expected a value in \[1,"),
        ("[model.vision]\nchannels = []", r"channels: got \[\], expected at least one layer"),
        ("[data]\ntest_fraction = 0.95", r"validation_fraction \+ data\.test_fraction: got 1\.05"),
        ("[model]\nsensors = ['state', 'state']", r"model\.sensors: .*distinct names"),
        ("[model]\nsensors = ['vision']", r"model\.sensors: .*other than vision"),
        ("[model]\nembed_dim = 30", r"embed_dim: got 30, .* multiple of model\.fusion_heads = 4"),
        ("[model.text]\nwidth = 30", r"text\.width: got 30, .*multiple of model\.text\.heads = 4"),
        (
            "[loss]\nsoft_margin = true\nmining = 'all'",
            r"loss\.soft_margin: got true, .*'all'.* for 'hard' and 'semi-hard'",
        ),
        (
            "[loss]\npositives = 'diagonal'\nignore = 'goal'",
            r"loss\.ignore: got 'goal', .* loss\.positives is 'diagonal'",
        ),
        ("[augment]\nparaphrase = 1.5", r"augment\.paraphrase: got 1\.5, expected .* \[0, 1\]"),
        ("[augment]\ncamera_dropout = 1", r"camera_dropout: got 1\.0, expected .* in \[0, 1\)"),
        ("[augment]\nerase = 1", r"augment\.erase: got 1\.0, expected a value in \[0, 1\)"),
        ("[train]\nbalance = 'goals'", r"train\.balance: .* 'goal'\. Did you mean 'goal'\?"),
        (
            "[train]\ntext_on_windows = false\n[model]\nname = 'vision-language'\nsensors = []",
            r"train\.text_on_windows: got false, expected true .* vision and text alone",
        ),
        ("[loss]\ntile_rows = -1", r"loss\.tile_rows: got -1, expected a value in \[0, inf\)"),
        ("[model.action]\ntower = 'discrete'", r"action\.num_actions: got 0, .* is 'discrete'"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_cure(config_file, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(config_file(text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        read_config(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: is no valid TOML"):
        read_config(tmp_path / "binary.toml")


def test_overrides_are_toml_or_bare_words_and_the_last_one_wins(config_file):
    config = read_config(
        config_file("[train]\nnum_steps = 7"),
        overrides=(
            "train.num_steps=200",
            "train.num_steps = 300",
            "loss.name=triplet",
            "data.cameras=['wrist']",
            "train.device=cuda:1",
            "data.window_s=2",
        ),
    )
    assert config.train.num_steps == 300
    assert config.train.device == "cuda:1"
    assert config.loss.name == "triplet"
    assert config.data == DataConfig(cameras=("wrist",), window_s=2.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.num_stepz=2", r"override 'train\.num_stepz=2': .*Did you mean 'num_steps'\?"),
        ("train.num_steps=many", r"override .*: train\.num_steps: got 'many', expected an integer"),
        ("train.num_steps", r"expected key=value, as in"),
        ("=3", r"expected key=value, as in"),
        ("seed.x=3", r"override 'seed\.x=3': 'seed' is a value"),
        ("train.num_steps=-1", r"train\.num_steps: got -1, expected a value in"),
    ],
)
def test_a_wrong_override_is_named(config_file, override, message):
    with pytest.raises(ConfigError, match=message):
        read_config(config_file("seed = 1"), overrides=(override,))


def test_a_configuration_made_in_code_is_checked_too():
    assert check_config(RunConfig()) == RunConfig()
    with pytest.raises(ConfigError, match=r"configuration: train\.batch_size: got 1, "):
        check_config(RunConfig(train=TrainConfig(batch_size=1)))


def test_importing_the_dataclasses_imports_neither_cattrs_nor_torch():
    code = "import sys, jointspace.config; print({'cattrs', 'torch', 'tomli_w'} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"
