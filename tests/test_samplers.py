"""Samplers: the second moments of the directions, exactly, and what they may depend on.

Directions are linear in the normals behind them, so their covariance needs no statistics: the
linear map is recovered by least squares from more directions than it has columns.
"""

import itertools
import math
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from blackbox_es import _jit, noise
from blackbox_es.samplers import (
    Affine,
    Axes,
    Chosen,
    Diagonal,
    Elongated,
    Guided,
    Isotropic,
    LowRank,
    directions,
)

EPS = np.finfo(float).eps
KEY = (7, 3)
needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
few = settings(deadline=None, max_examples=30, derandomize=True)
dimensions = st.integers(1, 6).flatmap(lambda k: st.tuples(st.integers(k, 70), st.just(k)))
shares = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
sigmas = st.floats(1e-6, 1e6)


def random_rows(n, k, seed=0, dtype=np.float64):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, k)))
    return np.ascontiguousarray(q.T, dtype)


def guided(n, sigma, rows, alpha):
    return Guided(Isotropic(n, sigma), rows, alpha)


SHAPES = ((3, 4), (4, 2))
N = LowRank(SHAPES).n
SIGMAS = np.linspace(0.1, 0.5, N)
MATRIX = np.random.default_rng(3).normal(size=(N, N)) / 10
SAMPLERS = {
    "diagonal": Diagonal(SIGMAS),
    "affine": Affine(MATRIX),
    "elongated": Elongated(SIGMAS, random_rows(N, 2) / 3),
    "isotropic": Isotropic(N, 0.3),
    "low rank": LowRank(SHAPES, 0.3),
    "guided": Guided(Isotropic(N, 0.3), random_rows(N, 3), 0.4),
    "guided low rank": Guided(LowRank(SHAPES, 0.3), random_rows(N, 3), 0.4),
    "in the subspace": Guided(Isotropic(N, 0.3), random_rows(N, 3), 0.0),
}
every_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


def as_dtype(sampler, dtype):
    """The sampler in the dtype of its center, as strategies make it."""
    held = {field.name: getattr(sampler, field.name) for field in fields(sampler)}
    arrays = {name: v.astype(dtype) for name, v in held.items() if isinstance(v, np.ndarray)}
    return replace(sampler, **arrays)


def scaled(sampler, factor):
    """The same distribution, all directions times a factor."""
    if isinstance(sampler, Guided):
        return replace(sampler, base=scaled(sampler.base, factor))
    sizes = {"sigma", "sigmas", "matrix", "rows"} & {field.name for field in fields(sampler)}
    return replace(sampler, **{name: factor * getattr(sampler, name) for name in sizes})


# --- second moments ------------------------------------------------------------------------------


def law_covariance(make, n, sigma, rows, alpha):
    """``E[d d^T] = n sigma^2 (alpha/n I + (1-alpha)/k U U^T)``, trace n sigma^2, to rounding."""
    pairs = (0, 3 * (n + len(rows)))
    z = np.hstack(
        [
            noise.normals(KEY, pairs, (0, n)),
            noise.normals(KEY, pairs, (0, len(rows)), stream=noise.SUBSPACE),
        ]
    ).astype(np.float64)
    d = directions(make(n, sigma, rows, alpha), KEY, pairs)
    a, *_ = np.linalg.lstsq(z, d, rcond=None)
    # Linear: nothing else comes in.
    np.testing.assert_allclose(z @ a, d, rtol=0, atol=1e-12 * sigma)
    expected = reference.covariance(sigma, alpha, rows)
    np.testing.assert_allclose(a.T @ a, expected, rtol=0, atol=1e-12 * n * sigma**2)
    assert math.isclose(np.trace(a.T @ a), n * sigma**2, rel_tol=1e-12)


@few
@given(nk=dimensions, sigma=sigmas, alpha=shares)
def test_guided_covariance_is_exact(nk, sigma, alpha):
    n, k = nk
    law_covariance(guided, n, sigma, random_rows(n, k), alpha)


def test_isotropic_covariance_is_exact():
    law_covariance(
        lambda n, sigma, rows, alpha: Isotropic(n, sigma), 30, 0.2, random_rows(30, 2), 1
    )


@pytest.mark.parametrize(
    ("sampler", "root"), [(Diagonal(SIGMAS), np.diag(SIGMAS)), (Affine(MATRIX), MATRIX)]
)
def test_directions_are_a_root_of_the_covariance_times_normals(sampler, root):
    """``d = A z`` to rounding, sigma the root of ``trace(A A^T) / n``, z and its sums as told."""
    z, w = noise.normals(KEY, (0, 9), (0, N)).astype(float), np.arange(9.0)
    np.testing.assert_allclose(directions(sampler, KEY, (0, 9)), z @ root.T, rtol=0, atol=1e-14)
    assert math.isclose(sampler.sigma, math.sqrt((root**2).sum() / N), rel_tol=1e-14)
    np.testing.assert_array_equal(sampler.latents(KEY, (2, 5)), z[2:5])
    assert sampler.n == N
    if isinstance(sampler, Diagonal):
        np.testing.assert_allclose(sampler.squares(w, KEY), w @ z**2, rtol=1e-14)


def test_elongated_directions_are_their_formula():
    """``sigmas z + rows^T w`` to rounding; ``n sigma^2`` is ``|sigmas|^2 + |rows|^2``."""
    sampler, v = SAMPLERS["elongated"], np.arange(9.0)
    z = noise.normals(KEY, (0, 9), (0, N)).astype(float)
    w = noise.normals(KEY, (0, 9), (0, 2), stream=noise.SUBSPACE).astype(float)
    expected = z * SIGMAS + w @ sampler.rows
    np.testing.assert_allclose(directions(sampler, KEY, (0, 9)), expected, rtol=0, atol=1e-14)
    trace = (SIGMAS**2).sum() + (sampler.rows**2).sum()
    assert math.isclose(N * sampler.sigma**2, trace, rel_tol=1e-14)
    np.testing.assert_allclose(sampler.squares(v, KEY), v @ z**2, rtol=1e-14)


WRONG_SAMPLERS = {
    "sigma 10 % too large": lambda n, sigma, rows, a: guided(n, 1.1 * sigma, rows, a),
    "sigma of a length": lambda n, sigma, rows, a: guided(n, sigma / math.sqrt(n), rows, a),
    "shares swapped": lambda n, sigma, rows, a: guided(n, sigma, rows, 1 - a),
    "k ignored": lambda n, sigma, rows, a: guided(n, sigma, math.sqrt(len(rows)) * rows, a),
    "one guide lost": lambda n, sigma, rows, a: guided(n, sigma, rows[1:], a),
    "subspace transposed": lambda n, sigma, rows, a: guided(n, sigma, rows.T.reshape(-1, n), a),
    "not orthonormal": lambda n, sigma, rows, a: guided(n, sigma, rows + 0.1 * rows[0], a),
    "not random inside": lambda n, sigma, rows, a: guided(n, sigma, rows[:1] + 0 * rows, a),
}


@pytest.mark.parametrize("fault", WRONG_SAMPLERS)
def test_wrong_covariances_are_found(fault):
    with pytest.raises(AssertionError):
        law_covariance(WRONG_SAMPLERS[fault], 20, 0.2, random_rows(20, 3), 0.3)


@pytest.mark.parametrize(
    "shapes", [((1, 2), (2, 1)), ((2, 2), (2, 1)), ((3, 2),), ((2, 3), (3, 1))]
)
def test_low_rank_covariance_is_exact(monkeypatch, shapes):
    """Over all combinations of signs the mean of ``d d^T`` is ``sigma^2 I``, that of d zero."""
    sampler = LowRank(shapes, 0.3)
    size = sampler.factors(KEY, (0, 1), float).shape[1]
    every = np.array(list(itertools.product([-1.0, 1.0], repeat=size)))
    monkeypatch.setattr(noise, "signs", lambda key, pairs, size, dtype: every)
    d = directions(sampler, KEY, (0, len(every)))
    expected = 0.3**2 * np.eye(sampler.n)
    np.testing.assert_allclose(d.T @ d / len(d), expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(d.mean(axis=0), 0.0, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "shapes",
    [((5, 3),), ((5, 4), (4, 3)), ((7, 5), (5, 3), (3, 1)), ((31, 32),), ((99, 30), (30, 9))],
)
def test_low_rank_words_are_the_factors(shapes):
    """32 to a word, in as many words as it takes."""
    sampler = LowRank(shapes)
    factors, words = sampler.factors(KEY, (2, 9), float), sampler.words(KEY, (2, 9))
    assert words.shape == (7, -(-factors.shape[1] // 32))
    bits = (words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    signs = (2.0 * bits - 1).reshape(7, -1)
    np.testing.assert_array_equal(signs[:, : factors.shape[1]], factors)


@pytest.mark.parametrize("shapes", [((5, 3),), ((5, 4), (4, 3)), ((7, 5), (5, 3), (3, 1))])
def test_low_rank_blocks(shapes):
    """Magnitudes sigma, hidden weights of rank one, the layout of a network."""
    sampler = LowRank(shapes, 0.3)
    d = directions(sampler, KEY, (0, 20))
    assert d.shape == (20, sum(m * h + h for m, h in shapes))
    np.testing.assert_allclose(np.abs(d), 0.3, rtol=2 * EPS)
    start = 0
    for fan_in, fan_out in shapes[:-1]:
        blocks = d[:, start : start + fan_in * fan_out].reshape(20, fan_in, fan_out)
        assert (np.linalg.matrix_rank(blocks) == 1).all()
        start += (fan_in + 1) * fan_out
    last = d[:, start : start + shapes[-1][0] * shapes[-1][1]].reshape(20, *shapes[-1])
    assert np.linalg.matrix_rank(last).max() == min(shapes[-1])


@every_sampler
def test_length_goes_with_sigma(sampler):
    """Twice the sigma is twice the direction, bit for bit."""
    d, double = directions(sampler, KEY, (0, 9)), scaled(sampler, 2)
    assert double.sigma == 2 * sampler.sigma
    np.testing.assert_array_equal(directions(double, KEY, (0, 9)), 2 * d)


@every_sampler
def test_equal_samplers_are_equal_values(sampler):
    """Also after pickling, which writes no noise; another scale is another value."""
    sent = pickle.dumps(sampler)
    assert pickle.loads(sent) == sampler
    assert hash(pickle.loads(sent)) == hash(sampler)
    assert scaled(sampler, 2) != sampler
    assert len(sent) < 1000 + 16 * N * N


# --- points and sums -----------------------------------------------------------------------------


@every_sampler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_combine_is_the_weighted_sum_of_directions(sampler, dtype):
    """``combine(w) == w @ directions`` to rounding in float64, for more pairs than a chunk."""
    w, sampler = np.random.default_rng(1).normal(size=600), as_dtype(sampler, dtype)
    d = directions(sampler, KEY, (0, 600))
    found = sampler.combine(w, KEY, dtype)
    bound = N * EPS * np.abs(w) @ np.abs(d) + np.finfo(dtype).eps * np.abs(w @ d)
    assert found.shape == (N,)
    assert found.dtype == dtype
    assert (np.abs(found - w @ d) <= bound).all()


WIDE = LowRank(((100, 300), (300, 10)), 0.3)


@pytest.mark.parametrize(
    ("sampler", "n_pairs"),
    [
        (WIDE, 256),
        (Guided(WIDE, random_rows(WIDE.n, 3), 0.4), 256),
        pytest.param(Guided(Isotropic(9), random_rows(9, 1), 0.4), 100_000, marks=needs_numba),
    ],
    ids=["low rank", "guided low rank", "many pairs"],
)
def test_threads_change_no_bits(sampler, n_pairs):
    """However many of them BLAS is given, as a worker is given one."""
    w, center = np.random.default_rng(1).normal(size=n_pairs), np.linspace(-1, 1, sampler.n)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            sums, points = sampler.combine(w, KEY, float), sampler.perturb(center, KEY, (0, 9))
        found.append((sums.tobytes(), points.tobytes()))
    same = len(set(found)) == 1
    assert same


@every_sampler
@few
@given(scale=st.integers(-60, 60).map(lambda p: 2.0**p), seed=st.integers(0, 99))
def test_combine_is_linear(sampler, scale, seed):
    """Bit for bit for powers of two, to rounding for sums."""
    w, v = np.random.default_rng(seed).normal(size=(2, 11))
    of_w, of_v = sampler.combine(w, KEY, float), sampler.combine(v, KEY, float)
    np.testing.assert_array_equal(sampler.combine(scale * w, KEY, float), scale * of_w)
    np.testing.assert_allclose(sampler.combine(w + v, KEY, float), of_w + of_v, rtol=0, atol=1e-14)


@every_sampler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_points_are_mirror_images(sampler, dtype):
    """Exactly about zero, elsewhere to one rounding of each point."""
    sampler = as_dtype(sampler, dtype)
    plus, minus = sampler.perturb(np.zeros(N, dtype), KEY, (0, 5))
    np.testing.assert_array_equal(plus, -minus)
    center = np.random.default_rng(2).normal(size=N).astype(dtype)
    points = sampler.perturb(center, KEY, (0, 5))
    assert points.dtype == center.dtype
    bound = np.finfo(dtype).eps * np.abs(points).max(axis=0)
    assert (np.abs(points.astype(float).sum(axis=0) - 2.0 * center) <= bound).all()
    np.testing.assert_allclose(points[0] - center, plus, rtol=0, atol=2 * bound.max())


CHOSEN = {
    "axes": (Axes(np.array([0.5, 2.0, 1.0])), np.diag([0.5, 2.0, 1.0])),
    "chosen": (
        Chosen(np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 0.25]])),
        [[1, -2, 0.5], [0, 3, 0.25]],
    ),
}


@pytest.mark.parametrize(("sampler", "d"), CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_directions_that_are_chosen(sampler, d, dtype):
    """They are what they say, both ways, in parts too; sigma is the root of their mean square."""
    sampler, center, d = as_dtype(sampler, dtype), np.array([3.0, -1.0, 0.125], dtype), np.array(d)
    for start, stop in ((0, len(d)), (1, len(d)), (0, 1), (1, 1)):
        points = sampler.perturb(center, KEY, (start, stop))
        assert points.dtype == dtype
        np.testing.assert_array_equal(points, [center + d[start:stop], center - d[start:stop]])
    w = np.array([0.5, -4.0, 3.0])[: len(d)]
    found = sampler.combine(w, KEY, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, w @ d)
    assert sampler.n == 3
    assert sampler.sigma == pytest.approx(np.sqrt(np.square(d).mean()), rel=1e-15)


@every_sampler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_shapes(sampler, dtype):
    """(2, pairs, n) points and n sums, of the dtype that is asked for."""
    sampler = as_dtype(sampler, dtype)
    for start, stop in ((0, 1), (3, 10), (5, 5)):
        points = sampler.perturb(np.ones(N, dtype), KEY, (start, stop))
        assert (points.shape, points.dtype) == ((2, stop - start, N), np.dtype(dtype))
    for other in ("f4", "f8"):
        found = sampler.combine(np.ones(4), KEY, other)
        assert (found.shape, found.dtype) == ((N,), np.dtype(other))


def test_a_sum_over_signs_is_that_of_its_chunks():
    """Of 512 pairs each, added up in their order: published results keep their bits."""
    sampler, w = LowRank(SHAPES), np.random.default_rng(4).normal(size=1100)
    total = np.zeros(N)
    for start in (0, 512, 1024):
        part = np.zeros(1100)
        part[start : start + 512] = w[start : start + 512]
        total += sampler.combine(part, KEY, float)
    np.testing.assert_array_equal(sampler.combine(w, KEY, float), total)


def test_points_about_a_dyadic_center_mirror_exactly():
    """With steps of +-1/4 and a center of eighths nothing is rounded."""
    sampler = LowRank(((3, 4),), sigma=0.25)  # n = 16
    center = np.random.default_rng(0).integers(-99, 99, 16) / 8
    plus, minus = sampler.perturb(center, KEY, (0, 50))
    np.testing.assert_array_equal(plus - center, center - minus)
    assert set(np.unique(plus - center)) == {-0.25, 0.25}


@every_sampler
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@few
@given(cuts=st.sets(st.integers(1, 39), max_size=4))
def test_any_chunks_of_pairs_give_the_same_bits(sampler, dtype, cuts):
    center, sampler = np.linspace(-1, 1, N).astype(dtype), as_dtype(sampler, dtype)
    whole = sampler.perturb(center, KEY, (0, 40))
    ranges = itertools.pairwise([0, *sorted(cuts), 40])
    parts = [sampler.perturb(center, KEY, pairs) for pairs in ranges]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@every_sampler
def test_no_pairs_are_no_points(sampler):
    assert sampler.perturb(np.zeros(N), KEY, (2, 2)).shape == (2, 0, N)
    np.testing.assert_array_equal(sampler.combine(np.zeros(0), KEY, float), np.zeros(N))


@pytest.mark.parametrize("base", [Isotropic(N, 0.3), LowRank(SHAPES, 0.3)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_alpha_one_draws_what_the_base_draws(base, dtype):
    """Bit for bit, from the same key: the guides are not there."""
    center = np.linspace(-1, 1, N).astype(dtype)
    sampler = Guided(base, random_rows(N, 2, dtype=dtype), 1.0)
    np.testing.assert_array_equal(
        sampler.perturb(center, KEY, (0, 9)), base.perturb(center, KEY, (0, 9))
    )
    w = np.arange(9.0)
    np.testing.assert_array_equal(sampler.combine(w, KEY, dtype), base.combine(w, KEY, dtype))


@pytest.mark.parametrize("base", [Isotropic(N, 0.3), LowRank(SHAPES, 0.3)])
def test_guided_directions_are_their_formula(base):
    """``sqrt(alpha) d_base + sigma sqrt(n (1-alpha)/k) z U^T`` to rounding."""
    rows = random_rows(N, 3)
    sampler = Guided(base, rows, 0.4)
    z = noise.normals(KEY, (0, 9), (0, 3), stream=noise.SUBSPACE).astype(float)
    scale = 0.3 * math.sqrt(N * 0.6 / 3)
    expected = math.sqrt(0.4) * directions(base, KEY, (0, 9)) + scale * z @ rows
    np.testing.assert_allclose(directions(sampler, KEY, (0, 9)), expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(sampler.latent(KEY, (0, 9)), z)


@few
@given(
    asked=st.lists(
        st.tuples(
            st.tuples(st.integers(0, 1), st.integers(0, 1)),
            st.sampled_from([(0, 2), (1, 3)]),
            st.integers(1, 2),
        ),
        min_size=2,
    )
)
def test_latent_normals_are_those_of_their_key_pairs_and_rank(asked):
    """Whatever was asked before; nobody can write into what is remembered."""
    for key, pairs, k in asked:
        latent = guided(5, 1.0, random_rows(5, k), 0.5).latent(key, pairs)
        expected = noise.normals(key, pairs, (0, k), stream=noise.SUBSPACE)
        np.testing.assert_array_equal(latent, expected)
        assert not latent.flags.writeable


def test_the_scale_by_default_is_one():
    assert Isotropic(3).sigma == LowRank(SHAPES).sigma == 1.0
