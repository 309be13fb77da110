"""PGPE: the gradient in x and the slope in sigma, in closed form."""

import numpy as np
import pytest

from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Diagonal, directions
from blackbox_es.strategies import PGPE
from blackbox_es.testing.statistics import assert_mean

SIGMAS, X, P = np.array([0.5, 1.0, 2.0]), np.array([1.0, -1.0, 0.5]), 20_000
SLOPE, CURVATURE = np.array([2.0, -1.0, 3.0]), np.array([1.0, 4.0, 0.5])


def told(f, n_pairs=P, valid=None):
    """The directions of a generation, and what f says of them."""
    generation = Generation(X, Diagonal(SIGMAS), 7, 0, n_pairs)
    values = f(generation.points()).reshape(2, -1)
    n_valid = n_pairs if valid is None else int(valid.sum())
    if valid is not None:
        values[:, ~valid] = 0.0
    return directions(generation.sampler, generation.key, (0, n_pairs)), Told(
        generation, values, n_valid, valid
    )


def estimate(given):
    return PGPE().estimate(None, given)


def test_gradient_of_a_linear_objective():
    """g = mean d d^T slope, whose expectation is sigma_i^2 slope_i."""
    d, given = told(lambda x: x @ SLOPE)
    np.testing.assert_allclose(estimate(given), (d * (d @ SLOPE)[:, None]).mean(axis=0), rtol=1e-9)
    assert_mean((d * (d @ SLOPE)[:, None]).T, SIGMAS**2 * SLOPE, detects=1.5)


def test_sigmas_follow_their_slope():
    """For sum h x^2 / 2 the expected slope of sigma_i is h_i sigma_i^3."""
    d, given = told(lambda x: (x * x) @ CURVATURE / 2)
    half = (d * d) @ CURVATURE / 2
    terms = (half - half.mean())[:, None] * (d**2 - SIGMAS**2) / SIGMAS
    es = PGPE(sigma_learning_rate=0.01)
    found = es._learn(Diagonal(SIGMAS), given).sigmas
    np.testing.assert_allclose(found, SIGMAS - 0.01 * terms.mean(axis=0), rtol=1e-9)
    assert_mean(terms.T, CURVATURE * SIGMAS**3, detects=3.0)


def test_a_linear_objective_leaves_the_sigmas():
    """Pairs around the same mean say nothing about the scale."""
    _, given = told(lambda x: x @ SLOPE, 50)
    np.testing.assert_allclose(PGPE()._learn(Diagonal(SIGMAS), given).sigmas, SIGMAS, rtol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_fifth_at_most(sign):
    """No sigma changes by more than a fifth in a generation."""
    _, given = told(lambda x: sign * 1e6 * (x * x).sum(axis=1), 50)
    ratio = PGPE()._learn(Diagonal(SIGMAS), given).sigmas / SIGMAS
    assert np.allclose(ratio, 1 - 0.2 * sign)


def test_failed_pairs_leave_no_trace():
    """What is learnt from pairs that failed is what is learnt without them."""
    valid = np.arange(40) % 3 != 0
    d, given = told(lambda x: (x * x).sum(axis=1), 40, valid)
    half = (d[valid] ** 2).sum(axis=1)
    terms = (half - half.mean())[:, None] * (d[valid] ** 2 - SIGMAS**2) / SIGMAS
    found = PGPE(sigma_learning_rate=0.01)._learn(Diagonal(SIGMAS), given).sigmas
    np.testing.assert_allclose(found, SIGMAS - 0.01 * terms.mean(axis=0), rtol=1e-9)
