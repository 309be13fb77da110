"""Optimizers: the published recursions, and no array of anybody else's is touched."""

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from blackbox_es import optimizers
from blackbox_es.optimizers import SGD, Adam, ClipUp

few = settings(deadline=None, max_examples=30, derandomize=True)
OPTIMIZERS = [SGD(), SGD(momentum=0.9), Adam(), ClipUp()]
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
PUBLISHED = [
    (SGD(), reference.sgd, {}),
    (SGD(momentum=0.9), reference.sgd, {"momentum": 0.9}),
    (Adam(), reference.adam, {}),
    (Adam(beta_1=0.5, beta_2=0.8, epsilon=0.1), reference.adam,
     {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.1}),
    (Adam(beta_1=0.0, beta_2=0.0), reference.adam, {"beta_1": 0.0, "beta_2": 0.0}),
    (ClipUp(), reference.clipup, {}),
    (ClipUp(momentum=0.5, max_speed=0.07), reference.clipup, {"momentum": 0.5, "max_speed": 0.07}),
]  # fmt: skip


def problem(seed, dtype=np.float64, n=7, n_steps=50):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).astype(dtype), rng.normal(size=(n_steps, n)).astype(dtype)


def path(optimizer, x, gradients, rate):
    state, centers = optimizer.init(x), []
    for gradient in gradients:
        x, state = optimizer.step(x, gradient, state, rate)
        centers.append(x)
    return np.array(centers)


@pytest.mark.parametrize(("optimizer", "published", "params"), PUBLISHED)
@few
@given(seed=st.integers(0, 999), rate=st.floats(1e-4, 1.0), scale=st.floats(1e-3, 1e3))
def test_the_path_is_that_of_the_published_recursion(
    optimizer, published, params, seed, rate, scale
):
    """To rounding over 50 steps in float64, to single precision in float32."""
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        x, gradients = problem(seed, dtype)
        gradients *= dtype(scale)
        found = path(optimizer, x, gradients, rate)
        expected = list(published(x.astype(float), gradients.astype(float), rate, **params))
        assert found.dtype == dtype
        size = 1 + rate * 50 * (scale if published is reference.sgd else 1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * tolerance * size)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, np.float64(0.1), np.float32(0.1), 1])
def test_the_dtype_is_kept_and_nothing_is_aliased(optimizer, dtype, rate):
    """x and gradient may be read-only; the new center is nobody else's memory."""
    x, gradients = problem(0, dtype, n_steps=3)
    x.flags.writeable = gradients.flags.writeable = False
    state = optimizer.init(x)
    for gradient in gradients:
        new, state = optimizer.step(x, gradient, state, rate)
        assert new.dtype == dtype
        assert new is not x
        arrays = [part for part in state if isinstance(part, np.ndarray)]
        assert all(part.dtype == dtype for part in arrays)
        for other in (x, gradients, *arrays):
            assert not np.shares_memory(new, other)
        assert not any(np.shares_memory(part, gradients) for part in arrays)
        new.flags.writeable = False
        x = new


@every_optimizer
def test_all_that_is_remembered_is_arrays_and_integers(optimizer):
    """So a copy of the state goes on as the state would, also after a step that used it up."""
    x, gradients = problem(6)
    expected = path(optimizer, x, gradients, 0.1)
    state = optimizer.init(x)
    for gradient, center in zip(gradients, expected, strict=True):
        assert all(type(part) in (np.ndarray, int) for part in state)
        kept = tuple(part.copy() if isinstance(part, np.ndarray) else part for part in state)
        optimizer.step(x, gradient, state, 0.1)
        x, state = optimizer.step(x, gradient, kept, 0.1)
        np.testing.assert_array_equal(x, center)


@every_optimizer
def test_runs_do_not_disturb_each_other(optimizer):
    """All that is remembered is in the state: two runs by turns are two runs."""
    (x, gradients), (y, others) = problem(1), problem(2)
    expected = path(optimizer, x, gradients, 0.1), path(optimizer, y, others, 0.1)
    of_x, of_y = optimizer.init(x), optimizer.init(y)
    for i in range(50):
        x, of_x = optimizer.step(x, gradients[i], of_x, 0.1)
        y, of_y = optimizer.step(y, others[i], of_y, 0.1)
    np.testing.assert_array_equal([x, y], [expected[0][-1], expected[1][-1]])


@every_optimizer
@pytest.mark.parametrize("n", [20_000, 50_000])
def test_threads_change_no_bits(optimizer, n):
    """However many of them BLAS is given."""
    x, gradients = problem(5, n=n, n_steps=3)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(path(optimizer, x, gradients, 0.1).tobytes())
    same = len(set(found)) == 1
    assert same


@every_optimizer
def test_no_gradient_is_no_step(optimizer):
    x = np.array([1.0, -2.0])
    np.testing.assert_array_equal(path(optimizer, x, np.zeros((3, 2)), 0.1), [x] * 3)


@pytest.mark.parametrize("optimizer", [Adam(epsilon=0.0), ClipUp()], ids=repr)
@few
@given(power=st.integers(-300, 300))
def test_the_scale_of_gradients_does_not_matter(optimizer, power):
    """Bit for bit for powers of two."""
    x, gradients = problem(3)
    found, expected = (path(optimizer, x, scale * gradients, 0.1) for scale in (2.0**power, 1.0))
    np.testing.assert_array_equal(found, expected)


def test_the_first_step_of_adam_is_the_rate_in_every_coordinate():
    """Thanks to the bias corrections, whatever the gradient."""
    x, gradients = problem(4)
    (first,) = path(Adam(epsilon=0.0), x, gradients[:1], 0.25)
    np.testing.assert_allclose(x - first, 0.25 * np.sign(gradients[0]), rtol=1e-14)


@few
@given(seed=st.integers(0, 999), rate=st.floats(1e-3, 1.0), limit=st.none() | st.floats(1e-3, 3.0))
def test_clipup_never_moves_faster_than_its_limit(seed, rate, limit):
    """And moves at it, twice the rate by default, when the gradient does not turn."""
    x, gradients = problem(seed)
    optimizer = ClipUp(max_speed=limit)
    allowed = 2 * rate if limit is None else limit
    for directions, at_limit in [(gradients, False), (gradients[:1].repeat(50, axis=0), True)]:
        centers = path(optimizer, 0 * x, directions, rate)
        speeds = np.linalg.norm(np.diff(centers, axis=0), axis=1)
        assert speeds.max() <= allowed * (1 + 1e-9)
        if at_limit and allowed < 9 * rate:  # 1 / (1 - momentum) times the rate, in the end
            assert speeds[-1] == pytest.approx(allowed)


@every_optimizer
def test_optimizers_are_configured_as_estimators_are(optimizer):
    """clone, get_params, set_params and a repr that gives the object back."""
    for copy in (clone(optimizer), eval(repr(optimizer)), type(optimizer)().set_params(
            **optimizer.get_params())):  # fmt: skip
        assert copy is not optimizer
        assert copy.get_params() == optimizer.get_params()
        assert type(copy) is type(optimizer)
    with pytest.raises(ValueError, match="has no parameter 'speed'"):
        clone(optimizer).set_params(speed=1)


def test_resolve_takes_a_name_or_an_optimizer():
    for name, cls in optimizers.OPTIMIZERS.items():
        found = optimizers.resolve(name)
        assert type(found) is cls
        assert found.get_params() == cls().get_params()
    assert optimizers.resolve(OPTIMIZERS[1]) is OPTIMIZERS[1]
    for wrong in ("rmsprop", Adam, None, 0.1):
        with pytest.raises(ValueError, match="is unknown: take 'sgd', 'adam', 'clipup' or an"):
            optimizers.resolve(wrong)
