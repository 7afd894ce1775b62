"""A signal becomes an event once, and an interruption the second time."""

import os
import signal

import pytest

from jointspace.train.interruption import interruption, termination_interrupts


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_sets_the_event_and_the_second_interrupts():
    before = signal.getsignal(signal.SIGINT)
    with interruption() as interrupted:
        assert not interrupted.is_set()
        press_ctrl_c()
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_taken_as_ctrl_c():
    with interruption() as interrupted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupted.is_set()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_one_of_several_processes_is_not_interrupted_by_a_second_signal():
    with interruption(patient=True) as interrupted:
        press_ctrl_c()
        press_ctrl_c()
        assert interrupted.is_set()


def test_the_handler_is_restored_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), interruption():
        1 / 0  # noqa: B018 -- any error will do
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_interrupts_what_cleans_up_after_itself():
    with pytest.raises(KeyboardInterrupt), termination_interrupts():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
