"""Searches with bounds: for every strategy, through every way, nothing outside and nothing lost."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    X0,
    bits,
    bowl,
    fit,
    guide,
    loop,
    make,
    slope,
    snapshot,
    state,
    surrogate_of,
    taking,
)

from blackbox_es import Box, CheckpointError, checkpoint, estimate_gradient, minimize, steps
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)
few = settings(deadline=None, max_examples=8, derandomize=True)

# Two bounds that a search meets at once, a fixed coordinate, and a bound on which it starts.
BOUNDS = [(0.45, 0.6), (-1.0, -1.0), (None, 2.0)]
BOX = Box([0.45, -1.0, -np.inf], [0.6, -1.0, 2.0])


def inside(x, box=BOX):
    return bool(((box.low <= x) & (x <= box.high)).all())


def checked(x):
    """`bowl`, which fails outside."""
    assert x.shape == (3,)
    assert inside(x)
    return bowl(x)


# -- one search, whatever the way ----------------------------------------------------------------


@every
@pytest.mark.parametrize(
    "bounds",
    [tuple(BOUNDS), scipy.optimize.Bounds([0.45, -1, -np.inf], [0.6, -1, 2]), BOX],
)
def test_all_forms_are_one_search(name, bounds):
    """Pairs, SciPy's Bounds and a Box."""
    expected = state(fit(make(name, bounds=BOUNDS), checked))
    assert state(fit(make(name, bounds=bounds), checked)) == expected
    assert expected["x_"] != state(fit(make(name)))["x_"]


@every
def test_ask_and_tell_are_fit(name):
    """By rows, by pairs in another order, and by trials; copied and pickled in between."""
    expected = state(fit(make(name, bounds=BOUNDS), checked), final=False)
    assert state(loop(make(name, bounds=BOUNDS).start(X0), checked), final=False) == expected
    es = make(name, bounds=BOUNDS).start(X0)
    while not es.stop_reason_:
        es = pickle.loads(pickle.dumps(es))
        X = es.ask(guide(es))
        assert not X.flags.writeable
        es.tell([(x.tolist(), checked(x)) for x in X[::-1]])
    assert state(es, final=False) == expected
    es = make(name, bounds=BOUNDS).start(X0)
    while not es.stop_reason_:
        for trial in list(es.ask_trials(guide(es))):
            es.tell_trial(trial.id, checked(trial.x))
            es = copy.deepcopy(es)
    assert state(es, final=False) == expected


@every
@pytest.mark.parametrize("n_told", [0, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_loaded_goes_on_bit_for_bit(name, n_told, dtype, tmp_path):
    """Saved in mid-generation; the bounds come back as a Box, which is what they mean."""
    expected = state(loop(make(name, bounds=BOUNDS).start(X0.astype(dtype))))
    es = make(name, bounds=BOUNDS).start(X0.astype(dtype))
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    for trial, _ in zip(es.ask_trials(guide(es)), range(n_told), strict=False):
        es.tell_trial(trial.id, bowl(trial.x))
    es.save(tmp_path / "run.npz")
    loaded = STRATEGIES[name].load(tmp_path / "run.npz")
    assert loaded.bounds == BOX
    assert snapshot(loaded)["search"] == snapshot(es)["search"]
    for trial in loaded.ask_trials():
        loaded.tell_trial(trial.id, bowl(trial.x))
    assert state(loop(loaded)) == expected
    es.set_params(max_iter=4).save(tmp_path / "run.npz")
    with pytest.raises(ValueError, match="bounds is fixed when a search starts"):
        STRATEGIES[name].load(tmp_path / "run.npz", bounds=[(0, 1)] * 3)


@every
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_how_it_is_evaluated_changes_no_bits(name, vectorized, n_jobs):
    """One by one, in rows, by workers."""

    def rows(X):
        assert all(inside(x) for x in X)
        return bowl(X)

    how = {"vectorized": vectorized, "n_jobs": n_jobs, "bounds": BOUNDS}
    with joblib.parallel_config("threading"):
        es = fit(make(name, **how), rows if vectorized else checked)
    assert state(es) == state(fit(make(name, bounds=BOUNDS)))


@every
def test_results_are_those_of_the_box(name):
    """x_, x_best_, result_ and what a callback sees are points inside; state_ is the search's."""
    seen, called = [], []

    def objective(x):
        seen.append(bowl(x))
        return checked(x)

    def callback(intermediate_result):
        called.append(intermediate_result)

    es = make(name, bounds=BOUNDS)
    es.fit(objective, X0, surrogate_of(es), callback)
    assert es.fun_ == bowl(es.x_) == seen[-1]
    assert es.fun_best_ == bowl(es.x_best_) == min(seen)
    assert es.x_[1] == -1.0
    assert not es.x_.flags.writeable
    assert es.state_.x.shape == (2,)
    assert bits(es.x_) == bits(BOX.fold(es.state_.x)) == bits(es.result_.x)
    assert all(inside(x) for result in called for x in (result.x, result.x_best))
    assert bits(called[-1].x) == bits(es.x_)


@every
def test_a_step_with_bounds_is_one_of_the_folded_objective(name):
    """No strategy knows of bounds: the search is that of f(fold(z)), bit for bit."""
    es = make(name)

    def pulled(z):
        return BOX.pull_back(z, slope(BOX.fold(z)))

    surrogate = pulled if es.takes_surrogate else None
    es.fit(lambda z: bowl(BOX.fold(z)), BOX.start(X0), surrogate)
    bounded = fit(make(name, bounds=BOUNDS))
    assert bits(bounded.state_) == bits(es.state_)
    assert (bounded.fun_, bounded.stop_reason_) == (es.fun_, es.stop_reason_)


@every
def test_no_bounds_are_no_change(name):
    """Bounds that are all infinite give the bits of a search without; none is the default."""
    free = state(fit(make(name, bounds=[(None, None)] * 3)))
    assert free == state(fit(make(name, bounds=None))) == state(fit(make(name)))


@taking(alpha=0.3)
def test_surrogates_are_asked_inside_and_pulled_back(name):
    """surrogate_fn at x_, or an array of k columns: the guides are those of the search."""
    at = []

    def surrogate_fn(x):
        at.append(x)
        return np.stack([slope(x), x], axis=1)

    es = make(name, bounds=BOUNDS).fit(checked, X0, surrogate_fn)
    assert all(inside(x) for x in at)
    asked = make(name, bounds=BOUNDS).start(X0)
    while not asked.stop_reason_:
        surrogate = np.stack([slope(asked.x_), asked.x_], axis=1)
        X = asked.ask(surrogate)
        assert asked.ask(surrogate) is X  # the same one again
        asked.tell(X, [bowl(x) for x in X])
    assert bits(asked.state_) == bits(es.state_)
    state = steps.init(make(name), es.state_.x)
    one, _ = steps.ask(make(name), state, 0, np.ones(3), BOX)
    other, _ = steps.ask(make(name), state, 0, BOX.pull_back(state.x, np.ones(3)))
    assert bits(one) == bits(other)
    with pytest.raises(ValueError, match=r"surrogate gradient has shape \(2,\): expected \(3,\)"):
        asked.start(X0).ask(np.ones(2))


# -- nothing outside -----------------------------------------------------------------------------

sides = st.sampled_from(["two", "low", "high", "none", "fixed"])


@every
@few
@given(
    kinds=st.tuples(sides, sides, sides),
    width=st.floats(1e-6, 10.0),
    at=st.floats(0.0, 1.0),
    sigma=st.sampled_from([1e-3, 0.1, 30.0, 1e30]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_nothing_outside_is_evaluated(name, kinds, width, at, sigma, dtype):
    """Whatever bounds, start and scale; where a coordinate is fixed it is the same all the time."""
    bounds = []
    for kind, x in zip(kinds, X0, strict=True):
        low, high = x - at * width, x + (1.0 - at) * width
        one = {"two": (low, high), "low": (low, None), "high": (None, high), "fixed": (x, x)}
        bounds.append(one.get(kind, (None, None)))
    if set(kinds) == {"fixed"}:
        bounds[0] = (-1.0, 1.0)
    box = Box(*np.array([[-np.inf if low is None else low, np.inf if high is None else high]
                         for low, high in bounds]).T)  # fmt: skip

    def objective(x):
        assert inside(x, box)
        return bowl(np.clip(x.astype(float), -1e60, 1e60))

    es = make(name, sigma=sigma, bounds=bounds)
    es.fit(objective, X0.astype(dtype), surrogate_of(es))
    assert inside(es.x_, box)
    assert es.x_.dtype == dtype


def optimum(case, condition, n=10):
    """An ellipsoid, its bounds, and where its least value inside is."""
    h = np.geomspace(1.0, condition, n)
    center, bounds = {
        "inside": (np.full(n, 0.3), [(-1.0, 2.0)] * n),
        "face": (np.r_[2.0, np.full(n - 1, 0.2)], [(-1.0, 1.0)] * n),
        "corner": (np.full(n, 1.5), [(-1.0, 1.0)] * n),
        "one-sided": (np.full(n, -0.5), [(0.0, None), (None, 1.0)] * (n // 2)),
        "fixed": (np.full(n, 0.3), [(0.5, 0.5), (-1.0, 1.0)] * (n // 2)),
    }[case]
    box = Box(*np.array([[-np.inf if low is None else low, np.inf if high is None else high]
                         for low, high in bounds]).T)  # fmt: skip
    return h, center, bounds, box, np.clip(center, box.low, box.high)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("condition", [1.0, 1e3])
@pytest.mark.parametrize("case", ["inside", "face", "corner", "one-sided", "fixed"])
def test_optima_are_found(case, condition, seed):
    """To 1e-8 by the defaults, on a bound or not, with no evaluation outside."""
    h, center, bounds, box, best = optimum(case, condition)
    outside = []

    def f(x):
        outside.extend([] if inside(x, box) else [x])
        return float((h * (x - center) ** 2).sum())

    options = {"random_state": seed, "maxfev": 30_000, "f_target": f(best) + 1e-17}
    result = minimize(f, np.full(10, 0.5), bounds=bounds, options=options)
    assert result.success
    np.testing.assert_allclose(result.x_best, best, atol=1e-8)
    assert not outside


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_search_leaves_the_bounds_it_starts_on(name):
    """In single precision too: where the two points of a pair were one, all values would be."""

    def coarse(x):
        return float(np.float32(((x - 4.0) ** 2).sum()))

    es = make(name, bounds=[(0, 10)] * 2, max_iter=2000, n_pairs=8)
    es.fit(coarse, [0.0, 0.0], (lambda x: x - 3.0) if es.takes_surrogate else None)
    np.testing.assert_allclose(es.x_, 4.0, atol=0.2)


# -- where it begins -----------------------------------------------------------------------------


@every
def test_no_x0_is_the_middle(name):
    """Of start, fit and minimize."""
    bounds = [(0.0, 1.0), (-3.0, -1.0), (2.0, 2.0)]
    middle = np.array([0.5, -2.0, 2.0])
    assert bits(make(name, bounds=bounds).start(None).x_) == bits(middle)
    expected = state(fit(make(name, bounds=bounds), x0=middle))
    assert state(fit(make(name, bounds=bounds), x0=None)) == expected


def test_bad_starts():
    """Named, before anything has changed."""
    es = make("vanilla-es", bounds=BOUNDS).start(X0)
    before = snapshot(es)
    with pytest.raises(ValueError, match=r"x0\[0\] is 0.2, outside its bounds 0.45 and 0.6"):
        es.start([0.2, -1.0, 0.0])
    with pytest.raises(ValueError, match=r"x0\[1\] is 0.0, outside its bounds -1.0 and -1.0"):
        es.start([0.5, 0.0, 0.0])
    with pytest.raises(ValueError, match="for 3 coordinates, but x0 has 2"):
        es.start([0.5, -1.0])
    with pytest.raises(ValueError, match=r"coordinate 2 are -inf and 2\.0: give x0"):
        es.start(None)
    assert snapshot(es) == before
    with pytest.raises(TypeError, match=r"x0 is None, .* there are none: give x0"):
        make("vanilla-es").start(None)
    with pytest.raises(ValueError, match=r"coordinate 0 are 1\.0 and 0\.0"):
        make("vanilla-es", bounds=[(1, 0)]).start([0.5])
    with pytest.raises(TypeError, match="bounds='x': expected pairs"):
        make("vanilla-es", bounds="x").check_parameters(3)


@every
def test_bounds_are_fixed_at_the_start(name):
    """Another form of the same ones is no change; others are refused with nothing set."""
    es = make(name, bounds=BOUNDS).start(X0)
    es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    es.set_params(bounds=BOX)
    before = snapshot(es)
    for other in (None, [(0, 1)] * 3, [(0, 1)] * 2, "x"):
        with pytest.raises((TypeError, ValueError), match="bounds"):
            es.set_params(bounds=other)
        assert snapshot(es) == before
    free = make(name).start(X0)
    with pytest.raises(ValueError, match="bounds is fixed when a search starts"):
        free.set_params(bounds=BOX)


def test_objectives_that_make_their_own_points_are_refused():
    """They cannot be kept inside; and an estimate at one point has no bounds."""

    class Whole:
        def evaluate_generation(self, generation):
            raise AssertionError("called")

        __call__ = evaluate_generation

    es = make("vanilla-es", bounds=BOUNDS)
    with pytest.raises(ValueError, match="bounds: an objective with evaluate_generation"):
        es.fit(Whole(), X0)
    assert not hasattr(es, "x_")
    with pytest.raises(ValueError, match="bounds: an estimate at one point has none"):
        estimate_gradient(bowl, X0, bounds=BOUNDS)


@every
def test_sigma_is_compared_with_the_search(name):
    """Underflow is of what is added to the center; a flat objective is flat."""
    es = make(name, bounds=BOUNDS, sigma=1e-30).start(X0)
    es.tell(es.ask(guide(es)), np.zeros(6))
    assert es.stop_reason_ == "sigma_underflow"
    es = make(name, bounds=[(0, 1)] * 3, max_iter=999).start([0.3, 0.4, 0.5])
    while not es.stop_reason_:
        X = es.ask(guide(es))
        es.tell(X, np.full(len(X), 3.0))
    assert es.stop_reason_ == "flat"


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda meta: meta["params"].update(bounds=[[0.0, 1.0]] * 3), "bounds are not those"),
        (lambda meta: meta["params"].update(bounds=None), "other bounds|has shape"),
        (lambda meta: meta["params"]["bounds"]["fields"].update(low={"array": "new"}), "bounds"),
        (
            lambda meta: meta["params"]["bounds"]["fields"].update(high={"array": "new"}),
            "bounds are not those of the state",
        ),
        (lambda meta: meta["pending"][0]["fields"].update(box=None), "other bounds"),
        (lambda meta: meta["pending"][0]["fields"].update(box=3), "box is 3"),
        (lambda meta: best(meta)["fields"].update(box=None), "other bounds"),
    ],
)
def test_forged_bounds(forge, said, tmp_path):
    """All boxes of a checkpoint are one, and valid."""
    es = make("vanilla-es", bounds=BOUNDS).start(X0)
    es.tell(es.ask(), bowl(es.ask()))
    es.ask()
    es.save(tmp_path / "run.npz")
    meta, arrays = checkpoint.read(tmp_path / "run.npz")
    forge(meta)
    checkpoint.write(tmp_path / "run.npz", meta, {**arrays, "new": np.array([9.0, 0.0, 3.0])})
    with pytest.raises(CheckpointError, match=said):
        type(es).load(tmp_path / "run.npz")


def best(meta):
    """The generation of the best point."""
    return dict(meta["record"]["dict"])["best"]["tuple"][0]
