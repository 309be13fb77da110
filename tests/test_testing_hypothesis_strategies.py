"""What the Hypothesis strategies of the test kit draw: the law of each, and what it shrinks to."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from problems import X0, bits, bowl, make, surrogate_of

from blackbox_es.samplers import Guided, Isotropic, directions
from blackbox_es.shaping import RANK_BASED, resolve
from blackbox_es.strategies import STRATEGIES
from blackbox_es.testing.hypothesis_strategies import (
    FAULTS,
    FaultyObjective,
    InjectedFault,
    MonotoneMap,
    Quadratic,
    SignedPermutation,
    fault_objectives,
    monotone_maps,
    points,
    quadratics,
    search_distributions,
    signed_permutations,
)

many = settings(
    deadline=None, derandomize=True, phases=[phase for phase in Phase if phase is not Phase.explain]
)
sizes = st.integers(1, 6)


def simplest(strategy, condition=lambda value: True):
    """What the strategy shrinks to."""
    return find(strategy, condition, settings=settings(many, max_examples=2000))


# -- points --------------------------------------------------------------------------------------


@many
@given(st.data(), st.floats(1e-3, 1e6), st.sampled_from([np.float32, np.float64]))
def test_points_are_finite_vectors_within_the_bound(data, bound, dtype):
    """Of the dtype asked for, with 1 to max_n entries or with n, none larger than the bound."""
    n = data.draw(st.none() | sizes)
    x = data.draw(points(n, max_n=4, bound=bound, dtype=dtype))
    assert x.dtype == dtype
    assert x.ndim == 1
    assert x.size == n if n else 1 <= x.size <= 4
    assert np.abs(x.astype(float)).max() <= bound


@pytest.mark.parametrize("bound", [0.1, 0.3])
def test_points_reach_the_bound(bound):
    """The largest entry is the bound, or in float32 the next number below if that is above."""
    assert find(points(1, bound=bound), lambda x: x[0] == bound, settings=many)
    x = find(points(1, bound=bound, dtype="f4"), lambda x: x[0] > 0.999 * bound, settings=many)
    assert float(x[0]) <= bound


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"max_n": 0}, {"bound": -1.0}, {"bound": np.inf}, {"dtype": int}]
)
def test_points_refuse_what_they_cannot_draw(wrong):
    """A wrong argument is named when the strategy is made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        points(**wrong)


# -- search distributions ------------------------------------------------------------------------


@many
@given(st.data(), sizes)
def test_search_distributions_are_samplers(data, n):
    """Isotropic or guided, with orthonormal rows, alpha in [0, 1] and sigma in its bounds."""
    sampler = data.draw(search_distributions(n, max_guides=3, min_sigma=0.5, max_sigma=2.0))
    assert sampler.n == n
    assert 0.5 <= sampler.sigma <= 2.0
    if isinstance(sampler, Guided):
        k = len(sampler.rows)
        assert 1 <= k <= min(n, 3)
        assert 0.0 <= sampler.alpha <= 1.0
        np.testing.assert_allclose(sampler.rows @ sampler.rows.T, np.eye(k), atol=1e-9)
    d = directions(sampler, key=(0, 0), pairs=(0, 4))
    assert d.shape == (4, n)
    assert np.isfinite(d).all()


@many
@given(search_distributions(3, max_guides=0))
def test_no_guides_is_isotropic(sampler):
    """max_guides=0 gives isotropic samplers only."""
    assert isinstance(sampler, Isotropic)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_search_distributions_vary(alpha):
    """The simplest is isotropic; guided ones of any rank, and both ends of alpha, are drawn."""
    drawn = search_distributions(3)
    assert simplest(drawn) == Isotropic(3, 1.0)
    found = simplest(
        drawn, lambda s: isinstance(s, Guided) and len(s.rows) == 3 and s.alpha == alpha
    )
    assert found.base == Isotropic(3, 1.0)


# -- quadratics ----------------------------------------------------------------------------------


@many
@given(st.data(), sizes, st.floats(1.0, 1e6))
def test_quadratics_are_convex(data, n, condition):
    """Exactly symmetric, positive definite, of at most the condition, largest eigenvalue <= 1."""
    f = data.draw(quadratics(n, max_condition=condition))
    hessian = np.array(f.hessian)
    assert f.n == n
    assert (hessian == hessian.T).all()
    values = np.linalg.eigvalsh(hessian)
    rounding = 1e-14 * values[-1]
    assert 0.0 < values[-1] <= 1.0 + 1e-14
    assert values[0] >= values[-1] / condition - n * rounding


@many
@given(quadratics(3), st.lists(points(3), min_size=1, max_size=4))
def test_quadratics_take_points_and_rows(f, rows):
    """The formula; rows have the bits of points, in any memory order, and nothing is written."""
    X = np.array(rows)
    X.flags.writeable = False
    hessian, slope = np.array(f.hessian), np.array(f.slope)
    for x in X:
        np.testing.assert_allclose(f(x), x @ hessian @ x / 2 + slope @ x + f.offset, atol=1e-10)
        np.testing.assert_allclose(f.gradient(x), hessian @ x + slope, atol=1e-12)
    for laid_out in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        assert bits(f(laid_out)) == bits(np.array([f(x) for x in X]))
        assert bits(f.gradient(laid_out)) == bits(np.array([f.gradient(x) for x in X]))


@many
@given(quadratics(3, max_condition=16), st.tuples(*[st.integers(-9, 9)] * 3))
def test_quadratics_are_exact_at_whole_points(f, x):
    """At small whole points values and gradients have no rounding: differences are the slope."""
    x, d = np.array(x, float), np.array([1.0, 2.0, -1.0])
    assert f(x + d) - f(x - d) == 2.0 * (f.gradient(x) @ d)


@many
@given(quadratics(2))
def test_quadratics_are_values(f):
    """Equal to a pickled copy and to what their repr says; they hash."""
    assert pickle.loads(pickle.dumps(f)) == f == eval(repr(f))
    assert len({f, eval(repr(f))}) == 1


def test_quadratics_vary():
    """The simplest is the sphere; ill-conditioned and turned ones are drawn."""
    sphere = Quadratic(((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0), 0.0)
    assert simplest(quadratics(2)) == sphere
    turned = simplest(quadratics(2), lambda f: f.hessian[0][1] != 0.0)
    assert len(repr(turned)) < 120
    steep = simplest(quadratics(2), lambda f: np.linalg.cond(f.hessian) > 4000)
    assert np.linalg.cond(steep.hessian) < 1e4


# -- maps of values ------------------------------------------------------------------------------

_DYADIC = st.integers(-(2**28), 2**28).map(lambda k: k / 2**8)


@many
@given(monotone_maps(), st.lists(_DYADIC, min_size=1, max_size=20))
def test_monotone_maps_keep_every_order(increasing, values):
    """Less stays less and equal stays equal: next to each other, far away, in arrays or alone."""
    y = np.clip(np.add.outer(values, [-1.0, -(2**-8), 0.0, 0.0, 2**-8, 1.0]), -(2**20), 2**20)
    mapped = increasing(y)
    assert np.isfinite(mapped).all()
    assert mapped.shape == y.shape
    flat, image = y.ravel(), mapped.ravel()
    assert (
        np.sign(np.subtract.outer(flat, flat)) == np.sign(np.subtract.outer(image, image))
    ).all()
    assert (np.sign(np.diff([increasing(v) for v in np.unique(y).tolist()])) == 1.0).all()


@pytest.mark.parametrize("shift", [-1000.0, 1000.0])
def test_the_flattest_map_is_strict_at_the_ends(shift):
    """arctan tells apart all of the largest values it is meant for."""
    ends = 2.0**20 - np.arange(2**12)[::-1] / 2**8
    assert (np.diff(MonotoneMap("arctan", shift=shift)(ends)) > 0.0).all()


@many
@given(monotone_maps())
def test_monotone_maps_are_values(increasing):
    """Equal to a pickled copy and to what their repr says; float gives float."""
    assert pickle.loads(pickle.dumps(increasing)) == increasing == eval(repr(increasing))
    assert type(increasing(3)) is float


def test_the_simplest_map_is_the_identity():
    """It shrinks to y -> y, and every kind of map is drawn."""
    assert simplest(monotone_maps())(5.0) == 5.0
    for name in ("cube", "stairs", "arctan"):
        assert simplest(monotone_maps(), lambda m, name=name: m.name == name).shift == 0.0


# -- signed permutations -------------------------------------------------------------------------


@many
@given(st.data(), sizes, st.sampled_from([np.float32, np.float64, np.int64]))
def test_signed_permutations_are_exact(data, n, dtype):
    """A point, rows of points, and back: the same numbers in the same dtype."""
    turn = data.draw(signed_permutations(n))
    X = np.array(data.draw(st.lists(points(n, dtype="f4"), min_size=1, max_size=3))).astype(dtype)
    moved = turn(X)
    assert moved.dtype == dtype
    assert bits(moved) == bits(np.array([turn(x) for x in X]))
    assert bits(turn.inverse(moved)) == bits(X)
    assert (np.sort(np.abs(moved), axis=1) == np.sort(np.abs(X), axis=1)).all()
    assert turn.inverse.inverse == turn == eval(repr(turn))
    matrix = turn(np.eye(n)).T
    assert (matrix @ matrix.T == np.eye(n)).all()
    np.testing.assert_allclose(moved, X @ matrix.T)


def test_signed_permutations_shrink_to_the_identity():
    """The simplest changes nothing."""
    assert simplest(signed_permutations(2)) == SignedPermutation((0, 1), (1, 1))


# -- faults --------------------------------------------------------------------------------------


@many
@given(fault_objectives(bowl, max_at=3))
def test_a_fault_happens_once(objective):
    """Every call but one gives the value of f; calls are counted."""
    assert (objective.calls, objective.at <= 3) == (0, True)
    results = []
    for _ in range(5):
        try:
            results.append(objective(X0))
        except InjectedFault as fault:
            results.append(fault)
    assert objective.calls == 5
    fault = results.pop(objective.at)
    assert results == [bowl(X0)] * 4
    seen = {
        "raise": lambda: isinstance(fault, InjectedFault),
        "nan": lambda: math.isnan(fault),
        "inf": lambda: fault == math.inf,
        "none": lambda: fault is None,
        "shape": lambda: bits(fault) == bits(np.full(2, bowl(X0))),
        "slow": lambda: fault == bowl(X0),
    }
    assert seen[objective.kind]()


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_drawn(kind):
    """At the first call in the simplest example, with a readable repr; only the kinds given."""
    objective = simplest(fault_objectives(bowl), lambda f: f.kind == kind)
    assert repr(objective) == f"FaultyObjective(kind='{kind}', at=0)"
    assert simplest(fault_objectives(bowl, kinds=[kind])) == objective
    assert pickle.loads(pickle.dumps(objective)) == objective
    with pytest.raises(ValueError, match=f"'{kind}x': take 'raise'"):
        fault_objectives(bowl, kinds=[kind + "x"])


@many
@given(st.sampled_from(list(STRATEGIES)), fault_objectives(bowl, max_at=17))
@pytest.mark.filterwarnings("ignore:evaluations failed")
def test_a_search_survives_faults_or_says_so(name, objective):
    """What is no number counts as a failure; what is no value raises before the generation ends."""
    es = make(name, max_iter=3)
    raised = {"raise": InjectedFault, "none": TypeError, "shape": ValueError}.get(objective.kind)
    if raised:
        with pytest.raises(raised):
            es.fit(objective, X0, surrogate_of(es))
        assert es.n_iter_ == objective.at // 6
    else:
        es.fit(objective, X0, surrogate_of(es))
        worst = objective.kind == "inf" and resolve(es.shaping) in RANK_BASED  # a value, then
        assert es.n_failed_ == (objective.kind != "slow" and not worst)
        assert objective.calls == 3 * 6 + 1
    assert np.isfinite(es.x_).all()


# -- without Hypothesis --------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["hypothesis_strategies", "stateful"])
def test_without_hypothesis_it_says_what_to_install(module):
    """The kit is imported without Hypothesis; these modules then say how to get it."""
    code = (
        "import sys; sys.modules['hypothesis'] = None; import blackbox_es.testing\n"
        f"try: import blackbox_es.testing.{module}\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python -m pip install 'blackbox-es[testing]'" in done.stdout


def test_faulty_objectives_count_from_zero():
    """at=0 is the first call."""
    objective = FaultyObjective(bowl, "none", 0)
    assert objective(X0) is None
    assert objective(X0) == bowl(X0)
