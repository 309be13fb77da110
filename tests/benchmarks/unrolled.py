"""What estimators for unrolled problems reach, and at what cost.

    python tests/benchmarks/unrolled.py influence --figure influence.png
    python tests/benchmarks/unrolled.py learned --seeds 5 --figure learned.png
    python tests/benchmarks/unrolled.py quadratics --seeds 10
    python tests/benchmarks/unrolled.py schedule --seeds 5 [--data mnist]

Cost is counted in inner steps; one that is differentiated counts as three. Options were chosen on
seeds from 101 on (``--first 101``); what is reported is seeds from 1 on. Add ``OPENBLAS_NUM_THREADS=1``
before the command: the matrices are small.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.datasets import load_digits

from blackbox_es.optimizers import Adam
from blackbox_es.unrolled import FullES, NoiseReuseES, PersistentES, TruncatedES, unroll
from blackbox_es.unrolled.tasks import (
    InfluenceBalancing,
    LearnedOptimizer,
    NetworkSchedule,
    RandomQuadratics,
)

HELD_OUT = np.arange(10**6, 10**6 + 64)  # seeds of episodes that no search sees


def searched(es, problem, theta0, budget, n_points, loss):
    """Inner steps and the loss at x_, at ``n_points`` times of a search."""
    found = [(0, loss(theta0))]
    for i in range(1, n_points + 1):
        es.set_params(max_iter=10**9, max_evals=budget * i // n_points)
        es.fit(problem, theta0 if i == 1 else None, resume=i > 1)
        found.append((es.n_evaluations_, loss(es.x_)))
    return np.array(found)


def descended(problem, theta0, n_steps, rate, budget, n_points, loss, seed, n_rows=1):
    """The same for Adam along truncated gradients of particles without noise."""
    rng, x, adam = np.random.default_rng(seed), theta0.copy(), Adam()
    state, found = adam.init(x), [(0, loss(theta0))]
    each = 3 * n_steps * n_rows
    done = np.arange(n_rows) * (problem.horizon // n_steps) // n_rows * n_steps
    left = done.copy()  # steps to skip: particles are at different windows
    seeds = rng.integers(2**31, size=n_rows)
    inner = problem.init(seeds)
    done = np.zeros(n_rows, np.int64)
    ends = problem.horizon - left
    for i in range(budget // each):
        over = done >= ends
        if over.any():
            seeds[over], done[over], ends[over] = rng.integers(2**31), 0, problem.horizon
            seeds[over] = rng.integers(2**31, size=over.sum())
            inner = tuple(part.copy() for part in inner)
            for part, new in zip(inner, problem.init(seeds[over]), strict=True):
                part[over] = new
        rows = np.repeat(x[None], n_rows, axis=0)
        inner, gradients = problem.truncated_gradient(rows, inner, done, seeds, n_steps)
        done += n_steps
        x, state = adam.step(x, gradients.mean(axis=0).astype(x.dtype), state, rate)
        if (i + 1) * each >= budget * len(found) // n_points:
            found.append(((i + 1) * each, loss(x)))
    return np.array(found)


def interval(values):
    """Mean and half the 95 % interval of it, by Student's t."""
    from scipy.stats import t

    n = len(values)
    return np.mean(values), t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
