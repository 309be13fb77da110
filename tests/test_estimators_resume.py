"""Fits that are watched, cut short and continued: the attributes are always whole."""

import sys
from pathlib import Path

import numpy as np
import pytest
from flowers import QUICK, X, Y, both, initial, inside, outer, vector
from problems import bits
from sklearn.base import clone

import blackbox_es.neural
from blackbox_es import ESMLPClassifier, ESMLPRegressor, _jit

ROOT = str(Path(blackbox_es.neural.__file__).parent)
SHORT = QUICK | {"learning_rate": "constant", "max_iter": 12}


def fitted(model):
    """All fitted attributes of a model as bits."""
    return {name: bits(value) for name, value in vars(model).items() if name.endswith("_")}


# -- callback ------------------------------------------------------------------------------------


@both
def test_callback_sees_each_generation(cls):
    """It gets SciPy's result or the weights; the model has that generation's attributes by then."""
    model, seen = cls(**SHORT), []

    def watch(intermediate_result):
        result = intermediate_result
        assert bits(result.x) == bits(model._network.pack(model.coefs_, model.intercepts_))
        assert (result.fun, result.nit) == (model.loss_curve_[-1], model.n_iter_)
        assert result.nfev == model.n_evaluations_
        result.x[:] = 0.0  # a copy
        seen.append(fitted(model))

    model.fit(X, Y, callback=watch)
    assert [each["n_iter_"] for each in seen] == [str(i) for i in range(1, 13)]
    assert fitted(model) == fitted(cls(**SHORT).fit(X, Y))
    points = []
    cls(**SHORT).fit(X, Y, callback=points.append)
    assert bits([points[2], points[-1]]) == bits(
        [vector(m) for m in (cls(**SHORT | {"max_iter": 3}).fit(X, Y), model)]
    )


@both
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_iter", [1, 10, 11])
def test_stop_iteration_ends_cleanly(cls, early_stopping, n_iter):
    """The fit is then one of so many generations, all of it judged."""
    options = SHORT | {"early_stopping": early_stopping}

    def stop(intermediate_result):
        if intermediate_result.nit == n_iter:
            raise StopIteration

    model = cls(**options).fit(X, Y, callback=stop)
    assert fitted(model) == fitted(cls(**options | {"max_iter": n_iter}).fit(X, Y))


@both
def test_a_callback_that_raises(cls):
    """Its exception comes out; its generation counts."""

    def fail(x):
        raise ZeroDivisionError

    model = cls(**SHORT)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, callback=fail)
    assert fitted(model) == fitted(cls(**SHORT | {"max_iter": 1}).fit(X, Y))
    with pytest.raises(TypeError, match="callback"):
        model.fit(X, Y, callback=3)


# -- cut short -----------------------------------------------------------------------------------


class Interrupt:
    """Raises KeyboardInterrupt at the k-th line of fits that is executed after the first ones."""

    def __init__(self, k):
        self.left, self.raised = k, False

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(ROOT):
            return None
        if event == "line" and frame.f_code.co_filename.endswith(("training.py", "fitted.py")):
            self.left -= 1
            if self.left < 0 and not self.raised:
                self.raised = True
                raise KeyboardInterrupt
        return self


def interrupted(call, k):
    """Whether the call was interrupted at its k-th line."""
    trace, before = Interrupt(k), sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        assert trace.raised
    finally:
        sys.settrace(before)
    return trace.raised


def cut_short(cls, **options):
    """Pairs of a model interrupted at one line after the other, and whether it has moved.

    All lines of the first three generations or so, some of those after that.
    """
    first = cls(**SHORT | {"hidden_layer_sizes": (2,), "max_iter": 1})
    before = fitted(first.fit(X[:, :2], Y))
    for k in (*range(120), *range(120, 10**6, 7)):
        model = clone(first).fit(X[:, :2], Y).set_params(**SHORT | options)
        hit = interrupted(lambda model=model: model.fit(X, Y), k)
        if model.coefs_[0].shape == (2, 2):
            assert fitted(model) == before
        else:
            yield model
        if not hit:
            break


@pytest.mark.skipif(_jit.DISABLED, reason="slow without kernels, and they are not what is tested")
@both
def test_interrupted_at_any_line(cls):
    """Bit for bit the fit of the generations that were finished, and it goes on from there."""
    wholes, counts = {}, set()
    for model in cut_short(cls):
        n = model.n_iter_
        if n not in wholes:
            whole = cls(**SHORT | {"max_iter": n}).fit(X, Y)
            wholes[n] = fitted(whole), fitted(whole.partial_fit(X, Y))
        assert (fitted(model), fitted(model.partial_fit(X, Y))) == wholes[n]
        counts.add(n)
    assert counts == set(range(1, 13))


def stopped(n_iter):
    """A callback that ends a fit after so many generations."""

    def stop(intermediate_result):
        if intermediate_result.nit == n_iter:
            raise StopIteration

    return stop


@pytest.mark.skipif(_jit.DISABLED, reason="slow without kernels, and they are not what is tested")
@both
def test_interrupted_at_any_line_of_two_stages(cls):
    """A metric is approached first: what ends between the stages is whole, too."""
    options = {"perturb": "auto", "guide": "auto", "n_pairs": 4, "max_iter": 4, "batch_size": None}
    options["loss"] = "balanced_accuracy" if cls is ESMLPClassifier else "ndcg"
    wholes, counts = {}, set()
    for model in cut_short(cls, **options):
        n = model.n_iter_
        if n not in wholes:
            whole = cls(**SHORT | options).fit(X, Y, callback=stopped(n))
            wholes[n] = fitted(whole), fitted(whole.partial_fit(X, Y))
        assert (fitted(model), fitted(model.partial_fit(X, Y))) == wholes[n]
        counts.add(n)
    assert counts == {1, 2, 3, 4}


@pytest.mark.skipif(_jit.DISABLED, reason="slow without kernels, and they are not what is tested")
@both
def test_interrupted_while_it_is_judged(cls):
    """The weights kept are those of the best score that is told, or the last ones."""
    seen, judged = {}, set()
    cls(**SHORT, early_stopping=True).fit(X, Y, callback=lambda x: seen.update({len(seen) + 1: x}))
    for model in cut_short(cls, early_stopping=True):
        n, scores = model.n_iter_, model.validation_scores_
        assert n == len(model.loss_curve_)
        best = {0: n, 1: 10, 2: 10 if scores[0:1] > scores[1:] else 12}
        theta = model._network.pack(model.coefs_, model.intercepts_)
        assert bits(theta) == bits(seen[best[len(scores)]])
        assert model.best_validation_score_ == max(scores, default=-np.inf)
        judged.add((n, len(scores)))
    assert judged >= {(1, 0), (9, 0), (10, 1), (11, 1), (12, 1), (12, 2)}


# -- what is continued ---------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_partial_fit_keeps_its_dtype(cls, dtype):
    """Data of another float dtype are cast to that of the first call, as are integers."""
    first = {"classes": [0, 1, 2]} if cls is ESMLPClassifier else {}
    other = np.float64 if dtype is np.float32 else np.float32
    x = np.round(X * 8) / 8  # the same numbers in both
    models = [cls(**QUICK).partial_fit(x.astype(dtype), Y, **first) for _ in range(2)]
    for model, then in zip(models, (dtype, other), strict=True):
        model.partial_fit(x.astype(then), Y, sample_weight=np.ones(len(X), then))
        model.partial_fit(np.sign(X).astype(int), Y)
    assert bits(vector(models[0])) == bits(vector(models[1]))
    assert vector(models[0]).dtype == dtype
    if dtype is np.float32:
        large = pytest.raises(ValueError, match="too large for dtype")
        with large, np.errstate(all="ignore"):
            models[0].partial_fit(X * 1e300, Y)


def test_partial_fit_after_fit_keeps_the_dtype():
    """The model stays what the fit has made of it."""
    model = ESMLPRegressor(**QUICK).fit(X.astype(np.float32), Y).partial_fit(X, Y)
    assert vector(model).dtype == np.float32


# -- few rows ------------------------------------------------------------------------------------


def test_of_equal_scores_the_last_weights_are_kept():
    """Few rows held out score the same for long: what has learnt most is kept, not the first."""
    options = SHORT | {"max_iter": 1000, "early_stopping": True, "n_iter_no_change": 5}
    options["learning_rate_init"] = 0.01  # by default it depends on max_iter
    model = ESMLPClassifier(**options).fit(X[:30], Y[:30])
    best = [i for i, s in enumerate(model.validation_scores_) if s == model.best_validation_score_]
    assert len(best) > 1
    means = ESMLPClassifier(**options | {"max_iter": 10 * (best[-1] + 1)}).fit(X[:30], Y[:30])
    last = outer(means._units, means._network, means._descent.x)
    assert bits(vector(model)) == bits(last)


def test_one_row_held_out_has_no_score():
    """R^2 of one row is undefined; a fit that could not judge by it is refused."""
    model = ESMLPRegressor(**QUICK, early_stopping=True)
    with pytest.raises(ValueError, match=r"=0\.1 holds out one of 8"):
        model.fit(X[:8], Y[:8])
    assert not hasattr(model, "coefs_")
    model.set_params(validation_fraction=0.3).fit(X[:8], Y[:8])
    assert np.isfinite(model.best_validation_score_)


@both
@pytest.mark.parametrize("perturb", ["weights", "activations"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_learns_nothing_says_so(cls, perturb, early_stopping):
    """Where the loss tells no direction the weights are the initial ones, not in silence."""
    options = QUICK | {"perturb": perturb, "early_stopping": early_stopping, "alpha": 0.0}
    with pytest.warns(RuntimeWarning, match="in no generation did the loss tell") as caught:
        model = cls(**options | {"sigma": 1e-300}).fit(X, Y)
    assert [w.filename for w in caught] == [__file__]
    network, start = initial(model)
    assert bits(model._descent.x) == bits(start)
    if not early_stopping:  # units are those of the examples that are not held out
        assert bits(vector(model)) == bits(outer(inside(model)[0], network, start))
    cls(**options).fit(X, Y)  # no warning, which would be an error
