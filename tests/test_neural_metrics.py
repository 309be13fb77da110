"""Losses of many examples together, against scikit-learn's metrics, and what guides them."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import bits
from scipy.special import logit, softmax
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    make_scorer,
    matthews_corrcoef,
    ndcg_score,
    roc_auc_score,
)

from blackbox_es import ESMLPClassifier, ESMLPRegressor
from blackbox_es.neural import standins
from blackbox_es.neural.data import Data
from blackbox_es.neural.examples import Examples
from blackbox_es.neural.losses import PREDICTIONS
from blackbox_es.neural.metrics import METRICS, cost_metric
from blackbox_es.neural.thresholds import best_shifts

few = settings(deadline=None, max_examples=60, derandomize=True)


def decided(raw):
    """The class of each example: of equal outputs the first."""
    return (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)


def of_classes(score, **options):
    return lambda y, raw, weight: score(y, decided(raw), sample_weight=weight, **options)


def of_scores(score):
    return lambda y, raw, weight: score(y, raw[:, 0], sample_weight=weight)


def one_against_rest(average):
    def score(y, raw, weight):
        if raw.shape[1] == 1:
            return roc_auc_score(y, raw[:, 0], sample_weight=weight)
        each = softmax(raw, axis=1)
        return roc_auc_score(y, each, multi_class="ovr", average=average, sample_weight=weight)

    return score


SCORES = {
    "roc_auc": of_scores(roc_auc_score),
    "average_precision": of_scores(average_precision_score),
    "roc_auc_ovr": one_against_rest("macro"),
    "roc_auc_ovr_weighted": one_against_rest("weighted"),
    "f1": of_classes(f1_score),
    "f1_macro": of_classes(f1_score, average="macro"),
    "f1_micro": of_classes(f1_score, average="micro"),
    "f1_weighted": of_classes(f1_score, average="weighted"),
    "balanced_accuracy": of_classes(balanced_accuracy_score),
    "matthews_corrcoef": of_classes(matthews_corrcoef),
    "ndcg": lambda y, raw, weight: ndcg_score(y.T, raw.T),
}
RANKINGS = ["roc_auc", "average_precision", "roc_auc_ovr", "roc_auc_ovr_weighted"]
every_metric = pytest.mark.parametrize("name", METRICS)
of_classification = pytest.mark.parametrize("name", [m for m in METRICS if m != "ndcg"])


def example(name, m, n_candidates, tied, weighted, seed):
    """Targets that hold each class, outputs of several networks, weights."""
    rng = np.random.default_rng(seed)
    if name == "ndcg":
        y, n_outputs, weight = rng.integers(0, 4, (m, 1)).astype(float), 1, None
    else:
        n_classes = 2 if METRICS[name].n_classes == "two" else int(rng.integers(2, 5))
        n_outputs, m = 1 if n_classes == 2 else n_classes, max(m, n_classes)
        y = rng.permutation(np.r_[np.arange(n_classes), rng.integers(0, n_classes, m - n_classes)])
        weight = rng.uniform(0.1, 2, m) if weighted else None
    raw = rng.normal(size=(n_candidates, m, n_outputs))
    return y, np.round(raw) if tied else raw, weight


@every_metric
@few
@given(
    st.integers(2, 80), st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_metrics_are_scikit_learns(name, m, n_candidates, tied, weighted, seed):
    """One minus its metric for each candidate, with ties and weights, to rounding."""
    y, raw, weight = example(name, m, n_candidates, tied, weighted, seed)
    found = METRICS[name].values(y, raw, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        expected = [1 - SCORES[name](y, z, weight) for z in raw]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert METRICS[name](y, raw[0], weight) == found[0]


@few
@given(st.integers(2, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_mean_cost(n_classes, weighted, seed):
    """That of the classes taken."""
    rng = np.random.default_rng(seed)
    y, cost = rng.integers(0, n_classes, 30), rng.normal(size=(n_classes, n_classes))
    raw = rng.normal(size=(3, 30, 1 if n_classes == 2 else n_classes))
    weight = rng.uniform(0.1, 2, 30) if weighted else None
    expected = [np.average(cost[y, decided(z)], weights=weight) for z in raw]
    np.testing.assert_allclose(cost_metric(cost).values(y, raw, weight), expected, atol=1e-14)


@every_metric
def test_what_is_undefined_is_nan(name):
    """With an output that is not finite; a ranking of one class only."""
    y, raw, _ = example(name, 12, 3, False, False, 0)
    raw[1, 2], raw[2, 0] = np.nan, np.inf
    np.testing.assert_array_equal(np.isnan(METRICS[name].values(y, raw, None)), [False, True, True])
    if name in RANKINGS:
        assert np.isnan(METRICS[name].values(0 * y, raw, None)).all()


# -- what guides a search --------------------------------------------------------------------------


def soft_f1(y, raw, weight, average):
    p = PREDICTIONS["logistic" if raw.shape[1] == 1 else "softmax"](raw)
    t, w = np.eye(p.shape[1])[y], np.ones(len(y)) if weight is None else weight
    each = 2 * (w @ (t * p)) / (w @ (t + p))
    if average == "binary":
        return 1 - each[1]
    return 1 - np.average(each, weights=w @ t if average == "weighted" else None)


def pairs(gains, z, weight):
    w = np.ones(len(z)) if weight is None else weight
    d = np.maximum(gains[:, None] - gains, 0) * w[:, None] * w
    return (d * np.log1p(np.exp(z - z[:, None]))).sum() / max(1.0, w.sum())


def expected_cost(y, raw, weight, cost):
    p = PREDICTIONS["logistic" if raw.shape[1] == 1 else "softmax"](raw)
    return np.average((cost[y] * p).sum(axis=1), weights=weight)


COST = np.array([[0.0, 1.0, 2.0], [5.0, 0.0, 1.0], [3.0, 1.0, -1.0]])
STANDINS = {
    "pairwise_logistic": (
        standins.pairwise_logistic,
        2,
        lambda y, raw, w: pairs((y == 1) * 1.0, raw[:, 0], w),
    ),
    "pairwise_gains": (
        standins.pairwise_gains,
        0,
        lambda y, raw, w: pairs(y.mean(axis=1), raw.mean(axis=1), w),
    ),
    **{
        f"soft_f1 {average}": (
            lambda y, raw, w, a=average: standins.soft_f1(y, raw, w, a),
            2 if average == "binary" else 3,
            lambda y, raw, w, a=average: soft_f1(y, raw, w, a),
        )
        for average in ("binary", "macro", "weighted")
    },
    "expected_cost": (
        lambda y, raw, w: standins.expected_cost(y, raw, w, COST),
        3,
        lambda y, raw, w: expected_cost(y, raw, w, COST),
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STANDINS)
def test_slopes_of_stand_ins(name, weighted):
    """Those of finite differences of what the stand-in is said to be."""
    slope, n_classes, value = STANDINS[name]
    rng = np.random.default_rng(1)
    y = rng.integers(0, n_classes, 9) if n_classes else rng.integers(0, 3, (9, 2)) * 1.0
    raw = rng.normal(size=(9, {2: 1, 0: 2}.get(n_classes, n_classes)))
    weight, step = rng.uniform(0.5, 2, 9) if weighted else None, 1e-6
    found, expected = slope(y, raw, weight), np.zeros_like(raw)
    for at in np.ndindex(raw.shape):
        moved = np.zeros_like(raw)
        moved[at] = step
        expected[at] = (value(y, raw + moved, weight) - value(y, raw - moved, weight)) / 2 / step
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_pairs_are_compared_in_parts():
    """A thousand neighbours at a time, of which none is left out."""
    rng = np.random.default_rng(0)
    y, raw = rng.integers(0, 2, 2100), rng.normal(size=(2100, 1))
    found = standins.pairwise_logistic(y, raw, None) * len(y)
    parts = [slice(i, i + 1024) for i in range(0, 2100, 1024)]
    expected = [standins.pairwise_logistic(y[p], raw[p], None) * len(y[p]) for p in parts]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-12)


def test_the_balanced_log_loss_weighs_classes_alike():
    y, raw = np.array([0, 0, 0, 1]), np.zeros((4, 1))
    slope = standins.balanced_log_loss(y, raw, None)[:, 0]
    np.testing.assert_allclose(slope, [1 / 12, 1 / 12, 1 / 12, -1 / 4])


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


OPTIONS = {"hidden_layer_sizes": (4,), "n_pairs": 64, "max_iter": 100, "random_state": 0}
WEIGHTS = OPTIONS | {"perturb": "weights", "guide": None}


def imbalanced():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [380, 20])
    return rng.normal(size=(400, 5)) + 1.5 * y[:, None], y


def learnt(name, **options):
    """The training metric of a model."""
    X, y = imbalanced()
    model = ESMLPClassifier(**OPTIONS | options, loss=name).fit(X, y)
    return SCORES[name](y, logit(model.predict_proba(X)[:, 1:]), None)


@of_classification
def test_learns_a_metric(name):
    """From nothing, where most of them are flat, far above that of chance."""
    assert learnt(name, max_iter=300) > (0.88 if name.startswith("roc") else 0.5)


@pytest.mark.filterwarnings("ignore:the surrogate gradient has been no better")  # in the end
@pytest.mark.parametrize("guide", [None, "backprop"])
@pytest.mark.parametrize("name", RANKINGS)
def test_learns_a_metric_of_scores_at_once(name, guide):
    """It is not flat anywhere: nothing else need be learnt before."""
    options = {"perturb": "weights", "guide": guide, "batch_size": 100}
    assert learnt(name, **options) > (0.5 if name == "average_precision" else 0.93)


def test_learns_to_rank():
    """The order of examples, whatever their numbers."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = np.round(np.exp(X[:, 0]))
    model = ESMLPRegressor(**OPTIONS, loss="ndcg").fit(X, y)
    assert ndcg_score([y], [model.predict(X)]) > 0.95


@every_metric
def test_threads_change_nothing(name):
    X, y = imbalanced()
    kind = ESMLPRegressor if name == "ndcg" else ESMLPClassifier
    options = OPTIONS | {"max_iter": 20, "batch_size": 50}
    models = [kind(**options, loss=name, n_jobs=n).fit(X, y) for n in (1, 2)]
    assert bits(models[0].coefs_) == bits(models[1].coefs_)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1"])
def test_metrics_of_two_classes_refuse_three(name):
    X, _ = imbalanced()
    with pytest.raises(ValueError, match=r"is of two classes: y has 3"):
        ESMLPClassifier(**OPTIONS, loss=name).fit(X[:90], np.arange(90) % 3)


@pytest.mark.parametrize("name", RANKINGS)
def test_slices_that_may_lack_a_class_are_refused(name):
    X, y = imbalanced()
    with pytest.raises(ValueError, match=r"batch_size=30 .* set batch_size=40 or more"):
        ESMLPClassifier(**WEIGHTS, loss=name, batch_size=30).fit(X, y)


@pytest.mark.parametrize("name", RANKINGS)
def test_a_class_without_examples_is_refused(name):
    """In a part of the data, too: one ranking is not defined then."""
    X, y = imbalanced()
    model = ESMLPClassifier(**WEIGHTS, loss=name).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"no example of one of 2 classes: there is no"):
        model.partial_fit(X[:50], y[:50])


def test_one_ranking_has_no_weights():
    """They would be left out of it in silence."""
    X, y = imbalanced()
    with pytest.raises(ValueError, match=r"loss='ndcg' is of one ranking.* leave out sample_w"):
        ESMLPRegressor(**WEIGHTS, loss="ndcg").fit(X, y, sample_weight=np.ones(len(y)))


@of_classification
def test_refused(name):
    X, y = imbalanced()
    with pytest.raises(ValueError, match=r"needs the loss of each example"):
        ESMLPClassifier(**OPTIONS, loss=name, perturb="activations").fit(X, y)
    with pytest.raises(ValueError, match=f"loss='{name}'"):
        ESMLPRegressor(**OPTIONS, loss=name).fit(X, y)


# -- the line between classes ----------------------------------------------------------------------


@few
@given(st.booleans(), st.integers(0, 2**32 - 1))
def test_the_best_shift_is_that_of_all(weighted, seed):
    """Of two classes: no threshold has a better F1."""
    y, raw, weight = example("f1", 40, 1, False, weighted, seed)
    shift = best_shifts(METRICS["f1"], y, raw[0], weight)
    cuts = np.r_[raw[0, :, 0], 100] - 1e-9
    best = METRICS["f1"].values(y, raw - cuts[:, None, None], weight).min()
    assert METRICS["f1"](y, raw[0] + shift, weight) == pytest.approx(best, abs=1e-12)


@every_metric
def test_no_shift_does_harm(name):
    """Rankings of two classes have none; others are as good as they were, or better."""
    for seed in range(5):
        y, raw, weight = example(name, 60, 1, False, False, seed)
        shifts = best_shifts(METRICS[name], y, raw[0], weight)
        metric = METRICS[name]
        assert metric(y, raw[0] + shifts, weight) <= metric(y, raw[0], weight)
        if name in ("roc_auc", "average_precision", "ndcg"):
            assert not shifts.any()


def test_shifts_are_those_of_the_weights_that_are_kept():
    """By early stopping, which are not those that the search has reached."""
    X, y = imbalanced()
    options = OPTIONS | {"early_stopping": True, "learning_rate_init": 0.5}
    model = ESMLPClassifier(**options, perturb="activations").fit(X, y)
    kept = model._network.pack(model.coefs_, model.intercepts_)
    reached = model._network.pack(*model._units.outer(model._network, model._descent.x))
    assert not np.allclose(kept, reached)
    metric, raw = METRICS["f1"], model._network.forward(kept, X)
    shifts = model.set_params(loss="f1")._shifts(Data(X, y))
    assert metric(y, raw + shifts, None) == metric(y, raw + best_shifts(metric, y, raw, None), None)


def test_what_is_rare_is_found():
    """By a network that could not say so at first: the threshold moves, then the weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4))
    y = (X[:, 0] + rng.normal(size=1000) > 2.0).astype(int)
    model = ESMLPClassifier((), loss="f1", random_state=0).fit(X, y)
    plain = ESMLPClassifier((), random_state=0).fit(X, y)
    assert f1_score(y, model.predict(X)) > f1_score(y, plain.predict(X)) + 0.1


@pytest.mark.parametrize("where", [3, 12])
def test_a_fit_stopped_in_either_stage_goes_on(where):
    """Towards the metric, from the weights of the last finished generation."""
    X, y = imbalanced()

    def stop(intermediate_result):
        if intermediate_result.nit == where:
            raise KeyboardInterrupt

    model = ESMLPClassifier(**OPTIONS | {"max_iter": 20}, loss="f1", warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, callback=stop)
    assert model.n_iter_ == where == len(model.loss_curve_)
    assert not model._approaches
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # F1 may be flat yet
        model.fit(X, y)
    assert 0 <= model.loss_ <= 1


# -- scorers, costs and functions ------------------------------------------------------------------


def fitted(loss, **options):
    """The model after a few generations of weights, without a guide."""
    X = np.random.default_rng(0).normal(size=(100, 5))
    y = np.array(["no", "yes"])[(X[:, 0] > 0.2).astype(int)]
    options = WEIGHTS | {"max_iter": 15, "batch_size": None, "sigma": 0.3} | options
    return ESMLPClassifier(**options, loss=loss).fit(X, y)


SAME = {
    "scorer": (make_scorer(matthews_corrcoef), "matthews_corrcoef"),
    "scorer with options": (make_scorer(f1_score, average="macro", pos_label=None), "f1_macro"),
    "scorer of chances": (
        make_scorer(average_precision_score, response_method="predict_proba", pos_label="yes"),
        "average_precision",
    ),
    "name of a score": ("accuracy", "zero_one"),
    "name of a loss": ("neg_log_loss", "log_loss"),
}


@pytest.mark.parametrize("case", SAME)
def test_scorers_are_the_metrics(case):
    """Whether scikit-learn computes them or we, to rounding."""
    scorer, name = SAME[case]
    found, expected = fitted(scorer), fitted(name)
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-6, atol=1e-9)


def test_a_scorer_by_name_is_the_scorer():
    """Any that scikit-learn knows; its score with the opposite sign."""
    by_name, by_object = fitted("recall_macro"), fitted(metrics.get_scorer("recall_macro"))
    assert bits(by_name.coefs_) == bits(by_object.coefs_)
    assert -1 <= by_name.loss_ <= 0


def test_functions_are_given_what_scikit_learns_metrics_expect():
    """For two classes the chance of the second, as the metrics of rankings are."""
    calls = []

    def loss(y, p, sample_weight=None):
        calls.append((y, p))
        return 1 - roc_auc_score(y, p, sample_weight=sample_weight)

    found, expected = fitted(loss), fitted("roc_auc")
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-6, atol=1e-9)
    y, p = calls[0]
    assert set(y) == {"no", "yes"}
    assert p.shape == y.shape
    assert 0 <= p.min() < p.max() <= 1


def test_a_vectorized_function_takes_all_networks_at_once():
    """As many values, and the same model as with one call for each."""
    sizes = []

    def one(y, p):
        return np.mean((p - (y == "yes")) ** 2)

    def many(y, p):
        sizes.append(p.shape)
        return [one(y, each) for each in p]

    assert bits(fitted(one).coefs_) == bits(fitted(many, vectorized=True).coefs_)
    assert set(sizes) == {(128, 100)}
    assert len(sizes) == 15
    with pytest.raises(ValueError, match="what the vectorized loss returned"):
        fitted(lambda y, p: [0.0], vectorized=True)


def test_costs():
    """Those of zero and one are the zero-one loss; others move the threshold; wrong ones do not."""
    X, y = imbalanced()
    found, expected = fitted([[0, 1], [1, 0]]), fitted("accuracy")
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-6, atol=1e-9)
    careful = ESMLPClassifier(**OPTIONS, loss=[[0, 1], [50, 0]]).fit(X, y)
    assert careful.predict(X)[y == 1].all()
    for cost, message in (
        (np.eye(3), "loss has costs for 3 classes: y has 2"),
        ([[0, np.nan], [1, 0]], "a square matrix of finite costs"),
        ([1, 2], "a square matrix of finite costs"),
        (object(), "a square matrix of finite costs"),
        ([[0, 1], [1]], "a square matrix of finite costs"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted(cost)
