"""The tables of losses and activations: laws of every row, then what is special about some."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SMOOTH, random_targets
from scipy.special import log_softmax
from sklearn.metrics import (
    hinge_loss,
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
)

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.activations import ACTIVATIONS
from blackbox_es.neural.losses import LOSSES, PREDICTIONS, guide_of, huber, losses_of, pinball

few = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
every_loss = pytest.mark.parametrize("name", LOSSES)
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)
any_outputs = pytest.mark.parametrize("n_outputs", [1, 2, 4])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def labels(n_classes, n, seed):
    return random_targets("log_loss", n_classes, n, np.random.default_rng(seed))


def outputs_and_targets(name, n_outputs, seed=0, dtype=float):
    """Raw outputs of fifty examples, and what they are compared with."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(50, n_outputs)).astype(dtype)
    return raw, random_targets(name, n_outputs, 50, rng, dtype)


# --- every loss ----------------------------------------------------------------------------------
# That the kernels compute what a row says is tested for every row in `test_neural_kernels` and
# `test_nodes`, and that a network of any loss has its gradient in `test_network`.


@every_loss
@any_outputs
def test_the_gradient_is_the_slope_of_the_values(name, n_outputs):
    """By central differences in each output; random outputs are not at a kink."""
    raw, y = outputs_and_targets(name, n_outputs)
    gradient, h = LOSSES[name].gradient, 1e-6
    moves = [h * unit for unit in np.eye(n_outputs)]
    values = LOSSES[name].values
    slopes = np.transpose([(values(raw + d, y) - values(raw - d, y)) / (2 * h) for d in moves])
    expected = np.zeros_like(raw) if gradient is None else gradient(raw, y)
    np.testing.assert_allclose(slopes, expected, rtol=0, atol=1e-8)


@every_loss
@any_outputs
@dtypes
def test_losses_are_of_each_example_by_itself(name, n_outputs, dtype):
    """One value and one gradient each, in the dtype of the outputs, whatever the others are."""
    raw, y = outputs_and_targets(name, n_outputs, dtype=dtype)
    assert y.shape == (50, *LOSSES[name].target_shape(n_outputs))
    for function in (LOSSES[name].values, LOSSES[name].gradient):
        if function is not None:
            whole, part = function(raw, y), function(raw[7:9], y[7:9])
            assert whole.dtype == dtype
            assert whole.shape == (raw.shape if function is LOSSES[name].gradient else (50,))
            np.testing.assert_array_equal(part, whole[7:9])


@every_loss
@any_outputs
def test_nan_is_never_hidden(name, n_outputs):
    """With NaN in any output the loss of that example is NaN, and that of no other."""
    raw, y = outputs_and_targets(name, n_outputs)
    for output in range(n_outputs):
        broken = raw.copy()
        broken[3, output] = np.nan
        assert np.flatnonzero(np.isnan(LOSSES[name].values(broken, y))).tolist() == [3]


@every_loss
@any_outputs
def test_predictions_have_a_row_for_every_class_or_output(name, n_outputs):
    """Probabilities of all classes, which sum to one, or a number for each output."""
    loss, (raw, y) = LOSSES[name], outputs_and_targets(name, n_outputs)
    predictions = PREDICTIONS[loss.out_activation(n_outputs)](raw)
    if loss.targets == "labels":
        assert predictions.shape == (50, max(2, n_outputs))
        np.testing.assert_allclose(predictions.sum(axis=1), 1)
        assert predictions.min() >= 0
    else:
        assert predictions.shape == y.shape


@every_loss
@any_outputs
def test_predictions_are_what_the_loss_asks_for(name, n_outputs):
    """Descent on the outputs of each example along the guide comes to predict its target."""
    loss, guide = LOSSES[name], guide_of(name)
    first, y = outputs_and_targets(name, n_outputs)
    raw = first
    for step in range(1, 8001):
        raw = raw - guide.gradient(raw, y) / np.sqrt(step)
    predictions = PREDICTIONS[loss.out_activation(n_outputs)](raw)
    if loss.targets == "labels":
        np.testing.assert_array_equal(predictions.argmax(axis=1), y)
    else:
        np.testing.assert_allclose(predictions, y, atol=0.03)
    assert loss.values(raw, y).mean() < loss.values(first, y).mean()


@every_loss
def test_guides_are_of_the_same_outputs(name):
    """A loss is guided by one that has a gradient and reads targets and outputs alike."""
    loss, guide = LOSSES[name], guide_of(name)
    assert guide.gradient is not None
    assert (guide.targets, guide.output) == (loss.targets, loss.output)


def test_rows_have_codes_of_their_own():
    """So that no two rows are one to the kernels; NO_LOSS is 0."""
    for table in (LOSSES, ACTIVATIONS):
        assert len({row.code for row in table.values()}) == len(table)
    assert all(loss.code > 0 for loss in LOSSES.values())


def test_estimators_take_the_losses_with_their_targets():
    """Every name of the table is one that an estimator takes, and its documentation names it."""
    for cls, targets in ((ESMLPClassifier, "labels"), (ESMLPRegressor, "numbers")):
        for name, loss in LOSSES.items():
            model = cls((2,), loss=name, sigma=1.0, n_pairs=16, max_iter=1, random_state=0)
            X, y = np.random.default_rng(0).normal(size=(4, 2)), np.array([0, 1, 0, 1])
            if loss.targets == targets:
                model.fit(X, y)
                assert f'"{name}"' in cls.__doc__
            else:
                with pytest.raises(ValueError, match=f"loss='{name}'"):
                    model.fit(X, y)
    assert losses_of("labels")[0] == "log_loss"
    assert losses_of("numbers")[0] == "squared_error"


# --- every activation ----------------------------------------------------------------------------


@every_activation
def test_the_derivative_is_the_slope_or_stands_in_for_it(name):
    """By central differences; where all of them vanish, it encloses the area of the jumps."""
    activation, h = ACTIVATIONS[name], 1e-6
    z = np.random.default_rng(0).normal(size=1000)
    slopes = (activation.function(z + h) - activation.function(z - h)) / (2 * h)
    if name in SMOOTH:
        np.testing.assert_allclose(activation.derivative(z), slopes, rtol=0, atol=1e-8)
    else:
        assert not np.any(slopes)
        cells = (np.arange(100_000) + 0.5) / 100_000 * 20 - 10
        rise = activation.function(np.array([-10.0, 10.0]))
        assert np.mean(activation.derivative(cells)) * 20 == pytest.approx(rise[1] - rise[0])


@every_activation
@dtypes
def test_activations_keep_dtype_and_nan(name, dtype):
    """float32 units stay float32, and what is no number stays none."""
    z = np.array([-2, -0.5, 0, 0.5, 2, np.nan], dtype)
    found = ACTIVATIONS[name].function(z)
    assert found.dtype == ACTIVATIONS[name].derivative(z).dtype == dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(z))


def test_estimators_document_every_activation():
    for name in ACTIVATIONS:
        assert f'"{name}"' in ESMLPClassifier.__doc__


# --- some activations ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", lambda z: max(z, 0.0)),
        ("tanh", math.tanh),
        ("logistic", lambda z: 1 / (1 + math.exp(-z))),
        ("identity", lambda z: z),
        ("step", lambda z: float(z > 0)),
        ("sign", lambda z: 1.0 if z >= 0 else -1.0),
    ],
)
def test_activations_are_what_their_names_say(name, function):
    """Unit by unit, in plain Python."""
    z = np.random.default_rng(0).normal(size=100)
    expected = [function(unit) for unit in z]
    np.testing.assert_allclose(ACTIVATIONS[name].function(z), expected, rtol=1e-14)


@pytest.mark.parametrize(("name", "at_zero"), [("step", 0.0), ("sign", 1.0), ("relu", 0.0)])
def test_activations_at_zero(name, at_zero):
    """Both zeros count as zero, and NaN stays NaN."""
    values = ACTIVATIONS[name].function(np.array([0.0, -0.0, np.nan]))
    np.testing.assert_array_equal(values, [at_zero, at_zero, np.nan])


@pytest.mark.parametrize(("name", "slope"), [("step", 0.5), ("sign", 1.0)])
def test_steps_have_the_slope_of_the_hard_tanh(name, slope):
    """The jump over the width of the window between -1 and 1, and nothing outside."""
    z = np.array([-1.5, -1.0, 0.0, 0.3, 1.0, 1.5, np.inf])
    expected = slope * np.array([0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(ACTIVATIONS[name].derivative(z), expected)


# --- some losses ---------------------------------------------------------------------------------


@few
@given(st.integers(2, 6), st.floats(0.01, 1e4), seeds)
def test_log_loss_is_minus_the_log_of_the_softmax(n_classes, size, seed):
    raw = size * np.random.default_rng(seed).normal(size=(9, n_classes))
    y = labels(n_classes, 9, seed)
    expected = -log_softmax(raw, axis=1)[np.arange(9), y]
    np.testing.assert_allclose(LOSSES["log_loss"].values(raw, y), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("lead", [0.0, 1.0, 30.0, 300.0, 700.0])
def test_log_loss_of_a_class_far_ahead_is_relatively_right(lead):
    """log(1 + exp(-lead)), where 1 - probability has long vanished."""
    raw = np.array([[lead, 0.0]])
    value = LOSSES["log_loss"].values(raw, np.array([0]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-lead)), rtol=1e-15)
    # one at random among 1 + 9 classes of equal outputs
    value = LOSSES["log_loss"].values(np.zeros((1, 10)), np.array([4]))
    np.testing.assert_allclose(value, np.log(10), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["log_loss", "hinge", "zero_one"])
def test_losses_do_not_overflow(name, dtype):
    """Outputs of +-1e4 give a loss of twice that, of nothing, or of one."""
    raw = np.array([[1e4, -1e4, 0.0]], dtype)
    far = {"log_loss": 2e4, "hinge": 2e4 + 1, "zero_one": 1.0}[name]
    assert LOSSES[name].values(raw, np.array([0]))[0] == 0.0
    assert LOSSES[name].values(raw, np.array([1]))[0] == far
    if LOSSES[name].gradient is not None:
        np.testing.assert_array_equal(LOSSES[name].gradient(raw, np.array([0])), [[0, 0, 0]])
        np.testing.assert_array_equal(LOSSES[name].gradient(raw, np.array([1])), [[1, -1, 0]])


@few
@given(st.integers(3, 6), seeds)
def test_hinge_is_scikit_learns(n_classes, seed):
    raw = np.random.default_rng(seed).normal(size=(8, n_classes))
    y = labels(n_classes, 8, seed)
    expected = hinge_loss(y, raw, labels=range(n_classes))
    np.testing.assert_allclose(LOSSES["hinge"].values(raw, y).mean(), expected, rtol=1e-12)
    raw, y = raw[:, :1], y % 2
    expected = hinge_loss(y, raw[:, 0], labels=[0, 1])
    np.testing.assert_allclose(LOSSES["hinge"].values(raw, y).mean(), expected, rtol=1e-12)


def test_squared_error_is_half_the_mean_over_outputs():
    """The convention of MLPRegressor, whose training loss is half of its mean squared error."""
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(2, 8, 3))
    values = LOSSES["squared_error"].values(raw, y)
    np.testing.assert_allclose(values.mean(), mean_squared_error(y, raw) / 2, rtol=1e-14)


def test_absolute_error_is_scikit_learns():
    raw, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    values = LOSSES["absolute_error"].values(raw, y)
    np.testing.assert_allclose(values.mean(), mean_absolute_error(y, raw), rtol=1e-14)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_pinball_is_scikit_learns(quantile):
    raw, y = np.random.default_rng(0).normal(size=(2, 8, 3))
    values = pinball(quantile).values(raw, y)
    np.testing.assert_allclose(values.mean(), mean_pinball_loss(y, raw, alpha=quantile), rtol=1e-14)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_a_quantile_is_least_under_its_pinball(quantile):
    """Of all constants none has a lower mean loss than the quantile of the targets."""
    y = np.random.default_rng(0).exponential(size=(1001, 1))
    constants = np.append(np.quantile(y, quantile), np.linspace(0, 5, 101))
    means = [pinball(quantile).values(np.full_like(y, c), y).mean() for c in constants]
    assert np.argmin(means) == 0


def test_poisson_is_half_the_deviance_but_for_a_constant():
    """The constant is what a perfect prediction costs."""
    rng = np.random.default_rng(0)
    raw, y = rng.normal(size=(8, 1)), rng.exponential(size=(8, 1))
    loss = LOSSES["poisson"]
    excess = loss.values(raw, y) - loss.values(np.log(y), y)
    expected = mean_poisson_deviance(y[:, 0], np.exp(raw[:, 0])) / 2
    np.testing.assert_allclose(excess.mean(), expected, rtol=1e-12)


@pytest.mark.parametrize("epsilon", [0.5, 1.35])
def test_huber_is_a_parabola_and_its_tangents(epsilon):
    """Example by example, in plain Python."""
    raw = np.random.default_rng(0).normal(scale=2, size=(50, 1))
    expected = [
        r * r / 2 if r <= epsilon else epsilon * (r - epsilon) + epsilon**2 / 2
        for r in np.abs(raw[:, 0]).tolist()
    ]
    found = huber(epsilon).values(raw, np.zeros((50, 1)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_zero_one_takes_the_first_of_the_largest():
    raw = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [np.nan, 5.0, 0.0]])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(raw, np.zeros(3, int)), [0, 1, np.nan])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(raw, np.ones(3, int)), [1, 0, np.nan])
    one = np.array([[0.0], [1e-300], [-1.0]])
    np.testing.assert_array_equal(LOSSES["zero_one"].values(one, np.ones(3, int)), [1, 0, 1])


@few
@given(st.sampled_from(["log_loss", "hinge", "zero_one"]), seeds)
def test_one_output_is_two_of_which_the_first_is_zero(name, seed):
    raw = np.random.default_rng(seed).normal(size=(8, 1))
    y = labels(1, 8, seed)
    both, loss = np.hstack([np.zeros_like(raw), raw]), LOSSES[name]
    np.testing.assert_array_equal(loss.values(raw, y), loss.values(both, y))
    if loss.gradient is not None:
        np.testing.assert_array_equal(loss.gradient(raw, y), loss.gradient(both, y)[:, 1:])
