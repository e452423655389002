"""Tests for segnet_jax/runtime/preemption.py."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from segnet_jax.runtime.preemption import GracefulShutdown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_graceful_shutdown_only_notes_the_first_signal(number, capfd):
    before = signal.getsignal(number)
    with GracefulShutdown() as shutdown:
        assert shutdown.signal is None
        os.kill(os.getpid(), number)
        assert shutdown.signal == number
        assert shutdown.exit_status == 128 + number
    assert signal.getsignal(number) is before
    assert "Stopping after this step" in capfd.readouterr().err


def test_graceful_shutdown_is_interrupted_by_a_second_ctrl_c_but_not_by_a_second_sigterm():
    with GracefulShutdown() as shutdown:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_graceful_shutdown_ignores_sigterm_while_the_process_ends():
    program = """
import atexit, os, signal
from segnet_jax.runtime.preemption import GracefulShutdown
with GracefulShutdown() as shutdown:
    os.kill(os.getpid(), signal.SIGTERM)
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    raise SystemExit(shutdown.exit_status)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (143, "\nStopping after this step; Ctrl-C leaves at once.\n")


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, ValueError), (signal.SIGINT, SystemExit)])
def test_graceful_shutdown_restores_the_former_handlers(number, error):
    before = signal.getsignal(number), signal.getsignal(signal.SIGTERM)
    with pytest.raises(error), GracefulShutdown():
        os.kill(os.getpid(), number)
        raise error
    assert (signal.getsignal(number), signal.getsignal(signal.SIGTERM)) == before


def test_graceful_shutdown_takes_the_signal_that_all_processes_agree_on(capfd):
    told, answers = [], iter([0, 0, signal.SIGTERM])

    def agree(number):
        told.append(number)
        return next(answers)

    with GracefulShutdown(agree, announce=False) as shutdown:
        shutdown.poll()
        os.kill(os.getpid(), signal.SIGINT)
        assert shutdown.signal is None
        shutdown.poll()
        assert shutdown.signal is None, "the others have not heard of it yet"
        shutdown.poll()
        assert shutdown.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert told == [0, signal.SIGINT, signal.SIGINT]
    assert capfd.readouterr().err == ""


def test_graceful_shutdown_installs_nothing_outside_the_main_thread():
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def enter():
        with GracefulShutdown() as shutdown:
            inside.append((signal.getsignal(signal.SIGTERM), shutdown.signal))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == [(before, None)]


def test_exit_at_once_waits_for_no_thread_and_loses_no_line():
    program = """
import multiprocessing, threading, time
from segnet_jax.runtime.preemption import exit_at_once
threading.Thread(target=time.sleep, args=(10000,)).start()
multiprocessing.get_context("fork").Process(target=time.sleep, args=(10000,)).start()
print("the last line")
exit_at_once(130)
"""
    # `run` waits until nobody holds the pipe open any more, so the child has ended too.
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (130, "the last line\n")
