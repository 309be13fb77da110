"""CMA-ES by the package cmaes: its numbers, in the shell that all strategies have."""

import sys

import numpy as np
import pytest
from problems import X0, bits, bowl, state

from blackbox_es import CMAES, PGPE, SNES, minimize
from blackbox_es.strategies import BASELINES, STRATEGIES

cmaes = pytest.importorskip("cmaes")
OPTIONS = {"n_pairs": 4, "max_iter": 8, "random_state": 0, "sigma": 0.3}


def ellipsoid(x):
    """Curvatures that differ by a factor of 10,000, not along the coordinates."""
    n = x.shape[-1]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    return (np.geomspace(1.0, 1e4, n) * (x @ turn) ** 2).sum(axis=-1)


@pytest.mark.parametrize("sigma", [0.3, 1e-3])  # near, and on a long way, where paths are stalled
def test_the_updates_are_those_of_cmaes(sigma):
    """Told the same points and values, cmaes has the same mean, scale, matrix and paths."""
    es = CMAES(**{**OPTIONS, "sigma": sigma, "max_iter": 20}).start(X0)
    twin = cmaes.CMA(X0, sigma, population_size=8)
    while not es.stop_reason_:
        X = es.ask()
        values = [bowl(x) for x in X]
        es.tell(X, values)
        twin.tell(list(zip(X.copy(), values, strict=True)))
        np.testing.assert_allclose(es.x_, twin.mean, rtol=1e-12)
        np.testing.assert_allclose(es.sigma_, twin._sigma, rtol=1e-12)
        np.testing.assert_allclose(es.state_.covariance, twin._C, rtol=1e-9)
        np.testing.assert_allclose(es.state_.path_of_sigma, twin._p_sigma, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(es.state_.path, twin._pc, rtol=1e-9, atol=1e-12)


def test_directions_have_the_covariance():
    """``sigma^2 C``, from the normals of this package, by a symmetric root."""
    es = CMAES(**{**OPTIONS, "max_iter": 30}).fit(ellipsoid, X0)
    state = es.state_
    _, plan = es._ask(state, None)
    root = plan.sampler.matrix
    np.testing.assert_allclose(root, root.T, rtol=1e-9)
    np.testing.assert_allclose(root @ root, state.sigma**2 * state.covariance, rtol=1e-9)
    assert (plan.n_pairs, plan.mirrored) == (8, False)


def test_all_ways_are_one(tmp_path):
    """By hand through a file in mid-generation, trials in any order, workers, minimize."""
    expected = CMAES(**OPTIONS).fit(bowl, X0)
    es = CMAES(**OPTIONS).start(X0)
    while not es.stop_reason_:
        trials = list(es.ask_trials())[::-1]
        for trial in trials[:3]:
            es.tell_trial(trial.id, bowl(trial.x))
        es.save(tmp_path / "run.npz")
        es = CMAES.load(tmp_path / "run.npz")
        for trial in trials[3:]:
            es.tell_trial(trial.id, bowl(trial.x))
    assert state(es, final=False) == state(expected, final=False)
    assert state(CMAES(**OPTIONS, n_jobs=2).fit(bowl, X0)) == state(expected)
    assert bits(minimize(bowl, X0, method="cma-es", options=OPTIONS).x) == bits(expected.x_)
    assert {*BASELINES}.isdisjoint(STRATEGIES)


def test_failed_points_are_the_worst():
    """As if their values were infinite; what is missing of a generation, too."""
    moved = []
    for bad in (np.nan, 1e300):
        es = CMAES(**OPTIONS).start(X0)
        X = es.ask()
        values = [bowl(x) for x in X]
        values[2] = bad
        if np.isnan(bad):
            with pytest.warns(RuntimeWarning, match="evaluations failed"):
                es.tell(X, values)
        else:
            es.tell(X, values)
        moved.append(es.x_)
    assert bits(moved[0]) == bits(moved[1])
    es = CMAES(**OPTIONS, min_fraction=0.5).start(X0)
    for trial in list(es.ask_trials())[:4]:
        es.tell_trial(trial.id, bowl(trial.x))
    assert es.n_iter_ == 1
    assert np.isfinite(es.x_).all()


def test_values_that_are_alike_move_nothing():
    """And 20 such generations end the search."""
    es = CMAES(**{**OPTIONS, "max_iter": 99}).fit(lambda x: 1.0, X0)
    assert (es.stop_reason_, bits(es.x_)) == ("flat", bits(X0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_learns_the_metric(dtype):
    """At equal evaluations far below strategies that learn a scale for each coordinate."""
    x0 = np.ones(6, dtype)
    es = CMAES(max_evals=3000, max_iter=9999, random_state=0).fit(ellipsoid, x0)
    assert es.x_.dtype == dtype
    assert es.fun_ < (1e-12 if dtype == np.float64 else 1e-6)
    for other in (SNES(), PGPE()):
        other.set_params(max_evals=3000, max_iter=9999, random_state=0)
        assert other.fit(ellipsoid, x0).fun_ > 100 * es.fun_


def test_bounds_and_one_coordinate():
    """Optima on bounds are found; a single coordinate is enough."""
    es = CMAES(bounds=[(2.0, 5.0)] * 3, max_iter=150, random_state=0)
    es.fit(lambda x: x @ x, np.full(3, 3.0))
    np.testing.assert_allclose(es.x_, 2.0, atol=1e-6)
    assert CMAES(max_iter=60, random_state=0).fit(lambda x: float(x @ x), [1.0]).fun_ < 1e-6


def test_a_search_without_a_minimum_ends():
    """Before cmaes gives up at numbers of 1e32: x stays where it was."""
    es = CMAES(sigma=1e30, max_iter=500, random_state=0).fit(lambda x: float(x[0]), X0)
    assert es.stop_reason_ == "non_finite"
    assert np.isfinite(es.x_).all()


def test_without_the_package(monkeypatch):
    """The error says what to install, and what to take instead; nothing has started."""
    monkeypatch.setitem(sys.modules, "cmaes", None)
    es = CMAES()
    with pytest.raises(
        ImportError, match=r"pip install 'blackbox-es\[cmaes\]', or take AdaptiveES"
    ):
        es.start(X0)
    assert not hasattr(es, "_search")


def test_another_version(monkeypatch):
    """One whose paths have other names is refused."""

    class Other(cmaes.CMA):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            del self._pc

    es = CMAES(**OPTIONS).start(X0)
    monkeypatch.setattr(cmaes, "CMA", Other)
    with pytest.raises(ImportError, match="has no _pc: take cmaes"):
        es.tell(es.ask(), np.arange(8.0))


def test_bad_parameters():
    for name, bad in [("sigma", 0.0), ("n_pairs", 1), ("n_pairs", 2.5), ("max_iter", 0)]:
        with pytest.raises(ValueError, match=name):
            CMAES(**{name: bad}).start(X0)
    es = CMAES(**OPTIONS).start(X0)
    with pytest.raises(ValueError, match="sigma is fixed when a search starts"):
        es.set_params(sigma=1.0)
