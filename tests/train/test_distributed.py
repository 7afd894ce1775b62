"""Several processes as a user starts them: equal results, one voice, no waiting for the dead."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.torch import load_file

from jointspace.config import (
    AugmentConfig,
    DataConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    TrainConfig,
    TrajectoryConfig,
    VisionConfig,
    write_config,
)
from jointspace.train.checkpointing import checkpoints
from jointspace.train.logs import read_log
from jointspace.train.loop import train
from tests.factories import write_lerobot
from tests.train.launched import ROOT, finish, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NARROW = TrajectoryConfig(width=8, dropout=0.0)
CONFIG = RunConfig(
    data=DataConfig(image_px=16, episode_frames=2, validation_fraction=0.2, test_fraction=0.2),
    model=ModelConfig(
        embed_dim=8,
        fusion_heads=2,
        vision=VisionConfig(channels=(4,), width=8, dropout=0.0),
        text=TextConfig(width=8, layers=1, heads=2, dropout=0.0),
        action=NARROW,
        sensor=NARROW,
    ),
    augment=AugmentConfig(shift_px=1),
    train=TrainConfig(
        num_steps=12,
        batch_size=7,
        evaluate_every=4,
        warmup_steps=1,
        precision="fp32",
        num_threads=1,
    ),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "robot"
    return write_lerobot(path, num_episodes=10, num_frames=24, image_px=(16, 16)).path


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.toml"
    file.write_text(write_config(CONFIG), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """The run of one process."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    train(CONFIG, data=data, out=out, show_progress=False)
    return out


def command(config, data, out, *words):
    return ["-m", "jointspace", "train", config, "--data", data, "--out", out, *words]


def same_training(one, other):
    """Compares logs and weights; sums in another order differ in the last digits of float32."""
    logs = [read_log(each / "log.jsonl") for each in (one, other)]
    assert [(r["kind"], r["step"]) for r in logs[0]] == [(r["kind"], r["step"]) for r in logs[1]]
    for first, second in zip(*logs, strict=True):
        if first["kind"] == "train":
            assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
            assert second["gradient_norm"] == pytest.approx(first["gradient_norm"], rel=1e-3)
            assert second["fused"].keys() == first["fused"].keys()
    last = [
        load_file(checkpoints(each / "checkpoints")[-1] / "model.safetensors")
        for each in (one, other)
    ]
    for name, weight in last[0].items():
        np.testing.assert_allclose(last[1][name], weight, rtol=0.02, atol=2e-3, err_msg=name)


def test_torchrun_trains_what_one_process_trains(config, data, alone, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, *map(str, command(config, data, tmp_path / "two", "--json"))],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_steps"] == 12, "rank 0 alone prints"
    same_training(alone, tmp_path / "two")
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert names == {path.name for path in alone.iterdir()}
    assert len(list((tmp_path / "two" / "tensorboard").iterdir())) == 1


def wait_for(path, started):
    while not path.exists():
        assert all(each.poll() is None for each in started)
        time.sleep(0.05)


def test_an_interrupted_run_of_three_processes_goes_on_in_one(config, data, alone, tmp_path):
    out = tmp_path / "run"
    slow = start(command(config, data, out), size=3, JOINTSPACE_DEBUG="1")
    wait_for(out / "checkpoints" / "step-0000004", slow)
    slow[1].send_signal(signal.SIGTERM)  # one that hears of it is enough
    ended = finish(slow)
    if any(code for code, _, _ in ended):  # else it was done already
        assert [code for code, _, _ in ended] == [2, 2, 2]
        assert ended[0][2].splitlines()[-1] == "jointspace: interrupted"
        assert checkpoints(out / "checkpoints")[-1].name > "step-0000004"
    train(CONFIG, data=data, out=out, resume=True, show_progress=False)
    same_training(alone, out)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_is_named_by_another_at_once(config, data, tmp_path, victim):
    out = tmp_path / "run"
    words = command(config, data, out, "--set", "train.num_steps=100000")
    started = start(words, size=2)
    wait_for(out / "checkpoints" / "step-0000004", started)
    started[victim].kill()
    killed = time.monotonic()
    code, output, error = finish(started)[1 - victim]
    assert time.monotonic() - killed < 20
    assert (code, output) == (2, "")
    (line,) = [each for each in error.splitlines() if each.startswith("jointspace: ")]
    assert f"rank {victim}" in line
    assert "died without a word" in line
    assert line.endswith("start again with --resume")
    assert checkpoints(out / "checkpoints")


def test_a_mistake_is_told_once(config, data, alone, tmp_path):
    ended = finish(start(command(config, data, alone), size=2))
    assert [(code, output) for code, output, _ in ended] == [(2, ""), (2, "")]
    errors = [error for _, _, error in ended]
    assert "already holds a run; add --resume" in errors[0]
    assert (errors[0].count("\n"), errors[1]) == (1, "")


def test_a_mistake_that_one_process_meets_is_told_by_it(config, data, tmp_path):
    code = (
        "import sys, torch\n"
        "from jointspace.errors import InputError\n"
        "from jointspace.train.distributed import processes\n"
        "from jointspace.train.launch import read_place\n"
        "place = read_place()\n"
        "try:\n"
        "    with processes(place, torch.device('cpu')) as team:\n"
        "        if place.rank == 1:\n"
        "            raise InputError('my disk is not mounted')\n"
        "        team.wait()\n"
        "except Exception as error:\n"
        "    sys.exit(f'{type(error).__name__}: {error}')\n"
    )
    ended = finish(start(["-c", code], size=3))
    assert [code for code, _, _ in ended] == [2, 1, 2]
    assert [error for _, _, error in ended] == [
        "",
        "WorkerError: rank 1: my disk is not mounted\n",
        "",
    ]
