"""Self-guided search: the span of past estimates, a share of directions that adapts, its gain."""

import numpy as np
import pytest
from problems import X0, bits, bowl

from blackbox_es import SGES, Split, VanillaES, gradient_diagnostics
from blackbox_es.samplers import directions, orthonormal_rows, unit_guide
from blackbox_es.strategies.sges import _moments
from blackbox_es.testing.statistics import assert_mean

KEY = (3, 5)
FAR = 4.9  # standard errors: one sound run in a million


def split(n, k, alpha, dtype=float):
    rng = np.random.default_rng(0)
    rows = orthonormal_rows([unit_guide(row) for row in rng.standard_normal((k, n))], dtype)
    return Split(rows.astype(dtype), alpha, 0.5)


@pytest.mark.parametrize(("n", "k"), [(9, 1), (9, 3), (9, 8), (40, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_directions_are_inside_or_across(n, k, dtype):
    """Exactly; any part alone has the same bits; the sum is that of the directions."""
    sampler = split(n, k, 0.3, dtype)
    center = np.linspace(0.0, 1.0, n).astype(dtype)
    d = directions(sampler, KEY, (0, 20))
    inside = sampler.inside(KEY, (0, 20))
    along = d @ sampler.rows.T @ sampler.rows
    tiny = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(along[inside], d[inside], atol=tiny)
    np.testing.assert_allclose(along[~inside], 0.0, atol=tiny)
    points = sampler.perturb(center, KEY, (0, 20))
    assert points.dtype == dtype
    assert bits(sampler.perturb(center, KEY, (3, 11))) == bits(points[:, 3:11])
    w = np.random.default_rng(1).standard_normal(20)
    np.testing.assert_allclose(sampler.combine(w, KEY, dtype), w @ d, rtol=1e-5, atol=100 * tiny)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.37, 0.5, 1.0])
def test_the_share_inside(alpha):
    """Never further than one from alpha times the pairs, and each pair with probability alpha."""
    sampler = split(5, 2, alpha)
    drawn = np.array([sampler.inside((seed, 0), (0, 12)) for seed in range(4000)])
    assert (np.abs(drawn.cumsum(axis=1) - alpha * np.arange(1, 13)) < 1.0 + 1e-9).all()
    assert_mean(drawn.T.astype(float), np.full(12, alpha), std=0.5, detects=0.1)


def test_the_covariance():
    """``E[d d^T] = n sigma^2 Sigma``, entry by entry."""
    sampler = split(4, 2, 0.7)
    d = np.concatenate([directions(sampler, (seed, 0), (0, 16)) for seed in range(4000)])
    u = sampler.rows.T @ sampler.rows
    expected = 4 * 0.25 * (0.7 / 2 * u + 0.3 / 2 * (np.eye(4) - u))
    products = (d[:, :, None] * d[:, None, :]).reshape(4000, 16, 16).mean(axis=1)
    assert_mean(products.T, expected.ravel(), detects=0.06)


@pytest.mark.parametrize(("n_past", "n_pairs"), [(1, 4), (1, 5), (3, 6), (20, 4)])
@pytest.mark.parametrize("beta", ["auto", 3.0])
def test_bias_and_variance_are_the_closed_forms(n_past, n_pairs, beta):
    """Within their errors, .08 of the whole at most; with whole and broken numbers inside."""
    truth = np.random.default_rng(0).standard_normal(8)
    es = SGES(n_past=n_past, n_pairs=n_pairs, beta=beta, vectorized=True, random_state=0)
    es.start(np.zeros(8))
    for _ in range(4):
        X = es.ask()
        es.tell(X, X @ truth)
    found = gradient_diagnostics(es, lambda X: X @ truth, lambda x: truth, n_estimates=4000)
    total = found.squared_bias.theory + found.variance.theory
    for part in (found.squared_bias, found.variance):
        assert part.mean == pytest.approx(part.theory, abs=FAR * part.error + 1e-12)
        assert part.error < 0.08 * total


def test_the_variance_of_the_number_inside():
    """A gradient along one guide: z^2 of one pair by chance, and of just one of two pairs."""
    assert _moments(0.5, 1.0, n=9, k=1, n_pairs=1) == (0.5, 0.25, 3 / 2 - 1 / 4)
    assert _moments(0.5, 1.0, n=9, k=1, n_pairs=2) == (0.5, 0.25, 2 / 4)


def test_alpha_follows_the_better_half():
    """Times or over 1.1 as the best of pairs is better inside or across; as it is if alike."""
    es = SGES(n_pairs=6, random_state=0, max_iter=999).start(np.zeros(9))
    es.tell(es.ask(), np.arange(12.0))
    assert es.alpha_ == 0.5
    for inside_is, expected in [(-1.0, 0.55), (-1.0, 0.605), (1.0, 0.55), (0.0, 0.55)]:
        X = es.ask()
        generation = es._search.pending.generation
        inside = generation.sampler.inside(generation.key, (0, 6))
        values = np.stack([np.where(inside, inside_is, 0.0), np.full(6, 5.0)])
        es.tell(X, values.ravel())
        assert es.alpha_ == pytest.approx(expected)
    for better, limit in [(-1.0, 0.9), (1.0, 0.1)]:
        for _ in range(30):
            X = es.ask()
            generation = es._search.pending.generation
            inside = generation.sampler.inside(generation.key, (0, 6))
            es.tell(X, np.stack([np.where(inside, better, 0.0), np.full(6, 5.0)]).ravel())
        assert es.alpha_ == limit


def test_what_the_span_is_worth():
    """r, by which "auto" chooses beta: from many pairs it is the squared cosine with the span."""
    slopes = 1.0 + np.random.default_rng(0).standard_normal((5, 9))  # of a gradient that changes
    es = SGES(n_past=2, n_pairs=2000, random_state=0).start(np.zeros(9))
    for slope in slopes:
        X = es.ask()
        rows = getattr(es._search.pending.generation.sampler, "rows", np.empty((0, 9)))
        es.tell(X, X @ slope)
    r = np.square(rows @ slope).sum() / (slope @ slope)
    assert 0.2 < r < 0.9
    assert es.state_.memory.r == pytest.approx(r, abs=0.04)


def test_the_span_is_that_of_the_last_estimates():
    """Of ``n_past`` of them, and one dimension is left at least."""
    es = SGES(n_past=2, n_pairs=4, random_state=0).start(np.zeros(9))
    seen = []
    for t in range(5):
        X = es.ask()
        rows = getattr(es._search.pending.generation.sampler, "rows", np.empty((0, 9)))
        assert len(rows) == min(t, 2)
        for g in seen[-2:]:
            np.testing.assert_allclose(rows.T @ (rows @ g), g, rtol=1e-9)
        es.tell(X, (X**2).sum(axis=1) + X[:, 0])
        seen.append(es.gradient_.copy())
    for n in (1, 2, 3):
        es = SGES(n_past=9, max_iter=9, random_state=0).fit(lambda x: x @ x, np.ones(n))
        assert np.isfinite(es.x_).all()


def test_estimates_get_better_than_those_of_isotropic_search():
    """Linear, n = 400, 8 pairs: the squared cosine of isotropic search is P / (P + n + 1).

    That of guided estimates is larger for each of ten seeds, and twice as large on average.
    """
    n, gains = 400, []
    for seed in range(10):
        truth = np.random.default_rng(seed).standard_normal(n)
        es = SGES(n_pairs=8, vectorized=True, max_iter=40, random_state=seed)
        es.fit(lambda X, truth=truth: X @ truth, np.zeros(n))
        found = gradient_diagnostics(
            es, lambda X, truth=truth: X @ truth, lambda x, truth=truth: truth, n_estimates=20
        )
        gains.append(found.cosine.mean**2 * (8 + n + 1) / 8)
        assert es.alpha_ > 0.5
    assert min(gains) > 1.25
    assert np.mean(gains) > 2.0


def test_it_minimises_sooner_where_few_directions_count():
    """5 of 1000, the same rate and evaluations: less than half of the error, for each seed."""
    n, m = 1000, 5
    for seed in range(3):
        axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, m)))[0]
        plain, guided = (
            strategy(n_pairs=10, optimizer="sgd", learning_rate=0.3, sigma=0.01, max_iter=100,
                     vectorized=True, random_state=seed)
            .fit(lambda X, axes=axes: ((X @ axes - 1) ** 2).sum(axis=-1), np.zeros(n)).fun_
            for strategy in (VanillaES, SGES)
        )  # fmt: skip
        assert guided < plain / 2


def test_bad_parameters():
    for bad in ({"n_past": 0}, {"beta": 0.0}, {"beta": "none"}, {"sigma": -1.0}):
        (name,) = bad
        with pytest.raises((TypeError, ValueError), match=name):
            SGES(**bad).start(X0)
    assert SGES(max_iter=2).fit(bowl, X0).n_iter_ == 2
