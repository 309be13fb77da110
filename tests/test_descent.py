"""Descents by differences: exact where f is quadratic, and no worse than their model elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from blackbox_es.generation import Generation, Told
from blackbox_es.samplers import Axes, Chosen, directions
from blackbox_es.strategies.adaptive import descent
from blackbox_es.strategies.adaptive.quasi_newton import bent, dot, newton, positive, squared_cosine
from blackbox_es.strategies.adaptive.ray import Ray


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


# -- the quasi-Newton update ----------------------------------------------------------------------


def remembered(n, k, seed=0):
    """Steps and the changes of a slope along them, of a quadratic."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n, n))
    steps = rng.standard_normal((k, n))
    return steps, steps @ (root @ root.T + np.eye(n)), rng.standard_normal(n)


def dense_inverse(steps, changes, inverse):
    """The inverse curvature after one update for each step, as a matrix."""
    for s, y in zip(steps, changes, strict=True):
        left = np.eye(s.size) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    return inverse


@pytest.mark.parametrize("k", [0, 1, 2, 5])
@pytest.mark.parametrize("diagonal", [True, False])
def test_the_direction_is_that_of_the_dense_update(k, diagonal):
    """From a diagonal curvature, or from a multiple of I that fits the last change."""
    steps, changes, slope = remembered(6, k)
    curvature = np.linspace(1.0, 30.0, 6) if diagonal else None
    first = np.eye(6)
    if diagonal:
        first = np.diag(1.0 / curvature)
    elif k:
        first *= (steps[-1] @ changes[-1]) / (changes[-1] @ changes[-1])
    found = newton(slope, steps, changes, curvature)
    np.testing.assert_allclose(found, -dense_inverse(steps, changes, first) @ slope, rtol=1e-9)
    assert newton(slope.astype("f4"), steps, changes, curvature).dtype == np.float32


def test_the_last_change_is_that_of_the_last_step():
    """The secant equation: ``H y = s``."""
    steps, changes, _ = remembered(6, 4)
    np.testing.assert_allclose(newton(changes[-1], steps, changes, None), -steps[-1], rtol=1e-9)


def test_a_diagonal_is_bent_as_the_matrix_is():
    """It is the diagonal of the dense update, of a diagonal that fits the change before it."""
    (step,), (change,), _ = remembered(6, 1)
    curvature = np.linspace(1.0, 30.0, 6)
    scaled = np.diag(curvature * (change @ (change / curvature)) / (step @ change))
    part = scaled @ step
    expected = scaled - np.outer(part, part) / (step @ part)
    expected += np.outer(change, change) / (step @ change)
    np.testing.assert_allclose(bent(curvature, step, change), np.diag(expected), rtol=1e-12)


def test_curvatures_are_positive():
    """Their sizes, at least 1e-12 of the largest; 1 if all are zero."""
    found = positive(np.array([-4.0, 0.0, 1e-13, 2.0, 1e-11]))
    np.testing.assert_allclose(found, [4.0, 4e-12, 4e-12, 2.0, 1e-11], rtol=1e-15)
    assert positive(np.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_squared_cosines():
    a, b = np.array([3.0, 0.0]), np.array([-1.0, 1.0], np.float32)
    assert squared_cosine(a, b) == pytest.approx(0.5, rel=1e-15)
    assert dot(b, b) == 2.0
    assert squared_cosine(a, a) == pytest.approx(1.0, rel=1e-15)


# -- what is asked for, step by step --------------------------------------------------------------


def stepped(at, *values):
    """The descent after the values of its next points."""
    sampler, n_pairs, mirrored = descent.plan(at)
    generation = Generation(at.x, sampler, 0, 0, n_pairs, mirrored)
    values = np.array(values).reshape(-1, n_pairs)
    return descent.learn(at, Told(generation, values, n_pairs))


def told_by(at, f):
    sampler, n_pairs, mirrored = descent.plan(at)
    return stepped(at, *map(f, Generation(at.x, sampler, 0, 0, n_pairs, mirrored).points()))


def test_a_descent_begins_with_its_value_and_central_differences():
    """Which show slope and curvature; then one-sided ones show the slope."""

    def f(x):
        return 3.0 * x[0] ** 2 + 5.0 * (x[1] - 1.0) ** 2 + 2.0

    at = descent.begin(np.array([1.0, 4.0]), 0.5)
    assert descent.n_points(at) == 1
    assert not descent.wants_surrogate(at)
    at = told_by(at, f)
    assert (at.f, at.reason, descent.n_points(at)) == (50.0, None, 4)
    assert descent.wants_surrogate(at)
    steps = descent.plan(at).sampler.steps
    share = 2.0**-13  # the power of two next to eps^(1/4)
    assert steps.tolist() == [share * 1.0, share * 4.0]
    at = told_by(at, f)
    np.testing.assert_allclose(at.slope, [6.0, 30.0], rtol=1e-9)
    np.testing.assert_allclose(at.curvature, [6.0, 10.0], rtol=1e-6)
    assert descent.n_points(at) == 1
    np.testing.assert_allclose(at.ray.direction, [-1.0, -3.0], rtol=1e-6)
    assert (at.ray.kind, at.ray.t) == ("extended", pytest.approx(4.0 * 0.5 / 3.0, rel=1e-6))


def test_steps_of_differences():
    """Of the larger of the coordinate and the scale: eps^(1/4), then eps^(1/2) or eps^(1/3)."""
    at = told_by(descent.begin(np.array([0.0, -4.0, 0.25]), 0.5), lambda x: 1.0)
    sizes = np.array([0.5, 4.0, 0.5])
    for known, power in (
        ({}, -13),
        ({"curvature": np.ones(3)}, -26),
        ({"curvature": np.ones(3), "central": True}, -17),
    ):
        found = descent.plan(replace(at, **known))
        assert found.sampler.steps.tolist() == (sizes * 2.0**power).tolist()
        assert found.mirrored == (power != -26)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_missing_ends_it(bad):
    at = descent.begin(np.ones(2), 0.5)
    assert stepped(at, bad).reason == "failed"
    at = stepped(at, 1.0)
    with np.errstate(invalid="ignore"):
        assert stepped(at, 1.0, 2.0, bad, 3.0).reason == "failed"


def ready(**known):
    """A descent with a memory, at the end of a ray along -1, 0 from 0, 0 whose value was 1."""
    x, slope = np.zeros(2), np.array([1.0, 0.0])
    given = {
        "steps": np.ones((1, 2)), "changes": np.ones((1, 2)), "f": 1.0, "curvature": np.ones(2),
        "slope": slope, "ray": Ray(-slope, 1.0, "plain"), "last_x": x + 1.0, "last_slope": slope,
    }  # fmt: skip
    return replace(descent.begin(x, 0.5), **{**given, **known})


def test_a_ray_moves_it():
    """The slope is to be found anew; where it was, and what the slope was there, is remembered."""
    at = stepped(ready(), 0.25)
    assert at.x.tolist() == [-1.0, 0.0]
    assert (at.f, at.slope, at.ray, at.n_failed, at.reason) == (0.25, None, None, 0, None)
    assert at.last_x.tolist() == [0.0, 0.0]
    assert at.last_slope.tolist() == [1.0, 0.0]
    assert (at.guide.rate, len(at.steps)) == (0.75 / 4, 1)


def test_what_is_gained_by_rounding_sharpens_it_once():
    """Central differences without a memory come first; twice in a row it has converged."""
    almost = 1.0 - 2e-14
    slope = np.array([1e-16, 0.0])
    known = {"slope": slope, "ray": Ray(np.array([-1.0, 0.0]), 1.0, "plain")}
    at = stepped(ready(**known), almost)
    assert (at.central, at.n_failed, at.reason, at.curvature) == (True, 0, None, None)
    assert (len(at.steps), at.last_x, at.f) == (0, None, almost)
    once = stepped(ready(**known, central=True), almost)
    assert (once.n_failed, once.reason) == (1, None)
    assert stepped(ready(**known, central=True, n_failed=1), almost).reason == "tol"
    more = stepped(ready(**known, central=True, n_failed=1), 1.0 - 2e-13)
    assert (more.n_failed, more.reason) == (0, None)


def test_values_near_zero_are_not_resolved_below_their_thousandth():
    """Of the unit of f: a gain of less than 1e-16 is none."""
    slope = np.array([1e-18, 0.0])
    known = {"slope": slope, "ray": Ray(np.array([-1.0, 0.0]), 1.0, "plain"), "central": True}
    assert stepped(ready(**known, f=3e-16), 1e-16).n_failed == 0
    assert stepped(ready(**known, f=3e-16), 2.5e-16).n_failed == 1


def test_a_ray_that_fails():
    """The memory goes first, then differences are central, then it has stalled."""
    short = Ray(np.array([-1.0, 0.0]), 1.0, "plain", tries=11)
    at = stepped(ready(ray=short), 2.0)
    assert (at.central, at.n_failed, at.reason, len(at.steps)) == (True, 0, None, 0)
    at = stepped(ready(ray=short, central=True), 2.0)
    assert (at.n_failed, at.reason, len(at.steps)) == (1, None, 0)
    assert (at.ray.t, at.ray.tries) == (1.0, 0)  # along the slope alone
    assert stepped(ready(ray=short, central=True, n_failed=1), 2.0).reason == "stalled"
    none = {"steps": np.empty((0, 2)), "changes": np.empty((0, 2))}
    assert stepped(ready(ray=short, central=True, **none), 2.0).reason == "stalled"


def test_a_step_is_remembered_if_the_function_curves_up_along_it():
    """The last hundred of them."""

    def after(slope, **known):
        at = replace(ready(ray=None, slope=None), **{"last_x": np.array([1.0, 0.0]), **known})
        steps = descent.plan(at).sampler.steps
        return stepped(at, *(1.0 + steps * slope))

    assert len(after(np.array([0.5, 0.0])).steps) == 2  # less at 0 than at 1
    assert len(after(np.array([1.5, 0.0])).steps) == 1  # more
    assert len(after(np.array([0.5, 0.0]), last_x=None).steps) == 1
    many = {"steps": np.ones((100, 2)), "changes": np.ones((100, 2))}
    at = after(np.array([0.5, 0.0]), **many)
    assert len(at.steps) == len(at.changes) == 100
    np.testing.assert_allclose(at.steps[-1], [-1.0, 0.0])
    np.testing.assert_allclose(at.changes[-1], [-0.5, 0.0], atol=1e-6)
