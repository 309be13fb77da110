"""Evolution and descent by turns: who is evaluated, what is kept, and why it ends."""

import numpy as np
import pytest
from problems import X0, bits, bowl, snapshot
from scipy.optimize import rosen

from blackbox_es.strategies import AdaptiveES
from blackbox_es.strategies.adaptive import noise_level

OPTIONS = {"random_state": 3, "n_pairs": 3, "max_evals": 400}


def loop(es, objective):
    """From wherever it is to the end by ask and tell."""
    while not es.stop_reason_:
        X = es.ask()
        es.tell(X, [objective(x) for x in X])
    return es


def rough(x):
    """A bowl with steps: no slope anywhere."""
    return float(np.floor(4.0 * np.abs(x)).sum())


def rastrigin(x):
    return float(10 * x.size + (x * x - 10 * np.cos(2 * np.pi * x)).sum())


@pytest.mark.parametrize("objective", [bowl, rough, rastrigin])
def test_ask_and_tell_are_fit(objective):
    """Generations of any size: the same bits by fit, by ask and tell, and by trials."""
    fitted = AdaptiveES(**OPTIONS).fit(objective, X0)
    told = loop(AdaptiveES(**OPTIONS).start(X0), objective)
    tried = AdaptiveES(**OPTIONS).start(X0)
    ids = []
    while not tried.stop_reason_:
        trials = list(tried.ask_trials())
        ids += [trial.id for trial in trials]
        for trial in trials[::-1]:
            tried.tell_trial(trial.id, objective(trial.x))
    assert bits([fitted.state_, fitted.x_]) == bits([told.state_, told.x_])
    assert bits(told.state_) == bits(tried.state_)
    assert ids == list(range(tried.n_evaluations_))
    assert fitted.n_evaluations_ <= 400


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 8, 13, 40])
def test_loaded_goes_on_bit_for_bit(stop, tmp_path):
    """Saved while a generation of any kind is pending, half of its values told."""
    expected = loop(AdaptiveES(**OPTIONS).start(X0), rastrigin)
    es = AdaptiveES(**OPTIONS).start(X0)
    for _ in range(stop):
        X = es.ask()
        es.tell(X, [rastrigin(x) for x in X])
    trials = list(es.ask_trials())
    for trial in trials[: len(trials) // 2]:
        es.tell_trial(trial.id, rastrigin(trial.x))
    es.save(tmp_path / "run.npz")
    loaded = AdaptiveES.load(tmp_path / "run.npz")
    for trial in trials[len(trials) // 2 :]:
        loaded.tell_trial(trial.id, rastrigin(trial.x))
    assert snapshot(loop(loaded, rastrigin)) == snapshot(expected)


def test_a_smooth_objective_is_left_to_the_descent():
    """It ends at the rounding of the values, in few evaluations."""
    es = AdaptiveES(random_state=0).fit(rosen, np.zeros(5))
    kinds = [(run.kind, run.reason) for run in es.runs_]
    assert kinds == [("descent", "tol"), ("evolution", "tol")]
    assert es.runs_[0].n_evaluations < 600
    assert es.runs_[0].fun < 1e-12
    assert es.fun_ <= min(run.fun for run in es.runs_)


def test_a_rough_objective_ends_the_descent_at_once():
    """There is no slope, and hardly an evaluation is lost."""
    es = AdaptiveES(random_state=0, max_evals=1000).fit(rough, np.full(5, 1.7))
    first = es.runs_[0]
    assert (first.kind, first.reason, first.n_evaluations) == ("descent", "flat", 11)
    assert es.fun_ == 0.0
    descents = sum(run.n_evaluations for run in es.runs_ if run.kind == "descent")
    assert descents < 0.35 * es.n_evaluations_


def test_noise_ends_the_descents():
    """A point that has two values: slopes are not followed, and no lucky value is kept."""
    late = np.random.default_rng(0)
    calls = []

    def objective(x):
        calls.append(x)
        return float(rosen(x) + (late.standard_normal() if len(calls) > 150 else 0.0))

    es = AdaptiveES(random_state=0, max_evals=2000).fit(objective, np.zeros(5))
    assert es.state_.noise.noise > 0.1
    assert es.state_.descent is None
    assert [run.kind for run in es.runs_].count("descent") == 1


def test_values_that_are_missing_end_a_descent_only():
    """NaN or infinity on an axis or a ray is no error."""
    found = [
        AdaptiveES(random_state=seed, max_evals=600).fit(
            lambda x: bowl(x) if x[0] < 0.5 + 1e-9 else np.inf, X0
        )
        for seed in range(5)
    ]
    assert np.median([es.fun_ for es in found]) == pytest.approx(1.25, abs=0.1)


def test_restarts():
    """ "bipop" by turns with twice the population and with few, a number of them, or none."""
    runs = AdaptiveES(restarts=2, slopes=False, random_state=0).fit(rastrigin, X0).runs_
    assert [run.kind for run in runs] == ["evolution"] * 3
    es = AdaptiveES(restarts="bipop", random_state=0, max_evals=20_000).fit(rastrigin, np.ones(4))
    assert es.state_.n_doubled > 0
    assert es.state_.small > 0
    assert es.fun_ <= min(run.fun for run in es.runs_)
    es = AdaptiveES(restarts="ipop", random_state=0, max_evals=20_000).fit(rastrigin, np.ones(4))
    assert es.state_.small == 0


def test_a_budget_is_used_up_by_restarts():
    """And without one the search ends when it has converged."""
    assert AdaptiveES(random_state=0).fit(bowl, X0).stop_reason_ == "tol"
    es = AdaptiveES(random_state=0, max_evals=5000).fit(bowl, X0)
    assert es.stop_reason_ == "max_evals"
    assert es.n_evaluations_ > 4900


def test_the_best_of_all_runs_is_kept():
    """x_ is never above the best center that was known before."""
    es = AdaptiveES(random_state=1, max_evals=8000).start(np.full(3, 2.2))
    best = np.inf
    while not es.stop_reason_:
        X = es.ask()
        es.tell(X, [rastrigin(x) for x in X])
        ended = [run.fun for run in es.runs_]
        assert rastrigin(es.x_) <= min(ended, default=np.inf)
        best = min(best, *ended, np.inf)
    assert rastrigin(es.x_) == best


def test_noise_is_seen_at_once_and_asks_for_more_points():
    """Two values of x0 tell; the population grows where noise hides the slope, and shrinks."""
    level = noise_level.looked(noise_level.NoiseLevel(spread=1.0), 2.0)
    assert (level.noise, level.growth) == (2.0, 1)
    for _ in range(20):
        level = noise_level.looked(level, 0.0)
    assert level.growth == 0
    assert noise_level.looked(noise_level.NoiseLevel(spread=1.0), 0.0).noise == 0.0
    rng = np.random.default_rng(0)
    es = AdaptiveES(random_state=0, max_evals=3000)
    es.fit(lambda x: float(x @ x + rng.standard_normal()), np.full(5, 3.0))
    assert es.runs_ == ()
    assert es.state_.evolution.n_pairs > es.pairs(5)
    assert es.x_ @ es.x_ < 0.5
