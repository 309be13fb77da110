"""GuidedES: what a surrogate gradient is good for, and what a bad one cannot do."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, slope, snapshot, state

from blackbox_es import GuidedES, VanillaES

few = settings(deadline=None, max_examples=20, derandomize=True)
N = 6
G, H = np.arange(1.0, N + 1), np.array([1.0, -1.0, 2.0, 0.0, 0.0, 1.0])
BAD = {
    "missing": None,
    "zero": np.zeros(N),
    "nan": np.where(np.arange(N) == 2, np.nan, 1.0),
    "inf": np.where(np.arange(N) == 2, -np.inf, 1.0),
    "zero matrix": np.zeros((N, 2)),
}


def make(**options):
    """Guided search that never leaves the span of its guides, unless alpha says otherwise."""
    options = {"alpha": 0.0, "n_pairs": 4, "max_iter": 9, "random_state": 3, **options}
    return GuidedES(**options).start(np.zeros(N))


def directions(X):
    """Half the differences of antithetic points."""
    return (X[: len(X) // 2] - X[len(X) // 2 :]) / 2


def span(X):
    """The orthogonal projection on what the points span."""
    _, values, vectors = np.linalg.svd(directions(X))
    rows = vectors[: int((values > 1e-6 * values[0]).sum())]
    return rows.T @ rows


def subspace(*guides):
    """The orthogonal projection on the guides' span."""
    q, _ = np.linalg.qr(np.array(guides).T)
    return q @ q.T


# -- the subspace --------------------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", [G, G[:, None], G.tolist(), np.float32(G), G.astype(int)])
def test_one_guide(surrogate):
    """At alpha=0 a surrogate of shape (n,) or (n, 1) is the line searched."""
    np.testing.assert_allclose(span(make().ask(surrogate)), subspace(G), atol=1e-6)


def test_many_guides():
    """At alpha=0 the columns of an (n, k) surrogate span the subspace, whatever n_guides is."""
    surrogate = np.stack([G, H], axis=1)
    np.testing.assert_allclose(span(make().ask(surrogate)), subspace(G, H), atol=1e-6)
    expected = make().ask(np.asfortranarray(surrogate))
    assert bits(make().ask(surrogate)) == bits(expected)


def test_history_of_guides():
    """The last n_guides surrogates span the subspace; one that is missing takes its place."""
    es, flat = make(n_guides=2), np.arange(8.0)
    es.tell(es.ask(G), flat)
    es.tell(es.ask(H), flat)
    K = np.ones(N)
    np.testing.assert_allclose(span(es.ask(K)), subspace(H, K), atol=1e-6)
    es.tell(es.ask(), flat)
    with pytest.warns(RuntimeWarning, match="surrogate"):
        np.testing.assert_allclose(span(es.ask(np.zeros(N))), subspace(K), atol=1e-6)


def test_a_matrix_is_all_the_guides():
    """An (n, k) surrogate, k > 1, forgets the history; the next vector begins it again."""
    es, flat = make(n_guides=3), np.arange(8.0)
    es.tell(es.ask(np.eye(N)[0]), flat)
    es.tell(es.ask(np.stack([G, H], axis=1)), flat)
    np.testing.assert_allclose(span(es.ask(np.ones(N))), subspace(np.ones(N)), atol=1e-6)


@few
@given(power=st.sampled_from([-1000, -500, -1, 1, 500, 1000]), sign=st.sampled_from([-1.0, 1.0]))
def test_only_the_line_matters(power, sign):
    """A guide times a power of two gives the same points bit for bit, times -1 the same line."""
    X = make().ask(sign * G * 2.0**power)
    assert bits(np.abs(X)) == bits(np.abs(make().ask(G)))


@few
@given(mix=st.permutations(range(3)), power=st.sampled_from([-150, 0, 150]))
def test_only_the_span_matters(mix, power):
    """Reordered, rescaled and recombined columns span the same subspace."""
    columns = np.stack([G, H, np.ones(N)], axis=1)
    mixed = columns[:, mix] * [10.0**power, 1.0, -(10.0**-power)]
    np.testing.assert_allclose(span(make().ask(mixed)), span(make().ask(columns)), atol=1e-6)
    combined = columns @ np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [1.0, 0.0, 1.0]])
    np.testing.assert_allclose(span(make().ask(combined)), span(make().ask(columns)), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dependent_guides_are_fewer_guides(dtype):
    """Duplicated and dependent columns add no axis, and the variance stays n sigma^2."""
    es = GuidedES(alpha=0.0, n_pairs=4000, sigma=0.5, random_state=0).start(np.zeros(N, dtype))
    X = es.ask(np.stack([G, -3 * G, H, G + H, H], axis=1))
    np.testing.assert_allclose(span(X), subspace(G, H), atol=1e-5)
    # |d|^2 is n sigma^2 chi2(2)/2: 6 standard errors of the mean of 4000
    assert abs((directions(X) ** 2).sum(axis=1).mean() / (0.25 * N) - 1) < 6 / np.sqrt(4000)


@pytest.mark.parametrize("n_guides", [1, 3])
def test_repeated_guides_in_history(n_guides):
    """A surrogate that does not change is one axis, however long the history."""
    es = make(n_guides=n_guides)
    for _ in range(3):
        X = es.ask(G)
        es.tell(X, np.arange(8.0))
    np.testing.assert_allclose(span(X - np.mean(X, axis=0)), subspace(G), atol=1e-6)
    assert es.n_surrogate_rejected_ == 0


# -- surrogates that are no good -----------------------------------------------------------------


@pytest.mark.parametrize("beta", [1.0, "auto"])
@pytest.mark.parametrize("surrogate", BAD.values(), ids=BAD)
def test_without_a_guide_the_search_is_isotropic(surrogate, beta):
    """Surrogates that say nothing are counted, warned about once, and the points are vanilla.

    The first generation does not warn: there may be nothing to guide by yet.
    """
    es = make(optimizer="sgd", beta=beta)
    vanilla = VanillaES(n_pairs=4, random_state=3, optimizer="sgd", beta=beta).start(np.zeros(N))
    assert (es.surrogate_quality_, es.alpha_, es.n_surrogate_rejected_) == (0.0, 1.0, 0)
    caught = []
    for generation in range(4):
        with warnings.catch_warnings(record=True) as new:
            warnings.simplefilter("always")
            X = es.ask(surrogate)
        caught.append([str(warning.message) for warning in new])
        assert bits(X) == bits(vanilla.ask())
        assert es.n_surrogate_rejected_ == generation + 1
        es.tell(X, np.arange(8.0))
        vanilla.tell(vanilla.ask(), np.arange(8.0))
    assert [len(messages) for messages in caught] == [0, 1, 0, 0]
    assert "a surrogate gradient is missing, zero or not finite" in caught[1][0]


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_bad_columns_are_left_out(bad):
    """The good columns of a surrogate are kept; the bad ones are counted and warned about."""
    es = make()
    es.tell(es.ask(G), np.arange(8.0))
    with pytest.warns(RuntimeWarning, match="surrogate"):
        X = es.ask(np.stack([G, np.full(N, bad), H], axis=1))
    np.testing.assert_allclose(span(X), subspace(G, H), atol=1e-6)
    assert es.n_surrogate_rejected_ == 1


def test_bad_surrogates_do_not_stop_a_fit():
    """A surrogate_fn that fails in some generations: one warning, a count, and a good result."""
    bad = iter([np.full(3, np.nan), None, np.zeros(3)] * 100)
    es = GuidedES(max_iter=200, n_pairs=4, random_state=0, learning_rate=0.05)
    with pytest.warns(RuntimeWarning) as caught:
        es.fit(bowl, X0, lambda x: slope(x) if x[0] > 0.8 else next(bad))
    assert len(caught) == 1
    assert 0 < es.n_surrogate_rejected_ < es.n_surrogate_calls_ == 200
    assert es.fun_ < 1.1


@pytest.mark.parametrize(
    ("surrogate", "error", "message"),
    [
        (np.ones(N - 1), ValueError, r"shape \(5,\): expected \(6,\) or \(6, k\)"),
        (np.ones((2, N)), ValueError, r"shape \(2, 6\)"),
        (np.ones((N, 0)), ValueError, r"shape \(6, 0\)"),
        (np.ones((N, 1, 1)), ValueError, r"shape \(6, 1, 1\)"),
        (1.0, ValueError, r"shape \(\)"),
        (G * 1j, TypeError, "complex128"),
        (["a"] * N, TypeError, "surrogate"),
    ],
)
def test_surrogates_of_the_wrong_kind(surrogate, error, message):
    """A wrong shape or type raises and changes nothing: a good one may follow."""
    es = make()
    before = snapshot(es)
    with pytest.raises(error, match=message):
        es.ask(surrogate)
    assert snapshot(es) == before
    assert bits(es.ask(G)) == bits(make().ask(G))


def test_surrogate_raises():
    """The exception of surrogate_fn comes out as it is, with the generation in a note."""

    def surrogate_fn(x):
        if len(calls) == 3:
            raise ZeroDivisionError("mine")
        calls.append(x)
        return slope(x)

    calls = []
    es = GuidedES(n_pairs=3, random_state=7)
    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        es.fit(bowl, X0, surrogate_fn)
    assert caught.value.__notes__ == ["raised by surrogate_fn in generation 3"]
    assert caught.traceback[-1].name == "surrogate_fn"
    expected = GuidedES(n_pairs=3, random_state=7, max_iter=3).fit(bowl, X0, slope)
    assert (bits(es.x_), es.n_iter_) == (bits(expected.x_), 3)


def test_vanilla_takes_no_surrogate():
    """VanillaES with a surrogate raises before anything has changed."""
    es = VanillaES(random_state=0, max_iter=2).fit(bowl, X0)
    before = snapshot(es)
    with pytest.raises(ValueError, match="surrogate_fn: take GuidedES"):
        es.fit(bowl, X0, slope)
    assert snapshot(es) == before
    es.start(X0)
    with pytest.raises(ValueError, match="take GuidedES"):
        es.ask(X0)


# -- alpha, beta, quality ------------------------------------------------------------------------


@pytest.mark.parametrize("shaping", ["raw", "centered_ranks"])
def test_alpha_one_is_vanilla(shaping):
    """At alpha=1 with the same beta the path is that of VanillaES, bit for bit."""
    options = {"beta": 2.0, "n_pairs": 3, "max_iter": 9, "random_state": 1, "shaping": shaping}
    guided = state(GuidedES(alpha=1.0, **options).fit(bowl, X0, slope))
    vanilla = state(VanillaES(**options).fit(bowl, X0))
    same = vanilla.keys() - {"n_surrogate_calls_", "surrogate_x_"}
    assert {name: guided[name] for name in same} == {name: vanilla[name] for name in same}


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@few
@given(seed=st.integers(0, 99), n_pairs=st.sampled_from([1, 3]), aligned=st.booleans())
def test_beta_auto_is_between_its_bounds(alpha, seed, n_pairs, aligned):
    """0 < beta <= P / ((P + 1) m1 + 1), m1 = g^T Sigma g / |g|^2, and is at most n."""
    es = GuidedES(alpha=alpha, n_pairs=n_pairs, random_state=seed).start(np.ones(N))
    for _ in range(5):
        X = es.ask(G if aligned else H)
        es.tell(X, X @ G)
        d = directions(X)
        unit_beta = (2 * d @ G) @ d / (2 * es.sigma**2 * n_pairs)
        beta = (es.gradient_ @ unit_beta) / (unit_beta @ unit_beta)
        assert 0.0 < beta <= min(N, n_pairs / ((n_pairs + 1) * alpha / N + 1)) * (1 + 1e-9)
        assert 0.0 <= es.surrogate_quality_ <= 1.0


def test_beta_is_a_factor():
    """gradient_ is proportional to beta, exactly for powers of two."""
    told = []
    for beta in (1.0, 4.0):
        es = make(beta=beta, alpha=0.5)
        es.tell(es.ask(G), np.arange(8.0) ** 2)
        told.append(es.gradient_)
    assert bits(told[1]) == bits(4.0 * told[0])


def test_surrogate_quality_knows_good_from_bad():
    """surrogate_quality_ is on average high for the gradient and near 0 for a normal of it."""
    means = []
    for guide in (G, np.array([2.0, -1.0, 0.0, 0.0, 0.0, 0.0])):  # G @ the second is 0
        es, quality = make(alpha=0.5, n_pairs=50, max_iter=50), []
        while not es.stop_reason_:
            X = es.ask(guide)
            es.tell(X, X @ G)
            quality.append(es.surrogate_quality_)
        means.append(np.mean(quality[10:]))
    assert means[0] > 0.5  # chance is 1/6
    assert means[1] < 0.05


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_extreme_objectives_still_move(scale):
    """Objectives whose squares under- or overflow are searched without a warning."""
    es = make(alpha=0.5, max_iter=3)
    while not es.stop_reason_:
        X = es.ask(G)
        es.tell(X, scale * (X @ G))
    assert np.isfinite(es.surrogate_quality_)
    assert es.stop_reason_ in ("max_iter", "non_finite")
