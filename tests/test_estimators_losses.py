"""What the estimators minimise: weighted examples, losses of any kind, with any guide."""

import warnings

import flowers
import numpy as np
import pytest
from flowers import LEARN, QUICK, X, Y, batches, both, fit, initial, inner, inside, vector
from problems import bits
from sklearn.metrics import log_loss, mean_squared_error

from blackbox_es import ESMLPClassifier, ESMLPRegressor, GuidedES
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import pinball
from blackbox_es.neural.objective import NetworkObjective

# -- sample weights ------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("loss", ["named", "function"])
def test_weights_are_repetitions(cls, loss):
    """With full batches integer weights train as repeated examples do, to rounding."""

    def function(y, p, sample_weight=None):
        return np.average(np.square(y - p.T), axis=-1, weights=sample_weight).mean()

    counts = np.random.default_rng(0).integers(0, 4, len(X))
    options = {"batch_size": None, "loss": function if loss == "function" else None}
    model = cls(**QUICK | options)
    weighted = vector(model.fit(X, Y, counts))
    repeated = vector(model.fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts)))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6, atol=1e-9)


@both
@batches
def test_zero_weights_are_absences(cls, batch_size):
    """Examples of weight zero might as well not be there, bit for bit."""
    weight = np.random.default_rng(0).integers(0, 2, len(X)) * 1.5
    used = weight > 0
    model = cls(**QUICK | {"batch_size": batch_size})
    masked = vector(model.fit(X, Y, weight))
    assert bits(masked) == bits(vector(model.fit(X[used], Y[used], weight[used])))


@both
def test_all_weights_zero(cls):
    """With no weight on anything there is nothing to fit."""
    with pytest.raises(ValueError, match=r"(?i)sample.weight.*zero"):
        cls(**QUICK).fit(X, Y, np.zeros(len(X)))


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weight", [None, np.arange(150.0) + 1], ids=["plain", "weighted"])
def test_a_loss_gets_labels_and_probabilities(weight, n_classes, vectorized):
    """A function is given labels, probabilities, and weights if and only if `fit` is.

    The probabilities are those of all classes, or of the second of two; if vectorized, those of all
    networks of the generation.
    """
    names = np.array(["a", "b", "c"])[np.minimum(Y, n_classes - 1)]
    given = []

    def loss(y_true, y_prob, **others):
        given.append((y_true, y_prob, others))
        squares = np.square(y_prob)
        return squares.reshape(32, -1).mean(axis=1) if vectorized else squares.mean()

    options = {"max_iter": 1, "loss": loss, "vectorized": vectorized, "learning_rate_init": 1e-300}
    options |= {"sigma": 1e-12, "optimizer": "sgd", "alpha": 0.0}
    model = ESMLPClassifier(**QUICK | options)
    model.fit(X, names, weight)
    expected = model.predict_proba(X) if n_classes == 3 else model.predict_proba(X)[:, 1]
    assert len(given) == (1 if vectorized else 32)
    for y_true, y_prob, others in given:
        assert list(y_true) == list(names)
        assert y_prob.shape == ((32,) if vectorized else ()) + expected.shape
        np.testing.assert_allclose(y_prob, np.broadcast_to(expected, y_prob.shape), rtol=1e-9)
        assert bits(others) == ({} if weight is None else {"sample_weight": bits(weight)})


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("targets", [Y, np.column_stack([Y, -Y])], ids=["one", "two"])
def test_a_loss_gets_targets_of_their_shape(targets, vectorized):
    """A regressor's function is given targets and predictions of the shape and the unit of y."""
    given = []

    def loss(y_true, y_pred):
        given.append(y_pred)
        np.testing.assert_allclose(y_true, targets, rtol=1e-15)
        squares = np.square(y_pred - y_true).reshape(-1, targets.size).mean(axis=1)
        return squares if vectorized else squares[0]

    options = {"max_iter": 1, "loss": loss, "vectorized": vectorized, "learning_rate_init": 1e-300}
    options |= {"sigma": 1e-9, "optimizer": "sgd", "alpha": 0.0}
    model = ESMLPRegressor(**QUICK | options).fit(X, targets)
    assert len(given) == (1 if vectorized else 32)
    for y_pred in given:
        assert y_pred.shape == ((32,) if vectorized else ()) + targets.shape
        expected = np.broadcast_to(model.predict(X), y_pred.shape)
        np.testing.assert_allclose(y_pred, expected, rtol=1e-6, atol=1e-6)


@both
def test_all_networks_at_once_are_each_by_itself(cls):
    """A vectorized function trains as the same function of one network does."""

    def each(y, p):
        return float(np.square(y - p.T).mean())

    def all_at_once(y, p):
        return [each(y, one) for one in p]

    options = {"batch_size": 16, "n_pairs": 64}
    expected = fit(cls, loss=each, **options)
    assert bits(fit(cls, loss=all_at_once, vectorized=True, **options)) == bits(expected)


@pytest.mark.parametrize("weight", [None, np.arange(150.0) + 1], ids=["plain", "weighted"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learn_log_loss_is_ours(n_classes, weight):
    """scikit-learn's log loss given as a function trains to the same weights, to rounding."""
    y = np.minimum(Y, n_classes - 1)
    paths = [
        ESMLPClassifier(**QUICK | {"max_iter": 20}, loss=loss).fit(X, y, weight)
        for loss in ("log_loss", log_loss)
    ]
    np.testing.assert_allclose(paths[0].loss_curve_, paths[1].loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(*map(vector, paths), rtol=1e-6, atol=1e-9)


def test_a_loss_need_not_be_hashable():
    """An object that compares by value, say."""

    class Squares:
        __hash__ = None

        def __call__(self, y, p):
            return mean_squared_error(y, p)

    expected = fit(ESMLPRegressor, loss=mean_squared_error)
    assert bits(fit(ESMLPRegressor, loss=Squares())) == bits(expected)


def test_half_the_squared_error_is_the_default():
    """A regressor's loss is half the mean squared error."""
    half = fit(ESMLPRegressor, loss=lambda y, p: mean_squared_error(y, p) / 2, alpha=0.0)
    np.testing.assert_allclose(half, fit(ESMLPRegressor, alpha=0.0), rtol=1e-6, atol=1e-9)


def test_a_loss_cannot_reach_the_data():
    """A function that scribbles over its arguments spoils neither the caller's data nor ours."""

    def loss(y, p):
        value = mean_squared_error(y, p)
        y[:] = p[:] = 0
        return value

    y = Y.astype(float)
    scribbled = vector(ESMLPRegressor(**QUICK, loss=loss).fit(X, y))
    assert bits(y) == bits(Y.astype(float))
    assert bits(scribbled) == bits(fit(ESMLPRegressor, loss=mean_squared_error))


# -- units ---------------------------------------------------------------------------------------

perturbs = pytest.mark.parametrize("perturb", ["weights", "activations"])
NUMBERS = {
    "squared_error": 2,
    "absolute_error": 1,
    "huber": 2,
    "pinball": 1,
    "poisson": 1,
}  # degree


@perturbs
@pytest.mark.parametrize("loss", NUMBERS)
def test_units_do_not_matter(loss, perturb):
    """Other units of inputs and targets are those of the predictions, and that is all.

    To rounding; the threshold of "huber" has the unit of y, and counts have no other zero.
    """
    options = QUICK | {"loss": loss, "perturb": perturb, "max_iter": 12, "alpha": 0.01}
    unit, zero, degree = 1000.0, 0.0 if loss == "poisson" else -7.0, NUMBERS[loss]
    model = ESMLPRegressor(**options, epsilon=0.4).fit(X, Y)
    other = ESMLPRegressor(**options, epsilon=400.0).fit(0.01 * X + 3.0, unit * Y + zero)
    predicted = unit * model.predict(X) + zero
    np.testing.assert_allclose(other.predict(0.01 * X + 3.0), predicted, rtol=1e-6)
    curve = np.array(model.loss_curve_)
    if loss == "poisson":  # c (f - y log f) for means c times as large, but for the logarithm of c
        curve = unit * (curve - np.log(unit) * Y.mean())
    else:
        curve = unit**degree * curve
    np.testing.assert_allclose(other.loss_curve_, curve, rtol=1e-6)


@perturbs
def test_units_of_inputs_do_not_matter_to_a_classifier(perturb):
    """Nor does where their zero is."""
    options = QUICK | {"perturb": perturb, "max_iter": 12, "alpha": 0.01}
    model = ESMLPClassifier(**options).fit(X, Y)
    other = ESMLPClassifier(**options).fit(0.01 * X + 3.0, Y)
    expected = model.predict_proba(X)
    np.testing.assert_allclose(other.predict_proba(0.01 * X + 3.0), expected, rtol=1e-6)
    np.testing.assert_allclose(other.loss_curve_, model.loss_curve_, rtol=1e-6)


@perturbs
@pytest.mark.parametrize("weight", [None, np.arange(150.0) + 1], ids=["plain", "weighted"])
@pytest.mark.parametrize("loss", NUMBERS)
def test_the_loss_is_told_in_units_of_the_targets(loss, weight, perturb):
    """It is the mean loss of the predictions and the targets that the user has."""
    still = {"sigma": 1e-7, "learning_rate_init": 1e-300, "optimizer": "sgd", "alpha": 0.0}
    options = still | {"loss": loss, "perturb": perturb, "max_iter": 1, "epsilon": 0.4}
    targets = 30.0 * np.column_stack([Y, (Y + 1) % 3])
    model = ESMLPRegressor(**QUICK | options).fit(X, targets, weight)
    losses = model._loss_row().values(model._raw(X), targets)
    assert model.loss_ == pytest.approx(np.average(losses, weights=weight), rel=1e-6)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_tol_is_a_share_of_the_loss_of_the_mean(loss):
    """So that units of the targets do not tell when a fit ends."""
    options = QUICK | {"loss": loss, "max_iter": 300, "n_iter_no_change": 1, "tol": 0.05}
    models = [ESMLPRegressor(**options).fit(X, unit * Y) for unit in (1e-3, 1.0, 1e3)]
    assert len({model.n_iter_ for model in models}) == 1
    epochs = np.mean(np.reshape(models[1].loss_curve_, (-1, 10)), axis=1)
    mean = np.square(Y - Y.mean()).mean() / 2 if loss == "squared_error" else np.abs(Y - 1).mean()
    falls = -np.diff(np.minimum.accumulate(epochs))
    assert 20 < models[1].n_iter_ < 300
    assert (falls[:-1] > 0.05 * mean).all()
    assert falls[-1] <= 0.05 * mean


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        *({"loss": name} for name in ("log_loss", "zero_one", "hinge")),
        *({"activation": a} for a in ("tanh", "logistic", "identity", "step", "sign")),
        *({"guide": guide, "guide_alpha": 0.5} for guide in ("backprop", "previous")),
        *({"shaping": name} for name in ("standardized", "centered_ranks", "nes")),
        {"optimizer": "clipup", "learning_rate_init": 0.3},
        {"optimizer": "sgd", "learning_rate_init": 0.5},
        {"activation": "step", "loss": "zero_one", "guide": "backprop", "n_guides": 3},
        {"loss": "zero_one", "batch_size": 32},
        {"hidden_layer_sizes": (6, 5)},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 8},
    ],
    ids=str,
)
def test_learns(options):
    """With any loss, activation, guide, shaping and optimizer the flowers are told apart."""
    model = ESMLPClassifier(**LEARN | options).fit(X, Y)
    assert model.score(X, Y) > 0.8  # a third by chance


@pytest.mark.parametrize("guide", [None, "backprop", "previous"])
@pytest.mark.parametrize("activation", ["tanh", "sign"])
def test_regressor_learns(guide, activation):
    """A regressor explains most of the variance."""
    options = {"activation": activation, "guide": guide}
    assert ESMLPRegressor(**LEARN | options).fit(X, Y).score(X, Y) > 0.75


@pytest.mark.parametrize("perturb", ["weights", "activations"])
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "pinball", "poisson"])
def test_regressor_learns_with_any_loss(loss, perturb):
    """The losses of numbers have the classes of the flowers for a middle, more or less."""
    model = ESMLPRegressor(**LEARN | {"loss": loss, "perturb": perturb}).fit(X, Y)
    assert model.score(X, Y) > 0.75


@pytest.mark.parametrize("guide", [None, "backprop"])
def test_a_quantile_is_above_its_share_of_the_targets(guide):
    """Of targets that do not depend on X, pinball finds the quantile."""
    y = np.random.default_rng(0).exponential(size=len(X))
    for quantile in (0.1, 0.9):
        options = {"hidden_layer_sizes": (), "loss": "pinball", "guide": guide}
        model = ESMLPRegressor(**LEARN | options, quantile=quantile).fit(0 * X, y)
        assert np.mean(y <= model.predict(0 * X)) == pytest.approx(quantile, abs=0.04)


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_the_guide_is_the_slope_of_the_loss_itself():
    """A search that never leaves the guide moves along the subgradient of its own quantile."""
    options = {"guide": "backprop", "guide_alpha": 0.0, "sigma": 0.3, "alpha": 0.0}
    options |= {"loss": "pinball", "quantile": 0.2, "max_iter": 1, "optimizer": "sgd"}
    model = ESMLPRegressor(**QUICK | options).fit(X, Y)
    network, theta = initial(model)
    gradient = network.gradient(theta, inside(model)[1], pinball(0.2))[1]
    assert cosine(inner(model) - theta, gradient) == pytest.approx(-1, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "pinball", "quantile": 0.0},
        {"loss": "pinball", "quantile": 1.0},
        {"loss": "huber", "epsilon": 0.0},
    ],
    ids=str,
)
def test_parameters_of_losses_are_checked(options):
    name = list(options)[1]
    with pytest.raises(ValueError, match=f"{name}={options[name]}: expected a positive"):
        ESMLPRegressor(**QUICK, **options).fit(X, Y)


def test_poisson_needs_counts():
    with pytest.raises(ValueError, match=r"y is as low as -1: loss=.poisson. needs"):
        ESMLPRegressor(**QUICK, loss="poisson").fit(X, Y - 1)


def test_poisson_predicts_a_rate():
    """All predictions are positive, with their name as in scikit-learn."""
    model = ESMLPRegressor(**QUICK, loss="poisson").fit(X, Y)
    assert model.out_activation_ == "exp"
    assert model.predict(10 * X).min() >= 0


@pytest.mark.parametrize("guide", ["backprop", "auto"])
@pytest.mark.parametrize(
    ("loss", "slope"),
    [
        (None, "log_loss"),
        ("zero_one", "log_loss"),
        ("hinge", "hinge"),
        (lambda y, p: float(np.square(p - (y[:, None] == [0, 1, 2])).mean()), "log_loss"),
    ],
    ids=["None", "zero_one", "hinge", "function"],
)
def test_the_guide_of_a_classifier(loss, slope, guide):
    """A search that never leaves the guide moves along the loss, or along the log loss.

    Which stands in for what has no slope, and for a function; "auto" guides where weights move.
    """
    options = {"guide": guide, "guide_alpha": 0.0, "sigma": 0.3, "alpha": 0.0}
    model = ESMLPClassifier(**QUICK | options | {"max_iter": 1}, optimizer="sgd", loss=loss)
    network, theta = initial(model.fit(X, Y))
    gradient = network.gradient(theta, inside(model)[1], slope)[1]
    assert abs(cosine(inner(model) - theta, gradient)) == pytest.approx(1, abs=1e-9)
    assert isinstance(model._descent.es, GuidedES)


@both
@batches
def test_a_guide_of_ones_own(cls, batch_size):
    """A function is given the pool in units of the network: backpropagation is one."""
    weight = np.arange(150.0) + 1
    name, options = {"ESMLPClassifier": "log_loss"}.get(cls.__name__, "squared_error"), {}
    options["batch_size"] = batch_size

    def guide(network, theta, x, y, w):
        return network.gradient(theta, Data(x, y, w), name)[1]

    own = fit(cls, weight, **options, guide=guide)
    assert bits(own) == bits(fit(cls, weight, **options, guide="backprop"))
    assert bits(own) == bits(fit(cls, weight, **options, guide=guide, perturb="auto"))
    assert bits(own) != bits(fit(cls, weight, **options, guide=None))
    with pytest.raises(ValueError, match=r"guide=.* set perturb='weights', or guide=None"):
        fit(cls, guide=guide, perturb="activations")


def test_a_guide_that_is_missing_is_told_of_to_who_chose_it(monkeypatch):
    """Of a guide that is zero the strategy warns, unless it was found for the user."""

    def zero(self, theta, key):
        return np.zeros_like(theta)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(guide="previous")  # though there is none at first
    monkeypatch.setattr(NetworkObjective, "gradient", zero)
    with pytest.warns(RuntimeWarning, match="surrogate gradient is missing") as caught:
        chosen = fit(guide="backprop")
    assert [w.filename for w in caught] == [flowers.__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bits(fit(guide="auto")) == bits(chosen)


def test_guide_of_a_step():
    """Guided by backpropagation, a search in the guide's line alone lowers the loss of steps."""
    options = {"activation": "sign", "guide": "backprop", "guide_alpha": 0.0}
    model = ESMLPClassifier(**LEARN | options).fit(X, Y)
    assert model.loss_ < 0.8 * model.loss_curve_[0]
