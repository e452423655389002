"""Tests for benchmarks/estimate.py."""

import pytest

from benchmarks.estimate import Estimate, Program

_RATE = 100.0


def test_seconds_left_by_hand():
    first = Program(("a", "forward"), "lean", flops=30.0, calls=4, ready=5.0)
    second = Program(("a", "train_step"), "lean", flops=60.0, calls=2, ready=10.0)
    theirs = Program(("a", "train_step"), "torch", flops=60.0, calls=3)
    estimate = Estimate([first, second, theirs], _RATE, {"pooling": 7.0})
    # At 60 % of the rate: 4 calls of 0.5 s, 2 and 3 of 1 s; compilation and the part as guessed.
    assert estimate.seconds_left() == pytest.approx(4 * 0.5 + 2 + 3 + 5 + 10 + 7)
    # Compilation takes thrice as long as guessed, and so will the other.
    first.compiled = 15.0
    assert estimate.seconds_left() == pytest.approx(4 * 0.5 + 2 + 3 + 30 + 7)
    # A call that takes 3 s tells 6 s for the same contender's other program, and of the other contender too.
    first.called(3.0)
    assert estimate.seconds_left() == pytest.approx(3 * 3 + 2 * 6 + 3 * 6 + 30 + 7)
    # The other contender's own first call is better knowledge; of its calls the fastest counts.
    theirs.called(4.0)
    theirs.called(2.0)
    assert estimate.seconds_left() == pytest.approx(3 * 3 + 2 * 6 + 2 + 30 + 7)
    estimate.drop(("a", "train_step"), "lean")
    assert estimate.seconds_left() == pytest.approx(3 * 3 + 2 + 7)
    estimate.drop(("a", "train_step"))
    del estimate.parts["pooling"]
    assert estimate.seconds_left() == pytest.approx(3 * 3)


def test_what_a_finished_measurement_took_remains_known():
    first = Program(("a", "forward"), "lean", flops=30.0, calls=4, ready=5.0)
    estimate = Estimate([first, Program(("b", "forward"), "lean", 60.0, 2, ready=10.0)], _RATE, {})
    first.compiled = 15.0
    first.called(3.0)
    estimate.finish(("a", "forward"))
    assert estimate.seconds_left() == pytest.approx(2 * 6 + 30)


def test_first_call_that_compiles_tells_nothing_of_the_others():
    program = Program(("a", "forward"), "torch compile", 60.0, calls=3, ready=5.0, compiles_in_first_call=True)
    estimate = Estimate([program], _RATE, {})
    program.called(50.0)
    assert program.taken is None
    assert estimate.seconds_left() == pytest.approx(2 * 1.0)
    program.called(0.5)
    assert estimate.seconds_left() == pytest.approx(0.5)
