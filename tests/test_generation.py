"""Generations: their points are a function of a few numbers, and what their utilities tell."""

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from test_estimates import SAMPLERS, Design, N, estimate, generation_at, orthonormal_design

from blackbox_es import generation as module
from blackbox_es._value import check
from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Affine, Diagonal, Elongated, Isotropic, directions

EPS = np.finfo(float).eps
few = settings(deadline=None, max_examples=30, derandomize=True)
NORMAL = {
    "isotropic": Isotropic(N, 0.3),
    "diagonal": Diagonal(np.geomspace(0.1, 1.0, N)),
    "affine": Affine(np.random.default_rng(3).normal(size=(N, N)) * 0.1),
}
ELONGATED = Elongated(np.geomspace(0.1, 1.0, N), np.ones((1, N)) / 3)
ALL = SAMPLERS | NORMAL | {"elongated": ELONGATED}
every_sampler = pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
every_normal = pytest.mark.parametrize("sampler", NORMAL.values(), ids=NORMAL)
both = pytest.mark.parametrize("mirrored", [True, False])


# --- points --------------------------------------------------------------------------------------


@every_sampler
def test_a_point_made_alone_is_that_of_the_whole(sampler):
    generation = generation_at(np.linspace(-1, 1, N), sampler)
    points = generation.points()
    assert points.shape == (10, N) == (generation.n_points, N)
    for row, point in enumerate(points):
        np.testing.assert_array_equal(generation.point(row), point)
    np.testing.assert_array_equal(generation.pairs(1, 3)[1], points[6:8])


@every_sampler
def test_points_depend_on_seed_and_index_and_move_with_the_center(sampler):
    keys = [(1, 2), (1, 3), (2, 2), (2, 1), (1 + 2**32, 2)]
    directions = [
        generation_at(np.zeros(N), sampler, 3, seed, index).points() for seed, index in keys
    ]
    for one, other in itertools.combinations(directions, 2):
        assert (one != other).any(axis=1).all()
    elsewhere = generation_at(np.ones(N), sampler, 3, 1, 2).points()
    np.testing.assert_allclose(elsewhere - 1.0, directions[0], rtol=0, atol=4 * EPS)


@few
@given(stop=st.integers(1, 50), n_bytes=st.integers(1, 10**5))
def test_chunks_cover_each_pair_once_and_fit(stop, n_bytes):
    generation = generation_at(np.zeros(N), Isotropic(N), 50)
    chunks = list(generation.chunks(0, stop, n_bytes))
    assert [p for chunk in chunks for p in range(*chunk)] == list(range(stop))
    assert all(b - a == 1 or (b - a) * 2 * 8 * N <= n_bytes for a, b in chunks)


@every_sampler
def test_one_sided_points_are_the_first_half(sampler):
    """Bit for bit: those at ``+d`` of the same key."""
    x = np.linspace(-1, 1, N)
    one, two = generation_at(x, sampler, mirrored=False), generation_at(x, sampler)
    assert (one.halves, one.n_points) == (1, 5)
    np.testing.assert_array_equal(one.points(), two.points()[:5])
    np.testing.assert_array_equal(one.pairs(2, 4), two.pairs(2, 4)[:1])
    for row, point in enumerate(one.points()):
        np.testing.assert_array_equal(one.point(row), point)


@both
def test_a_generation_is_a_few_bytes(mirrored):
    """However many pairs it has; equal ones are made again from them."""
    sent = pickle.dumps(generation_at(np.zeros(3), Isotropic(3), 10**6, mirrored=mirrored))
    assert len(sent) < 1000
    assert pickle.loads(sent) == generation_at(np.zeros(3), Isotropic(3), 10**6, mirrored=mirrored)


# --- what is told --------------------------------------------------------------------------------


def told_at(sampler, mirrored, n_pairs=7, failed=()):
    """A generation with random utilities, and its directions."""
    generation = generation_at(np.linspace(-1, 1, N), sampler, n_pairs, mirrored=mirrored)
    utilities = np.random.default_rng(5).normal(size=(generation.halves, n_pairs))
    utilities[:, list(failed)] = 0.0
    valid = np.array([p not in failed for p in range(n_pairs)]) if failed else None
    d = directions(sampler, generation.key, (0, n_pairs))
    return Told(generation, utilities, n_pairs - len(failed), valid), d


@both
@every_sampler
@pytest.mark.parametrize("failed", [(), (1, 4)])
def test_gradient_is_its_formula(sampler, mirrored, failed):
    """``beta / (halves n sigma^2 P) sum_p odd_p d_p``; P counts the pairs that did not fail."""
    told, d = told_at(sampler, mirrored, failed=failed)
    u = told.utilities
    odd, even = (u[0] - u[1], u[0] + u[1]) if mirrored else (u[0], u[0])
    np.testing.assert_array_equal(told.odd, odd)
    np.testing.assert_array_equal(told.even, even)
    size = len(u) * N * sampler.sigma**2 * (7 - len(failed))
    np.testing.assert_allclose(told.gradient(1.7), 1.7 / size * odd @ d, rtol=0, atol=1e-13)
    np.testing.assert_allclose(told.combine(even), even @ d, rtol=0, atol=1e-13)


@both
@every_normal
@pytest.mark.parametrize("pairs_at_once", [1, 3, 100])
def test_sums_over_the_normals_are_those_of_the_dense_ones(
    sampler, mirrored, pairs_at_once, monkeypatch
):
    """To rounding, in chunks of any size; sums of squares bit for bit."""
    told, _ = told_at(sampler, mirrored)
    products, w = told.products(told.even), told.even
    monkeypatch.setattr(module, "_LATENT_BYTES", pairs_at_once * 2 * 8 * N)
    chunks = dict(told.latents())
    z = np.concatenate(list(chunks.values())).astype(float)
    assert [p for chunk in chunks for p in range(*chunk)] == list(range(7))
    if hasattr(sampler, "squares"):  # not those of a full matrix, which needs the products
        np.testing.assert_array_equal(told.squares(w), reference.squares(w, z))
    np.testing.assert_allclose(told.products(w), (z.T * w) @ z, rtol=0, atol=1e-13)
    np.testing.assert_allclose(told.products(w), products, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(z, sampler.latents(told.generation.key, (0, 7)))


@few
@given(n=st.integers(2, 9), seed=st.integers(0, 99), beta=st.floats(0.1, 9.0))
def test_one_sided_estimate_has_the_expectation_of_the_mirrored(n, seed, beta):
    """``beta Sigma grad f`` for quadratic f: a design and its negative take its place."""
    rng = np.random.default_rng(seed)
    covariance = reference.shape(0.4, np.eye(1, n))
    design = orthonormal_design(n + 2, 0.3, covariance, seed)
    both_ways = Design(np.vstack([design.matrix, -design.matrix]), 0.3)
    x, slope, h = rng.normal(size=n), rng.normal(size=n), rng.normal(size=(n, n))
    h += h.T
    generation = generation_at(x, both_ways, 2 * (n + 2), mirrored=False)
    found = estimate(lambda y: slope @ y + y @ h @ y / 2, generation, beta)
    expected = beta * covariance @ (slope + h @ x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11 * beta)


def test_one_sided_values_less_their_mean_give_a_share_of_the_expectation():
    """(P - 1) / P of it, f linear and one coordinate: the mean over all signs of P = 3 steps."""
    found = [
        estimate(
            lambda y: 5.0 + 2.0 * y[0],
            generation_at([1.0], Design(0.3 * np.array(signs)[:, None], 0.3), 3,
                          mirrored=False),
            beta=1.5,
            shape=lambda values: values - values.mean(),
        )
        for signs in itertools.product([-1.0, 1.0], repeat=3)
    ]  # fmt: skip
    np.testing.assert_allclose(np.mean(found), 1.5 * 2.0 * 2 / 3, rtol=1e-12)


def test_values_are_utilities_where_nothing_else_is_said():
    """And even and odd parts are those of the utilities."""
    u, values = np.array([[1.0, 4.0], [0.5, 9.0]]), np.array([[7.0, np.nan], [8.0, 3.0]])
    generation = Generation(np.zeros(2), Isotropic(2), 0, 0, 2)
    assert Told(generation, u, 2).values is u
    told = Told(generation, u, 2, values=values)
    assert told.values is values
    assert (told.odd.tolist(), told.even.tolist()) == ([0.5, -5.0], [1.5, 13.0])
    one = Told(replace(generation, mirrored=False), u[:1], 2)
    assert (one.odd.tolist(), one.even.tolist()) == ([1.0, 4.0], [1.0, 4.0])


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [("seed", 0, 2**64 - 1), ("index", 0, 2**32 - 1), ("n_pairs", 1, 2**32 - 1)],
)
def test_what_a_file_may_declare(field, least, most):
    """The counters of the noise take no more; a sampler has up to 2^40 coordinates."""
    made = Generation(np.zeros(2), Isotropic(2), 0, 0, 2)
    for taken in (least, most):
        check(replace(made, **{field: taken}), 2, np.float64)
    for refused in (least - 1, most + 1):
        with pytest.raises(ValueError, match=f"{field} is {refused}"):
            check(replace(made, **{field: refused}), 2, np.float64)
    check(Isotropic(2**40), 2, np.float64)
    for n in (0, 2**40 + 1):
        with pytest.raises(ValueError, match=f"n is {n}"):
            check(Isotropic(n), 2, np.float64)
