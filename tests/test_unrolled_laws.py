"""Estimators on unrolled problems: exact laws of their expectations.

The directions of all pairs are a factorial design: every pattern of signs, in every window. So one
iteration is the expectation, to rounding, for losses that are quadratic in theta and the states.
"""

from itertools import product

import numpy as np
import pytest
from problems import bits

from blackbox_es.samplers import Guided, Isotropic, directions
from blackbox_es.strategies import VanillaES
from blackbox_es.unrolled import (
    DifferentiableProblem,
    FullES,
    NoiseReuseES,
    PersistentES,
    TruncatedES,
    engine,
    unroll,
)
from blackbox_es.unrolled.tasks import InfluenceBalancing

ALL = (FullES, TruncatedES, PersistentES, NoiseReuseES)
STILL = {"optimizer": "sgd", "learning_rate": 1e-300, "sigma": 0.3, "random_state": 0}
THETA = np.array([0.4, -0.7])
N_WINDOWS, N = 3, THETA.size
SIGNS = np.array(list(product((-1.0, 1.0), repeat=N_WINDOWS * N))).reshape(-1, N_WINDOWS, N)


class Linear(DifferentiableProblem):
    """``s' = A s + B theta``, with a loss quadratic in s' that differs from step to step."""

    def __init__(self, horizon=6, seed=10):
        rng = np.random.default_rng(seed)
        self.horizon = horizon
        self.a, self.b = 0.6 * rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
        self.c = rng.standard_normal((horizon, 3))

    def init(self, seeds):
        return (np.full((len(seeds), 3), 0.2),)

    def forward(self, theta, state, t, seeds):
        s = np.einsum("mj,ij->mi", state[0], self.a) + np.einsum("mj,ij->mi", theta, self.b)
        return (s,), (self.c[t] * s).sum(axis=1) + (s * s).sum(axis=1) / 4, (s, t)

    def backward(self, theta, taped, slopes, weight):
        s, t = taped
        d = slopes[0] + weight * (self.c[t] + s / 2)
        return (d @ self.a,), d @ self.b


def gradients(problem, n_steps):
    """The truncated gradient of each window, from the states of an episode without noise."""
    theta, zero = THETA[None], np.zeros(1, np.int64)
    state, found = problem.init(zero), []
    for t in range(0, problem.horizon, n_steps):
        state, gradient = problem.truncated_gradient(theta, state, zero + t, zero, n_steps)
        found.append(gradient[0])
    return np.array(found)


PLAIN = (np.eye(N),) * N_WINDOWS


def expectation(cls, monkeypatch, roots=PLAIN):
    """The estimate of an iteration in which all patterns are in all windows.

    The directions of window w are ``roots[w] @ signs`` times sigma.
    """

    def design(pairs, index, sigmas, alpha, seed):
        window = np.zeros_like(pairs.done) if cls.holds else pairs.done // 2
        signs = SIGNS[np.arange(len(window)) % len(SIGNS), window]
        along = np.array([roots[w] @ s for w, s in zip(window, signs, strict=True)])
        return sigmas[:, None] * along

    monkeypatch.setattr(engine, "drawn", design)
    n_pairs, problem = N_WINDOWS * len(SIGNS), Linear()
    es = cls(truncation=2, n_pairs=n_pairs, max_iter=2 * N_WINDOWS, **STILL)
    return es.fit(problem, THETA).gradient_


@pytest.mark.parametrize("cls", [FullES, PersistentES, NoiseReuseES])
def test_unbiased(cls, monkeypatch):
    """The expectation is the gradient of the mean loss of an episode."""
    (whole,) = gradients(Linear(), 6)
    np.testing.assert_allclose(expectation(cls, monkeypatch), whole, rtol=1e-10)


def test_truncated_is_biased(monkeypatch):
    """The expectation is the mean truncated gradient of the windows, which is another one."""
    truncated = gradients(Linear(), 2).mean(axis=0)
    np.testing.assert_allclose(expectation(TruncatedES, monkeypatch), truncated, rtol=1e-10)
    assert not np.allclose(truncated, gradients(Linear(), 6)[0], rtol=0.1)


ROOT = np.array([[1.2, 0.4], [0.0, 0.5]])


@pytest.mark.parametrize("cls", [FullES, PersistentES, NoiseReuseES])
def test_one_covariance_in_an_episode_is_a_matrix_times_the_gradient(cls, monkeypatch):
    """``E[g] = n Sigma grad f``, with ``n sigma^2 Sigma`` the covariance of the directions."""
    (whole,) = gradients(Linear(), 6)
    found = expectation(cls, monkeypatch, (ROOT,) * N_WINDOWS)
    np.testing.assert_allclose(found, ROOT @ ROOT.T @ whole, rtol=1e-10)


def test_covariances_that_change_in_an_episode_may_point_uphill(monkeypatch):
    """Each window's part of the gradient is multiplied by its own, and parts may nearly cancel."""
    parts, problem = [], Linear()
    for w in range(N_WINDOWS):  # the gradient by the theta of window w, of the mean loss
        up, down = (split(problem, w, h) for h in (1e-6, -1e-6))
        parts.append((up - down) / 2e-6)
    parts, whole = np.array(parts), gradients(problem, 6)[0]
    np.testing.assert_allclose(parts.sum(axis=0), whole, rtol=1e-6)
    against = parts[np.argmin(parts @ whole)]
    assert against @ whole < 0.0
    guide = against / np.linalg.norm(against)
    roots = [np.eye(N) * 0.1 for _ in range(N_WINDOWS)]
    roots[int(np.argmin(parts @ whole))] = np.eye(N) * 0.1 + 5.0 * np.outer(guide, guide)
    found = expectation(PersistentES, monkeypatch, roots)
    expected = sum(root @ root.T @ part for root, part in zip(roots, parts, strict=True))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found @ whole < 0.0


def split(problem, window, h):
    """The mean loss of an episode when theta is moved in one window, along each axis."""
    values = []
    for axis in np.eye(N):
        state, total, zero = problem.init(np.zeros(1)), 0.0, np.zeros(1, np.int64)
        for t in range(problem.horizon):
            theta = THETA + h * axis * (t // 2 == window)
            state, loss = problem.step(theta[None], state, zero + t, zero)
            total += loss[0] / problem.horizon
        values.append(total)
    return np.array(values)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_one_window_is_all_there_is(alpha):
    """With a window as long as an episode all four are the same, bit for bit."""
    common = {"truncation": 6, "n_pairs": 3, "alpha": alpha, "max_iter": 7, "random_state": 2}
    found = {bits(cls(**common).fit(Linear(), THETA).x_) for cls in ALL}
    assert len(found) == 1


def test_whole_episodes_are_vanilla():
    """FullES is VanillaES on the mean loss of an episode, with beta = n."""
    problem = Linear()
    common = {"n_pairs": 3, "sigma": 0.2, "max_iter": 8, "random_state": 4}
    es = VanillaES(beta=float(N), vectorized=True, **common)
    es.fit(lambda X: unroll(problem, X, np.zeros(len(X))), THETA)
    found = FullES(truncation=1, **common).fit(problem, THETA).x_
    np.testing.assert_allclose(found, es.x_, rtol=1e-10)


def scores(cls, n_iter):
    """The scores of four pairs after each iteration."""
    seen, es = [], cls(truncation=2, n_pairs=4, max_iter=n_iter, **STILL)
    es.fit(Linear(), THETA, callback=lambda x: seen.append(es.state_.pairs))
    return seen


def fresh(t):
    """The directions that four pairs draw in iteration t, divided by sigma^2."""
    return directions(Isotropic(N, 0.3), (0, t), (0, 4)) / 0.3**2


@pytest.mark.parametrize("cls", ALL)
def test_scores(cls):
    """Of the window, of the episode so far, or of its beginning."""
    for t, pairs in enumerate(scores(cls, 8)):
        for p in range(4):
            born = pairs.born[p]
            drawn = {
                PersistentES: sum(fresh(i)[p] for i in range(born, t + 1)),
                NoiseReuseES: fresh(born)[p],
            }.get(cls, fresh(t)[p])
            np.testing.assert_allclose(pairs.score[p], drawn, rtol=1e-12)


@pytest.mark.parametrize("n_pairs", [1, 2, 3, 5, 7, 12])
def test_pairs_are_spread_over_the_windows(n_pairs):
    """After the first episode each iteration sees all windows, as evenly as can be."""
    problem, seen = InfluenceBalancing(horizon=20), []
    es = PersistentES(truncation=4, n_pairs=n_pairs, max_iter=20, **STILL)
    es.fit(problem, [0.5], callback=lambda x: seen.append(es.state_.pairs.done // 4 - 1))
    for windows in seen[4:]:
        counts = np.bincount(windows, minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (np.sum([np.bincount(w, minlength=5) for w in seen[5:]], axis=0) == 3 * n_pairs).all()


def guides(n_guides):
    """The states after twelve iterations, and the truncated gradients of the windows."""
    problem, seen = Linear(), []
    common = {"truncation": 2, "n_pairs": 3, "alpha": 0.3, "max_iter": 12, **STILL}
    es = PersistentES(n_guides=n_guides, **common)
    es.fit(problem, THETA, callback=lambda x: seen.append(es.state_))
    return seen, gradients(problem, 2)


def test_a_pair_keeps_its_guide_for_an_episode():
    """It is the direction of the mean truncated gradient when the episode began."""
    seen, parts = guides(1)
    means = [state.scout.guides[0] for state in seen]
    for state in seen:
        for born, axis in zip(state.pairs.born, state.pairs.guides, strict=True):
            expected = means[born] / np.linalg.norm(means[born])
            np.testing.assert_allclose(axis[0], expected, rtol=1e-12)
    # Of the first episode the plain mean; theta stands still.
    np.testing.assert_allclose(means[0], parts[0], rtol=1e-12)
    np.testing.assert_allclose(means[2], parts.mean(axis=0), rtol=1e-12)
    following = means[2] + (parts[0] - means[2]) / 3
    np.testing.assert_allclose(means[3], following, rtol=1e-12)


def test_guides_of_the_parts_of_an_episode():
    """Each has a row of its own; the axes are a basis of their span, of those that are known."""
    seen, parts = guides(2)
    early, late = seen[2].scout.guides
    np.testing.assert_allclose(early, parts[1], rtol=1e-12)
    np.testing.assert_allclose(late, parts[2], rtol=1e-12)
    assert [len(axes) for axes in seen[0].pairs.guides] == [1, 1, 1]
    for axes in seen[11].pairs.guides:
        np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)


def test_directions_are_elongated_along_the_guide():
    """They are those of the guided sampler, with the key of the pair and its iteration."""
    axis = np.array([[0.6, 0.8]])
    pairs = engine.Pairs((), *np.zeros((3, 2), np.int64), np.zeros((2, N)), (axis, None))
    found = engine.drawn(pairs, np.array([5, 9]), np.array([0.3, 0.4]), 0.2, 11)
    guided = directions(Guided(Isotropic(N, 0.3), axis, 0.2), (11, 5), (0, 1))
    plain = directions(Isotropic(N, 0.4), (11, 9), (1, 2))
    assert bits(found) == bits(np.concatenate([guided, plain]))
