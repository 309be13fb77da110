"""`ESTuner` moves estimators: exactly as their networks say, and never for the worse."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from problems import bits
from sklearn.base import BaseEstimator, clone
from sklearn.cross_decomposition import PLSRegression
from sklearn.datasets import load_diabetes, load_iris, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler, scale
from sklearn.svm import SVC, LinearSVC, LinearSVR
from sklearn.utils import get_tags, shuffle
from sklearn.utils.estimator_checks import check_estimator

from blackbox_es import ESMLPClassifier, ESTuner
from blackbox_es.neural.conversion import (
    final_of,
    inputs_of,
    set_weights,
    weights_of,
)
from blackbox_es.neural.descent import WeightDescent
from blackbox_es.neural.network import Network
from blackbox_es.neural.tuning import Examples, chosen, side_by_side
from blackbox_es.neural.units import Units

FEW = {"max_iter": 5, "n_pairs": 8}
QUICK = {**FEW, "random_state": 0}
X, Y = shuffle(*load_iris(return_X_y=True), random_state=0)
X = scale(X)
TWO = Y > 0
RARE = make_classification(500, 8, n_informative=4, weights=[0.9], flip_y=0.05, random_state=5)
D, T = load_diabetes(return_X_y=True)

CLASSIFIERS = [
    LogisticRegression(),
    LogisticRegression(fit_intercept=False),
    RidgeClassifier(),
    LinearSVC(),
    LinearSVC(fit_intercept=False),
    SGDClassifier(random_state=0),
    LinearDiscriminantAnalysis(),
    MLPClassifier((4,), max_iter=50, random_state=0),
    MLPClassifier((4, 3), activation="tanh", max_iter=50, random_state=0),
    ESMLPClassifier((4,), activation="step", max_iter=10, n_pairs=8, random_state=0),
]
REGRESSORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    Lasso(),
    ElasticNet(),
    SGDRegressor(random_state=0),
    LinearSVR(random_state=0),
    MLPRegressor(hidden_layer_sizes=(4,), max_iter=50, random_state=0),
]
PIPELINES = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(PolynomialFeatures(2), Pipeline([("a", StandardScaler()), ("b", LinearSVC())])),
    make_pipeline(FrozenEstimator(StandardScaler().fit(X)), "passthrough", RidgeClassifier()),
]
every_classifier = pytest.mark.parametrize("estimator", [*CLASSIFIERS, *PIPELINES], ids=str)
every_regressor = pytest.mark.parametrize("estimator", REGRESSORS, ids=str)


@pytest.fixture(autouse=True)
def _quick_fits_have_not_converged():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        yield


def one_minus_f1(y, probability):
    positive = probability > 0.5
    return 1 - 2 * np.sum(positive & (y == 1)) / max(1, np.sum(positive) + np.sum(y == 1))


def said(estimator, A):
    """What an estimator says, as columns."""
    for name in ("decision_function", "predict_proba", "predict"):
        if hasattr(estimator, name):
            return getattr(estimator, name)(A).reshape(len(A), -1)
    raise AssertionError


def tuning(estimator, A, y, **options):
    tuner = ESTuner(estimator, **QUICK | options)
    return tuner._tuning(tuner._estimator(), Examples(A, y, None))


# -- weights are those of a network ----------------------------------------------------------------


def check_written_back(estimator, A, y):
    """The estimator with the parameters of a search says what the network says with them."""
    part = tuning(estimator, A, y, loss="log_loss" if y.dtype.kind in "bi" else "absolute_error")
    theta = next(part._path(0, 8))
    other = copy.deepcopy(part.given)
    set_weights(final_of(other), part.network, part.moved(0, 1, 8))
    raw = part.network.forward(theta, part._data.X)
    final = final_of(other)
    has_raw = hasattr(final, "decision_function") or not hasattr(final, "predict_proba")
    outputs = raw if has_raw else part._model._predictions(raw)
    np.testing.assert_allclose(
        said(other, A), outputs, rtol=1e-9, atol=1e-9 * np.abs(outputs).max()
    )
    assert not np.allclose(said(other, A), said(part.given, A), rtol=1e-6)
    assert type(other) is type(part.given)


@every_classifier
@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
def test_a_classifier_says_what_its_network_says(estimator, y):
    """After a generation, for three classes and for two; the given estimator is what it was."""
    check_written_back(estimator, X, y)


@every_regressor
def test_a_regressor_says_what_its_network_says(estimator):
    """After a generation."""
    check_written_back(estimator, D, T)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_several_outputs_are_those_of_the_network(fit_intercept):
    """Of one estimator; without an intercept it gets one for each output."""
    estimator = LinearRegression(fit_intercept=fit_intercept)
    check_written_back(estimator, D, np.column_stack([T, -T + D[:, 0], T**2]))


@every_classifier
def test_weights_come_back_as_they_are(estimator):
    """What is read and written again has the same bits, shapes and dtypes."""
    fitted = final_of(clone(estimator).fit(X, Y))
    other = copy.deepcopy(fitted)
    set_weights(other, *weights_of(fitted))
    for name in {"coef_", "intercept_", "coefs_", "intercepts_"} & set(vars(fitted)):
        before, after = getattr(fitted, name), getattr(other, name)
        if not isinstance(before, list):
            # One zero for all outputs is what LinearSVC has without an intercept.
            assert np.shape(after) == np.shape(before) or (np.shape(before), before) == ((), 0.0)
            before = np.broadcast_to(before, np.shape(after))
            before, after = [before], [after]
        assert bits([*map(np.asarray, before)]) == bits([*map(np.asarray, after)])


def test_float32_stays_float32():
    """As scikit-learn has fitted it."""
    tuner = ESTuner(Ridge(), loss="absolute_error", **QUICK).fit(D.astype(np.float32), T)
    assert tuner.improved_
    assert tuner.given_.coef_.dtype == tuner.estimator_.coef_.dtype == np.float32


# -- units -----------------------------------------------------------------------------------------


def test_units_of_weights_are_undone():
    """Weights bit for bit, intercepts and outputs up to rounding; columns may not vary at all."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 5)) * 10.0 ** np.arange(-6, 9, 3) + 10.0 ** np.arange(5)
    A[:, 1] = 3.7
    network = Network((5, 200, 2), "tanh")
    theta = network.initial(rng)
    units = Units.of_weights(A, network)
    inside = units.inner(network, *network.unpack(theta))
    inputs = units.inputs(A)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    assert (np.abs(np.log2(inputs.std(axis=0)[[0, 2, 3, 4]])) < 0.5 + 1e-6).all()
    assert (inputs[:, 1] == 0).all()
    np.testing.assert_allclose(
        network.forward(inside, inputs), network.forward(theta, A), rtol=1e-9
    )
    back = units.outer(network, inside)
    before = network.unpack(theta)
    assert bits(back[0]) == bits(before[0])
    np.testing.assert_allclose(back[1][0], before[1][0], rtol=1e-9, atol=1e-9)


def test_units_of_inputs_do_not_matter():
    """Columns in other units, by powers of two, with weights to match: the same bits come out."""
    fitted, scale = LogisticRegression().fit(X[:100], Y[:100]), 2.0 ** np.array([-20, 3, 0, 30])
    other = copy.deepcopy(fitted)
    other.coef_ = fitted.coef_ / scale
    one = ESTuner(FrozenEstimator(fitted), cv=2, **QUICK).fit(X[100:], Y[100:])
    two = ESTuner(FrozenEstimator(other), cv=2, **QUICK).fit(X[100:] * scale, Y[100:])
    assert bits(one.held_out_losses_) == bits(two.held_out_losses_)
    assert bits(one.estimator_.coef_) == bits(two.estimator_.coef_ * scale)


@pytest.mark.parametrize("unit", [1e-9, 1e9])
def test_units_of_targets_do_not_matter(unit):
    """The losses are those of the first unit, times the other."""
    one, two = (
        ESTuner(LinearRegression(), loss="pinball", loss_params={"quantile": 0.8}, **QUICK)
        for _ in range(2)
    )
    one, two = one.fit(D, T), two.fit(D, T * unit)
    np.testing.assert_allclose(two.held_out_losses_ / unit, one.held_out_losses_, rtol=1e-5)


@pytest.mark.parametrize("estimator", [LogisticRegression(), Ridge(), MLPClassifier((5,))], ids=str)
def test_perturbations_move_outputs_by_their_spread(estimator):
    """A perturbation of the size that is found does so: within a factor of 1.5 for networks."""
    y = T if isinstance(estimator, Ridge) else Y
    part = tuning(estimator, D if y is T else X, y)
    raw = part.network.forward(part._theta, part._data.X)
    about = part._data.y if y is T else raw.mean(axis=0)
    rng, step = np.random.default_rng(1), 1e-3 * part._unit(0)
    moved = [
        part.network.forward(part._theta + step * s, part._data.X) - raw
        for s in rng.choice([-1.0, 1.0], (200, part._theta.size))
    ]
    ratio = np.sqrt(np.mean(np.square(moved)) / np.mean((raw - about) ** 2)) / 1e-3
    assert 1 / 1.5 < ratio < 1.5


# -- never for the worse ---------------------------------------------------------------------------

LOSSES = [
    (LogisticRegression(), RARE, "zero_one"),
    (LinearSVC(), RARE, "roc_auc"),
    (SGDClassifier(random_state=0), RARE, "average_precision"),
    (LogisticRegression(), RARE, one_minus_f1),
    (Ridge(), (D, T), "absolute_error"),
    (LinearRegression(), (D, T), "squared_error"),
    (MLPClassifier((3,), max_iter=9, random_state=0), RARE, "zero_one"),
]


@pytest.mark.parametrize(("estimator", "data", "loss"), LOSSES, ids=range(7))
@pytest.mark.parametrize("cv", [None, 0.3, KFold(2)], ids=str)
def test_never_worse_on_held_out_data(estimator, data, loss, cv):
    """What was chosen has no larger mean loss than the given one; else it is the given one."""
    tuner = ESTuner(estimator, loss=loss, cv=cv, **QUICK).fit(*data)
    means = tuner.held_out_losses_.mean(axis=0)
    assert tuner.held_out_losses_.shape == ({None: 5, 0.3: 1}.get(cv, 2), tuner.n_iter_ + 1)
    assert tuner.improved_ == (tuner.best_iter_ > 0) == (tuner.estimator_ is not tuner.given_)
    assert means[tuner.best_iter_] <= means[0]
    if tuner.improved_:
        assert means[tuner.best_iter_] == means.min() < means[0]
        assert not np.array_equal(said(tuner.estimator_, data[0]), said(tuner.given_, data[0]))


def test_held_out_losses_are_those_of_the_metric():
    """The first of a single held-out part is the error of the estimator fitted to the rest."""
    tuner = ESTuner(RidgeClassifier(), cv=0.3, **QUICK).fit(X, Y)
    ((train, test),) = tuner._folds(Examples(X, Y, None), 0)
    fitted = RidgeClassifier().fit(X[train], Y[train])
    assert tuner.held_out_losses_[0, 0] == pytest.approx(1 - fitted.score(X[test], Y[test]))
    assert not set(train) & set(test)
    _, counts = np.unique(Y[test], return_counts=True)
    assert counts.tolist() == [15, 15, 15]
    tuner = ESTuner(Ridge(), loss="absolute_error", cv=0.3, **QUICK).fit(D, T)
    ((train, test),) = tuner._folds(Examples(D, T, None), 0)
    error = np.abs(Ridge().fit(D[train], T[train]).predict(D[test]) - T[test]).mean()
    assert tuner.held_out_losses_[0, 0] == pytest.approx(error, rel=1e-12)
    assert tuner.held_out_losses_[0, 1] != tuner.held_out_losses_[0, 0]


def test_the_best_generation_is_chosen():
    """The least mean, if it is better than none by more than its standard error; NaN never is."""
    losses = np.array([[3.0, 2.0, 1.0, 1.5], [4.0, 2.0, 2.1, 1.5]])
    assert chosen(losses) == 3
    assert chosen(losses[:1]) == 2
    assert chosen(np.array([[1.0, 0.0], [1.0, 1.2]])) == 0  # 0.4 better, its error is 0.6
    assert chosen(np.array([[1.0, 0.0], [1.0, 0.9]])) == 1  # 0.55, 0.45
    assert chosen(np.array([[1.0, np.nan, 0.5], [1.0, 0.0, 0.5]])) == 2
    assert chosen(np.array([[1.0, 1.0], [1.0, 1.0]])) == 0
    assert chosen(np.array([[np.inf, np.inf], [1.0, 0.5]])) == 0


def test_searches_end_when_nothing_gets_better():
    """40 generations after the best, or as many as came before it if they are more."""

    def losses(best):
        yield from (1.0 / (1 + min(n, best)) for n in range(10**6))

    assert side_by_side([losses(0), losses(0)], 300).shape == (2, 41)
    assert side_by_side([losses(10)], 300).shape == (1, 51)
    assert side_by_side([losses(60)], 300).shape == (1, 121)
    assert side_by_side([losses(999)], 30).shape == (1, 31)


def test_a_path_is_of_means_over_generations(monkeypatch):
    """Of where the search was after each: the n-th weighs n (n + 1) (n + 2)."""

    class Watched(WeightDescent):
        def step(self, *given):
            done = super().step(*given)
            seen.append(self.x)
            return done

    seen = []
    monkeypatch.setattr("blackbox_es.neural.tuning.WeightDescent", Watched)
    path = tuning(LogisticRegression(), X, Y, loss="log_loss")._path(0, 8)
    for i, mean in zip(range(5), path, strict=False):
        n = np.arange(1, i + 2)
        weighed = np.average(seen, axis=0, weights=n * (n + 1) * (n + 2))
        np.testing.assert_allclose(mean, weighed, rtol=1e-12)


def test_what_the_metric_misses_is_found():
    """F1 of a rare class and the pinball loss get better on data that nothing has seen."""
    A, y = make_classification(
        3000, 8, n_informative=4, weights=[0.9], class_sep=0.6, random_state=5
    )
    A, B, y, z = train_test_split(A, y, test_size=0.5, random_state=0, stratify=y)
    tuner = ESTuner(loss=one_minus_f1, cv=3, max_iter=100, random_state=0).fit(A, y)
    before, after = (f1_score(z, m.predict(B)) for m in (tuner.given_, tuner.estimator_))
    assert after > before + 0.1
    A, B, y, z = train_test_split(D, T, test_size=0.5, random_state=0)
    tuner = ESTuner(
        LinearRegression(), loss="pinball", loss_params={"quantile": 0.9}, random_state=0
    )
    tuner.fit(A, y)
    assert (z < tuner.given_.predict(B)).mean() < 0.6
    assert 0.8 < (z < tuner.predict(B)).mean() < 0.95


def test_a_loss_of_steps_ends_where_nothing_differs():
    """With a loss that never changes the given estimator comes back."""
    tuner = ESTuner(loss=lambda y, p: 1.0, random_state=0).fit(X, Y)
    assert (tuner.improved_, tuner.estimator_ is tuner.given_) == (False, True)
    assert (tuner.held_out_losses_ == 1.0).all()


# -- what is taken ---------------------------------------------------------------------------------


def test_frozen_estimators_are_taken_as_they_are():
    """Not fitted again, not changed, not even if wrapped twice or at the end of a pipeline."""
    fitted = SGDClassifier(random_state=0).fit(X[:75], Y[:75])
    before = bits([fitted.coef_, fitted.intercept_])
    tuner = ESTuner(FrozenEstimator(FrozenEstimator(fitted)), **QUICK).fit(X[75:], Y[75:])
    assert tuner.given_ is fitted
    assert type(tuner.estimator_) is SGDClassifier
    assert bits([fitted.coef_, fitted.intercept_]) == before
    alone = ESTuner(make_pipeline(FrozenEstimator(fitted)), **QUICK).fit(X[75:], Y[75:])
    assert bits(alone.held_out_losses_) == bits(tuner.held_out_losses_)


def test_a_pipeline_transforms_once():
    """The same weights come out as behind the same steps taken by hand."""
    pipeline = make_pipeline(StandardScaler(), RidgeClassifier())
    scaler = StandardScaler().fit(X)
    frozen = make_pipeline(FrozenEstimator(scaler), RidgeClassifier())
    inside = ESTuner(frozen, **QUICK).fit(X, Y)
    outside = ESTuner(RidgeClassifier(), **QUICK).fit(scaler.transform(X), Y)
    assert bits(inside.held_out_losses_) == bits(outside.held_out_losses_)
    assert bits(final_of(inside.estimator_).coef_) == bits(outside.estimator_.coef_)
    assert isinstance(ESTuner(pipeline, **QUICK).fit(X, Y).estimator_, Pipeline)
    assert bits(inputs_of(pipeline.fit(X, Y), X)) == bits(scaler.transform(X))


def test_pipelines_take_what_is_no_array():
    """Frames with words, as long as the last step is given numbers."""
    frame = pd.DataFrame({"a": np.where(Y == 1, "u", "v"), "b": np.where(X[:, 0] > 6, "w", "x")})
    for sparse_output in (False, True):
        estimator = make_pipeline(OneHotEncoder(sparse_output=sparse_output), LogisticRegression())
        if sparse_output:
            with pytest.raises(TypeError, match="Sparse data was passed"):
                ESTuner(estimator, **QUICK).fit(frame, Y)
        else:
            tuner = ESTuner(estimator, **QUICK).fit(frame, Y)
            assert list(tuner.feature_names_in_) == ["a", "b"]
            assert tuner.predict(frame).shape == Y.shape


def test_labels_of_any_kind():
    """As the estimator knows them; functions are given them, too."""
    names, seen = np.array(["b", "a", "c"])[Y], set()

    def loss(y, probability):
        seen.update(y)
        return float(np.mean(probability.argmax(axis=1) != np.searchsorted(["a", "b", "c"], y)))

    tuner = ESTuner(RidgeClassifier(), loss=loss, **QUICK).fit(X, names)
    assert seen == {"a", "b", "c"}
    assert list(tuner.classes_) == ["a", "b", "c"]
    assert set(tuner.predict(X)) <= seen
    assert tuner.score(X, names) == np.mean(tuner.predict(X) == names)
    same = ESTuner(RidgeClassifier(), **QUICK).fit(X, np.array([1, 0, 2])[Y])
    np.testing.assert_allclose(same.held_out_losses_, tuner.held_out_losses_, rtol=1e-12)


def test_sample_weights_are_passed_on():
    """To the estimator behind the steps of a pipeline, and to the loss."""
    weight = np.where(Y == 1, 5.0, 1.0)
    pipeline = Pipeline([("a", StandardScaler()), ("b", Pipeline([("c", LogisticRegression())]))])
    tuner = ESTuner(pipeline, cv=0.5, **QUICK).fit(X, Y, sample_weight=weight)
    alone = clone(pipeline).fit(X, Y, b__c__sample_weight=weight)
    assert bits(said(tuner.given_, X)) == bits(said(alone, X))
    ((train, test),) = tuner._folds(Examples(X, Y, None), 0)
    part = clone(pipeline).fit(X[train], Y[train], b__c__sample_weight=weight[train])
    error = np.average(part.predict(X[test]) != Y[test], weights=weight[test])
    assert tuner.held_out_losses_[0, 0] == pytest.approx(error)
    seen = []
    ESTuner(loss=lambda y, p, sample_weight: seen.append(sample_weight) or 1.0, **QUICK).fit(
        X, Y, sample_weight=weight
    )
    assert all(set(np.unique(w)) == {1.0, 5.0} for w in seen)


def test_batches_hold_what_a_metric_needs():
    """However rare a class is, each pair sees it."""
    A = np.random.default_rng(0).normal(size=(6000, 2))
    y = np.zeros(6000, int)
    y[:6] = 1
    part = tuning(LogisticRegression(), A, y, loss="roc_auc")
    assert part._batch() == 2000
    assert np.isfinite(next(part.losses(Examples(A, y, None), 0, 4)))
    next(part._path(0, 4))
    assert tuning(LogisticRegression(), A, np.arange(6000) % 2)._batch() == 1024


# -- scikit-learn's contract -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "tuner",
    [ESTuner(), ESTuner(Ridge(), **FEW), ESTuner(LinearDiscriminantAnalysis(), **FEW)],
    ids=["defaults", "Ridge", "LDA"],
)
def test_scikit_learn_checks(tuner):
    """All hold, but that weights are not repetitions: these fall into folds of their own."""
    results = check_estimator(tuner, on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert len(results) > 40
    assert failed.keys() <= {"check_sample_weight_equivalence_on_dense_data"}, failed


@pytest.mark.parametrize("estimator", [LogisticRegression(), MLPClassifier((3,), max_iter=9)])
def test_the_same_seed_gives_the_same_bits(estimator):
    """By a clone, and by a second fit; another seed gives other folds."""
    tuner = ESTuner(estimator.set_params(random_state=0), **QUICK).fit(X, Y)
    twin = clone(tuner).fit(X, Y)
    assert bits(twin.held_out_losses_) == bits(tuner.held_out_losses_)
    assert bits(said(twin, X)) == bits(said(tuner, X))
    assert bits(tuner.fit(X, Y).held_out_losses_) == bits(twin.held_out_losses_)
    other = clone(tuner).set_params(random_state=1).fit(X, Y)
    assert bits(other.held_out_losses_) != bits(twin.held_out_losses_)


def test_copies_predict_alike():
    """Pickled ones do, and ``estimator_`` needs nothing of this package."""
    tuner = ESTuner(Ridge(), loss="absolute_error", **QUICK).fit(D, T)
    assert bits(pickle.loads(pickle.dumps(tuner)).predict(D)) == bits(tuner.predict(D))
    assert b"blackbox_es" not in pickle.dumps(tuner.estimator_)
    assert tuner.estimator_.get_params() == tuner.given_.get_params()


def test_it_has_what_the_estimator_has():
    """Methods, tags, names of features; nothing of it before a fit."""
    assert hasattr(ESTuner(), "predict_proba")
    assert not hasattr(ESTuner(LinearSVC()), "predict_proba")
    assert not hasattr(ESTuner(Ridge()), "decision_function")
    tags = get_tags(ESTuner(LogisticRegression()))
    assert (tags.estimator_type, tags.input_tags.sparse) == ("classifier", False)
    assert get_tags(ESTuner(Ridge())).target_tags.multi_output
    frame = pd.DataFrame(X, columns=list("abcd"))
    tuner = ESTuner(**QUICK)
    assert not hasattr(tuner, "classes_")
    with pytest.raises(NotFittedError):
        tuner.predict(X)
    tuner.fit(frame, Y)
    assert list(tuner.feature_names_in_) == list("abcd")
    assert tuner.n_features_in_ == 4
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert bits(getattr(tuner, name)(frame)) == bits(getattr(tuner.estimator_, name)(frame))
    assert not hasattr(ESTuner(Ridge(), **QUICK).fit(D, T), "classes_")


def test_grid_search():
    """Parameters of the estimator are reached through the tuner."""
    search = GridSearchCV(ESTuner(Ridge(), **QUICK), {"estimator__alpha": [1e-3, 1e3]}, cv=2)
    assert search.fit(D, T).best_params_ == {"estimator__alpha": 1e-3}


# -- what is refused -------------------------------------------------------------------------------


class Squared(LinearRegression):
    """Has the weights of a linear model, and does something else with them."""

    def predict(self, X):
        return super().predict(X) ** 2


@pytest.mark.parametrize(
    ("estimator", "data", "message"),
    [
        (RandomForestClassifier(5), (X, Y), "no weights to move"),
        (SVC(kernel="linear"), (X, Y), "cannot be set"),
        (PLSRegression(), (D, T), "does not predict X @ coef_.T"),
        (Squared(), (D, T), "does not predict X @ coef_.T"),
        (PoissonRegressor(), (D, T), "does not predict X @ coef_.T"),
        (make_pipeline(StandardScaler(), RandomForestClassifier(5)), (X, Y), "no weights to move"),
        (StandardScaler(), (X, Y), "expected a classifier or a regressor"),
        (BaseEstimator(), (X, Y), "expected a classifier or a regressor"),
        (FrozenEstimator(LogisticRegression().fit(X, Y).sparsify()), (X, Y), "is sparse"),
    ],
    ids=range(9),
)
def test_other_estimators_are_refused(estimator, data, message):
    """With what can be taken instead."""
    tuner = ESTuner(estimator, **QUICK)
    with pytest.raises(TypeError, match=message):
        tuner.fit(*data)
    assert not hasattr(tuner, "estimator_")


def test_a_mean_that_is_an_exponential_goes_with_its_loss():
    """PoissonRegressor is a network for the Poisson loss, and LinearRegression is none."""
    y = np.round(T / 50)
    assert ESTuner(PoissonRegressor(), loss="poisson", **QUICK).fit(D, y).given_.coef_.shape == (
        10,
    )
    with pytest.raises(TypeError, match="loss='poisson'"):
        ESTuner(LinearRegression(), loss="poisson", **QUICK).fit(D, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "accurate"}, "loss='accurate'"),
        ({"loss": "absolute_error"}, "loss='absolute_error'"),
        ({"loss": "roc_auc"}, "two classes"),
        ({"loss_params": {"quantile": 0.5}}, "quantile"),
        ({"max_iter": 0}, "max_iter"),
        ({"n_pairs": 0}, "n_pairs"),
        ({"random_state": -1}, "random_state"),
        ({"cv": 1}, "at least 2"),
        ({"cv": 1.5}, "test_size"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(options, message):
    """Nothing is fitted then."""
    tuner = ESTuner(**QUICK | options)
    with pytest.raises(ValueError, match=message):
        tuner.fit(X, Y)
    assert not hasattr(tuner, "estimator_")


def test_what_cannot_be_judged():
    """A class of one example cannot be both moved by and judged by; several labels are too many."""
    y = Y.copy()
    y[0] = 3
    with pytest.raises(ValueError, match="n_samples=1, of the rarest class"):
        ESTuner(**QUICK).fit(X, y)
    y[1:3] = 3
    assert ESTuner(RidgeClassifier(), **QUICK).fit(X, y).held_out_losses_.shape[0] == 3
    with pytest.raises(ValueError, match=r"multioutput|1d array|multilabel"):
        ESTuner(RidgeClassifier(), **QUICK).fit(X, np.eye(3, dtype=int)[Y])
