"""Tests for segnet_jax/runtime/stderr_filter.py: what is left of the messages of JAX's runtime."""

import subprocess
import sys

import pytest

from segnet_jax.runtime import stderr_filter
from segnet_jax.runtime.stderr_filter import PlainStderr

FATAL = (
    "F1120 18:22:13.767933   14113 client.h:80] Terminating process because the JAX distributed service detected fatal "
    "errors. This most likely indicates that another task died. absl::Status: {}\n"
)
UNHEALTHY = "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):\n{}\nThe tasks have crashed."
EARLIER = "E1120 18:22:13.740538 14101 coordination_service.cc:1549] [298] Use error polling to propagate: " + UNHEALTHY
TRACE = "*** Check failure stack trace: ***\n    @     0x7f7737e40634  absl::LogMessage::SendToLog()\n"
LOST = f"has ended or cannot be reached; {stderr_filter.ADVICE}\n"


def filtered(text, size=7):
    """The filter's output for `text` that comes in pieces of `size` bytes."""
    plain, data = PlainStderr("process 1"), text.encode()
    shown = [plain.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join([*shown, plain.close()]).decode()


@pytest.mark.parametrize("size", [1, 7, 10000])
def test_what_is_not_of_the_runtime_goes_through_unchanged(size):
    text = "a warning\n\nTraceback (most recent call last):\n  E1 é\r 50 %\rF1120 is a number\nno newline"
    assert filtered(text, size) == text


def test_the_greetings_of_the_collectives_are_left_out():
    greeting = "[Gloo] Rank {} is connected to 3 peer ranks. Expected number of connected peer ranks is : 3\n"
    assert filtered("before\n" + "".join(greeting.format(rank) for rank in range(4)) + "after\n") == "before\nafter\n"


@pytest.mark.parametrize(
    "mixed",
    [
        "{0}{1}\n\n",
        "{0}\n{1}\n\n\n",
        "[Gloo] Rank [Gloo] Rank 01 is connected to  is connected to 33 peer ranks.\n peer ranks is : 3\n3\n",
    ],
)
def test_greetings_that_are_mixed_up_are_left_out_too(mixed):
    greetings = [
        f"[Gloo] Rank {n} is connected to 1 peer ranks. Expected number of connected peer ranks is : 1" for n in "01"
    ]
    assert filtered("before\n\n" + mixed.format(*greetings) + "after\n\n3\n") == "before\n\nafter\n\n3\n"


@pytest.mark.parametrize(
    ("tasks", "named"),
    [
        ("0", "process 0 of this run "),
        ("2\n12", "process 2, 12 of this run "),
        ("0\n1", "process 0 of this run "),
        ("1", "process 1 of this run "),
        ("/job:jax_worker/replica:0/task:3", "process 3 of this run "),
    ],
)
def test_a_process_without_heartbeats_is_named(tasks, named):
    text = "before\n" + EARLIER.format(tasks) + "\n" + FATAL.format(UNHEALTHY.format(tasks)) + "\nRPC: /x\n" + TRACE
    assert filtered(text) == "before\nerror: process 1: " + named + LOST


def test_a_lost_connection_means_process_0_which_runs_the_service():
    reason = "UNAVAILABLE: Failed to send RPC to coordination service. Either the leader task was preempted\nmore\n"
    assert filtered(FATAL.format(reason) + TRACE) == "error: process 1: process 0 of this run " + LOST
    silent = "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.coordination.CoordinationService/Heartbeat\n"
    assert filtered(FATAL.format(silent) + TRACE) == "error: process 1: process 0 of this run " + LOST
    assert filtered(FATAL.format("INTERNAL: what else")) == "error: process 1: another process of this run " + LOST


def test_processes_that_do_not_meet_are_told_what_to_look_at():
    text = FATAL.format(
        "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.coordination.CoordinationService/RegisterTask"
    )
    shown = filtered(text + "\n" + TRACE)
    assert shown.count("\n") == 1
    assert "did not all arrive in time" in shown
    assert "--coordinator" in shown


def test_an_error_that_the_process_has_told_is_not_followed_by_another():
    told = "error: process 1: no room in checkpoints.\n"
    assert filtered(told + EARLIER.format(0) + "\n" + FATAL.format(UNHEALTHY.format(0)) + "\n" + TRACE) == told


def test_what_came_before_a_fatal_error_that_never_came_is_shown_after_all():
    text = EARLIER.format(0) + "\nand more\n"
    plain = PlainStderr("process 1")
    assert plain.feed(text.encode()) == b""
    assert plain.flush().decode() == text
    assert plain.feed(b"later\n") == b"later\n"
    assert filtered(text) == text


def test_a_line_without_an_end_is_shown_when_nothing_follows():
    plain = PlainStderr("process 1")
    assert plain.feed(b"Stopping") == b""
    assert plain.flush() == b"Stopping"
    assert plain.feed(b" now\n") == b" now\n"


def test_as_a_program_it_filters_its_input_to_its_standard_error():
    command = [sys.executable, "-I", "-S", stderr_filter.__file__, "process 7"]
    text = "before\n" + FATAL.format(UNHEALTHY.format(2)) + "\n" + TRACE
    result = subprocess.run(command, input=text.encode(), capture_output=True, timeout=300, check=True)
    assert result.stderr.decode() == "before\nerror: process 7: process 2 of this run " + LOST
    assert result.stdout == b""
