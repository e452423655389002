"""Tests for segnet_jax/runtime/preemption.py."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from segnet_jax.runtime.preemption import GracefulShutdown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_only_noted(number, capfd):
    before = signal.getsignal(number)
    with GracefulShutdown() as interruption:
        assert interruption.signal is None
        os.kill(os.getpid(), number)
        assert interruption.signal == number
        assert interruption.exit_status == 128 + number
    assert signal.getsignal(number) is before
    assert "Stopping after this step" in capfd.readouterr().err


def test_a_second_ctrl_c_leaves_at_once_and_a_second_sigterm_does_not():
    with GracefulShutdown() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_sigterm_changes_nothing_while_the_process_ends():
    program = """
import atexit, os, signal
from segnet_jax.interruption import Interruption
with Interruption() as interruption:
    os.kill(os.getpid(), signal.SIGTERM)
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    raise SystemExit(interruption.exit_status)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (143, "\nStopping after this step; Ctrl-C leaves at once.\n")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, ValueError), (signal.SIGINT, SystemExit)])
def test_otherwise_the_former_handler_is_put_back(number, error):
    before = signal.getsignal(number), signal.getsignal(signal.SIGTERM)
    with pytest.raises(error), GracefulShutdown():
        os.kill(os.getpid(), number)
        raise error
    assert (signal.getsignal(number), signal.getsignal(signal.SIGTERM)) == before


def test_with_other_processes_a_signal_is_what_all_agree_on(capfd):
    told, answers = [], iter([0, 0, signal.SIGTERM])

    def agree(number):
        told.append(number)
        return next(answers)

    with GracefulShutdown(agree, announce=False) as interruption:
        interruption.poll()
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal is None
        interruption.poll()
        assert interruption.signal is None, "the others have not heard of it yet"
        interruption.poll()
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert told == [0, signal.SIGINT, signal.SIGINT]
    assert capfd.readouterr().err == ""


def test_outside_the_main_thread_nothing_is_installed():
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def enter():
        with GracefulShutdown() as interruption:
            inside.append((signal.getsignal(signal.SIGTERM), interruption.signal))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == [(before, None)]


def test_to_leave_at_once_waits_for_no_thread_and_loses_no_line():
    program = """
import multiprocessing, threading, time
from segnet_jax.interruption import leave_at_once
threading.Thread(target=time.sleep, args=(10000,)).start()
multiprocessing.get_context("fork").Process(target=time.sleep, args=(10000,)).start()
print("the last line")
leave_at_once(130)
"""
    # `run` waits until nobody holds the pipe open any more, so the child has ended too.
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (130, "the last line\n")
