"""ARS: the best directions, in units of their values' deviation."""

import numpy as np
import pytest
from problems import X0, bits, bowl

from blackbox_es.samplers import directions
from blackbox_es.strategies import ARS


def asked(values, **options):
    """The directions of the first generation, and the strategy that was told these values."""
    es = ARS(sigma=0.2, n_pairs=6, random_state=2, **options).start(X0)
    sampler = (es.ask() is not None) and es._search.pending.generation.sampler
    d = directions(sampler, (2, 0), (0, 6))
    es.tell(es.ask(), values)
    return d, es


def test_the_estimate_is_the_papers():
    """1 / (b s) sum (f+ - f-) d / sigma over the b pairs with the best value, s their deviation."""
    values = np.array([5.0, 1.0, 7.0, 3.0, 9.0, 8.0, 6.0, 4.0, 0.5, 9.5, 2.0, 8.5])
    d, es = asked(values, n_top=3)
    plus, minus = values.reshape(2, -1)
    top = np.argsort(np.minimum(plus, minus))[:3]
    used = np.concatenate([plus[top], minus[top]])
    expected = (plus - minus)[top] @ d[top] / 0.2 / (3 * used.std())
    np.testing.assert_allclose(es.gradient_, expected, rtol=1e-12)
    np.testing.assert_allclose(es.x_, X0 - 0.02 * expected, rtol=1e-12)


def test_the_scale_of_the_objective_does_not_matter():
    """f times 2^k gives the same search bit for bit."""
    plain, scaled = (
        ARS(random_state=1, max_iter=20).fit(lambda x, k=k: 2.0**k * bowl(x), X0) for k in (0, -30)
    )
    assert bits(plain.x_) == bits(scaled.x_)


@pytest.mark.filterwarnings("ignore:evaluations failed")
def test_failed_pairs_are_never_among_the_best():
    """A pair whose value is missing does not count, whatever its place."""
    values = np.array([np.nan, 2.0, 3.0, 4.0, 5.0, 6.0, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0])
    d, es = asked(values, n_top=2)
    plus, minus = values.reshape(2, -1)
    top = [1, 2]
    used = np.concatenate([plus[top], minus[top]])
    expected = (plus - minus)[top] @ d[top] / 0.2 / (2 * used.std())
    np.testing.assert_allclose(es.gradient_, expected, rtol=1e-12)


def test_no_more_than_all():
    """n_top is at most the number of pairs."""
    with pytest.raises(ValueError, match="n_top=9"):
        ARS(n_pairs=8, n_top=9).start(X0)
