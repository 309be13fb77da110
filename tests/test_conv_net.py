"""A network of layers as an estimator: scikit-learn's contract, and what it learns."""

import pickle

import numpy as np
import pytest
from problems import bits
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

from blackbox_es import ESConvNetClassifier, ESMLPClassifier, _jit
from blackbox_es.neural.layers import AvgPool2D, Conv2D, Dense, MaxPool2D

needs_numba = pytest.mark.skipif(_jit.DISABLED, reason="too slow in pure Python")
X, Y = load_digits(return_X_y=True)
X = X / 16
LAYERS = (Conv2D(4, kernel=3), MaxPool2D(2), "relu")
QUICK = {"layers": LAYERS, "max_iter": 2, "n_pairs": 4, "batch_size": 64, "random_state": 0}
perturb = pytest.mark.parametrize("perturb", ["activations", "weights"])


def fitted(**options):
    """A fit of a few milliseconds."""
    return ESConvNetClassifier((8, 8), **{**QUICK, **options}).fit(X[:200], Y[:200])


def weights(model):
    return bits([*model.coefs_, *model.intercepts_])


# -- scikit-learn's contract -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        check_get_params_invariance,
        check_set_params,
        check_no_attributes_set_in_init,
        check_parameters_default_constructible,
    ],
)
def test_checks_of_parameters(check):
    """Those of scikit-learn's checks that bring no data, whose rows would be no images."""
    check("ESConvNetClassifier", ESConvNetClassifier())


def test_parameters_are_those_of_the_perceptron():
    """But for what says what network it is; only the penalty has another default."""
    ours, theirs = (cls().get_params() for cls in (ESConvNetClassifier, ESMLPClassifier))
    assert set(ours) - set(theirs) == {"image_shape", "layers"}
    assert set(theirs) - set(ours) == {"hidden_layer_sizes", "activation"}
    both = set(ours) & set(theirs)
    assert {name for name in both if ours[name] != theirs[name]} == {"alpha"}


@perturb
def test_a_clone_fits_the_same(perturb):
    """As do a pickle and a second fit."""
    model = fitted(perturb=perturb)
    again = clone(model).fit(X[:200], Y[:200])
    loaded = pickle.loads(pickle.dumps(model))
    assert weights(model) == weights(again) == weights(loaded)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert weights(model.fit(X[:200], Y[:200])) == weights(again)


def test_attributes_after_a_fit():
    """Those of MLPClassifier, with matrices for convolutions."""
    model = fitted()
    assert [W.shape for W in model.coefs_] == [(9, 4), (64, 10)]
    assert [b.shape for b in model.intercepts_] == [(4,), (10,)]
    assert (model.n_layers_, model.n_outputs_, model.n_features_in_) == (3, 10, 64)
    assert model.out_activation_ == "softmax"
    assert model.n_example_forwards_ == 2 * 2 * 64 * 4
    assert model.predict_proba(X).shape == (len(X), 10)
    assert fitted(perturb="weights").n_example_forwards_ == 2 * 2 * 64 * 4


def test_what_is_not_fitted_says_so():
    with pytest.raises(NotFittedError):
        ESConvNetClassifier().predict(X)


def test_layers_can_be_searched():
    """Networks are parameters like any other."""
    grid = {"layers": [(), LAYERS, (AvgPool2D(2), Dense(5), "tanh")]}
    search = GridSearchCV(ESConvNetClassifier((8, 8), **QUICK), grid, cv=2).fit(X[:200], Y[:200])
    assert len(search.cv_results_["params"]) == 3


@perturb
def test_more_calls_go_on(perturb):
    """partial_fit and warm_start; with another network a warm start is refused."""
    model = ESConvNetClassifier((8, 8), **QUICK | {"perturb": perturb})
    model.partial_fit(X[:200], Y[:200], classes=np.arange(10))
    before = weights(model)
    assert weights(model.partial_fit(X[:200], Y[:200])) != before
    model = fitted(perturb=perturb, warm_start=True)
    with pytest.raises(ValueError, match=r"layers=.* is not what was fitted"):
        model.set_params(layers=(Conv2D(5, kernel=3),)).fit(X[:200], Y[:200])


@needs_numba
@perturb
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_threads_give_the_same_bits(perturb, dtype):
    """With small batches, whose examples are drawn by what was learnt of them."""
    found = []
    for n_jobs in (1, 3):
        model = ESConvNetClassifier((8, 8), **QUICK | {"perturb": perturb, "n_jobs": n_jobs})
        model.set_params(max_iter=30, batch_size=200, n_pairs=40)
        found.append(weights(model.fit(X.astype(dtype), Y)))
    assert found[0] == found[1]


def test_several_channels():
    """Pixel by pixel, channel by channel."""
    model = ESConvNetClassifier((4, 4, 4), **QUICK).fit(X[:200], Y[:200])
    assert model.coefs_[0].shape == (36, 4)


# -- what it learns --------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "hinge"},
        {"layers": (Conv2D(4, kernel=3), AvgPool2D(2), "tanh", Conv2D(8, kernel=3), "relu")},
        {"layers": (Dense(20), "step")},
        {"perturb": "weights", "learning_rate_init": 0.02, "n_pairs": 128},
        {"perturb": "weights", "guide": "backprop", "loss": "zero_one", "n_pairs": 128},
    ],
    ids=str,
)
def test_digits_are_learnt(options):
    """On what was not trained on, with all kinds of layers, losses and noise."""
    common = {"max_iter": 250, "learning_rate_init": 0.01, "random_state": 0, "layers": LAYERS}
    model = ESConvNetClassifier((8, 8), **{**common, **options})
    x = X.astype(np.float32)
    assert model.fit(x[:1400], Y[:1400]).score(x[1400:], Y[1400:]) > 0.8


@needs_numba
def test_two_classes_and_functions_of_the_users():
    """One output; the area under the curve and a function, by weights."""
    x, y = X[:400].astype(np.float32), Y[:400] > 4

    def loss(y_true, y_prob):
        return np.mean(np.abs(y_prob - y_true))

    for option in ("roc_auc", loss):
        model = ESConvNetClassifier((8, 8), LAYERS, perturb="weights", loss=option, random_state=0)
        model.set_params(max_iter=100, learning_rate_init=0.02)
        positive = model.fit(x, y).predict_proba(x)[:, 1]
        assert roc_auc_score(y, positive) > 0.85
        assert model.coefs_[-1].shape == (64, 1)


# -- what is refused -------------------------------------------------------------------------------

BAD = [
    ({"image_shape": (4, 8)}, ValueError, r"image_shape=\(4, 8\) has 32 numbers, but X has 64"),
    ({"image_shape": (64,)}, ValueError, r"image_shape=\(64,\): take \(height, width\) or"),
    ({"image_shape": 8}, ValueError, "image_shape=8: take"),
    ({"image_shape": (8.0, 8)}, ValueError, "image_shape=8.0: expected an integer"),
    ({"layers": ("sin",)}, ValueError, "activation='sin': take 'relu'"),
    ({"layers": (MaxPool2D(3),)}, ValueError, "size=3 does not divide an image of 8 x 8"),
    ({"layers": (5,)}, TypeError, "layers holds 5: take layers and names of activations"),
    ({"layers": 5}, TypeError, "layers=5: take a sequence of layers and names of activations"),
    ({"n_pairs": 1}, ValueError, "n_pairs=1 is less than one for each of 2 layers"),
    (
        {"loss": "f1_macro", "perturb": "activations"},
        ValueError,
        "perturb='activations' needs the loss of each",
    ),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD, ids=lambda value: str(value)[:40])
def test_a_fit_that_is_refused_leaves_the_model(bad, error, message):
    """The message names argument, value and what to do; the model predicts as before."""
    model = fitted()
    good, before = model.get_params(), weights(model)
    with pytest.raises(error, match=message):
        model.set_params(**bad).fit(X[:200], Y[:200])
    assert weights(model) == before
    model.set_params(**good).predict(X)
