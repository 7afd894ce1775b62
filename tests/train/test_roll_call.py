"""Who died, and who speaks: decided by notes in a store that the processes share."""

import signal
import time

import pytest
import torch
import torch.distributed as dist

from jointspace.errors import ConfigError, InputError, WorkerError
from jointspace.train import distributed
from jointspace.train.distributed import (
    ALONE,
    LostContactError,
    Processes,
    contact,
    processes,
)
from jointspace.train.launch import Place

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(distributed, "BEAT_S", 0.01)
    monkeypatch.setattr(distributed, "LOOK_S", 0.1)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")


@pytest.fixture
def store():
    return dist.HashStore()


@pytest.fixture
def met(monkeypatch, store):
    """Lets `processes` meet nobody but the store."""
    torn_down = []
    monkeypatch.setattr(distributed, "rendezvous", lambda *_, **__: iter([(store, 0, 0)]))
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: torn_down.append(True))
    monkeypatch.setattr(Processes, "wait", lambda _: None)
    return torn_down


def roll(store, rank, size=3):
    return distributed._RollCall(store, Place(rank, size, rank, size))


def test_the_one_that_does_not_beat_is_named_by_one_witness_and_the_other_is_silent(store):
    with roll(store, 0), roll(store, 2):
        time.sleep(0.05)
        first = roll(store, 0).explain()
        second = roll(store, 2).explain()
    assert isinstance(first, WorkerError)
    assert str(first).startswith("rank 1 of 3 processes died without a word")
    assert isinstance(second, SystemExit)
    assert second.code == 2


def test_one_that_told_why_it_ends_is_not_named_again(store):
    roll(store, 1).leave("the disk is full")
    with roll(store, 2):
        assert isinstance(roll(store, 0).explain(), SystemExit)


def test_where_all_are_alive_it_was_an_interruption(store):
    with roll(store, 1), roll(store, 2):
        time.sleep(0.05)
        assert isinstance(roll(store, 0).explain(), KeyboardInterrupt)


def test_where_the_store_is_gone_its_keeper_is_named():
    class GoneStore:
        def add(self, *_):
            raise RuntimeError("recvValue failed")

        set = check = get = add

    lost = distributed._RollCall.__new__(distributed._RollCall)
    lost._store, lost._place = GoneStore(), Place(1, 2)
    assert str(lost.explain()).startswith("rank 0, or torchrun, died without a word")
    lost.leave("also fine")


def test_the_keeper_of_the_store_hangs_up_and_waits_for_readers(store, monkeypatch):
    events = []
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "destroy_process_group", lambda: events.append("hang up"))
    monkeypatch.setattr(time, "sleep", lambda _: events.append("wait"))
    roll(store, 1).leave("not the keeper")
    assert events == []
    roll(store, 0).leave("the keeper")
    assert events == ["hang up", "wait"]


def test_errors_of_collectives_are_lost_contact_and_no_other_errors_are():
    with pytest.raises(LostContactError, match=r"^Connection closed$"), contact():
        raise RuntimeError("Connection closed\nby peer")
    with pytest.raises(InputError), contact():
        raise InputError("wrong")


def test_a_process_that_is_alone_needs_nobody():
    with processes(Place(), CPU) as team:
        assert team is ALONE
        assert team.from_main(lambda: 3) == 3
        assert team.any(of=True)
        team.wait()


def test_processes_that_met_part_in_peace(met):
    before = signal.getsignal(signal.SIGTERM)
    with processes(Place(1, 2, 1, 2), CPU) as team:
        assert (team.are_many, team.is_main, team.share.size) == (True, False, 2)
    assert met == [True]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def quiet_signals():
    """A process that ends by an error ignores SIGTERM from then on; this one does not end."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("met", "quiet_signals")
def test_a_mistake_of_one_process_is_told_with_its_rank_and_one_of_all_by_rank_0(store):
    with (
        pytest.raises(WorkerError, match="rank 1: no such folder"),
        processes(Place(1, 2, 1, 2), CPU),
    ):
        raise InputError("no such folder")
    with pytest.raises(InputError, match="too large"), processes(Place(0, 2, 0, 2), CPU):
        raise InputError("too large")
    with pytest.raises(SystemExit), processes(Place(1, 2, 1, 2), CPU):
        raise InputError("too large")
    with pytest.raises(ZeroDivisionError), processes(Place(1, 2, 1, 2), CPU):
        1 / 0  # noqa: B018 -- a defect keeps its traceback


@pytest.mark.usefixtures("met", "quiet_signals")
def test_lost_contact_is_explained():
    with pytest.raises(WorkerError, match="rank 0 of 2"), processes(Place(1, 2, 1, 2), CPU):
        raise LostContactError("closed")


@pytest.mark.usefixtures("met", "quiet_signals")
def test_sigterm_after_a_death_names_the_dead():
    with pytest.raises(WorkerError, match="rank 1 of 2"), processes(Place(0, 2, 0, 2), CPU):
        signal.raise_signal(signal.SIGTERM)


def test_processes_that_do_not_meet_are_a_mistake_with_a_cure(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("address already in use\nframe #0")

    monkeypatch.setattr(distributed, "rendezvous", refuse)
    with (
        pytest.raises(ConfigError, match=r"2 processes do not meet: address already in use; start"),
        processes(Place(0, 2, 0, 2), CPU),
    ):
        pass
