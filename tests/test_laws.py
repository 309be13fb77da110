"""What all strategies do to an objective, and what they report: invariances, seeds, results.

The laws of a single estimate are those of `check_gradient_estimator`: see test_estimates.
"""

import pickle
import sys

import numpy as np
import pytest
from problems import (
    FINAL,
    X0,
    bits,
    bowl,
    each,
    fit,
    guide,
    make,
    plain,
    slope,
    state,
    surrogate_of,
    takes,
    taking,
)

from blackbox_es import SGD, Exponential, Linear
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)


# -- invariances ---------------------------------------------------------------------------------


@every
def test_shifting_space_shifts_the_path(name):
    """x0 + s with f(x - s) gives the path plus s, to rounding."""
    shift = np.array([2.0, -1.0, 0.5])
    es = plain(name)
    moved = plain(name).fit(
        lambda x: bowl(x - shift),
        X0 + shift,
        (lambda x: slope(x - shift)) if es.takes_surrogate else None,
    )
    np.testing.assert_allclose(moved.x_, fit(es).x_ + shift, rtol=1e-10)


@taking(beta=1.0)
@pytest.mark.parametrize("k", [-30, 5])
def test_scaling_the_objective_scales_the_gradient(name, k):
    """2^k f gives 2^k gradient_ bit for bit, and with the rate times 2^-k the same path."""
    scale = 2.0**k
    es = fit(make(name, optimizer="sgd", learning_rate=0.01 / scale), lambda x: scale * bowl(x))
    same = fit(make(name, optimizer="sgd"))
    assert bits(es.gradient_) == bits(scale * same.gradient_)
    assert bits(es.x_) == bits(same.x_)


@each("shaping", "standardized", "centered_ranks", "nes")
def test_the_scale_of_the_objective_does_not_matter(name, shaping):
    """Powers of two change nothing where values are compared with each other only."""
    es, scaled = make(name, shaping=shaping), make(name, shaping=shaping)
    assert bits(fit(es).x_) == bits(fit(scaled, lambda x: 2.0**20 * bowl(x)).x_)


@each("shaping", "centered_ranks", "nes")
def test_ranks_see_only_the_order(name, shaping):
    """With ranks any increasing map of the objective gives the same path bit for bit."""
    es = fit(make(name, shaping=shaping), lambda x: np.sinh(bowl(x)) - 7)
    same = fit(make(name, shaping=shaping))
    searched = [es.history_["sigma"], same.history_["sigma"]]
    assert bits([es.x_, es.x_best_, searched[0]]) == bits([same.x_, same.x_best_, searched[1]])


@taking(sigma=Linear(1.0, 0.5, 2))
def test_schedules_are_of_the_generation(name):
    """Generation t searches with sigma(t) and steps with learning_rate(t)."""
    sigma, rate = Exponential(0.5, 0.5), Linear(0.1, 0.0, 4)
    for options in ({"learning_rate": rate, "optimizer": "sgd"}, {"optimizer": SGD(rate)}):
        es = make(name, sigma=sigma, **options).start(X0)
        for t in range(5):
            x = es.x_
            es.tell(es.ask(guide(es)), [bowl(point) for point in es.ask()])
            assert bits(es.x_) == bits(x - rate(t) * es.gradient_)
        assert es.history_["sigma"].tolist() == [sigma(t) for t in range(5)]


# -- randomness ----------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("random_state", [None, 0, 7])
def test_global_random_state_is_untouched(name, random_state):
    """NumPy's global generator is neither read nor written."""
    before = pickle.dumps(np.random.get_state())  # noqa: NPY002
    fit(make(name, random_state=random_state))
    assert pickle.dumps(np.random.get_state()) == before  # noqa: NPY002


@every
def test_seeds(name):
    """Zero is a seed, seeds and generations differ, None is fresh."""

    def points(random_state):
        return make(name, random_state=random_state).start(X0).ask(np.ones(3) if guided else None)

    guided = make(name).takes_surrogate
    seen = [points(seed) for seed in (0, 1, 2**32, 2**64 - 1, None, None)]
    assert len({X.tobytes() for X in seen}) == len(seen)
    assert bits(points(0)) == bits(points(np.int64(0)))
    es = make(name, **({"n_windows": 1} if takes(name, n_windows=1) else {})).start(X0)
    surrogate = None if name == "orthogonal-es" else guide(es)  # which is searched as it is
    first = es.ask(surrogate) - es.x_
    es.tell(es.ask(), np.ones(6))
    assert not (first == es.ask(surrogate) - es.x_).any()


@every
@pytest.mark.parametrize("generator", [np.random.default_rng, np.random.RandomState])
def test_generators_are_seeds(name, generator):
    """Equal generators give equal searches, and the same one, used again, another search."""
    random_state = generator(3)
    es = fit(make(name, random_state=random_state))
    assert state(es) == state(fit(make(name, random_state=generator(3))))
    assert state(es) != state(fit(make(name, random_state=random_state)))


# -- what comes out ------------------------------------------------------------------------------


@every
def test_results_say_what_happened(name):
    """fun_ is f(x_), fun_best_ the least value seen and f(x_best_); counters count real calls."""
    seen = []

    def counted(x):
        seen.append(bowl(x))
        return seen[-1]

    es = fit(make(name), counted)
    assert es.n_evaluations_ == len(seen) == 5 * 6 + 1
    assert es.fun_ == bowl(es.x_) == seen[-1]
    assert es.fun_best_ == min(seen) == bowl(es.x_best_)
    assert es.history_["n_evaluations"].tolist() == [6, 12, 18, 24, 30]
    assert es.history_["best"].tolist() == [min(seen[i : i + 6]) for i in range(0, 30, 6)]
    np.testing.assert_allclose(es.history_["mean"], np.mean(np.reshape(seen[:-1], (5, 6)), axis=1))
    assert {len(column) for column in es.history_.values()} == {es.n_iter_} == {5}
    assert es.n_failed_ == 0


@taking(beta=1.0)
def test_the_center_may_be_the_best_point(name):
    """The final center counts among the points evaluated: fun_best_ <= fun_ always."""
    es = make(name, max_iter=1, optimizer="sgd", learning_rate=0.5, sigma=1e-3, n_pairs=20)
    fit(es, x0=[9.0, 9.0, 9.0])
    assert es.fun_ < min(es.history_["best"])  # one long step to the good
    assert es.fun_best_ == es.fun_
    assert bits(es.x_best_) == bits(es.x_)


@every
def test_result_is_an_optimize_result(name):
    """result_ says as SciPy does what the attributes say."""
    es = fit(make(name))
    result = es.result_
    assert bits(result.x) == bits(es.x_)
    assert (result.fun, result.nit, result.nfev, result.njev) == (
        es.fun_, es.n_iter_, es.n_evaluations_, es.n_surrogate_calls_
    )  # fmt: skip
    assert (result.success, result.status) == (False, 1)  # a budget spent is no convergence
    assert bits(result.history) == bits(es.history_)
    assert result.message == "max_iter generations were done"
    assert (bits(result.x_best), result.fun_best) == (bits(es.x_best_), es.fun_best_)
    assert es.n_surrogate_calls_ == (5 if surrogate_of(es) else 0)


@every
def test_history_is_not_read(name):
    """The algorithm does not read its history."""
    es = make(name).start(X0)
    while not es.stop_reason_:
        es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
        es._search.record.rows["mean"] = np.nan
    skipped = {*FINAL, "history_", "x_best_"}
    expected = state(fit(make(name)))
    assert {k: v for k, v in state(es).items() if k not in skipped} == {
        k: v for k, v in expected.items() if k not in skipped
    }


@every
@pytest.mark.parametrize("verbose", [0, 1])
def test_silent(name, verbose, capfd, tmp_path, monkeypatch):
    """Nothing is printed where there is no terminal, and no file is written."""
    monkeypatch.chdir(tmp_path)
    assert not sys.stderr.isatty()
    fit(make(name, verbose=verbose))
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@taking(optimizer="sgd")
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "clipup"])
def test_finds_the_minimum(name, optimizer):
    """From each of five seeds the default shape of the search goes most of the way down."""
    scaled = takes(name, sigma_learning_rate=0.1) and optimizer == "sgd"
    rate = 5.0 if scaled else 0.05  # there is a factor sigma^2 in PGPE's estimate
    for seed in range(5):
        es = make(name, random_state=seed, max_iter=200, optimizer=optimizer, learning_rate=rate)
        assert fit(es).fun_ - 1 < 0.05 * (bowl(X0) - 1)


@every
def test_finds_the_minimum_by_default(name):
    """Nothing set but the scale, from each of five seeds."""
    for seed in range(5):
        es = STRATEGIES[name](sigma=0.1, random_state=seed, max_iter=500)
        assert fit(es).fun_ - 1 < 0.05 * (bowl(X0) - 1)
