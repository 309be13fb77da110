"""Schedules: their end points, their course, and that they are values."""

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blackbox_es.schedules import Cosine, Exponential, Linear, value_at

few = settings(deadline=None, max_examples=100, derandomize=True)
SCHEDULES = [Linear(0.1, 0.01, 7), Cosine(0.1, 0.01, 7), Exponential(0.1, 0.9)]
both_ramps = pytest.mark.parametrize("ramp", [Linear, Cosine])
rates = st.floats(0.0, 1e6)
steps = st.integers(1, 1000)


@both_ramps
@few
@given(start=rates, stop=rates, n_steps=steps)
def test_ramps_begin_and_end_exactly_where_they_say(ramp, start, stop, n_steps):
    schedule = ramp(start, stop, n_steps)
    assert schedule(0) == start
    assert schedule(n_steps) == stop
    assert schedule(10 * n_steps) == stop


@both_ramps
@few
@given(start=rates, stop=rates, n_steps=steps, t=st.integers(0, 1100))
def test_ramps_stay_between_their_ends_and_never_turn_back(ramp, start, stop, n_steps, t):
    now, then = ramp(start, stop, n_steps)(t), ramp(start, stop, n_steps)(t + 1)
    rounding = 4e-16 * max(start, stop)
    assert min(start, stop) - rounding <= now <= max(start, stop) + rounding
    assert (then - now) * (stop - start) >= -rounding * max(start, stop)


@both_ramps
def test_ramps_are_half_way_after_half_of_the_steps(ramp):
    assert ramp(0.3, 0.1, 10)(5) == pytest.approx(0.2)


def test_courses_are_their_formulas():
    assert Linear(1.0, 3.0, 4)(1) == 1.5
    assert Cosine(1.0, 3.0, 3)(1) == pytest.approx(1.5)
    assert Cosine(1.0, 3.0, 4)(1) == pytest.approx(2.0 - math.sqrt(0.5))
    assert [Exponential(8.0, 0.5)(t) for t in range(4)] == [8.0, 4.0, 2.0, 1.0]
    assert Exponential(8.0, 0.5)(10**6) == 0.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_values(schedule):
    """They compare, hash, print, pickle, and cannot be changed."""
    for copy in (pickle.loads(pickle.dumps(schedule)), eval(repr(schedule))):
        assert copy == schedule
        assert hash(copy) == hash(schedule)
        assert type(copy) is type(schedule)
    with pytest.raises(AttributeError):
        schedule.start = 1.0


def test_value_at_takes_floats_and_functions():
    assert value_at(0.5, 3) == 0.5
    assert value_at(lambda t: t / 4, 3) == 0.75
    assert [value_at(schedule, 0) for schedule in SCHEDULES] == [0.1] * 3
