"""GuidedES: alpha="auto" and unbiased=True."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, slope

from blackbox_es import GuidedES, Isotropic, LowRank, estimate_gradient
from blackbox_es.samplers import Guided, directions, orthonormal_rows
from blackbox_es.testing.statistics import assert_mean
from blackbox_es.theory import (
    SurrogateQuality,
    n_axes,
    optimal_alpha,
    unbiased_variance,
)

few = settings(deadline=None, max_examples=30, derandomize=True)
N = 40
G = np.sin(np.arange(1.0, N + 1))
OTHER = np.cos(3.0 * np.arange(N)) - np.cos(3.0 * np.arange(N)) @ G / (G @ G) * G
WORTHLESS = "the surrogate gradient has been no better than a random direction"
quiet = pytest.mark.filterwarnings(f"ignore:{WORTHLESS}")


def make(**options):
    options = {"alpha": "auto", "n_pairs": 8, "max_iter": 100, "random_state": 3, **options}
    return GuidedES(**options).start(np.zeros(N))


def generations(es, surrogate, count):
    """On a linear objective with gradient G."""
    for _ in range(count):
        X = es.ask(surrogate)
        es.tell(X, X @ G)
    return es


# -- alpha -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_alpha_is_that_of_the_quality_so_far():
    """A half before anything is known, then the closed form within 0.1 and 0.9; 1 with no guide."""
    es = make()
    assert es.alpha_ == 1.0
    rng, seen = np.random.default_rng(0), set()
    for index in range(40):
        r = es.surrogate_quality_
        surrogate = 0.2 * G + rng.standard_normal(N) * 0.3
        es.ask(surrogate)
        expected = min(max(optimal_alpha(r, n=N, k=1, n_pairs=8), 0.1), 0.9) if index else 0.5
        assert es.alpha_ == expected
        seen.add(es.alpha_)
        generations(es, surrogate, 1)
    assert len(seen) > 5
    es.ask()
    assert es.alpha_ == 1.0
    assert make(alpha=0.25).set_params(alpha=0.3).ask(G) is not None


@quiet
def test_good_guides_are_told_from_bad_ones():
    """0.1 for the gradient, 0.9 for a normal of it, and it follows when one becomes the other."""
    es = generations(make(max_iter=200), G, 30)
    assert es.alpha_ == 0.1
    generations(es, OTHER, 60)
    assert es.alpha_ == 0.9
    generations(es, G, 60)
    assert es.alpha_ == 0.1


def test_a_worthless_guide_is_warned_of_once():
    """In the beginning; not if it was good then, if it spans all, or with an alpha of one's own."""
    with pytest.warns(RuntimeWarning, match=WORTHLESS) as caught:
        generations(make(), OTHER, 60)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generations(generations(make(), G, 30), OTHER, 60)
        generations(make(alpha=0.5), OTHER, 60)
        generations(make(), np.eye(N), 60)


@quiet
def test_a_worthless_guide_costs_little():
    """A random surrogate: the gradient descent of next to isotropic search."""
    surrogates = np.random.default_rng(1)
    ends = {}
    for alpha in ("auto", 0.5, 1.0):
        values = []
        for seed in range(3):
            es = GuidedES(alpha=alpha, sigma="auto", learning_rate="auto", max_evals=2000,
                          random_state=seed)  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                es.fit(lambda x: float(((x - 1) ** 2).sum()), np.zeros(N),
                       lambda x: surrogates.standard_normal(x.size))  # fmt: skip
            values.append(math.log10(es.fun_))
        ends[alpha] = np.median(values)
    assert ends[1.0] < ends["auto"] < ends[0.5] / 2
    assert ends["auto"] < 0.7 * ends[1.0]


@pytest.mark.parametrize("alpha", ["car", None, -0.1, 1.1, np.nan])
def test_alphas_of_no_meaning(alpha):
    """Refused by name."""
    with pytest.raises(ValueError, match=r"alpha=.*expected a number between 0 and 1, or"):
        make(alpha=alpha)


# -- the quality as alpha changes ------------------------------------------------------------------


def differences(rng, alpha, r, n, k, n_pairs):
    """Of a linear f, and normals of k guides of which one has all that they share with it."""
    z = rng.standard_normal((n_pairs, k))
    y = math.sqrt((1 - alpha) / k * r) * z[:, 0]
    return y + math.sqrt(alpha / n) * rng.standard_normal(n_pairs), z


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 3])
def test_the_estimating_equation_has_mean_zero(alpha, k):
    """``sum o k s / n - r (1 - s)``, o the odds: for any alpha at the true r, and at no other.

    Of 6000 generations, a departure of a fifth of r would be found, of two fifths where almost all
    of the search is outside the guides.
    """
    n, r, n_pairs, rng = 100, 0.2, 8, np.random.default_rng(0)
    terms = []
    for _ in range(6000):
        y, z = differences(rng, alpha, r, n, k, n_pairs)
        quality = SurrogateQuality().update(y, z, 200.0, odds=alpha / (1 - alpha))
        terms.append([quality.guided / n / n_pairs, quality.rest / n_pairs])
    guided, rest = np.transpose(terms)
    assert_mean(guided - r * rest, 0.0, detects=(0.4 if alpha == 0.9 else 0.2) * r * rest.mean())


@pytest.mark.parametrize("n_pairs", [2, 8])
def test_quality_holds_whatever_the_alphas_were(n_pairs):
    """Drawn, or chosen by the estimate itself, which is then still consistent."""
    n, k, r = 200, 1, 0.03
    for chosen in (False, True):
        rng, quality = np.random.default_rng(4), SurrogateQuality()
        for _ in range(8000):
            alpha = rng.choice([0.1, 0.5, 0.9])
            if chosen:  # the more it is thought to be worth, the less is searched elsewhere
                alpha = 0.1 if quality.r(0.5, n=n, k=k) > r else 0.8
            y, z = differences(rng, alpha, r, n, k, n_pairs)
            quality = quality.update(y, z, 20_000.0, odds=alpha / (1 - alpha))
        assert quality.r(0.5, n=n, k=k) == pytest.approx(r, rel=0.1)


def test_a_changed_alpha_is_taken_into_account():
    """set_params in mid-search: the quality does not jump, as it would with other odds."""
    es = generations(make(alpha=0.2, max_iter=300), G + OTHER, 40)
    before = es.surrogate_quality_
    es.set_params(alpha=0.8)
    assert es.surrogate_quality_ == before
    generations(es, G + OTHER, 100)
    c = G @ (G + OTHER)
    assert es.surrogate_quality_ == pytest.approx(
        c**2 / (G @ G) / ((G + OTHER) @ (G + OTHER)), rel=0.5
    )


@few
@given(alpha=st.floats(0.0, 1.0), k=st.integers(1, 5), more=st.integers(0, 50))
def test_axes_are_those_of_the_covariance(alpha, k, more):
    """``1 / tr Sigma^2`` of the matrix; between k and n."""
    n = k + more
    cov = alpha / n * np.eye(n) + (1 - alpha) / k * np.diag(np.arange(n) < k)
    axes = n_axes(alpha, n=n, k=k)
    assert axes == pytest.approx(1.0 / np.trace(cov @ cov))
    assert k * (1 - 1e-12) <= axes <= n * (1 + 1e-12)


# -- unbiased --------------------------------------------------------------------------------------

ROWS = orthonormal_rows([g / np.linalg.norm(g) for g in np.eye(2, 16) + 0.1], float)


@pytest.mark.parametrize("base", [Isotropic(16, 0.3), LowRank(((3, 4),), 0.3)])
@few
@given(alpha=st.sampled_from([1e-6, 0.1, 0.5, 1.0]), seed=st.integers(0, 99))
def test_inverse_combine_is_the_inverse_of_the_covariance(base, alpha, seed):
    """``Sigma^-1 sum_p w_p d_p`` by matrices: with ``E[d d^T] = n sigma^2 Sigma``, no bias."""
    sampler, key = Guided(base, ROWS, alpha), (seed, 1)
    weights = np.random.default_rng(seed).standard_normal(5)
    cov = alpha / 16 * np.eye(16) + (1 - alpha) / 2 * ROWS.T @ ROWS
    expected = np.linalg.solve(cov, weights @ directions(sampler, key, (0, 5)))
    found = sampler.inverse_combine(weights, key, float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert found.dtype == float


def test_inverse_combine_keeps_its_digits():
    """float32, many coordinates: what is inside the subspace is small, and not a difference."""
    n = 2**16
    guide = np.random.default_rng(0).standard_normal(n)
    unit = guide / np.linalg.norm(guide)
    weights, key = np.array([1.0, -0.5]), (0, 0)
    along = [
        Guided(Isotropic(n, 1.0), unit[None].astype(dtype), 0.5).inverse_combine(
            weights, key, dtype
        ).astype(float) @ unit
        for dtype in (np.float32, np.float64)
    ]  # fmt: skip
    assert along[0] == pytest.approx(along[1], rel=1e-2)


@pytest.mark.parametrize(("n", "k", "n_pairs"), [(2, 1, 1), (3, 1, 1), (3, 2, 1), (2, 1, 2)])
@settings(few, max_examples=10)
@given(alpha=st.floats(0.05, 1.0), angle=st.floats(0.0, 3.0))
def test_mean_and_variance_are_the_exact_expectations(n, k, n_pairs, alpha, angle):
    """Of ``Sigma^-1 d (d^T grad)`` over all directions of all pairs: the gradient, the closed form.

    By nodes of Gauss and Hermite of equal weights, exact to degree five in each normal.
    """
    gradient = np.array([math.cos(angle), math.sin(angle), 0.5])[:n]
    rows = np.eye(k, n)
    nodes = (-math.sqrt(3), 0.0, 0.0, 0.0, 0.0, math.sqrt(3))
    z = np.array(list(itertools.product(nodes, repeat=n + k)))
    d = math.sqrt(alpha / n) * z[:, :n] + math.sqrt((1 - alpha) / k) * z[:, n:] @ rows
    inverse = np.linalg.inv(alpha / n * np.eye(n) + (1 - alpha) / k * rows.T @ rows)
    terms = one = (d @ gradient)[:, None] * (d @ inverse)
    if n_pairs == 2:
        terms = ((one[:, None] + one[None]) / 2).reshape(-1, n)
    np.testing.assert_allclose(terms.mean(axis=0), gradient, rtol=0, atol=1e-9)
    error = ((terms - gradient) ** 2).sum(axis=1).mean() / (gradient @ gradient)
    r = (gradient[:k] ** 2).sum() / (gradient @ gradient)
    assert error == pytest.approx(unbiased_variance(alpha, r, n=n, k=k, n_pairs=n_pairs), rel=1e-9)


@few
@given(n=st.integers(2, 500), k=st.integers(1, 5), r=st.floats(0.0, 1.0),
       alpha=st.floats(0.01, 1.0), n_pairs=st.integers(1, 99))  # fmt: skip
def test_a_good_guide_does_not_help_the_unbiased(n, k, r, alpha, n_pairs):
    """For ``r >= k/n`` the variance is least without guides."""
    k = min(k, n)
    shape = {"n": n, "k": k, "n_pairs": n_pairs}
    variance = unbiased_variance(alpha, r, **shape)
    if r >= k / n:
        assert variance >= (n + 1) / n_pairs * (1 - 1e-9)


@pytest.mark.parametrize("surrogate", ["gradient", "other", "both", "none"])
def test_the_mean_is_the_gradient_whatever_the_guides(surrogate):
    """Of a quadratic, by 3000 estimates: a bias of an eighth of the gradient would be found."""
    n, rng = 6, np.random.default_rng(0)
    root = rng.standard_normal((n, n))
    x = rng.standard_normal(n)
    gradient = root.T @ root @ x + np.arange(n)
    guides = {"gradient": gradient, "other": np.ones(n), "none": None,
              "both": np.stack([gradient, np.ones(n)], axis=1)}[surrogate]  # fmt: skip

    def f(X):
        return 0.5 * ((X @ root.T) ** 2).sum(axis=1) + X @ np.arange(n)

    es = GuidedES(alpha=0.6, sigma=0.5, n_pairs=20, unbiased=True, random_state=0, max_iter=3000)
    es.set_params(optimizer="sgd", learning_rate=1e-300).start(x)
    sample = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while not es.stop_reason_:
            X = es.ask(guides)
            es.tell(X, f(X))
            sample.append(es.gradient_)
    assert_mean(np.transpose(sample), gradient, detects=0.125 * np.linalg.norm(gradient))


def test_estimate_gradient_can_be_unbiased():
    """The same as of the strategy, and the generation's formula with the inverse."""
    x, guide = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0])
    g = estimate_gradient(bowl, x, guide, unbiased=True, random_state=5)
    es = GuidedES(unbiased=True, random_state=5).start(x)
    X = es.ask(guide)
    es.tell(X, [bowl(point) for point in X])
    assert bits(es.gradient_) == bits(g)
    d, n, sigma = (X[:8] - X[8:]) / 2, 3, 0.1
    odd = np.array([bowl(a) - bowl(b) for a, b in zip(X[:8], X[8:], strict=True)])
    unit = guide / np.linalg.norm(guide)
    cov = 0.5 / n * np.eye(n) + 0.5 * np.outer(unit, unit)
    np.testing.assert_allclose(g, np.linalg.solve(cov, odd @ d) / (2 * n * sigma**2 * 8), rtol=1e-6)


def test_unbiased_search_finds_the_minimum():
    """With any optimizer, as all estimates do."""
    es = GuidedES(unbiased=True, learning_rate=0.05, max_iter=300, random_state=0)
    assert es.fit(bowl, X0, slope).fun_ - 1 < 1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0 with unbiased=True: take one above 0"),
        ({"alpha": "auto"}, "alpha='auto' with unbiased=True"),
        (
            {"beta": 2.0},
            'beta=2.0 with unbiased=True: the estimate has its length; leave beta="auto"',
        ),
        ({"learning_rate": "auto"}, "learning_rate='auto' with unbiased=True"),
    ],
)
def test_what_has_no_meaning_for_the_unbiased(options, message):
    """Refused by name, with the fix; and a flag is a flag."""
    with pytest.raises(ValueError, match=message):
        make(**{"alpha": 0.5, "unbiased": True, **options})
    with pytest.raises((TypeError, ValueError), match="unbiased"):
        make(unbiased="yes")


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1.0])
def test_the_curvature_of_a_sphere_is_found_along_any_guides(alpha):
    """By a thousand pairs, to a third: ``m tr (H Sigma)^2 = h^2`` with the axes of each alpha."""
    es = GuidedES(alpha=alpha, sigma="auto", n_pairs=1000, random_state=0).start(np.ones(N))
    X = es.ask(np.stack([G, OTHER], axis=1))
    es.tell(X, 1.5 * (X**2).sum(axis=1))
    assert es.state_.scale.curvature == pytest.approx(3.0, rel=1 / 3)
