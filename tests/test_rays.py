"""A line search of AdaptiveES: exact on parabolas, and every step of it as it is said to be."""

import math
from dataclasses import replace

import numpy as np
import pytest

from blackbox_es.strategies.adaptive.ray import Ray, told

D = np.array([1.0, -2.0])
INF = math.inf


def ray(t, kind, **known):
    return Ray(D, t, kind, **known)


def parabola(lowest, bend=2.0, start=5.0):
    """``f(t)`` with this minimum, its value at 0 and its slope there."""
    return (lambda t: start + bend * t * (t - 2.0 * lowest)), start, -2.0 * bend * lowest


def searched(first, f, before, slope):
    """All steps that are tried, and the ray at its end."""
    now, tried = first, []
    while now.end is None:
        tried.append(now.t)
        now = told(now, f(now.t), before, slope)
    return tried, now


@pytest.mark.parametrize("t", [0.25, 0.75, 1.5, 1.9375])
def test_a_refined_ray_ends_at_the_minimum_of_a_parabola(t):
    """Two values are enough; the minimum is at 1, all numbers are dyadic."""
    tried, end = searched(ray(t, "refined"), *parabola(1.0))
    assert tried == [t, 1.0]
    assert (end.end, end.best_t, end.best_f) == ("moved", 1.0, 3.0)


def test_a_refined_step_is_at_most_four_times_as_long():
    tried, end = searched(ray(0.125, "refined"), *parabola(1.0))
    assert tried == [0.125, 0.5]
    assert end.best_t == 0.5


@pytest.mark.parametrize(("t", "n"), [(1.0, 1), (1.0098, 1), (0.9902, 1), (1.0104, 2), (0.9898, 2)])
def test_a_step_within_a_hundredth_is_not_refined(t, n):
    tried, end = searched(ray(t, "refined"), *parabola(1.0))
    assert len(tried) == n
    assert end.end == "moved"


def test_a_refined_step_that_is_worse_is_not_taken():
    f, before, slope = parabola(1.0)
    after = told(ray(0.5, "refined"), f(0.5), before, slope)
    assert (after.t, after.kind) == (1.0, "last")
    end = told(after, f(0.5), before, slope)
    assert (end.end, end.best_t, end.best_f) == ("moved", 0.5, f(0.5))
    end = told(after, f(0.5) - 2.0**-40, before, slope)
    assert (end.end, end.best_t, end.best_f) == ("moved", 1.0, f(0.5) - 2.0**-40)


def test_where_no_curvature_is_seen_the_step_is_taken_as_it_is():
    """Along a line, and where values fall faster than the slope says."""
    for value in (3.0, 2.0):
        end = told(ray(1.0, "refined"), value, 5.0, -2.0)
        assert (end.end, end.best_t, end.best_f, end.t) == ("moved", 1.0, value, 1.0)


@pytest.mark.parametrize("kind", ["plain", "refined", "extended"])
def test_a_step_is_accepted_from_a_ten_thousandth_of_the_slope_on(kind):
    """Armijo's condition, on both sides of it."""
    least = 5.0 + 1e-4 * -2.0 * 0.5
    assert told(ray(0.5, kind), least, 5.0, -2.0).best_t == 0.5
    refused = told(ray(0.5, kind), np.nextafter(least, 9.0), 5.0, -2.0)
    assert (refused.best_t, refused.best_f, refused.tries) == (0.0, INF, 1)


def test_a_plain_step_that_is_accepted_is_the_last():
    end = told(ray(0.5, "plain"), 4.5, 5.0, -2.0)
    assert end == replace(ray(0.5, "plain"), best_t=0.5, best_f=4.5, end="moved")


@pytest.mark.parametrize(
    ("f", "shorter"),
    [
        (5.0 + 1.0, 0.25),  # the parabola through 5, slope -2 and 6 at 1 is lowest at 1 / 3
        (5.0 - 0.0, 0.5),  # at 1 / 2
        (5.0 + 2.0, 0.25),
        (5.0 + 100.0, 0.1),
        (INF, 0.1),
        (math.nan, 0.1),
    ],
)
def test_a_step_that_is_refused_is_shortened_to_the_lowest_point(f, shorter):
    """Of the parabola through what is known, between a tenth and a half."""
    after = told(ray(1.0, "plain"), f, 5.0, -2.0)
    if f < 100.0:
        shorter = min(max(2.0 / (2.0 * (f - 5.0 + 2.0)), 0.1), 0.5)
    assert after == replace(ray(1.0, "plain"), t=shorter, tries=1)


def test_a_slope_that_is_wrong_halves_the_step():
    """No parabola bends up through what is known."""
    after = told(ray(1.0, "refined"), 6.0, 5.0, 2.0)
    assert (after.t, after.tries, after.kind) == (0.5, 1, "refined")


@pytest.mark.parametrize("kind", ["plain", "refined", "extended"])
def test_a_ray_fails_after_twelve_steps(kind):
    """And an extended one is not extended once it has been shortened."""
    tried, end = searched(ray(1.0, kind), lambda t: 5.0 + t, 5.0, -2.0)
    assert (end.end, len(tried), end.tries, end.best_t) == ("failed", 12, 11, 0.0)
    assert end.kind == ("refined" if kind == "refined" else "plain")
    assert tried[0] == 1.0


def test_an_extended_ray_goes_on_while_values_fall():
    """Four times as far each time; then to the lowest point of the last parabola, once."""
    tried, end = searched(ray(0.25, "extended"), *parabola(6.0))
    assert tried == [0.25, 1.0, 4.0, 16.0, 6.0]
    assert (end.end, end.best_t, end.kind) == ("moved", 6.0, "last")
    tried, end = searched(ray(1.0, "extended"), *parabola(4.0))
    assert tried == [1.0, 4.0, 16.0]  # which is where it is
    assert (end.end, end.best_t) == ("moved", 4.0)


@pytest.mark.parametrize("beyond", [INF, math.nan])
def test_an_extended_ray_ends_before_values_that_are_missing(beyond):
    tried, end = searched(ray(1.0, "extended"), lambda t: 5.0 - t if t < 9 else beyond, 5.0, -1.0)
    assert tried == [1.0, 4.0, 16.0]
    assert (end.end, end.best_t, end.best_f) == ("moved", 4.0, 1.0)


def test_an_extended_step_that_is_no_better_is_the_last_but_one():
    """Through 0, -1 at 1 and -1 at 4 the parabola is lowest at 5 / 2."""
    known = ray(4.0, "extended", best_t=1.0, best_f=4.0)
    after = told(known, 4.0, 5.0, -1.0)
    assert after == replace(known, t=2.5, kind="last")
    assert told(known, 0.0, 5.0, -1.0) == replace(known, t=16.0, best_t=4.0, best_f=0.0)
