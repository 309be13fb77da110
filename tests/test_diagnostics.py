"""Diagnostics: what is measured is what theory says, and nothing is touched."""

import numpy as np
import pytest
from problems import X0, bits, bowl, slope, snapshot

from blackbox_es import SNES, GuidedES, OrthogonalES, VanillaES, gradient_diagnostics
from blackbox_es.diagnostics import _bias_and_variance, _jackknife

N = 12
RNG = np.random.default_rng(0)
TRUTH, GUIDES = RNG.standard_normal(N), RNG.standard_normal((N, 2))
FAR = 4.9  # standard errors: one sound run in a million


def linear(X):
    return X @ TRUTH


def measured(es, **options):
    es.set_params(vectorized=True, sigma=0.5).start(np.zeros(N))
    guides = (lambda x: GUIDES) if es.takes_surrogate else None
    return gradient_diagnostics(es, linear, lambda x: TRUTH, guides, **options)


@pytest.mark.parametrize(
    "es",
    [
        VanillaES(n_pairs=3),
        VanillaES(n_pairs=3, beta=5.0),
        GuidedES(n_pairs=3, alpha=0.3, beta=2.5),
        GuidedES(n_pairs=3, alpha=0.9),
        GuidedES(n_pairs=3, alpha=0.5, unbiased=True),
        OrthogonalES(n_pairs=5),
        OrthogonalES(n_pairs=5, unbiased=True),
    ],
    ids=str,
)
def test_bias_and_variance_are_those_of_theory(es):
    """Within their errors, which are at most .06 of the mean squared error: .3 is always seen."""
    found = measured(es, n_estimates=3000)
    total = found.squared_bias.theory + found.variance.theory
    for part in (found.squared_bias, found.variance):
        assert part.mean == pytest.approx(part.theory, abs=FAR * part.error + 1e-12)
        assert part.error < 0.06 * total


def test_what_the_surrogate_is_worth():
    """By differences only it is the squared cosine within the error, .01 here."""
    basis = np.linalg.qr(GUIDES)[0]
    r = np.square(basis.T @ TRUTH).sum() / (TRUTH @ TRUTH)
    found = measured(GuidedES(n_pairs=20), n_estimates=1000).r
    assert found.theory == pytest.approx(r, rel=1e-12)
    assert 0.0 < found.error < 0.02
    assert found.mean == pytest.approx(r, abs=FAR * found.error)
    assert measured(OrthogonalES(n_pairs=3), n_estimates=3).r.mean == pytest.approx(r)
    assert measured(VanillaES(), n_estimates=3).r is None


def test_exact_estimates():
    """All of a linear objective's gradient is found: cosine 1, length 1, no bias, no variance."""
    found = measured(OrthogonalES(n_pairs=N), n_estimates=3)
    for part, value in [("cosine", 1), ("relative_norm", 1), ("squared_bias", 0), ("variance", 0)]:
        assert getattr(found, part)[:2] == pytest.approx((value, 0), abs=1e-12)


def test_errors_are_those_of_the_jackknife():
    """Sums give what leaving out one estimate after the other gives."""
    d = RNG.standard_normal((6, 3))
    bias, variance = _bias_and_variance(d, (None, None))
    center = d.mean(axis=0)
    spread = np.square(d - center).sum() / 5
    assert variance.mean == pytest.approx(spread)
    assert bias.mean == pytest.approx(center @ center - spread / 6)
    parts = [_bias_and_variance(np.delete(d, i, axis=0), (None, None)) for i in range(6)]
    for whole, name in ((bias, 0), (variance, 1)):
        without = np.array([part[name].mean for part in parts])
        assert whole.error == pytest.approx(_jackknife(0.0, without, None).error)
        assert whole.error == pytest.approx(
            np.sqrt(5 / 6 * np.square(without - without.mean()).sum())
        )


def test_a_search_is_not_touched():
    """With diagnostics in a callback it is the search that it is without."""
    seen = []
    es = GuidedES(n_guides=2, max_iter=4, random_state=0)
    es.fit(bowl, X0, slope, lambda x: seen.append(
        gradient_diagnostics(es, bowl, slope, slope, n_estimates=3)))  # fmt: skip
    alone = GuidedES(n_guides=2, max_iter=4, random_state=0).fit(bowl, X0, slope)
    assert bits(es.x_) == bits(alone.x_)
    assert len(seen) == 4
    before = snapshot(es)
    found = gradient_diagnostics(es, bowl, slope, slope, n_estimates=3)
    assert snapshot(es) == before
    es.start(X0)
    between = gradient_diagnostics(es, bowl, slope, slope, n_estimates=3)
    es.ask(slope(X0))
    assert gradient_diagnostics(es, bowl, slope, slope, n_estimates=3) == between
    assert repr(found).splitlines()[-1].split()[0] == "r"
    ranked = VanillaES(shaping="centered_ranks").start(X0)
    assert gradient_diagnostics(ranked, bowl, slope, n_estimates=3).variance.theory is None


def test_what_is_refused():
    """By name, before anything is evaluated."""
    es = GuidedES().start(X0)
    with pytest.raises(TypeError, match=r"SNES.* estimates no gradient"):
        gradient_diagnostics(SNES().start(X0), bowl, slope)
    with pytest.raises(ValueError, match="bounds"):
        gradient_diagnostics(GuidedES(bounds=[(0, 1)] * 3).start(None), bowl, slope)
    with pytest.raises(ValueError, match=r"true_gradient_fn gives shape \(2,\)"):
        gradient_diagnostics(es, bowl, lambda x: x[:2])
    with pytest.raises(ValueError, match=r"true_gradient_fn gives .* length 0"):
        gradient_diagnostics(es, bowl, np.zeros_like)
    with pytest.raises(ValueError, match="n_estimates"):
        gradient_diagnostics(es, bowl, slope, n_estimates=2)
    with pytest.raises(TypeError, match="true_gradient_fn"):
        gradient_diagnostics(es, bowl, slope(X0))
