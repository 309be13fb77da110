"""Descents by differences: exact where f is quadratic, and no worse than their model elsewhere."""

import numpy as np
import pytest

from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Axes, Chosen, directions
from blackbox_es.strategies.adaptive import descent


def run(objective, x, n_most=100_000, scale=0.5, dtype=float):
    """A descent to its end, and the evaluations it took."""
    at, n = descent.begin(np.asarray(x, dtype), scale), 0
    while at.reason is None and n < n_most:
        sampler, n_pairs, mirrored = descent.plan(at)
        assert descent.n_points(at) == n_pairs * (1 + mirrored)
        generation = Generation(at.x, sampler, 0, 0, n_pairs, mirrored)
        values = np.array([objective(p) for p in generation.points()]).reshape(-1, n_pairs)
        n += values.size
        before, at = at, descent.learn(at, Told(generation, values, n_pairs))
        if before.f is not None:
            assert at.f <= before.f  # it never goes up
    return at, n


@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_separable_quadratics_need_two_surveys(n):
    """The curvature is seen at once, whatever it is: condition 1e6."""
    scales = 1e6 ** np.linspace(0, 1, n)
    reached = []

    def objective(x):
        reached.append(scales @ (x * x))
        return reached[-1]

    run(objective, np.ones(n))
    assert np.argmax(np.array(reached) < 1e-7 * n) < 12 * n + 20


def test_rotated_quadratics():
    """As conjugate gradients do, it ends after about n slopes: condition 1e3, n = 30."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((30, 30)))
    matrix = q @ np.diag(1e3 ** np.linspace(0, 1, 30)) @ q.T
    reached = []

    def objective(x):
        reached.append(x @ matrix @ x)
        return reached[-1]

    run(objective, np.ones(30))
    assert np.argmax(np.array(reached) < 1e-8) < 100 * 31


def test_float32():
    """Steps fit the precision."""
    at, _ = run(
        lambda x: float(((x.astype(float) - 3.0) ** 2).sum()), np.zeros(4), dtype=np.float32
    )
    assert at.x.dtype == np.float32
    np.testing.assert_allclose(at.x, 3.0, atol=1e-3)


def test_powers_of_two_change_nothing():
    """f times 4, or x and the scale times 2, to rounding of the differences' steps."""

    def f(x):
        return (x[0] - 1.0) ** 2 + 8.0 * (x[1] - x[0] ** 2) ** 2

    plain, _ = run(f, [0.0, 0.0])
    values, _ = run(lambda x: 4.0 * f(x), [0.0, 0.0])
    points, _ = run(lambda x: f(x / 2.0), [0.0, 0.0], scale=1.0)
    assert plain.x.tolist() == values.x.tolist() == (points.x / 2.0).tolist()


@np.errstate(invalid="ignore")
def test_no_slope_and_no_value():
    """Plateaus and points without a value end it with a reason."""
    assert run(lambda x: 1.0, np.ones(3))[0].reason == "flat"
    assert run(lambda x: np.nan, np.ones(3))[0].reason == "failed"
    assert run(lambda x: np.inf if x.any() else 0.0, np.zeros(3))[0].reason == "failed"


def test_a_kink_stalls_it():
    """Where the slope says nothing of what is farther along it."""
    at, n = run(lambda x: np.abs(x - 0.3).max() + 1.0, np.zeros(3))
    assert at.reason in ("stalled", "tol", "flat")
    assert n < 500


def test_axes_and_rays():
    """What they search, and that sums are sums of directions."""
    axes = Axes(np.array([0.5, 2.0, 1.0]))
    ray = Chosen(np.array([[1.0, -2.0, 0.0], [0.0, 3.0, 0.5]]))
    for sampler, n_pairs in ((axes, 3), (ray, 2)):
        d, w = directions(sampler, (1, 2), (0, n_pairs)), np.linspace(-1, 2, n_pairs)
        np.testing.assert_array_equal(sampler.combine(w, (1, 2), float), w @ d)
        np.testing.assert_array_equal(directions(sampler, (1, 2), (1, 2)), d[1:2])
        assert sampler.sigma == pytest.approx(np.sqrt(np.square(d).mean()))
