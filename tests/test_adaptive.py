"""AdaptiveES: it works before it is tuned, and nothing but ranks comes in."""

import numpy as np
import pytest
from problems import X0, bits, bowl, make
from scipy.optimize import rosen
from threadpoolctl import threadpool_limits

from blackbox_es.samplers import Elongated, directions
from blackbox_es.strategies import AdaptiveES
from blackbox_es.testing.statistics import assert_mean

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
