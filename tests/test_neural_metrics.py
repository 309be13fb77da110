"""Losses of many examples together, against scikit-learn's metrics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import bits
from sklearn.metrics import average_precision_score, roc_auc_score

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural.examples import Examples
from blackbox_es.neural.metrics import METRICS

few = settings(deadline=None, max_examples=60, derandomize=True)
SCORES = {"roc_auc": roc_auc_score, "average_precision": average_precision_score}
every_metric = pytest.mark.parametrize("name", METRICS)


@every_metric
@few
@given(
    st.integers(2, 80), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_metrics_are_scikit_learns(name, m, n_candidates, tied, weighted, seed):
    """One minus its metric for each candidate, with ties and weights, to rounding."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.r_[0, 1, rng.integers(0, 2, m - 2)])
    raw = rng.normal(size=(n_candidates, m, 1))
    raw = np.round(raw) if tied else raw
    weight = rng.uniform(0.1, 2, m) if weighted else None
    found = METRICS[name].values(y, raw, weight)
    expected = [1 - SCORES[name](y, z[:, 0], sample_weight=weight) for z in raw]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    assert METRICS[name](y, raw[0], weight) == found[0]


@every_metric
def test_what_is_undefined_is_nan(name):
    """With an output that is not finite, and with one class only."""
    raw, y = np.zeros((3, 4, 1)), np.array([0, 1, 0, 1])
    raw[1, 2], raw[2, 0] = np.nan, np.inf
    np.testing.assert_array_equal(np.isnan(METRICS[name].values(y, raw, None)), [False, True, True])
    assert np.isnan(METRICS[name].values(0 * y, raw, None)).all()


def test_slices_hold_their_share_of_each_class():
    """Any run of an epoch has, but for one or two, as many of a class as its length says."""
    strata = np.repeat([0, 1], [950, 50])
    rows = np.concatenate(
        [Examples(1000, 100, None, 0, strata).pool((3, t)).rows for t in range(10)]
    )
    assert sorted(rows) == list(range(1000))
    rare = np.add.reduceat(strata[rows], np.arange(0, 1000, 40))
    assert set(rare.tolist()) <= {1, 2, 3}


def test_one_pool_of_all_examples_is_spread_too():
    """Where slices make up the whole data, as well."""
    strata = np.repeat([0, 1], [380, 20])
    rows = Examples(400, 400, None, 0, strata).pool((0, 0)).rows
    rare = np.add.reduceat(strata[rows], np.arange(0, 400, 100))
    assert set(rare.tolist()) <= {4, 5, 6}


def imbalanced():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [380, 20])
    return rng.normal(size=(400, 5)) + 1.5 * y[:, None], y


OPTIONS = {"hidden_layer_sizes": (4,), "n_pairs": 64, "max_iter": 100, "random_state": 0}


@every_metric
@pytest.mark.parametrize("guide", [None, "backprop"])
def test_learns_a_metric(name, guide):
    """The training metric rises far above chance."""
    X, y = imbalanced()
    model = ESMLPClassifier(**OPTIONS, loss=name, guide=guide, batch_size=100).fit(X, y)
    score = SCORES[name](y, model.predict_proba(X)[:, 1])
    assert score > {"roc_auc": 0.93, "average_precision": 0.5}[name]


@every_metric
def test_threads_change_nothing(name):
    X, y = imbalanced()
    models = [
        ESMLPClassifier(**OPTIONS, loss=name, batch_size=50, n_jobs=n).fit(X, y) for n in (1, 2)
    ]
    assert bits(models[0].coefs_) == bits(models[1].coefs_)


@every_metric
def test_refused(name):
    """What has no ranking of two classes, and slices that may have one class only."""
    X, y = imbalanced()
    with pytest.raises(ValueError, match=r"is of two classes: y has 3"):
        ESMLPClassifier(**OPTIONS, loss=name).fit(X[:90], np.arange(90) % 3)
    with pytest.raises(ValueError, match=r"batch_size=30 .* set batch_size=40 or more"):
        ESMLPClassifier(**OPTIONS, loss=name, batch_size=30).fit(X, y)
    with pytest.raises(ValueError, match=r"needs the loss of each example"):
        ESMLPClassifier(**OPTIONS, loss=name, perturb="activations").fit(X, y)
    with pytest.raises(ValueError, match=f"loss='{name}'"):
        ESMLPRegressor(**OPTIONS, loss=name).fit(X, y)
