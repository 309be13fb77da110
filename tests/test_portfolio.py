"""Evolution and descent by turns: who is evaluated, what is kept, and why it ends."""

from dataclasses import replace

import numpy as np
import pytest
from problems import X0, bits, bowl, snapshot
from scipy.optimize import rosen

from blackbox_es import noise
from blackbox_es.generation import Generation, Told
from blackbox_es.strategies import AdaptiveES
from blackbox_es.strategies.adaptive import noise_level, portfolio
from blackbox_es.strategies.adaptive.runs import Effort, Ended

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


# -- the rules, on both sides of each -------------------------------------------------------------


def leveled(**known):
    return noise_level.NoiseLevel(**known)


def test_the_spread_is_that_of_the_quartiles():
    """A running mean of their difference, four fifths of it old; generations are counted."""
    ordered = np.array([0.0, 1.0, 2.0, 4.0, 7.0, 9.0, 10.0, 99.0])
    first = noise_level.seen(leveled(n_since=3), ordered)
    assert (first.spread, first.n_since) == (8.0, 4)  # from the third to the seventh of eight
    second = noise_level.seen(leveled(spread=3.0), ordered)
    assert second.spread == pytest.approx(0.8 * 3.0 + 0.2 * 8.0, rel=1e-15)
    missing = noise_level.seen(leveled(spread=3.0), np.array([0.0, 1.0, 2.0, np.inf]))
    assert (missing.spread, missing.n_since) == (3.0, 1)


def test_noise_is_looked_at_every_eighth_generation():
    """Where there has been any."""
    assert leveled(noise=0.1, n_since=8).is_due
    assert not leveled(noise=0.1, n_since=7).is_due
    assert not leveled(noise=0.0, n_since=99).is_due


def test_the_noise_is_a_running_mean():
    """The first value is taken as it is; one that is missing is not."""
    assert noise_level.looked(leveled(n_since=8, spread=1e9), 2.0).noise == 2.0
    again = noise_level.looked(leveled(noise=4.0, n_since=8, spread=1e9), 2.0)
    assert again.noise == pytest.approx(0.8 * 4.0 + 0.2 * 2.0, rel=1e-15)
    assert again.n_since == 0
    for bad in (np.nan, np.inf):
        assert noise_level.looked(leveled(noise=4.0, n_since=8), bad) == leveled(noise=4.0)


@pytest.mark.parametrize(
    ("noise", "growth", "after"),
    [
        (0.61, 0, 1), (0.59, 0, 0), (0.61, 1, 2), (0.61, 2, 2),  # four times as many at the most
        (0.21, 1, 1), (0.19, 1, 0), (0.19, 2, 1), (0.19, 0, 0), (0.0, 1, 0),
    ],
)  # fmt: skip
def test_the_population_follows_the_noise(noise, growth, after):
    """Over .6 of the spread it is doubled, below .2 it is halved."""
    level = leveled(noise=10.0 * noise, spread=10.0, growth=growth)
    assert noise_level.looked(level, 10.0 * noise).growth == after


def begun(n=2, slopes=True, **known):
    """Both runs at a point, with fields set."""
    es = AdaptiveES(slopes=slopes, n_pairs=3)
    x = np.arange(1.0, 1.0 + n)
    return replace(portfolio.begin(x, es._settings(x), slopes), **known)


def settings(x=X0, **options):
    return AdaptiveES(**options)._settings(x)


def spent(total, run=0, best=np.inf):
    return Effort(total, run, best)


@pytest.mark.parametrize(
    ("f", "ended", "evolved", "fruitless", "share"),
    [
        (1.0, np.inf, 2.0, 0, 0.92),  # the best of all
        (1.0, 1.0, 1.0, 3, 0.92),
        (None, 1.0, 2.0, 0, 0.92),  # begun anew, after one that was the best
        (3.0, np.inf, 2.0, 0, 0.5),
        (3.0, np.inf, 2.0, 1, 0.25),
        (3.0, np.inf, 2.0, 3, 0.125),
        (1.0, 0.5, 2.0, 1, 0.25),  # one before it was better
        (None, 3.0, 2.0, 0, 0.5),
    ],
)
def test_whose_turn_it_is(f, ended, evolved, fruitless, share):
    """A descent has .92 of the evaluations while it leads, else half, a third of that, ..."""
    for total, turn in ((share, "descent"), (np.nextafter(share, 1.0), "evolution")):
        mine, others = total * 2**20, (1.0 - total) * 2**20
        state = begun(
            descended=spent(mine, best=ended), evolved=spent(others, best=evolved),
            n_fruitless=fruitless, turn="evolution",
        )  # fmt: skip
        state = replace(state, descent=replace(state.descent, f=f))
        assert portfolio._next(state).turn == turn
    alone = replace(state, descent=None, descended=spent(0))
    assert portfolio._next(alone).turn == "evolution"


def test_who_is_left_goes_on():
    """A descent where the evolution has ended for good; without either the search ends."""
    state = begun(turn="evolution", descended=spent(10**6))
    over = replace(state, evolution=replace(state.evolution, reason="tol"))
    assert portfolio._next(over).turn == "descent"
    end = portfolio._next(replace(over, descent=None))
    assert end.reason == "tol"


@pytest.mark.parametrize(("budget", "turn"), [(13.0, "evolution"), (14.0, "descent")])
def test_a_descent_stays_within_the_budget(budget, turn):
    """Four points of a survey, after ten evaluations; else it is the evolution's turn."""
    state = begun(turn="descent", evolved=spent(7), descended=spent(3))
    state = replace(state, descent=replace(state.descent, f=1.0))
    assert portfolio.within(state, budget).turn == turn
    over = replace(state, evolution=replace(state.evolution, reason="tol"))
    assert portfolio.within(over, budget).turn == "descent"
    assert portfolio.within(replace(state, turn="noise"), 0.0).turn == "noise"


@pytest.mark.parametrize(
    ("turn", "f", "n", "mirrored"),
    [
        ("evolution", None, 6, True), ("noise", None, 2, False), ("descent", None, 1, False),
        ("evolution ended", None, 1, False), ("descent ended", None, 1, False),
        ("descent", 1.0, 4, True),
    ],
)  # fmt: skip
def test_how_many_points(turn, f, n, mirrored):
    """The plan has as many as are announced, or more of a descent's than of the evolution."""
    state = begun(turn=turn)
    state = replace(state, descent=replace(state.descent, f=f))
    plan = portfolio.plan(state)
    assert (plan.n_pairs * (1 + plan.mirrored), plan.mirrored) == (n, mirrored)
    assert portfolio.n_points(state) == (6 if f else n)
    over = replace(state, evolution=replace(state.evolution, reason="tol"))
    assert portfolio.n_points(over) == n


def test_where_generations_are_centred():
    state = begun()
    state = replace(
        state, evolution=replace(state.evolution, x=np.full(2, 7.0)),
        descent=replace(state.descent, x=np.full(2, 8.0)),
    )  # fmt: skip
    at = {"evolution": 7.0, "noise": 7.0, "evolution ended": 7.0}
    for turn, x in (*at.items(), ("descent", 8.0), ("descent ended", 8.0)):
        assert portfolio.center(replace(state, turn=turn)).tolist() == [x, x]


def test_what_runs_begin_with():
    """A descent with half of the largest sigma; without slopes the evolution is alone."""
    x = np.arange(1.0, 3.0)
    state = portfolio.begin(x, settings(x, sigma=[0.5, 3.0]), True)
    assert (state.turn, state.descent.scale, state.n_pairs) == ("noise", 1.5, 3)
    alone = portfolio.begin(x, settings(x, n_pairs=9), False)
    assert (alone.turn, alone.descent, alone.n_pairs) == ("evolution", None, 9)


def test_noise_ends_descents_and_scales_the_population():
    """And what they have reached is forgotten: it was the luckiest value."""
    state = begun(kept_fun=1.0, n_pairs=3)
    none = portfolio._with_noise(state, leveled())
    assert (none.descent, none.kept_fun) == (state.descent, 1.0)
    some = portfolio._with_noise(state, leveled(noise=0.1))
    assert (some.descent, some.kept_fun, some.evolution.n_pairs) == (None, np.inf, 3)
    much = portfolio._with_noise(
        replace(state, evolution=replace(state.evolution, n_median=7)), leveled(noise=9.0, growth=2)
    )
    assert (much.evolution.n_pairs, much.evolution.n_median) == (12, 0)


def test_runs_begin_anew_elsewhere():
    """About where the search began, twice sigma away, in the dtype of x."""
    x, key = np.full(4000, 3.0, np.float32), (5, 7)
    given = settings(x, sigma=0.5)
    state = portfolio.begin(x, given, True)
    found = portfolio._elsewhere(state, key, given)
    assert found.dtype == np.float32
    z = noise.normals(key, (0, 1), (0, 4000), stream=noise.RESTARTS)[0]
    np.testing.assert_allclose(found, 3.0 + z, rtol=1e-6)


def test_populations_of_restarts():
    """Twice as many each time; by turns with small ones, between three and half of the large."""
    given = settings(n_pairs=8, sigma=2.0, restarts="bipop")
    state = replace(portfolio.begin(X0, given, True), large=5, small=5)
    first = portfolio._begun_anew(state, (1, 2), given)
    assert (first.n_pairs, first.n_doubled, first.is_small) == (16, 1, False)
    large = portfolio._begun_anew(first, (1, 2), given)
    assert (large.n_pairs, large.n_doubled, large.is_small) == (32, 2, False)
    sizes, scales = [], []
    for t in range(300):
        small = portfolio._begun_anew(replace(large, small=4), (1, t), given)
        assert (small.n_doubled, small.is_small) == (2, True)
        assert small.evolution.n_pairs == small.n_pairs
        sizes.append(small.n_pairs)
        scales.append(small.evolution.sigma / 2.0)
    assert (min(sizes), max(sizes)) == (8, 15)  # 8 2^(a^2), a up to one
    assert 0.01 < min(scales) < 0.011
    assert 0.95 < max(scales) < 1.0
    assert np.median(sizes) == 9  # a = 1 / 2
    assert np.median(scales) == pytest.approx(0.1, rel=0.3)  # 10^(-2 b), b = 1 / 2
    few = settings(n_pairs=1, sigma=2.0, restarts="bipop")
    assert portfolio._begun_anew(replace(large, small=4), (1, 2), few).n_pairs == 3
    ipop = settings(n_pairs=8, sigma=2.0, restarts="ipop")
    assert not portfolio._begun_anew(replace(large, small=4), (1, 2), ipop).is_small
    grown = replace(large, noise=leveled(noise=1.0, growth=1))
    assert portfolio._begun_anew(grown, (1, 2), given).evolution.n_pairs == 2 * 64


def ended(state, reason, fun, given, kind="evolution"):
    """The state after the last value of a run."""
    state = replace(state, **{kind: replace(getattr(state, kind), reason=reason)})
    sampler, n_pairs, mirrored = portfolio.plan(replace(state, turn=f"{kind} ended"))
    generation = Generation(portfolio.center(state), sampler, 1, 2, n_pairs, mirrored)
    state = replace(state, turn=f"{kind} ended")
    return portfolio.learn(state, Told(generation, np.array([[fun]]), 1), given)


def test_what_an_evolution_leaves():
    """Its kind, reason, cost and value; the better of its center and what was kept."""
    given = settings(n_pairs=3, restarts=1)
    state = replace(portfolio.begin(X0, given, False), evolved=spent(50, 20, 3.0), kept_fun=5.0)
    at = replace(state.evolution, x=X0 + 1.0)
    after = ended(replace(state, evolution=at), "tol", 4.0, given)
    assert after.ended == (Ended("evolution", "tol", 21, 4.0),)
    assert (after.kept_fun, after.x.tolist()) == (4.0, (X0 + 1.0).tolist())
    assert after.evolved == Effort(51, 0, 3.0)
    assert (after.turn, after.reason, after.evolution.reason) == ("evolution", None, None)
    assert (after.large, after.small, after.n_doubled) == (0, 0, 1)
    worse = ended(replace(state, evolution=at), "tol", 6.0, given)
    assert (worse.kept_fun, worse.x.tolist()) == (5.0, X0.tolist())
    second = ended(replace(after, evolved=spent(90, 30)), "stalled", 4.5, given)
    assert (second.reason, second.large, second.small) == ("stalled", 31, 0)
    small = ended(replace(after, evolved=spent(90, 30), is_small=True), "tol", 4.5, given)
    assert (small.large, small.small) == (0, 31)
    assert [run.fun for run in second.ended] == [4.0, 4.5]


def test_what_a_descent_leaves():
    """It is fruitless if anything known was as good; another begins elsewhere, if there may be."""
    given = settings(restarts="bipop")
    state = portfolio.begin(X0, given, True)
    state = replace(
        state, descended=spent(50, 20, 9.0), evolved=spent(50, 50, 3.0), n_fruitless=2,
        descent=replace(state.descent, f=4.0, x=X0 + 1.0), kept=X0 + 1.0, kept_fun=4.0,
    )  # fmt: skip
    after = ended(state, "tol", 4.0, given, "descent")
    assert after.ended == (Ended("descent", "tol", 21, 4.0),)
    assert (after.n_fruitless, after.descended) == (3, Effort(51, 0, 4.0))
    assert (after.descent.f, after.descent.scale) == (None, 0.5)
    assert after.descent.x.tolist() != X0.tolist()
    assert (after.kept_fun, after.noise.noise) == (4.0, 0.0)
    better = replace(state, descent=replace(state.descent, f=2.0), kept_fun=2.0)
    assert ended(better, "tol", 2.0, given, "descent").n_fruitless == 0
    level = replace(state, descent=replace(state.descent, f=3.0), kept_fun=3.0)
    assert ended(level, "tol", 3.0, given, "descent").n_fruitless == 3
    none = ended(state, "tol", 4.0, settings(restarts=0), "descent")
    assert none.descent is None
    noisy = ended(state, "tol", 4.5, given, "descent")
    assert (noisy.descent, noisy.noise.noise, noisy.kept_fun) == (None, 0.5, np.inf)
    elsewhere = replace(state, kept=X0 - 1.0)
    assert ended(elsewhere, "tol", 4.0, given, "descent").kept_fun == 4.0


def test_settings():
    """A fifth of the width of bounds, else 1; a full matrix up to 64 dimensions; restarts."""
    assert settings().scales == 1.0
    assert settings(sigma=3).scales == 3.0
    es = AdaptiveES(bounds=[(0, 10), (None, 3), (2, 2), (-1, 1)])
    assert es._settings(np.zeros(3)).scales.tolist() == [2.0, 1.0, 0.4]
    assert es._settings(np.zeros(3)).largest == 2.0
    assert settings(np.zeros(64)).full
    assert not settings(np.zeros(65)).full
    assert settings(np.zeros(65), covariance="full").full
    assert not settings(np.zeros(2), covariance="diagonal").full
    assert settings(sigma=[1.0, 4.0, 2.0], tol=0.5).tolerance.x == 2.0
    assert settings(sigma=4.0, tol=0.5, xatol=0.25).tolerance.x == 0.25
    assert settings(fatol=0.25).tolerance[1:] == (0.25, None)
    for option in ({"max_evals": 9}, {"max_time": 9}, {"f_target": 0.0}, {"restarts": "bipop"}):
        assert settings(**option)[4:] == (None, True)
    assert settings()[4:] == (0, False)
    assert settings(restarts=3)[4:] == (3, False)
    assert settings(restarts="ipop")[4:] == (None, False)


@pytest.mark.parametrize(("n", "n_pairs"), [(1, 3), (2, 3), (4, 4), (10, 5), (11, 5), (100, 8)])
def test_the_population_by_default(n, n_pairs):
    """Half of 4 + 3 ln n, three at the least."""
    assert AdaptiveES().pairs(n) == n_pairs
    assert AdaptiveES(n_pairs=17).pairs(n) == 17
