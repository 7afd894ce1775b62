"""Which of several processes this is, and what it may use."""

import os

import pytest

from jointspace.errors import ConfigError
from jointspace.train import launch
from jointspace.train.launch import ALONE, Place, read_place, speaks_for_all, threads_per_process

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def change(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return change


def test_without_torchrun_a_process_is_alone_and_speaks():
    assert read_place() == ALONE
    assert ALONE.is_main
    assert speaks_for_all()


def test_the_place_is_read_as_torchrun_sets_it(environment):
    environment(RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4")
    environment(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    assert read_place() == Place(5, 8, 1, 4)
    assert not read_place().is_main
    assert not speaks_for_all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT is not set; start with torchrun"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'; wanted a whole number"),
        (
            {"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "RANK is 2 of WORLD_SIZE 2",
        ),
    ],
)
def test_an_environment_that_cannot_be_is_refused_with_its_cure(environment, values, message):
    environment(**values)
    with pytest.raises(ConfigError, match=message):
        read_place()


def test_processes_of_a_machine_share_its_cores_unless_the_user_decided(monkeypatch):
    monkeypatch.setattr(launch, "_num_cores", lambda: 10)
    many = Place(0, 6, 0, 3)
    assert threads_per_process(many, configured=0) == 3
    assert threads_per_process(many, configured=7) == 7
    assert threads_per_process(Place(0, 16, 0, 16), configured=0) == 1
    assert threads_per_process(ALONE, configured=0) == 0


def test_waiting_threads_sleep_unless_the_user_decided(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    launch.let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    launch.let_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
