"""AdaptiveES: it works before it is tuned, and nothing but ranks comes in."""

from dataclasses import replace

import numpy as np
import pytest
from problems import X0, bits, bowl, make
from scipy.optimize import rosen
from scipy.special import gammaln
from threadpoolctl import threadpool_limits

from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Elongated, directions
from blackbox_es.strategies import AdaptiveES
from blackbox_es.strategies.adaptive import evolution
from blackbox_es.strategies.adaptive.kernels import adapted, rates_of, towards
from blackbox_es.testing.statistics import assert_mean

EPS = np.finfo(float).eps
both = pytest.mark.parametrize("covariance", ["full", "diagonal"])
ALONE = {"slopes": False, "restarts": 0, "random_state": 1}  # one evolution, nothing else


def path(covariance, objective, x0=X0, **options):
    """Where an evolution has been: centers and scales of 40 generations."""
    es = AdaptiveES(covariance=covariance, **{**ALONE, **options}).start(x0)
    centers = []
    for _ in range(40):
        X = es.ask()
        es.tell(X, [objective(x) for x in X])
        centers.append(es.x_)
    return np.array(centers), es.history_["sigma"], es.state_.evolution.metric


@both
def test_monotone_maps_change_nothing(covariance):
    """Any increasing map of the objective gives the same search bit for bit."""
    assert bits(path(covariance, bowl)) == bits(path(covariance, lambda x: np.log(bowl(x))))


@both
def test_powers_of_two_change_nothing(covariance):
    """x0 and sigma times 4: the same search in units of 4, bit for bit."""
    centers, sigma, metric = path(covariance, bowl, sigma=0.25)
    scaled = path(covariance, lambda x: bowl(x / 4), 4 * X0, sigma=1.0)
    assert bits(scaled) == bits((4 * centers, 4 * sigma, metric))


@both
def test_scales_of_the_coordinates(covariance):
    """A vector of sigmas is the same search in other units, to rounding."""
    units = np.array([4.0, 0.5, 1.0])
    centers, _, _ = path(covariance, bowl, sigma=0.25)
    scaled, _, _ = path(covariance, lambda x: bowl(x / units), units * X0, sigma=units / 4)
    np.testing.assert_allclose(scaled[:12], units * centers[:12], rtol=1e-9)


@both
def test_translations_change_nothing(covariance):
    """The objective and x0 moved together: the same search elsewhere, to rounding."""
    shift = np.array([3.0, -5.0, 0.25])
    centers, _, _ = path(covariance, bowl, sigma=0.25)
    moved, _, _ = path(covariance, lambda x: bowl(x - shift), X0 + shift, sigma=0.25)
    np.testing.assert_allclose(moved[:12] - shift, centers[:12], atol=1e-9)


def test_rotations_change_no_law():
    """The full metric: log f after 40 generations has the same mean (twice 40 seeds)."""
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    scales, logs = np.array([1.0, 30.0, 900.0]), []
    for seed in range(40):
        plain, _, _ = path("full", lambda x: scales @ (x * x), random_state=seed)
        turned, _, _ = path(
            "full", lambda x: scales @ (rotation @ x) ** 2, rotation.T @ X0, random_state=seed + 99
        )
        ends = scales @ (plain[-1] ** 2), scales @ (rotation @ turned[-1]) ** 2
        logs.append(np.log(ends))
    a, b = np.array(logs).T
    error = np.sqrt((a.var() + b.var()) / 40)
    assert abs(a.mean() - b.mean()) < 4.0 * error < 3.0  # of a fall of about 10


@both
def test_random_values_move_no_scale(covariance):
    """If values say nothing, log sigma hardly drifts: over 400 generations, ten seeds."""
    drift = []
    for seed in range(10):
        noise = np.random.default_rng(seed)
        es = AdaptiveES(covariance=covariance, **{**ALONE, "random_state": seed}).start(
            np.zeros(10)
        )
        for _ in range(400):
            es.tell(es.ask(), noise.random(len(es.ask())))
        drift.append(np.log(es.state_.evolution.sigma) / 400)
    assert abs(np.mean(drift)) < 0.01  # a single step is of the order of a tenth


def test_steps_are_white_under_random_selection():
    """The first whitened step has mean squared length n when values say nothing."""
    squares = []
    for seed in range(400):
        es = AdaptiveES(**{**ALONE, "random_state": seed}).start(np.zeros(5))
        es.tell(es.ask(), np.random.default_rng(seed).random(len(es.ask())))
        squares.append(np.square(es.state_.evolution.path).sum())
    mu = 1.0 / np.square(_weights(es.pairs(5) * 2)).sum()
    slow = (mu + 2.0) / (5 + mu + 5.0)
    variance = slow * (2.0 - slow)  # that of the path, of which this is the first step
    assert_mean(squares, 5 * variance, detects=3 * variance)


def _weights(m):
    w = np.maximum(np.log((m + 1) / 2) - np.log(np.arange(1, m + 1)), 0.0)
    return w / w.sum()


@both
@pytest.mark.parametrize("best", [0, 3])
def test_ties_are_learnt_from(covariance, best):
    """All values equal but one: nothing becomes NaN."""
    es = AdaptiveES(covariance=covariance, n_pairs=4, **ALONE).start(X0)
    for _ in range(20):
        values = np.ones(8)
        values[best] = 0.0
        es.tell(es.ask(), values)
    run = es.state_.evolution
    assert np.isfinite([*run.x, run.sigma, *run.metric.ravel()]).all()


@pytest.mark.parametrize(("n", "most"), [(2, 2000), (5, 6000), (10, 12_000), (20, 40_000)])
def test_rosenbrock_from_zero(n, most):
    """Below 1e-8, said to have converged, with nothing set; the median of five seeds in time."""
    runs = [AdaptiveES(random_state=seed).fit(rosen, np.zeros(n)) for seed in range(5)]
    assert np.median([es.fun_ for es in runs]) < 1e-8
    assert np.median([es.n_evaluations_ for es in runs]) < most
    assert [es.stop_reason_ for es in runs].count("tol") >= 3


@pytest.mark.parametrize("sigma", [0.003, 30.0])
def test_a_scale_a_hundred_times_off(sigma):
    """Costs at most half as many evaluations again on the sphere (medians of five seeds)."""

    def evaluations(sigma):
        options = [{**ALONE, "sigma": sigma, "random_state": seed} for seed in range(5)]
        runs = [AdaptiveES(**o).fit(lambda x: x @ x, np.ones(10)) for o in options]
        return np.median([es.n_evaluations_ for es in runs])

    assert evaluations(sigma) < 1.5 * evaluations(0.3)


def test_many_coordinates():
    """A diagonal metric with one row: an ellipsoid of condition 1e6 in 100 dimensions."""
    scales = 1e6 ** np.linspace(0, 1, 100)
    es = AdaptiveES(max_evals=30_000, **ALONE).fit(lambda x: scales @ (x * x), np.ones(100))
    assert es.fun_ < 1e-8
    assert es.state_.evolution.metric.shape == (100,)


@pytest.mark.parametrize(("covariance", "n"), [("full", 150), ("diagonal", 50_000)])
def test_threads_change_no_bits(covariance, n):
    """However many of them BLAS is given."""
    found = []
    for threads in (1, 2, 3):
        es = AdaptiveES(covariance=covariance, max_iter=3, **ALONE)
        with threadpool_limits(threads):
            found.append(bits(es.fit(lambda x: float(np.abs(x).sum()), np.ones(n)).state_))
    assert found[0] == found[1] == found[2]


def test_no_minimum():
    """A slope that goes on for ever is said to."""
    assert AdaptiveES(**ALONE).fit(lambda x: x.sum(), X0).stop_reason_ == "diverged"
    assert AdaptiveES(random_state=0).fit(lambda x: x.sum(), X0).stop_reason_ == "unbounded"


def test_ranks_only():
    """Values themselves would be no weights."""
    with pytest.raises(ValueError, match="shaping='raw'"):
        make("adaptive-es", shaping="raw").start(X0)


def test_elongated_is_diagonal_plus_low_rank():
    """``E[d d^T] = diag(sigmas^2) + rows^T rows``, and sums are sums of directions."""
    sampler = Elongated(np.array([1.0, 2.0, 0.5]), np.array([[1.0, -1.0, 2.0]]))
    d, w = directions(sampler, (1, 2), (0, 20_000)), np.linspace(-1, 1, 50)
    expected = np.diag([1.0, 4.0, 0.25]) + np.outer(sampler.rows, sampler.rows)
    np.testing.assert_allclose(d.T @ d / len(d), expected, atol=0.25)
    np.testing.assert_allclose(sampler.combine(w, (1, 2), float), w @ d[:50], rtol=1e-12)
    assert sampler.sigma**2 == pytest.approx(np.trace(expected) / 3)


@both
def test_scales_stay_above_their_floor(covariance):
    """No standard deviation falls below ``min_sigma``; the search converges in the others."""
    least = np.array([0.0, 0.05, 0.0])
    es = AdaptiveES(covariance=covariance, min_sigma=least, **ALONE).start(np.ones(3))
    while not es.stop_reason_:
        X = es.ask()
        es.tell(X, X[:, 0] ** 2 + np.round(X[:, 1]) ** 2 + X[:, 2] ** 2)
        run = es.state_.evolution
        rows = np.square(run.metric).reshape(3, -1).sum(axis=1)
        assert (run.sigma * np.sqrt(rows) >= least * (1.0 - 1e-12)).all()
    assert es.stop_reason_ == "tol"
    assert np.abs(es.x_[[0, 2]]).max() < 1e-3


@both
def test_a_floor_of_zero_changes_nothing(covariance):
    """``min_sigma=0`` is ``min_sigma=None``, bit for bit."""
    plain, zero = (
        AdaptiveES(covariance=covariance, min_sigma=least, max_iter=40, **ALONE).fit(bowl, X0)
        for least in (None, 0.0)
    )
    assert bits(plain.state_) == bits(zero.state_)


@pytest.mark.parametrize("least", [-0.1, [0.1, 0.1], [[0.1] * 3], np.inf, [0.1, np.nan, 0.1]])
def test_a_floor_is_a_number_or_one_per_coordinate(least):
    """Anything else is refused."""
    with pytest.raises(ValueError, match="min_sigma"):
        AdaptiveES(min_sigma=least).start(np.zeros(3))


# -- the rules of an evolution, on both sides of each ---------------------------------------------


def begun(n=3, full=True, **known):
    run = evolution.begin(np.zeros(n), 1.0, 3, full)
    return replace(run, **known)


def tolerance(x=1e-9, f=0.0, least=None):
    return evolution.Tolerance(x, f, least)


def test_scales_at_the_start():
    """sigma is their geometric mean, the metric what is left of them."""
    for full in (True, False):
        run = evolution.begin(np.zeros(3, np.float32), np.array([1.0, 2.0, 4.0]), 5, full)
        assert (run.sigma, run.start) == (pytest.approx(2.0), pytest.approx(2.0))
        metric = np.diag(run.metric) if full else run.metric
        np.testing.assert_allclose(metric, [0.5, 1.0, 2.0], rtol=1e-6)
        assert (run.metric.dtype, run.n_pairs) == (np.float32, 5)
        assert run.metric.shape == ((3, 3) if full else (3,))
        assert not any(part.any() for part in (run.path, run.fast, run.moved))


@pytest.mark.parametrize("n", [1, 2, 3, 10, 100])
def test_the_mean_length_of_a_normal_vector(n):
    """``sqrt(2) gamma((n + 1) / 2) / gamma(n / 2)``, to .02 / n^2."""
    exact = np.sqrt(2.0) * np.exp(gammaln((n + 1) / 2) - gammaln(n / 2))
    assert evolution._mean_length(n) == pytest.approx(exact, rel=0.02 / n**2)


@pytest.mark.parametrize("n", [1, 5, 200])
def test_whitened_steps_of_a_diagonal_metric_are_round(n):
    """``W (D^2 (1 - s) + D.. r r^T s) W^T = I``, exactly: W of basis vectors."""
    rng = np.random.default_rng(n)
    run = begun(n, False, metric=rng.uniform(0.1, 5.0, n), moved=rng.standard_normal(n), sigma=2.0)
    share = 1.0 / (6.0 * np.sqrt(n) + 10.0)
    sampler = evolution.plan(run).sampler
    np.testing.assert_allclose(sampler.sigmas, 2.0 * np.sqrt(1.0 - share) * run.metric)
    np.testing.assert_allclose(sampler.rows, 2.0 * np.sqrt(share) * run.moved[None])
    whiten = np.array([evolution._whitened(run, e) for e in np.eye(n)]).T
    rows = sampler.rows / 2.0
    covariance = np.diag(np.square(sampler.sigmas / 2.0)) + rows.T @ rows
    np.testing.assert_allclose(whiten @ covariance @ whiten.T, np.eye(n), atol=1e-12)
    still = replace(run, moved=np.zeros(n))
    np.testing.assert_allclose(
        evolution._whitened(still, run.metric), np.full(n, 1.0 / np.sqrt(1.0 - share))
    )


def test_lengths_are_those_of_the_rows():
    np.testing.assert_allclose(evolution._lengths(np.array([[3.0, 4.0], [0.0, 2.0]])), [5.0, 2.0])
    np.testing.assert_allclose(evolution._lengths(np.array([3.0, 0.5])), [3.0, 0.5])


@pytest.mark.parametrize(("n", "n_pairs", "patience"), [(3, 3, 25), (10, 5, 40), (1, 100, 10)])
def test_patience(n, n_pairs, patience):
    """10 + 15 n / P generations of one best value."""
    run = begun(n, n_pairs=n_pairs)
    assert evolution._patience(run) == patience
    assert evolution._reason(replace(run, n_level=patience - 1), tolerance()) is None
    assert evolution._reason(replace(run, n_level=patience), tolerance()) == "tol"


def test_what_values_have_come_to():
    """The level holds within fatol and rounding; the lowest median is counted from."""
    run, values = begun(level=2.0, n_level=4, median=5.0, n_median=6), np.array([2.0, 3, 5, 6, 9])
    seen = evolution._watched(run, values, tolerance())
    assert (seen.level, seen.n_level, seen.median, seen.n_median) == (2.0, 5, 5.0, 7)
    values[0], values[2] = 2.0 + 16 * EPS, 4.5
    seen = evolution._watched(run, values, tolerance())
    assert (seen.level, seen.n_level, seen.median, seen.n_median) == (values[0], 0, 4.5, 0)
    values[0] = 2.0 + 8 * EPS
    assert evolution._watched(run, values, tolerance()).n_level == 5
    values[0] = 1.75
    assert evolution._watched(run, values, tolerance(f=0.25)).level == 2.0
    assert evolution._watched(run, values, tolerance(f=0.2)).level == 1.75


def test_why_an_evolution_ends():
    """Small in all coordinates, endlessly large, or no better for long."""
    run = begun(metric=np.diag([1.0, 2.0, 0.5]))
    assert evolution._reason(run, tolerance()) is None
    assert evolution._reason(replace(run, sigma=0.5), tolerance(1.0)) == "tol"
    assert evolution._reason(replace(run, sigma=0.51), tolerance(1.0)) is None
    least = np.array([0.0, 2.0, 0.0])
    assert evolution._reason(run, tolerance(1.0, least=least)) == "tol"
    assert evolution._reason(replace(run, sigma=1.01), tolerance(1.0, least=least)) is None
    assert evolution._reason(replace(run, sigma=1e60), tolerance()) == "diverged"
    assert evolution._reason(replace(run, sigma=0.9e60), tolerance()) is None
    bad = replace(run, metric=np.diag([1.0, np.inf, 1.0]))
    assert evolution._reason(bad, tolerance()) == "diverged"
    last = int(np.ceil(100 + 50 * 3**1.5 / 3))
    assert evolution._reason(replace(run, n_median=last), tolerance()) == "stalled"
    assert evolution._reason(replace(run, n_median=last - 1), tolerance()) is None


def told_of(run, u):
    sampler, n_pairs, mirrored = evolution.plan(run)
    return Told(Generation(run.x, sampler, 3, 1, n_pairs, mirrored), u, n_pairs)


@pytest.mark.parametrize("full", [True, False])
def test_a_generation_step_by_step(full):
    """Center, paths, scale and metric by their formulas, in plain NumPy."""
    n, u = 4, np.log(np.array([[4.0, 1.0, 6.0], [2.0, 5.0, 3.0]]) / 3.5)
    rng = np.random.default_rng(1)
    metric = np.diag(rng.uniform(0.5, 2, n)) + (0.1 * rng.standard_normal((n, n)) if full else 0.0)
    metric = metric if full else np.diag(metric).copy()
    path, fast, moved = 0.3 * rng.standard_normal((3, n))
    run = begun(n, full, sigma=0.5, metric=metric, path=path, fast=fast, moved=moved)
    told = told_of(run, u)
    after = evolution.learn(run, told, np.arange(6.0), tolerance())
    rates = rates_of(told, full)
    d = directions(told.generation.sampler, told.generation.key, (0, 3))
    step = (d.T * rates.odd).sum(axis=1)
    np.testing.assert_allclose(after.x, step, rtol=1e-6)
    z = step / (0.5 * rates.size)
    np.testing.assert_allclose(after.moved, towards(moved, z, 2.0 / (n + 7)), rtol=1e-6)
    white = np.linalg.solve(metric, z) if full else evolution._whitened(run, z)
    slow = towards(path, white, rates.slow)
    np.testing.assert_allclose(after.path, slow, rtol=1e-5)
    length = np.linalg.norm(slow) / evolution._mean_length(n)
    assert after.sigma == pytest.approx(
        0.5 * np.exp(rates.slow / rates.damping * (length - 1.0)), rel=1e-6
    )
    quick = towards(fast, white if length < 1.4 + 2.0 / (n + 1) else 0.0 * z, rates.fast)
    np.testing.assert_allclose(after.fast, quick, rtol=1e-5)
    normals = np.concatenate([z for _, z in told.latents()]) if full else None
    if full:
        w = rates.good - rates.bad * n / np.square(normals.astype(float)).sum(axis=1)
        second = (normals.T * w) @ normals
        np.testing.assert_allclose(after.metric, adapted(metric, second, rates, quick), rtol=1e-6)
    else:
        even = rates.good - rates.bad
        excess = rates.many / 2 * (told.squares(even) - even.sum())
        excess += rates.one / 2 * (np.square(quick) - 1.0)
        np.testing.assert_allclose(after.metric, metric * np.exp(excess), rtol=1e-6)
    assert (after.n_pairs, after.start, after.reason) == (3, 1.0, None)


@pytest.mark.parametrize("full", [True, False])
def test_a_path_that_is_far_too_long(full):
    """sigma grows by e at the most, and C does not follow it yet."""
    n, u = 4, np.log(np.array([[4.0, 1.0, 6.0], [2.0, 5.0, 3.0]]) / 3.5)
    run = begun(n, full, path=np.full(n, 100.0), fast=np.ones(n))
    after = evolution.learn(run, told := told_of(run, u), np.arange(6.0), tolerance())
    rates = rates_of(told, full)
    assert after.sigma == pytest.approx(np.e, rel=1e-12)
    np.testing.assert_allclose(after.fast, (1.0 - rates.fast) * np.ones(n), rtol=1e-12)
    large = replace(run, sigma=0.9e60)
    assert evolution.learn(large, told_of(large, u), np.arange(6.0), tolerance()).sigma == 1e60


def test_a_change_of_a_diagonal_is_bounded():
    """No logarithm of a scale changes by more than a half in a generation."""
    n, u = 2, np.log(np.array([[4.0, 1.0, 6.0], [2.0, 5.0, 3.0]]) / 3.5)
    run = begun(n, False, fast=np.array([1e6, 0.0]))
    after = evolution.learn(run, told_of(run, u), np.arange(6.0), tolerance())
    assert after.metric[0] == pytest.approx(np.exp(0.5), rel=1e-12)


def test_values_that_tell_no_direction_move_nothing():
    """They end the run in time: it has converged if it has ever moved, else it is flat."""
    u = np.zeros((2, 3))
    run = begun(n_level=24, level=0.0)
    told = told_of(run, u)
    assert evolution.learn(run, told, np.zeros(6), tolerance()).reason == "flat"
    early = evolution.learn(replace(run, n_level=23), told, np.zeros(6), tolerance())
    assert (early.reason, early.n_level, early.sigma) == (None, 24, 1.0)
    moved = replace(run, path=np.ones(3))
    assert evolution.learn(moved, told, np.zeros(6), tolerance()).reason == "tol"
    small = begun(x=np.ones(3), sigma=1e-30)
    assert evolution.learn(small, told_of(small, u), np.zeros(6), tolerance()).reason == (
        "sigma_underflow"
    )
    small = replace(small, path=np.ones(3))
    assert evolution.learn(small, told_of(small, u), np.zeros(6), tolerance()).reason == "tol"
