"""ASEBO: the active subspace of past estimates, its dimension, its share, and what it gains."""

import numpy as np
import pytest
from problems import X0, bits

from blackbox_es import ASEBO, Guided, VanillaES, gradient_diagnostics

FAR = 4.9  # standard errors: one sound run in a million
OPTIONS = {"n_pairs": 6, "min_pairs": 2, "warm_up": 3, "random_state": 0, "vectorized": True}


def quadratic(X):
    return (np.linspace(1.0, 3.0, X.shape[-1]) * (X - 1) ** 2).sum(axis=-1)


def searched(n, **options):
    """A search, its estimates, and the memory and the generation of each step."""
    es, seen = ASEBO(**{**OPTIONS, "max_iter": 12, **options}).start(np.zeros(n)), []
    while not es.stop_reason_:
        X = es.ask()
        generation, memory = es._search.pending.generation, es._search.state.memory
        es.tell(X, quadratic(X))
        seen.append((es.gradient_.copy(), memory, generation))
    return es, seen


@pytest.mark.parametrize(("decay", "threshold"), [(0.995, 0.995), (0.7, 0.9), (0.5, 0.0)])
def test_the_subspace_is_that_of_the_decayed_covariance(decay, threshold):
    """Eigenvalues, the fewest that are ``threshold`` of the trace, and their span, exactly."""
    _, seen = searched(30, decay=decay, threshold=threshold)
    covariance = np.zeros((30, 30))
    for t, (g, memory, generation) in enumerate(seen):
        np.testing.assert_allclose(memory.factor.T @ memory.factor, covariance, atol=1e-9)
        values, vectors = np.linalg.eigh(covariance)
        shares = values[::-1].cumsum() / max(values.sum(), 1e-300)
        rank = min(t, int((shares < threshold - 1e-9).sum()) + 1)
        assert memory.rank == rank
        assert isinstance(generation.sampler, Guided) == (t >= 3)
        if t >= 3:
            assert generation.n_pairs == min(6, max(2, rank + 2))
            rows, u = generation.sampler.rows, vectors[:, ::-1][:, :rank]
            np.testing.assert_allclose(rows.T @ rows, u @ u.T, atol=1e-6)
        g = g / np.linalg.norm(g)
        covariance = decay * covariance + (1 - decay) * np.outer(g, g)


def test_no_more_rows_than_asked_for():
    """Nor more than there are coordinates."""
    assert len(searched(30, n_past=4)[0].state_.memory.factor) == 4
    assert len(searched(3)[0].state_.memory.factor) <= 3


def test_alpha_is_the_ratio_of_norms():
    """Across over inside, as measured by differences: close to what the gradient says."""
    _, seen = searched(30, n_pairs=30, min_pairs=30, threshold=0.5)
    assert any(0.1 < memory.alpha < 0.9 for _, memory, _ in seen[4:])
    for _, memory, generation in seen[4:]:
        r = memory.quality.r(0.5, n=30, k=len(generation.sampler.rows))
        assert memory.alpha == generation.sampler.alpha
        assert memory.alpha == np.clip(np.sqrt((1 - r) / max(r, 1e-9)), 0.1, 0.9)
    assert [memory.alpha for _, memory, _ in seen[:4]] == [1.0, 1.0, 1.0, 0.5]
    truth = np.random.default_rng(0).standard_normal(60)
    es = ASEBO(**{**OPTIONS, "n_pairs": 20, "min_pairs": 10, "threshold": 0.5, "max_iter": 60})
    es.fit(lambda X: X @ truth, np.zeros(60))
    found = gradient_diagnostics(es, lambda X: X @ truth, lambda x: truth, n_estimates=3)
    assert es.alpha_ == pytest.approx(np.sqrt((1 - found.r.theory) / found.r.theory), abs=0.15)
    assert found.r.theory > 0.5
    assert es.n_active_ < 10


def test_warm_up_is_isotropic_search():
    """Bit for bit that of VanillaES."""
    options = {"n_pairs": 6, "random_state": 0, "max_iter": 3, "optimizer": "adam"}
    plain = VanillaES(**options, vectorized=True).fit(quadratic, np.zeros(9))
    es = ASEBO(**{**OPTIONS, "max_iter": 3}).fit(quadratic, np.zeros(9))
    assert bits(es.x_) == bits(plain.x_)
    assert (es.alpha_, es.n_active_) == (1.0, 0)


def test_budgets_are_used_up():
    """Generations are as large as they are, not as they may be."""
    for most in range(40, 90, 7):
        es, _ = searched(30, max_iter=99, max_evals=most, threshold=0.5)
        es.fit(quadratic, np.zeros(30))
        assert es.n_evaluations_ <= most  # the last one is that of the center
        _, plan = es._ask(es.state_, None)
        assert es.n_evaluations_ + 2 * plan.n_pairs > most


def test_bias_and_variance_are_the_closed_forms():
    """Those of guided search, within errors of .06 of the whole."""
    truth = np.random.default_rng(0).standard_normal(12)
    es = ASEBO(**{**OPTIONS, "max_iter": 6, "threshold": 0.7}).fit(
        lambda X: X @ truth, np.zeros(12)
    )
    found = gradient_diagnostics(es, lambda X: X @ truth, lambda x: truth, n_estimates=4000)
    total = found.squared_bias.theory + found.variance.theory
    for part in (found.squared_bias, found.variance):
        assert part.mean == pytest.approx(part.theory, abs=FAR * part.error)
        assert part.error < 0.06 * total
    assert found.r.mean == pytest.approx(found.r.theory, abs=FAR * found.r.error)


def test_it_beats_isotropic_search_where_few_directions_count():
    """5 of 400: at equal evaluations, each at the best of three rates, a third of the error."""
    n, m = 400, 5

    def error(es, seed, rate):
        axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, m)))[0]
        es.set_params(optimizer="sgd", learning_rate=rate, sigma=0.01, max_evals=2000,
                      max_iter=999, vectorized=True, random_state=seed)  # fmt: skip
        return es.fit(lambda X: ((X @ axes - 1) ** 2).sum(axis=-1), np.zeros(n)).fun_ / m

    for seed in range(3):
        plain, guided = (
            min(error(es, seed, rate) for rate in (0.3, 0.6, 1.0))
            for es in (VanillaES(n_pairs=10), ASEBO(warm_up=5))
        )
        assert guided < plain / 3


def test_bad_parameters():
    for name, bad in [
        ("min_pairs", 0), ("n_past", 0), ("warm_up", 0), ("decay", 1.1), ("threshold", -0.1),
        ("decay", "x"), ("n_pairs", 0), ("beta", 0.0),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            ASEBO(**{name: bad}).start(X0)
