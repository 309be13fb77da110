"""sigma="auto" and learning_rate="auto": laws of slope and curvature, and of the searches."""

import itertools
import math
import re
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, guide, loop, slope, state, surrogate_of

from blackbox_es import SGD, GuidedES, Isotropic, Linear, LowRank, VanillaES
from blackbox_es._scale import LARGEST, Scale, start
from blackbox_es.generation import Generation, Told
from blackbox_es.scaled_strategy import ScaledStrategy
from blackbox_es.strategies import STRATEGIES
from blackbox_es.testing.statistics import assert_mean

pytestmark = pytest.mark.filterwarnings("ignore:the surrogate gradient has been no better")
few = settings(deadline=None, max_examples=30, derandomize=True)
AUTO = {"sigma": "auto", "learning_rate": "auto"}
FINDERS = [name for name, cls in STRATEGIES.items() if issubclass(cls, ScaledStrategy)]
every = pytest.mark.parametrize("name", FINDERS)
coefs = st.floats(-3.0, 3.0).filter(lambda v: abs(v) > 0.01)


def make(name, **options):
    guided = {"alpha": "auto"} if name == "guided-es" else {}
    common = {"n_pairs": 4, "max_iter": 12, "random_state": 7}
    return STRATEGIES[name](**{**AUTO, **guided, **common, **options})


# -- what a generation tells -----------------------------------------------------------------------


@dataclass(frozen=True)
class Design:
    """A sampler of given directions."""

    matrix: np.ndarray
    sigma: float

    @property
    def n(self):
        return self.matrix.shape[1]

    def perturb(self, center, key, pairs):
        d = self.matrix[slice(*pairs)]
        return np.stack([center + d, center - d])

    def combine(self, weights, key, dtype):
        return weights @ self.matrix


def design(sigma, alpha, n):
    """Nodes of Gauss and Hermite, of equal weights: exact to degree five in each normal."""
    nodes = (-math.sqrt(3), 0.0, 0.0, 0.0, 0.0, math.sqrt(3))
    z = np.array(list(itertools.product(nodes, repeat=n + 1)))
    d = math.sqrt(alpha) * sigma * z[:, :n]
    d[:, 0] += sigma * math.sqrt(n * (1 - alpha)) * z[:, n]  # one guide, the first axis
    return Design(d, sigma)


def covariance(alpha, n):
    return np.diag([alpha / n + 1 - alpha, *[alpha / n] * (n - 1)])


def told_of(f, sampler, x, valid=None):
    generation = Generation(x, sampler, 0, 0, len(sampler.matrix))
    values = np.array([f(point) for point in generation.points()]).reshape(2, -1)
    return Told(generation, values, generation.n_pairs if valid is None else valid.sum(), valid)


@few
@given(g=st.tuples(coefs, coefs), h=st.tuples(coefs, coefs, coefs), alpha=st.floats(0.1, 1.0),
       sigma=st.sampled_from([1e-3, 1.0, 1e3]), height=st.sampled_from([1e-9, 1.0]))  # fmt: skip
def test_slope_and_curvature_are_those_of_a_quadratic(g, h, alpha, sigma, height):
    """``grad^T Sigma grad`` and ``m tr (H Sigma)^2``, exactly so but for the count of pairs."""
    x, g, h = np.array([0.3, -0.2]), np.array(g), np.array([[h[0], h[1]], [h[1], h[2]]])
    sampler, cov = design(sigma, alpha, 2), covariance(alpha, 2)
    axes = 1.0 / np.trace(cov @ cov)

    def f(point):
        return height * (g @ (point - x) + (point - x) @ h @ (point - x) / 2)

    scale = Scale(sigma).after(told_of(f, sampler, x), axes)
    p = len(sampler.matrix)
    slope, curvature = math.sqrt(g @ cov @ g), math.sqrt(axes * np.trace(h @ cov @ h @ cov))
    assert scale.slope * (1 - 0.25 / p) == pytest.approx(height * slope, rel=1e-6)
    factor = math.sqrt(p / (p - 1)) / (1 - 0.25 / (p - 1))
    assert scale.curvature == pytest.approx(height * factor * curvature, rel=1e-6)
    balance = scale.slope / scale.curvature * math.sqrt(2 * axes / 2)
    assert scale.sigma == pytest.approx(min(max(balance, sigma / 100), 10 * sigma), rel=1e-12)
    assert scale.steepest == scale.curvature


@few
@given(spectrum=st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=20).filter(any),
       n_pairs=st.integers(4, 200))  # fmt: skip
def test_the_step_is_the_best_for_the_worst_curvature(spectrum, n_pairs):
    """No spectrum with the same sum of squares curves more along the step, and one does as much.

    To be compared: ``P / ((P + 1) max l + sum l)``, at which ``a - a^2 / (2 P) (..)`` is largest.
    """
    eigenvalues, m = np.array(spectrum), len(spectrum)
    curvature = math.sqrt(m * (eigenvalues**2).sum())
    step = Scale(1.0, 1.0, curvature, curvature, 8.0).step(m, n_pairs)
    most = (n_pairs + 1) * eigenvalues.max() + eigenvalues.sum()
    assert n_pairs / step >= most * (1 - 1e-12)
    worst = np.array([n_pairs + 2.0, *[1.0] * (m - 1)])
    curvature = math.sqrt(m * (worst**2).sum())
    step = Scale(1.0, 1.0, curvature, curvature, 8.0).step(m, n_pairs)
    assert n_pairs / step == pytest.approx((n_pairs + 1) * worst.max() + worst.sum(), rel=1e-12)


@few
@given(g=st.tuples(coefs, coefs), h=st.tuples(coefs, coefs, coefs), alpha=st.floats(0.1, 1.0))
def test_the_expected_decrease_is_that_of_the_law(g, h, alpha):
    """``slope^2 (a - a^2 / 2 ((P + 1) max l + sum l) / P)`` at least, over all of one direction."""
    g, h = np.array(g), np.array([[h[0], h[1]], [h[1], h[2]]])
    z, w = np.polynomial.hermite_e.hermegauss(4)  # exact to degree seven
    cov = covariance(alpha, 2)
    points = np.array(list(itertools.product(z, repeat=2)))
    weights = np.prod(list(itertools.product(w, repeat=2)), axis=1) / (2 * math.pi)
    s = (points @ np.sqrt(cov) @ g)[:, None] * (points @ np.sqrt(cov))
    a = 0.3
    after = -a * s @ g + a**2 / 2 * np.einsum("ij,jk,ik->i", s, h, s)
    root = np.sqrt(cov)
    eigenvalues = np.linalg.eigvalsh(root @ h @ root)
    bound = g @ cov @ g * (a - a**2 / 2 * (2 * eigenvalues.max() + eigenvalues.sum()))
    assert weights @ after <= -bound + 1e-9


@few
@given(seed=st.integers(0, 99), power=st.integers(-300, 300), failed=st.sets(st.integers(0, 7)))
def test_failed_pairs_are_left_out(seed, power, failed):
    """As if they had not been there; with fewer than four others nothing is learnt."""
    rng, n = np.random.default_rng(seed), 5
    values = rng.normal(size=(2, 8)) * 2.0**power
    valid = np.array([p not in failed for p in range(8)])
    before = Scale(1.0, 1.0, 1.0, 1.0, 8.0)
    generation = Generation(np.zeros(n), Isotropic(n, 0.5), 0, 0, 8)
    scale = before.after(Told(generation, values * valid, int(valid.sum()), valid), n)
    if valid.sum() < 4:
        assert scale == before
    else:
        fewer = Generation(np.zeros(n), Isotropic(n, 0.5), 0, 0, int(valid.sum()))
        assert scale == before.after(Told(fewer, values[:, valid], int(valid.sum())), n)


FLAT, BEYOND, ENDLESS = np.full((2, 4), 7.0), np.full((2, 4), 1e308), np.full((2, 4), np.inf)
BEYOND[1] *= -1.0  # differences are beyond the range of floats


@pytest.mark.parametrize("values", [FLAT, BEYOND, ENDLESS])
def test_what_says_nothing_changes_nothing(values):
    """A plateau, or values without an end."""
    generation = Generation(np.zeros(2), Isotropic(2, 0.5), 0, 0, 4)
    before = Scale(1.0, 1.0, 1.0, 1.0, 8.0)
    with np.errstate(over="ignore", invalid="ignore"):
        assert before.after(Told(generation, values, 4), 2) == before


@pytest.mark.parametrize("n_pairs", [4, 8, 50])
def test_noise_is_neutral(n_pairs):
    """Values that are noise alone drive sigma neither up nor down.

    On average over 40 searches of 200 generations, to less than a factor of 2 in 200.
    """
    ends = []
    for seed in range(40):
        rng, scale = np.random.default_rng(seed), Scale(1.0)
        for index in range(200):
            generation = Generation(np.zeros(9), Isotropic(9, scale.sigma), 0, index, n_pairs)
            scale = scale.after(Told(generation, rng.normal(size=(2, n_pairs)), n_pairs), 9.0)
        ends.append(math.log2(scale.sigma))
    assert abs(np.mean(ends)) < 6 * np.std(ends) / math.sqrt(40)
    assert np.std(ends) < 4.0


def test_curvature_at_odds_begins_anew():
    """An average ten times too large or small is forgotten at once, others slowly."""
    rng = np.random.default_rng(0)
    generation = Generation(np.zeros(9), Isotropic(9, 1.0), 0, 0, 8)
    told = Told(generation, rng.normal(size=(2, 8)), 8)
    fresh = Scale(1.0).after(told, 9.0)
    for factor, forgets in ((0.05, True), (0.3, False), (3.0, False), (20.0, True)):
        old = Scale(1.0, fresh.slope, factor * fresh.curvature, 1.0, 400.0)
        new = old.after(told, 9.0)
        assert (new.weight == fresh.weight) == forgets
        assert (new.curvature == fresh.curvature) == forgets
        assert new.steepest == max(new.curvature, fresh.curvature)


def test_the_start_is_a_tenth_of_the_largest_coordinate():
    """1 at zero; in the range of floats always."""
    assert start(np.array([-5.0, 0.5])).sigma == 0.5
    assert start(np.zeros(3)).sigma == 1.0
    assert start(np.array([1e300])).sigma == LARGEST
    assert start(np.array([1e-300])).sigma == 1 / LARGEST


# -- searches --------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("height", [1e-9, 1.0, 1e9])
def test_any_scale_of_x_and_f(name, scale, height):
    """From zero, and from the minimum, ``c |x / s - 1|^2`` goes down by ten orders of magnitude."""

    def f(x):
        return height * float(((x / scale - 1) ** 2).sum())

    def gradient(x):
        return x / scale - 0.9

    surrogate_fn = gradient if name == "guided-es" else None
    for x0 in (np.zeros(5), np.full(5, scale)):
        es = make(name, n_pairs=8, max_iter=100).fit(f, x0, surrogate_fn)
        assert es.fun_ < 1e-10 * height * 5


@every
@pytest.mark.parametrize("k", [-30, 40])
def test_powers_of_two_change_no_bits(name, k):
    """In f, in x and in the surrogate: the same path, bit for bit."""
    expected = loop(make(name).start(X0))
    scale = 2.0**k
    heights = loop(make(name).start(X0), lambda x: scale * bowl(x))
    assert bits(heights.x_) == bits(expected.x_)
    es = make(name).start(scale * X0)
    while not es.stop_reason_:
        X = es.ask(slope(es.x_ / scale) if es.takes_surrogate else None)
        es.tell(X, [bowl(x / scale) for x in X])
    assert bits(es.x_) == bits(scale * expected.x_)
    if es.takes_surrogate:
        guided = make(name).fit(bowl, X0, lambda x: scale * slope(x))
        assert bits(guided.x_) == bits(expected.x_)


@every
@few
@given(seed=st.integers(0, 99), power=st.floats(0.5, 4.0), shift=st.floats(-3.0, 3.0))
def test_no_step_is_longer_than_the_directions(name, seed, power, shift):
    """``|x' - x| <= sigma sqrt(n)``, whatever the objective."""
    es = make(name, random_state=seed).start(X0)
    while not es.stop_reason_:
        x, X = es.x_, es.ask(guide(es))
        es.tell(X, [float((np.abs(point - shift) ** power).sum()) for point in X])
        sigma = es.history_["sigma"][-1]
        assert np.linalg.norm(es.x_ - x) <= sigma * math.sqrt(3) * (1 + 1e-9)


@every
@pytest.mark.parametrize(
    "options",
    [
        {"sigma": 0.06},
        {"sigma": Linear(0.1, 0.05, 9)},
        {"learning_rate": 0.05, "optimizer": "adam"},
        {"learning_rate": 0.05},
        {"learning_rate": 0.1, "optimizer": "clipup"},
        {"optimizer": SGD(momentum=0.5)},
        {"shaping": "centered_ranks"},
        {"shaping": "standardized"},
    ],
    ids=str,
)
def test_either_and_other_steps(name, options):
    """One may be found and the other given; ranks and momentum go with them."""
    es = make(name, n_pairs=8, max_iter=150, **options)
    es.fit(bowl, X0, surrogate_of(es))
    assert es.fun_ - 1 < 0.05 * (bowl(X0) - 1)


@every
def test_momentum_goes_as_far(name):
    """With momentum m a step is 1 - m of what it is without."""
    steps = []
    for momentum in (0.0, 0.75):
        es = make(name, optimizer=SGD(momentum=momentum), max_iter=1)
        steps.append(es.fit(bowl, X0, surrogate_of(es)).x_ - X0)
    np.testing.assert_allclose(steps[1], 0.25 * steps[0], rtol=1e-9)


@pytest.mark.parametrize("shape", ["norm", "quartic", "ripples"])
def test_other_shapes(shape):
    """Kinks, flat minima, and ripples that are smaller than the distance to the minimum."""

    def f(x):
        d = x - 3.0
        return {
            "norm": math.sqrt(d @ d),
            "quartic": float((d**4).sum()),
            "ripples": float((d**2 + 2 * (1 - np.cos(6 * d))).sum()),
        }[shape]

    for seed in range(3):
        es = make("vanilla-es", n_pairs=8, max_evals=4000, max_iter=10**6, random_state=seed)
        assert es.fit(f, np.zeros(20)).fun_ < 1e-4 * f(np.zeros(20))


def test_sigma_stays_large_under_noise():
    """Where the slope is below the noise, sigma does not follow the distance: signal is kept.

    The noise is a tenth of f at the start.
    """
    rng = np.random.default_rng(0)
    es = make("vanilla-es", n_pairs=8, max_iter=400)
    es.fit(lambda x: float(((x - 1) ** 2).sum()) + 2.0 * rng.normal(), np.zeros(20))
    assert ((es.x_ - 1) ** 2).sum() < 2.0
    assert es.history_["sigma"][-100:].min() > 0.01


@every
def test_a_line_has_no_minimum(name):
    """The search says so; where it ends is finite."""
    es = make(name, max_iter=10**4)
    es.fit(lambda x: float(x.sum()), X0, surrogate_of(es))
    assert es.stop_reason_ == "diverged"
    assert np.isfinite(es.x_).all()


@every
def test_a_plateau_stops(name):
    """Nothing moves."""
    es = make(name, max_iter=100)
    es.fit(lambda x: 1.0, X0, surrogate_of(es))
    assert es.stop_reason_ == "flat"
    assert bits(es.x_) == bits(X0)


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ask_and_tell_are_fit_and_go_on_from_a_file(name, dtype, tmp_path):
    """Bit for bit, in the dtype of x, the scale included."""
    es = make(name)
    es.fit(bowl, X0.astype(dtype), surrogate_of(es))
    other = make(name).start(X0.astype(dtype))
    for _ in range(5):
        other.tell(other.ask(guide(other)), [bowl(x) for x in other.ask()])
    other.ask(guide(other))
    other.save(tmp_path / "run.npz")
    other = loop(type(es).load(tmp_path / "run.npz"))
    assert state(other, final=False) == state(es, final=False)
    assert bits(other.state_) == bits(es.state_)
    assert es.x_.dtype == dtype


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_failures_do_not_spoil_the_scale(name, bad):
    """A pair in four that fails: the minimum is found all the same."""
    calls = itertools.count()
    es = make(name, n_pairs=8, max_iter=150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        es.fit(lambda x: bad if next(calls) % 16 in (3, 10) else bowl(x), X0, surrogate_of(es))
    assert es.state_.scale.sigma < 10
    assert bowl(es.x_) - 1 < 1e-3


@pytest.mark.parametrize("scale", [1e-290, 1e-160, 1e160, 1e290])
@every
def test_extreme_heights(name, scale):
    """Objectives whose squares are out of range are searched, without a warning of NumPy's."""
    es = make(name, n_pairs=8, max_iter=60)
    es.fit(lambda x: scale * bowl(x), X0, surrogate_of(es))
    assert es.stop_reason_ == "max_iter"
    assert bowl(es.x_) - 1 < 0.05 * (bowl(X0) - 1)


# -- what is refused -------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_pairs": 3}, 'n_pairs=3: sigma="auto" measures curvature, which takes at least 4'),
        ({"n_pairs": 3, "sigma": 0.1}, 'n_pairs=3: learning_rate="auto"'),
        ({"sigma": "car"}, "sigma='car': expected a positive number, \"auto\" or a schedule"),
        ({"learning_rate": "car"}, "learning_rate='car'"),
        ({"optimizer": "adam"}, "optimizer='adam': learning_rate=\"auto\" is for"),
        ({"optimizer": "clipup"}, "optimizer='clipup'"),
        ({"optimizer": SGD(0.1)}, "without a rate of its own"),
        ({"sampler": LowRank(((2, 1),))}, 'sigma="auto" measures curvature by normal directions'),
    ],
)
def test_refused_at_the_start(name, options, message):
    """By name, with the fix."""
    with pytest.raises(ValueError, match=re.escape(message)):
        make(name, **options).start(X0)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n not in FINDERS])
def test_others_take_a_number(name):
    """A strategy without it refuses "auto"."""
    with pytest.raises(ValueError, match="sigma='auto': expected a positive number"):
        STRATEGIES[name](sigma="auto").start(X0)


@every
@pytest.mark.parametrize("parameter", ["sigma", "learning_rate"])
def test_it_is_found_from_the_start_on(name, parameter):
    """Not in the middle of a search; but a number may take its place, and it may come back."""
    es = make(name, sigma=0.1, learning_rate=0.1, optimizer="sgd").start(X0)
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    with pytest.raises(ValueError, match=f'{parameter}="auto" is found from the start on'):
        es.set_params(**{parameter: "auto"})
    es = make(name).start(X0)
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    es.set_params(sigma=0.1)
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    assert es.history_["sigma"][-1] == 0.1
    es.set_params(sigma="auto")
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    assert es.history_["sigma"][-1] != 0.1


def test_the_default_optimizer_is_adam():
    """``optimizer="auto"`` with a learning rate that is given."""
    for cls in (VanillaES, GuidedES):
        guides = [slope] if cls.takes_surrogate else []
        es = [cls(optimizer=o, random_state=0, max_iter=5).fit(bowl, X0, *guides)
              for o in ("auto", "adam")]  # fmt: skip
        assert bits(es[0].x_) == bits(es[1].x_)


def test_the_mean_of_the_step_is_downhill():
    """For a line: ``- a Sigma grad`` with the statistics' own power."""
    steps = []
    for seed in range(400):
        es = make("vanilla-es", sigma=0.5, random_state=seed, max_iter=1, n_pairs=8)
        steps.append(es.fit(lambda x: float(x @ x) / 2, [1.0, 0.0, 0.0]).x_ - [1.0, 0.0, 0.0])
    assert_mean(np.array(steps)[:, 1:].T, 0.0, detects=0.25)
    assert np.mean(steps, axis=0)[0] < -0.2
