"""Iris, and fits of it that take milliseconds."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.preprocessing import scale
from sklearn.utils import shuffle

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.network import Network

QUICK = {"hidden_layer_sizes": (4,), "n_pairs": 16, "max_iter": 3, "random_state": 0}
LEARN = {"hidden_layer_sizes": (8,), "n_pairs": 64, "max_iter": 150, "random_state": 0} | {
    "learning_rate_init": 0.05,
    "sigma": 0.1,
}
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
    """The network of a fitted model, and the weights it began with."""
    network = Network((4, 4, model.n_outputs_), model.activation)
    return network, network.initial(np.random.default_rng(model.random_state))
