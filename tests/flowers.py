"""Iris, and fits of it that take milliseconds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale
from sklearn.utils import shuffle

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.data import Data
from blackbox_es.neural.losses import LOSSES
from blackbox_es.neural.network import Network
from blackbox_es.neural.units import Units

WEIGHTS = {"perturb": "weights", "guide": None, "random_state": 0}
QUICK = WEIGHTS | {"hidden_layer_sizes": (4,), "n_pairs": 16, "max_iter": 3}
LEARN = (
    WEIGHTS
    | {"hidden_layer_sizes": (8,), "n_pairs": 64, "max_iter": 150}
    | {
        "learning_rate_init": 0.05,
        "sigma": 0.1,
    }
)
X, Y = shuffle(*load_iris(return_X_y=True), random_state=0)
X = scale(X)

both = pytest.mark.parametrize("cls", [ESMLPClassifier, ESMLPRegressor])
batches = pytest.mark.parametrize("batch_size", [None, 16])


def vector(model):
    """All weights and intercepts in one vector."""
    return np.concatenate(
        [p.ravel() for layer in zip(model.coefs_, model.intercepts_, strict=True) for p in layer]
    )


def fit(cls=ESMLPClassifier, sample_weight=None, **options):
    """The weights of a short fit."""
    return vector(cls(**QUICK | options).fit(X, Y, sample_weight))


def initial(model):
    """The network of a fitted model, and the weights it began with in units of its own."""
    network = Network((4, 4, model.n_outputs_), model.activation)
    return network, network.initial(np.random.default_rng(model.random_state))


def inside(model, weight=None, x=X, y=Y):
    """Units in which a model of these examples is trained, and the examples in these units."""
    if isinstance(model, ESMLPClassifier):
        units = Units.of(Data(x, y, weight), LOSSES["log_loss"], model._network)
        return units, Data(units.inputs(x), y, weight)
    row = model._loss_row()
    data = Data(x, y.reshape(len(y), -1).astype(float), weight)
    units = Units.of(data, row, model._network)
    return units, Data(units.inputs(x), units.targets(data.y, row), weight)


def outer(units, network, theta):
    """Weights of a network in units of its own, packed in those of the user's."""
    return network.pack(*units.outer(network, theta))


def inner(model):
    """Weights of a model in units of its own."""
    return model._units.inner(model._network, model.coefs_, model.intercepts_)
