"""ESSearchCV: scikit-learn's conventions, and that it learns from what it evaluates."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier, is_regressor
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from blackbox_es import Choice, ESSearchCV, Int, Log, Real, Space
from blackbox_es.model_selection.screening import Model, screened

X, Y = load_iris(return_X_y=True)
X, Y = X[::3], Y[::3]
TREE = {"max_depth": Int(1, 9), "ccp_alpha": Real(0, 0.1), "criterion": Choice(["gini", "entropy"])}


class Bowl(ClassifierMixin, BaseEstimator):
    """An estimator whose score is a function of its parameters."""

    def __init__(self, a=0.5, b=1.0, k=3):
        self.a = a
        self.b = b
        self.k = k

    def fit(self, X, y):
        """Fail if the parameters are bad."""
        if self.a > 0.6:
            raise ValueError("a is bad")
        self.classes_ = np.unique(y)
        return self

    def score(self, X, y):
        """At most 0, at a = 0.3, b = 0.01, k = 7."""
        return -((self.a - 0.3) ** 2) - (np.log10(self.b) + 2) ** 2 - (self.k - 7) ** 2 / 100


BOWL = {"a": Real(0, 0.6), "b": Log(1e-4, 1), "k": Int(1, 9)}


def bowl(space=BOWL, **options):
    """A search of the bowl."""
    return ESSearchCV(Bowl(), space, **{"n_iter": 25, "cv": 2, "random_state": 0, **options})


# As scikit-learn's searches are checked: a fit that fails is an error, not a warning.
RAISE = {"n_iter": 3, "cv": 2, "error_score": "raise", "random_state": 0}


@parametrize_with_checks(
    [
        ESSearchCV(LogisticRegression(), {"C": Log(0.1, 10)}, **RAISE),
        ESSearchCV(Ridge(), Space(alpha=Log(0.1, 10)), **RAISE),
    ],
    expected_failed_checks=lambda search: (
        {"check_supervised_y_2d": "GridSearchCV does not warn either"}
        if is_regressor(search)
        else {}
    ),
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # of y = inf
def test_scikit_learn_conventions(estimator, check):
    """All of scikit-learn's own checks pass."""
    check(estimator)


def test_it_is_a_search_of_scikit_learn():
    """The same attributes as a random search, the kind of its estimator, a clone, a pickle."""
    search = ESSearchCV(DecisionTreeClassifier(random_state=0), TREE, n_iter=9, random_state=0)
    lists = {"max_depth": [1, 2], "ccp_alpha": [0.0], "criterion": ["gini"]}
    other = RandomizedSearchCV(search.estimator, lists, n_iter=2)
    search.fit(X, Y)
    other.fit(X, Y)
    assert vars(search).keys() ^ vars(other).keys() == {
        "space",
        "batch_size",
        "param_distributions",
    }
    assert search.cv_results_.keys() == other.cv_results_.keys()
    assert is_classifier(search)
    assert is_regressor(ESSearchCV(Ridge(), {"alpha": Log(0.1, 1)}))
    assert clone(search).get_params()["space"] is not None
    assert repr(clone(search)) == repr(search)
    loaded = pickle.loads(pickle.dumps(search))
    assert (loaded.predict(X) == search.predict(X)).all()
    assert search.score(X, Y) > 0.8


@pytest.mark.parametrize("n_iter", [1, 2, 5, 13])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_n_iter_candidates(n_iter, batch_size):
    """Exactly as many as asked, all different, within the space, of Python's types."""
    results = bowl(n_iter=n_iter, batch_size=batch_size).fit(X, Y).cv_results_
    params = results["params"]
    assert len(params) == n_iter
    assert len({tuple(p.values()) for p in params}) == n_iter
    for p in params:
        assert [type(v) for v in p.values()] == [float, float, int]
        assert 1e-4 <= p["b"] <= 1


def test_the_first_candidate_is_the_middle():
    """Of the space, on its scales."""
    assert bowl(n_iter=1).fit(X, Y).best_params_ == {"a": 0.3, "b": 0.01, "k": 5}


def test_a_space_that_is_used_up():
    """Each candidate is evaluated once, and the search ends."""
    space = {"max_depth": Int(1, 4), "criterion": Choice(["gini", "entropy"])}
    tree = DecisionTreeClassifier(random_state=0)
    search = ESSearchCV(tree, space, n_iter=50, cv=2, random_state=0).fit(X, Y)
    params = [tuple(p.values()) for p in search.cv_results_["params"]]
    assert len(params) == len(set(params)) == 8


def test_a_seed_gives_the_same_search():
    """Any number of workers too; another seed, another one."""
    one, same, parallel, other = (
        bowl(n_iter=12, **options).fit(X, Y).cv_results_["params"]
        for options in ({}, {}, {"n_jobs": 2}, {"random_state": 1})
    )
    assert one == same == parallel
    assert one != other


def test_only_ranks_count():
    """An increasing map of the scores gives the same candidates."""
    plain, mapped = (
        bowl(scoring=scoring).fit(X, Y).cv_results_["params"]
        for scoring in (None, lambda estimator, X, y: estimator.score(X, y) * 4 + 1)
    )
    assert plain == mapped


def test_it_learns():
    """At 25 evaluations it is nearer to the best than random search with 100 (five seeds)."""
    ours, random = [], []
    for seed in range(5):
        ours.append(bowl(random_state=seed).fit(X, Y).best_score_)
        rng, space = np.random.default_rng(seed), Space(BOWL)
        drawn = [space.params(rng.random(3)) for _ in range(100)]
        random.append(max(Bowl(**p).score(X, Y) for p in drawn))
    assert np.median(ours) > np.median(random)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_what_fails_is_the_worst():
    """NaN moves nothing but the search away from it."""
    search = bowl(space=BOWL | {"a": Real(0, 1)}).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isnan(scores).any()
    assert search.best_score_ == np.nanmax(scores) > -0.1
    assert len(scores) <= 25
    with pytest.raises(ValueError, match="a is bad"):
        bowl(space={"a": Real(0.5, 1)}, error_score="raise").fit(X, Y)


def test_one_candidate_that_fails_is_not_the_end():
    """Alone in its generation too; if all of the first ones fail, scikit-learn says so."""

    class Late(Bowl):
        calls = 0

        def fit(self, X, y):
            Late.calls += 1
            if 20 < Late.calls <= 24:
                raise ValueError("out of luck")
            return super().fit(X, y)

    space = {"a": Real(0, 0.5), "b": Log(1e-4, 1), "k": Int(1, 9)}
    search = ESSearchCV(Late(), space, n_iter=20, cv=2, random_state=0)
    with pytest.warns(FitFailedWarning, match="out of luck"):
        search.fit(X, Y)
    assert len(search.cv_results_["params"]) == 18
    with pytest.raises(ValueError, match="misconfigured"):
        bowl(space={"a": Real(0.7, 1)}).fit(X, Y)


def test_pipelines():
    """Names of steps are names of the space."""
    pipe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    space = Space(
        logisticregression__C=Log(1e-3, 1e3), standardscaler__with_mean=Choice([True, False])
    )
    search = ESSearchCV(pipe, space, n_iter=6, random_state=0).fit(X, Y)
    assert search.best_params_.keys() == space.dimensions.keys()
    assert search.best_score_ > 0.85


def test_several_scores():
    """``refit`` names the one that is maximised."""
    tree = DecisionTreeClassifier(random_state=0)
    options = {"n_iter": 8, "cv": 2, "random_state": 0}
    scoring = ["accuracy", "neg_log_loss"]
    search = ESSearchCV(tree, TREE, scoring=scoring, refit="neg_log_loss", **options).fit(X, Y)
    single = ESSearchCV(tree, TREE, scoring="neg_log_loss", **options).fit(X, Y)
    assert search.cv_results_["params"] == single.cv_results_["params"]
    assert search.best_score_ == single.best_score_
    with pytest.raises(ValueError, match=r"refit=False.*take one of accuracy, neg_log_loss"):
        ESSearchCV(tree, TREE, scoring=scoring, refit=False, **options).fit(X, Y)


def test_refit_of_the_users():
    """As in scikit-learn: not at all, or by a function that chooses."""
    search = bowl(n_iter=3, refit=False).fit(X, Y)
    assert not hasattr(search, "best_estimator_")
    assert search.best_params_ in search.cv_results_["params"]
    assert bowl(n_iter=3, refit=lambda results: 0).fit(X, Y).best_index_ == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_iter": 0}, "n_iter=0"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"random_state": -1}, "random_state=-1"),
        ({"space": {}}, "no dimension"),
        ({"space": {"C": [0.1, 1]}}, r"C=\[0.1, 1\]"),
        ({"space": {"c": Real(0, 1)}}, "Invalid parameter 'c'"),
    ],
)
def test_errors_name_what_is_wrong(options, message):
    """The argument, the value and the fix; before anything is evaluated."""
    with pytest.raises((TypeError, ValueError), match=message):
        bowl().set_params(**options).fit(X, Y)


# -- the model -----------------------------------------------------------------------------------


def test_the_model_knows_what_it_was_told():
    """Means near the scores of a smooth function, no wider than elsewhere."""
    rng = np.random.default_rng(0)
    points = rng.random((40, 2))
    model = Model(points, np.sin(3 * points).sum(axis=1))
    new = rng.random((200, 2))
    mean, deviation = model.predict(new)
    assert np.abs(mean - np.sin(3 * new).sum(axis=1)).mean() < 0.05
    assert model.predict(points)[1].mean() < deviation.mean()


def test_expected_improvement_is_an_integral():
    """The closed form against the mean over normal quantiles."""
    from scipy.stats import norm

    points = np.linspace(0, 1, 6)[:, None]
    model = Model(points, np.array([1.0, -0.5, 0.3, 0.4, -1.0, 0.8]))
    new = np.linspace(0, 1, 23)[:, None]
    mean, deviation = model.predict(new)
    quantiles = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    least = model.predict(points)[0].min()
    drawn = mean[:, None] + deviation[:, None] * quantiles
    expected = np.maximum(least - drawn, 0.0).mean(axis=1)
    np.testing.assert_allclose(model.improvement(new), expected, rtol=1e-2, atol=1e-5)


def test_values_of_all_kinds():
    """All equal, all NaN, infinite: the search goes on to its end."""
    space = Space(a=Real(0, 1), k=Int(0, 5))
    for kind in (0.0, np.nan, np.inf, -np.inf):
        told = []

        def evaluate(candidates, kind=kind, told=told):
            told.extend(candidates)
            return np.full(len(candidates), kind)

        screened(space, evaluate, n_iter=12, batch_size=3, seed=0)
        assert len(told) == 12


def test_long_searches_restart():
    """More evaluations than the model holds, after the strategy has converged."""
    space, told = Space(a=Real(0, 1)), []

    def evaluate(candidates):
        told.extend(p["a"] for p in candidates)
        return np.array([abs(p["a"] - 0.3) for p in candidates])

    screened(space, evaluate, n_iter=240, batch_size=30, seed=0)
    assert len(told) == 240
    assert min(abs(a - 0.3) for a in told) < 0.005
