"""Tests for segnet_jax/runtime/workers.py."""

import functools
import operator
import os

import pytest

from segnet_jax.errors import InputError
from segnet_jax.runtime.workers import available_cores, run_tasks


def test_run_tasks_yields_results_in_order():
    tasks = [functools.partial(operator.mul, 3, number) for number in range(7)]
    assert list(run_tasks(tasks, workers=1)) == [0, 3, 6, 9, 12, 15, 18]
    assert list(run_tasks([os.getpid], workers=2)) == [os.getpid()], "one task needs no other process"
    assert available_cores() >= 1


def test_run_tasks_in_processes_keeps_the_order_and_names_the_death_of_one():
    found = list(run_tasks([functools.partial(max, (number, -1)) for number in range(5)] + [os.getpid], workers=2))
    assert found[:5] == [0, 1, 2, 3, 4]
    assert found[5] != os.getpid()
    with pytest.raises(InputError, match=r"A worker process died, .* with fewer --workers\."):
        list(run_tasks([functools.partial(os._exit, 3)] * 2, workers=2))
