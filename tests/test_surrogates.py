"""Surrogates in AdaptiveES: followed as far as they are worth it, and harmless else."""

import numpy as np
import pytest
from problems import bits, snapshot
from scipy.optimize import rosen, rosen_der

from blackbox_es.strategies import AdaptiveES
from blackbox_es.strategies.adaptive import guide as guides

ROOT = np.random.default_rng(1).standard_normal((240, 120)) / np.sqrt(240)
X120 = 1.0 + 0.3 * np.random.default_rng(2).standard_normal(120)


def dense(x):
    """A quadratic of condition 30, and its gradient."""
    return float(np.square(ROOT @ x).sum())


def gradient(x):
    return 2.0 * ROOT.T @ (ROOT @ x)


def noisy(cosine, seed=0):
    """The gradient and noise, as large as leaves this cosine."""
    rng, size = np.random.default_rng(seed), np.sqrt(1.0 / cosine**2 - 1.0)

    def surrogate(x):
        g, e = gradient(x), rng.standard_normal(x.size)
        return g + size * np.linalg.norm(g) / np.linalg.norm(e) * e

    return surrogate


def unrelated(x):
    return np.random.default_rng(x.view(np.uint64) % 2**32).standard_normal(x.size)


def evaluations(surrogate, objective=dense, x0=X120, seed=0, target=1e-8):
    """Until x_ is this good."""
    es = AdaptiveES(random_state=seed, max_evals=30_000, restarts=0).start(x0)
    while objective(es.x_) > target:
        at = es.surrogate_x_
        X = es.ask(None if surrogate is None or at is None else surrogate(at))
        es.tell(X, [objective(x) for x in X])
    return es.n_evaluations_


ALONE = evaluations(None)


@pytest.mark.parametrize(
    "surrogate",
    [gradient, lambda x: -gradient(x), lambda x: 1e-9 * gradient(x), noisy(0.9)],
    ids=["exact", "wrong sign", "another unit", "noise"],
)
def test_good_surrogates_gain(surrogate):
    """In many dimensions they need a fifth of the evaluations at the most."""
    assert evaluations(surrogate) < ALONE / 5


@pytest.mark.parametrize(
    "surrogate",
    [unrelated, lambda x: np.ones_like(x), noisy(0.3), lambda x: np.full_like(x, np.nan)],
    ids=["random", "fixed", "noise", "NaN"],
)
def test_bad_surrogates_cost_little(surrogate):
    assert evaluations(surrogate) < 1.15 * ALONE


def test_an_exact_gradient_is_a_quasi_newton_method():
    """In few dimensions, too, once differences have shown what it is."""
    x0 = np.zeros(10)
    assert evaluations(rosen_der, rosen, x0) < evaluations(None, rosen, x0) / 4


def test_a_gauge_says_how_much_of_the_gradient_is_shown():
    """Its estimate is cos^2 = (g s)^2 / (|g|^2 |s|^2) on the average over directions."""
    rng, n = np.random.default_rng(0), 200
    g, s = rng.standard_normal(n), rng.standard_normal(n)
    slopes = np.stack([guides.directions(s, index, 1.0) @ g for index in range(4000)])
    assert np.square(slopes[:, :-1]).mean() == pytest.approx(g @ g, rel=0.05)
    np.testing.assert_allclose(slopes[:, -1] ** 2 / n, (g @ s) ** 2 / (s @ s), rtol=1e-12)
    found = guides.gauged(guides.Guide(), guides.directions(g, 0, 1.0) @ g, g)
    assert found.alone
    assert found.factor == pytest.approx(1.0)
    assert not guides.gauged(guides.Guide(), guides.directions(s, 0, 1.0) @ g, s).alone


def test_surrogates_are_asked_for_where_they_are_of_use():
    """surrogate_x_ is the center of a descent without a slope; what is given else is ignored."""
    es = AdaptiveES(random_state=0).start(np.ones(3))
    assert es.surrogate_x_ is None  # its value comes first
    es.tell(es.ask(np.ones(3)), [3.0, 3.0])  # which shows that there is no noise
    assert bits(es.surrogate_x_) == bits(np.ones(3))
    es.ask(np.ones(3))
    assert es.surrogate_x_ is None


def test_fit_counts_the_calls():
    """It is ask and tell with a surrogate at surrogate_x_."""
    calls = []
    es = AdaptiveES(random_state=0, max_evals=200)
    es.fit(dense, X120, lambda x: calls.append(x) or gradient(x))
    assert es.n_surrogate_calls_ == len(calls) > 10
    loop = AdaptiveES(random_state=0, max_evals=200).start(X120)
    while not loop.stop_reason_:
        at = loop.surrogate_x_
        X = loop.ask(None if at is None else gradient(at))
        loop.tell(X, [dense(x) for x in X])
    assert bits(loop.state_) == bits(es.state_)


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 20])
def test_loaded_goes_on_bit_for_bit(stop, tmp_path):
    """With a guide that has been measured, and a ray in the middle."""

    def goes_on(es, n):
        for _ in range(n):
            at = es.surrogate_x_
            X = es.ask(None if at is None else gradient(at))
            es.tell(X, [dense(x) for x in X])
        return es

    es = goes_on(AdaptiveES(random_state=0, max_evals=9000).start(X120), stop)
    es.save(tmp_path / "run.npz")
    loaded = AdaptiveES.load(tmp_path / "run.npz")
    assert snapshot(goes_on(loaded, 30)) == snapshot(goes_on(es, 30))


@pytest.mark.parametrize("surrogate", [np.ones(4), np.ones((3, 0)), np.array(["a"] * 3)])
def test_what_is_no_surrogate_is_refused(surrogate):
    es = AdaptiveES(random_state=0).start(np.ones(3))
    es.tell(es.ask(), [3.0, 3.0])
    with pytest.raises((TypeError, ValueError), match="surrogate gradient"):
        es.ask(surrogate)


def test_a_budget_below_the_differences_is_used():
    """By surrogates, or by the evolution alone; it is not exceeded."""
    with_one = AdaptiveES(random_state=0, max_evals=150).fit(dense, X120, gradient)
    assert 100 < with_one.n_evaluations_ <= 150
    assert with_one.fun_ < 1e-8
    without = AdaptiveES(random_state=0, max_evals=150).fit(dense, X120)
    assert 100 < without.n_evaluations_ <= 150
    assert without.fun_ < dense(X120)


def path(surrogate, n=60):
    """Where some generations have led to."""
    es = AdaptiveES(random_state=0, max_evals=9000).start(X120)
    centers = []
    for _ in range(n):
        at = es.surrogate_x_
        X = es.ask(None if at is None else surrogate(at))
        es.tell(X, [dense(x) for x in X])
        centers.append(es.x_)
    return centers


@pytest.mark.parametrize("factor", [4.0, -1.0, 2.0**-40])
def test_the_unit_of_a_surrogate_does_not_matter(factor):
    """Powers of two, and the sign, change no bit."""
    noise = noisy(0.9)
    seen = {}

    def surrogate(x):
        return seen.setdefault(x.tobytes(), noise(x))

    plain = path(surrogate)
    assert bits(path(lambda x: factor * surrogate(x))) == bits(plain)


def test_a_surrogate_of_zeros_is_none():
    """Bit for bit."""
    assert bits(path(np.zeros_like)) == bits(path(lambda x: None))


# -- what a surrogate is worth: the rules, on both sides of each ----------------------------------


def below(x):
    return np.nextafter(x, -np.inf)


def followed(**known):
    """A surrogate that is followed from a point of value 10."""
    return guides.Guide(**{"alone": True, "left": np.inf, "since": 10.0, "square": 1.0, **known})


@pytest.mark.parametrize(
    ("array", "slope"),
    [
        ([1.0, -2.0, 0.5], [1.0, -2.0, 0.5]),
        ([[1, 2], [3, 4], [0, 1]], [3.0, 7.0, 1.0]),
        ([0.0, 0.0, 0.0], None),
        ([0.0, 1e-300, 0.0], [0.0, 1e-300, 0.0]),
        ([[1.0, -1.0], [2.0, -2.0], [0.0, 0.0]], None),
        ([1.0, np.nan, 0.0], None),
        ([1.0, np.inf, 0.0], None),
    ],
)
def test_a_slope_is_the_sum_of_columns(array, slope):
    """None where it says nothing."""
    found = guides.as_slope(np.array(array), 3)
    assert found is None if slope is None else found.tolist() == slope


def test_directions_of_a_gauge():
    """Four normal ones and the surrogate, of length ``step sqrt(n)``; others for each index."""
    s = np.arange(1.0, 101.0)
    first, second = (guides.directions(s, index, 0.25) for index in (0, 1))
    assert first.shape == (5, 100)
    np.testing.assert_allclose(first[-1], 2.5 * s / np.linalg.norm(s), rtol=1e-14)
    assert bits(first[-1]) == bits(second[-1])
    assert len(np.unique(np.concatenate([first[:-1], second[:-1]]))) == 800
    assert bits(guides.directions(s, 0, 0.5)) == bits(2.0 * first)


@pytest.mark.parametrize("n", [50, 400])
def test_a_gauge_follows_what_beats_differences(n):
    """Alone if cos^2 is 40 / n or more; the factor is the slope along it over its length."""
    s, mean = np.zeros(n), 2.0
    s[3] = 4.0
    least = np.sqrt(40.0 / n) * np.sqrt(n * mean)
    for along, alone in ((1.0001 * least, True), (-1.0001 * least, True), (0.9999 * least, False)):
        slopes = np.array([np.sqrt(2.0), -np.sqrt(2.0), 2.0, 0.0, along])
        found = guides.gauged(guides.Guide(), slopes, s)
        assert (found.gauged, found.alone, found.exact) == (True, alone, False)
        assert found.left == (np.inf if alone else 0.0)
        assert found.factor == pytest.approx(along / np.sqrt(n) / 4.0, rel=1e-14)


@pytest.mark.parametrize(
    "slopes", [[1, 1, 1, 1, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, np.nan], [1, 1, np.inf, 1, 1]]
)
def test_a_gauge_without_values_says_nothing(slopes):
    found = guides.gauged(guides.Guide(), np.array(slopes, float), np.ones(50))
    assert found == guides.Guide(gauged=True)


def test_a_surrogate_that_is_left_off():
    found = guides.left_off(followed(exact=True, budget=7.0, rate=2.0))
    assert found == followed(alone=False, exact=False, left=0.0, since=np.inf, budget=7.0, rate=2.0)


def test_surrogates_alone_are_followed_while_they_shrink():
    """In n / 10 evaluations, ten at the least, to e^-2 of their squared length."""
    square = np.exp(-2.0)
    for n, used in ((50, 10), (109, 10), (110, 11), (300, 30)):
        s = np.zeros(n)
        s[-1] = np.sqrt(square) * 1.0001
        early, late = followed(used=used - 1), followed(used=used)
        assert guides.met(early, s, 3.0) == early
        assert guides.met(late, s, 3.0) == guides.left_off(late)
        assert guides.met(followed(used=used, exact=True), s, 3.0).exact
        assert not guides.met(followed(used=used, alone=False, left=2.0), s, 3.0).alone
        s[-1] = np.sqrt(square) * 0.9999
        shrunk = guides.met(late, s, 3.0)
        assert (shrunk.since, shrunk.used, shrunk.square) == (3.0, 0, float(s @ s))
        assert shrunk.left == np.inf
    first = guides.met(followed(since=np.inf, used=5), 2.0 * np.ones(3), 8.0)
    assert (first.since, first.square, first.used) == (8.0, 12.0, 0)


def test_a_budget_is_spent():
    """One evaluation at a time; those of a ray that had begun before do not count."""
    guide = followed(alone=False, left=2.0, used=3, rate=1.0, budget=4.0)
    once = guides.spent(guide, 9.0, 100)
    assert (once.used, once.left, once.since) == (4, 1.0, 10.0)
    assert guides.spent(once, 9.0, 100).since == np.inf
    alone = guides.spent(followed(used=3), 9.0, 100)
    assert (alone.used, alone.left, alone.since) == (4, np.inf, 10.0)
    rest = followed(since=np.inf, left=1.0)
    assert guides.spent(rest, 1.0, 100) == rest


@pytest.mark.parametrize(
    ("rate", "f", "budget"),
    [
        (1.0, 10.0 - 4.0001, 4.0),  # a gain of more than 1 in each of 4 evaluations
        (1.0, 10.0 - 15.99, 4.0),
        (1.0, 10.0 - 16.01, 8.0),  # more than four times as much
        (1.0, 10.0 - 3.99, 0.0),
        (1.0, 10.0 - 4.0, 0.0),
        (1.0, 10.0, 0.0),
    ],
)
def test_what_gains_more_than_differences_is_followed_again(rate, f, budget):
    """For twice as long if it is much more; what gains less has to wait longer each time."""
    guide = followed(alone=False, left=1.0, used=3, rate=rate, budget=4.0, n_lost=2)
    found = guides.spent(guide, f, 100)
    assert (found.budget, found.since, found.used) == (budget, np.inf, 4)
    assert (found.n_lost, found.pause) == ((0, 0) if budget else (3, 8))
    if budget == 8.0:
        assert guides.spent(guide, f, 5).budget == 5.0  # n at the most


@pytest.mark.parametrize(
    ("n", "share"), [(40, 0.9), (50, 0.9), (55, 0.9), (56, 50 / 56), (100, 0.5), (1000, 0.05)]
)
def test_a_share_of_the_slope_pays_in_many_dimensions(n, share):
    """50 / n, .9 at the most: for n / 10 evaluations, three at the least, or as many as before."""
    found = guides.compared(guides.Guide(), share, 6.0, n)
    assert found == guides.Guide(
        rate=6.0 / (n + 2), budget=max(3.0, n / 10.0), left=max(3.0, n / 10.0)
    )
    longer = guides.compared(guides.Guide(budget=200.0), share, 6.0, n)
    assert (longer.budget, longer.left) == (200.0, 200.0)
    assert guides.compared(guides.Guide(n_lost=1), share, 6.0, n).n_lost == 1
    assert guides.compared(guides.Guide(), below(share), 6.0, n) == guides.Guide(rate=6.0 / (n + 2))
    waits = guides.compared(guides.Guide(pause=2), share, 6.0, n)
    assert waits == guides.Guide(rate=6.0 / (n + 2), pause=1)
    last = guides.compared(waits, share, 6.0, n)
    assert (last.pause, last.left) == (0, 0.0)
    assert guides.compared(last, share, 6.0, n).left > 0.0


def test_in_few_dimensions_only_an_exact_one_pays():
    few = guides.compared(guides.Guide(), 0.98, 6.0, 39)
    assert few == guides.Guide(rate=6.0 / 41)
    assert guides.compared(guides.Guide(), 0.98, 6.0, 40).left == 4.0
    for n in (2, 39, 400):
        exact = guides.compared(guides.Guide(pause=3), 0.99, 6.0, n)
        assert exact == guides.Guide(
            alone=True, exact=True, left=np.inf, pause=3, rate=6.0 / (n + 2)
        )
        assert not guides.compared(guides.Guide(), below(0.99), 6.0, n).exact
