"""Unrolled tasks: gradients are those of differences, rows do not depend on each other."""

import numpy as np
import pytest
from problems import bits

from blackbox_es.unrolled import tasks, unroll
from blackbox_es.unrolled.problem import window

RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((40, 5)), np.arange(40) % 3
LEARNED = tasks.LearnedOptimizer(*DATA, n_hidden=4, batch_size=8, horizon=12, n_units=4)
QUADRATICS = tasks.RandomQuadratics(4, 6, horizon=8)
# A task, parameters, and how many steps are done before the window that is differentiated
CASES = {
    "influence": (tasks.InfluenceBalancing(horizon=40), np.array([0.3]), 5),
    "toy": (tasks.ToySchedule(), np.array([-1.0, -3.0]), 7),
    "schedule": (
        tasks.NetworkSchedule(*DATA, n_hidden=4, batch_size=8, horizon=20),
        np.array([-2.0, -1.0]), 3,
    ),
    "quadratics": (QUADRATICS, QUADRATICS.start(1), 2),
    "learned": (LEARNED, LEARNED.start(1), 3),
}  # fmt: skip
each_task = pytest.mark.parametrize("name", CASES)


@each_task
def test_the_truncated_gradient_is_that_of_differences(name):
    """Of the mean loss of a window from a state that is held; the states are those of `step`."""
    problem, x, done = CASES[name]
    seeds = np.array([3, 4])
    rows = np.stack([x, x + 0.1])
    zero = np.zeros(2, np.int64)
    state, _ = window(problem, rows, problem.init(seeds), zero, seeds, done)
    after, gradient = problem.truncated_gradient(rows, state, zero + done, seeds, 4)
    expected, _ = window(problem, rows, state, zero + done, seeds, 4)
    for a, b in zip(after, expected, strict=True):
        assert bits(a) == bits(b)
    d = RNG.standard_normal(rows.shape)
    up, down = (
        window(problem, rows + h * d, state, zero + done, seeds, 4)[1] for h in (1e-5, -1e-5)
    )
    along = (gradient * d).sum(axis=1)
    np.testing.assert_allclose(along, (up - down) / 2e-5, rtol=1e-5, atol=1e-9)


@each_task
def test_rows_do_not_depend_on_each_other(name):
    """A particle has the same bits alone and among others, at whichever step they are."""
    problem, x, _ = CASES[name]
    seeds, t = np.array([3, 4, 5]), np.array([0, 2, 6])
    rows = x + 0.1 * RNG.standard_normal((3, x.size))
    inner = problem.init(seeds)
    state, losses = problem.step(rows, inner, t, seeds)
    after, gradient = problem.truncated_gradient(rows, inner, t, seeds, 2)
    for i in range(3):
        one = slice(i, i + 1)
        alone = tuple(part[one] for part in inner)
        for a, b in zip(alone, problem.init(seeds[one]), strict=True):
            assert bits(a) == bits(b)
        s, loss = problem.step(rows[one], alone, t[one], seeds[one])
        assert bits(loss) == bits(losses[one])
        for a, b in zip(s, state, strict=True):
            assert bits(a) == bits(b[one])
        s, slope = problem.truncated_gradient(rows[one], alone, t[one], seeds[one], 2)
        assert bits(slope) == bits(gradient[one])
        for a, b in zip(s, after, strict=True):
            assert bits(a) == bits(b[one])


@each_task
def test_seeds_are_episodes(name):
    """The same seed is the same episode; of tasks with chance in them another one is not."""
    problem, x, _ = CASES[name]
    a, b, c = unroll(problem, x, [1, 1, 2])
    assert a == b
    assert (a == c) == (name in ("influence", "toy"))


def test_the_minimum_of_influence_balancing():
    """The mean loss is quadratic, and least there; a window of few steps says the opposite."""
    problem = tasks.InfluenceBalancing(horizon=60)
    at = problem.minimum
    low, middle, high = unroll(problem, [[at - 0.01], [at], [at + 0.01]], [0, 0, 0])
    assert low == pytest.approx(high, rel=1e-9)
    assert middle < low
    still = np.zeros((1, 23)), np.zeros(1, np.int64)
    _, slope = problem.truncated_gradient(np.array([[0.1]]), still[:1], still[1], still[1], 5)
    assert slope < 0.0 < 0.1 - at
