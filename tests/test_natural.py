"""Natural gradients: one step is the paper's, and nothing has to be tuned."""

import numpy as np
import pytest
from problems import bits
from scipy.linalg import expm
from threadpoolctl import threadpool_limits

from blackbox_es import shaping
from blackbox_es.samplers import directions
from blackbox_es.strategies import SNES, XNES
from blackbox_es.strategies.xnes import _exponential

both = pytest.mark.parametrize("cls", [SNES, XNES])


def ellipsoid(x):
    return float((100.0 ** (np.arange(x.size) / (x.size - 1)) * x * x).sum())


def step(es, x0, values):
    """Center, root of the covariance, latents and utilities of one generation that was told."""
    es.start(x0)
    generation = es._search.state, es.ask()
    key, n_pairs = (es._search.seed, 0), len(values) // 2
    z = directions(es._search.pending.generation.sampler, key, (0, n_pairs)) / es.sigma
    es.tell(generation[1], values)
    utilities = shaping.nes(np.array(values).reshape(2, -1))
    return es.state_, np.concatenate([z, -z]), utilities.ravel()


def test_snes_is_the_papers_update():
    """x - sum u d, sigma exp(-eta/2 sum u (z^2 - 1)), eta = (3 + ln n) / (5 sqrt n)."""
    x0, eta = np.array([1.0, -2.0, 0.5]), (3 + np.log(3)) / (5 * np.sqrt(3))
    state, z, u = step(SNES(sigma=0.5, n_pairs=4, random_state=3), x0, [3, 1, 4, 2, 9, 5, 6, 7])
    np.testing.assert_allclose(state.x, x0 - 0.5 * u @ z, rtol=1e-12)
    np.testing.assert_allclose(state.sigmas, 0.5 * np.exp(-eta / 2 * u @ (z**2 - 1)), rtol=1e-12)


def test_xnes_is_the_papers_update():
    """x - sum u d, A exp(-eta/2 sum u (z z^T - I)), eta = (9 + 3 ln n) / (5 n sqrt n)."""
    x0, eta = np.array([1.0, -2.0, 0.5]), (9 + 3 * np.log(3)) / (5 * 3 * np.sqrt(3))
    state, z, u = step(XNES(sigma=0.5, n_pairs=4, random_state=3), x0, [3, 1, 4, 2, 9, 5, 6, 7])
    values, vectors = np.linalg.eigh(-eta / 2 * ((z * u[:, None]).T @ z - u.sum() * np.eye(3)))
    expected = 0.5 * vectors @ np.diag(np.exp(values)) @ vectors.T
    np.testing.assert_allclose(state.x, x0 - 0.5 * u @ z, rtol=1e-12)
    np.testing.assert_allclose(state.matrix, expected, rtol=1e-12, atol=1e-14)


@both
def test_powers_of_two_change_nothing(cls):
    """x0, sigma and the unit of the objective times 4: the same search in units of 4."""
    plain = cls(random_state=1, max_iter=30).fit(ellipsoid, np.ones(6))
    scaled = cls(sigma=0.4, random_state=1, max_iter=30)
    scaled.fit(lambda x: ellipsoid(x / 4), np.full(6, 4.0))
    assert bits(scaled.x_) == bits(4 * plain.x_)


@both
def test_flat_generations_change_nothing(cls):
    """Equal values leave center and distribution as they are."""
    es = cls(random_state=1).start(np.ones(3))
    before = bits(es.ask())
    es.tell(es.ask(), np.full(len(es.ask()), 2.0))
    assert bits(es.x_) == bits(np.ones(3))
    assert es.history_["sigma"].tolist() == [0.1 if cls is SNES else es.history_["sigma"][0]]
    assert bits(es.ask()) != before  # other directions


@pytest.mark.parametrize("n_pairs", [4, 200])
def test_xnes_is_the_same_for_few_and_many_pairs(n_pairs):
    """Fewer pairs than coordinates take another way to the same exponential."""
    rng, eta = np.random.default_rng(0), 0.3
    values = rng.random(2 * n_pairs)
    es = XNES(sigma=0.5, n_pairs=n_pairs, learning_rate=eta, random_state=3)
    state, z, u = step(es, rng.random(20), values)
    power, vectors = np.linalg.eigh(-eta / 2 * ((z * u[:, None]).T @ z - u.sum() * np.eye(20)))
    expected = 0.5 * vectors @ np.diag(np.exp(power)) @ vectors.T
    np.testing.assert_allclose(state.matrix, expected, rtol=1e-11, atol=1e-13)


def test_threads_change_no_bits():
    """However many of them BLAS is given."""
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            es = XNES(random_state=1, max_iter=3).fit(lambda x: float(abs(x).sum()), np.ones(150))
            found.append(bits(es.state_))
    assert found[0] == found[1] == found[2]


@both
@pytest.mark.parametrize("seed", range(5))
def test_an_ellipsoid_by_default(cls, seed):
    """Condition 100 in ten dimensions: 1e-8 is reached with default parameters."""
    assert cls(random_state=seed).fit(ellipsoid, np.ones(10)).fun_ < 1e-8


@both
@pytest.mark.parametrize(("n", "n_pairs"), [(1, 2), (2, 3), (3, 4), (4, 4), (10, 5), (100, 9)])
def test_the_population_by_default(cls, n, n_pairs):
    """Half of 4 + floor(3 ln n), rounded up."""
    es = cls(random_state=0)
    assert es.pairs(n) == n_pairs
    assert len(es.start(np.zeros(n)).ask()) == 2 * n_pairs
    assert cls(n_pairs=7).pairs(n) == 7


@pytest.mark.parametrize("size", [1e-8, 0.1, 1.0, 7.0, 60.0])
@pytest.mark.parametrize("k", [2, 5])
def test_the_exponential_is_that_of_the_dense_matrix(size, k):
    """``exp(L^T C L) = I + L^T S L``, however large: squared as often as it takes."""
    rng = np.random.default_rng(k)
    left, core = rng.standard_normal((k, 5)), rng.standard_normal((k, k))
    core = size * (core + core.T) / np.square(left).sum()
    found = np.eye(5) + left.T @ _exponential(core, left @ left.T) @ left
    expected = expm(left.T @ core @ left)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
