"""Faults: what a search does when it is told, or started in the wrong way.

What objectives do wrong is in test_evaluation and test_failures, what surrogates do wrong in
test_guided, how searches end in test_stopping.
"""

import numpy as np
import pytest
from problems import X0, bits, bowl, fit, guide, make, slope, snapshot, surrogate_of, takes, taking

from blackbox_es import SGD, Adam, ClipUp, Guided, GuidedES, Isotropic, Linear, LowRank
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)


def unchanged(es, error, message, call, *args, **options):
    """``call`` raises with this message and leaves everything in ``es`` as it was."""
    before = snapshot(es)
    with pytest.raises(error, match=message):
        call(*args, **options)
    after = snapshot(es)
    cached = {"_points"}  # ask may have made them
    assert {k: v for k, v in after.items() if k not in cached} == {
        k: v for k, v in before.items() if k not in cached
    }


# -- ask and tell --------------------------------------------------------------------------------


@every
def test_ask_twice(name):
    """Asked twice, the same points and nothing counted; another surrogate is an error."""
    es = make(name).start(X0)
    X = es.ask(guide(es))
    before = snapshot(es)
    assert bits(es.ask()) == bits(X)
    assert bits(es.ask(guide(es))) == bits(X)
    with pytest.raises(ValueError, match=r"another surrogate|uses no surrogate"):
        es.ask(np.ones(3))
    assert bits([trial.x for trial in es.ask_trials()]) == bits(list(X))
    assert snapshot(es) == before


@every
def test_before_start(name):
    """Without start there is nothing to ask or tell."""
    es = make(name)
    for call, args in ((es.ask, ()), (es.tell, ([], [])), (es.tell_trial, (0, 1.0))):
        unchanged(es, RuntimeError, r"call start\(x0\)", call, *args)
    unchanged(es, RuntimeError, r"call start\(x0\)", lambda: list(es.ask_trials()))


@every
def test_tell_before_ask_and_twice(name):
    """Values without a pending generation are refused."""
    es = make(name).start(X0)
    unchanged(es, ValueError, "call ask before tell", es.tell, np.zeros((6, 3)), np.zeros(6))
    unchanged(es, ValueError, "call ask before tell", es.tell_trial, 0, 1.0)
    X = es.ask(guide(es))
    es.tell(X, np.arange(6.0))
    unchanged(es, ValueError, "tell once", es.tell, X, np.arange(6.0))
    unchanged(es, ValueError, "tell once", es.tell, [(X[0], 1.0)])


@every
def test_ask_after_the_end(name):
    """An ended search says why it ended and how to begin another."""
    es = fit(make(name))
    unchanged(es, RuntimeError, r"ended \(max_iter\): call start", es.ask)


@every
def test_points_that_were_not_asked(name):
    """Stale, modified, reordered and misshapen points are refused; the points asked still hold."""
    es = make(name).start(X0)
    stale = es.ask(guide(es))
    es.tell(stale, np.arange(6.0))
    X, values = es.ask(guide(es)), np.arange(6.0)
    modified, nan = X.copy(), X.copy()
    modified[4, 1] = np.nextafter(modified[4, 1], 9.0)
    nan[5] = np.nan
    for wrong, row in ((stale, 0), (X[::-1], 0), (modified, 4), (nan, 5)):
        unchanged(es, ValueError, f"row {row} of X is not the point asked", es.tell, wrong, values)
    for wrong in (X[:5], X[:, :2], X[0], X.T):
        unchanged(es, ValueError, r"expected \(6, 3\)", es.tell, wrong, values)
    pairs = [(X[0], 1.0), (modified[4], 2.0)]
    unchanged(es, ValueError, "point 1 is not one of those asked", es.tell, pairs)
    unchanged(es, ValueError, "values", es.tell, X)  # the values were forgotten
    es.tell(X.tolist(), values)
    assert es.n_iter_ == 2


@every
def test_trial_ids(name):
    """Unknown, stale and malformed ids are refused; the same value again is no news."""
    es = make(name).start(X0)
    old = next(es.ask_trials(guide(es)))
    es.tell(es.ask(), np.arange(6.0))
    trials = list(es.ask_trials(guide(es)))
    for id in (old.id, trials[-1].id + 1, -1):
        unchanged(es, ValueError, f"trial id {id} is unknown or of a past", es.tell_trial, id, 1.0)
    for id in (trials[0].id + 0.5, f"{trials[0].id}.0", None):
        unchanged(es, (TypeError, ValueError), "id", es.tell_trial, id, 1.0)
    es.tell_trial(np.int64(trials[0].id), 1.0)
    es.tell_trial(trials[1].id, np.nan)
    before = snapshot(es)
    es.tell_trial(trials[0].id, 1)
    es.tell_trial(trials[1].id, np.nan)
    assert snapshot(es) == before
    unchanged(es, ValueError, "told 1.0 before and now 2.0", es.tell_trial, trials[0].id, 2.0)
    unchanged(es, ValueError, "told", es.tell, [(es.ask()[0], 2.0)])
    unchanged(es, ValueError, "told", es.tell, es.ask(), np.zeros(6))


# -- start ---------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize(
    ("x0", "error", "message"),
    [
        ([1.0, np.nan, np.nan], ValueError, r"x0\[1\] is nan"),
        ([1.0, 2.0, -np.inf], ValueError, r"x0\[2\] is -inf"),
        ([], ValueError, "x0 is empty"),
        (np.ones((3, 1)), ValueError, r"x0 has shape \(3, 1\): .*ravel"),
        ([[1.0, 2.0], [3.0, 4.0]], ValueError, r"x0 has shape \(2, 2\)"),
        ([[1.0], [2.0, 3.0]], ValueError, "x0"),
        ([1.0 + 0j], TypeError, "x0 is .*real numbers"),
        ("123", TypeError, "x0 is '123'"),
        (["1", "2"], TypeError, "x0"),
        (None, TypeError, "x0 is None"),
        ({1.0}, TypeError, "x0"),
    ],
)
def test_bad_x0(name, x0, error, message):
    """What is no finite real vector raises, names x0, and changes nothing."""
    es = fit(make(name))
    unchanged(es, error, message, es.start, x0)
    unchanged(es, error, message, es.fit, bowl, x0, surrogate_of(es))


def for_each(values):
    """(name, parameter, value) for each strategy that has the parameter."""
    return [
        (name, parameter, value)
        for name, cls in STRATEGIES.items()
        for parameter, value in values
        if parameter in cls().get_params()
        and not (value is None and cls().get_params()[parameter] is None)  # by dimension
    ]


BAD_PARAMETERS = [
    *(("sigma", bad) for bad in (0, 0.0, -0.1, np.nan, np.inf, None, "0.1", True, [0.1], 1j)),
    *(("learning_rate", bad) for bad in (0.0, -1.0, np.nan, None, "fast")),
    *(("beta", bad) for bad in (0.0, -1.0, np.nan, np.inf, None, "automatic")),
    *(("n_pairs", bad) for bad in (0, -1, 2.0, True, None, "8", 2**32)),
    *(("max_iter", bad) for bad in (0, -1, 10.0, None)),
    *(("max_evals", bad) for bad in (0, -1, 10.5, "all")),
    *(("max_time", bad) for bad in (0.0, -1.0, np.nan, "1h")),
    *(("optimizer", bad) for bad in ("nadam", None, SGD, 3)),
    *(("optimizer", SGD(bad)) for bad in (0.0, -1.0, np.nan, "fast")),
    *(("optimizer", bad) for bad in (SGD(momentum=1.0), SGD(momentum=-0.1), Adam(beta_1=1.0))),
    *(("optimizer", bad) for bad in (Adam(beta_2=-1.0), Adam(epsilon=-1.0), ClipUp(max_speed=0))),
    *(("shaping", bad) for bad in ("rank", None, 3, ["raw"])),
    *(("sampler", bad) for bad in (Isotropic(4), LowRank(((1, 1),)), "isotropic", Isotropic)),
    ("sampler", Guided(Isotropic(3), np.eye(3)[:1], 0.5)),
    *(("common_random_numbers", bad) for bad in ("all", True, 0)),
    *(("catch", bad) for bad in (ValueError, "ValueError", (1,), None)),
    *(("random_state", bad) for bad in (-1, 2**64, 0.5, "0", np.random)),
    *(("n_jobs", bad) for bad in (0, "all")),
    *(("alpha", bad) for bad in (-0.1, 1.1, np.nan, None, "half")),
    *(("n_guides", bad) for bad in (0, -1, 1.5, None)),
]


@pytest.mark.parametrize(("name", "parameter", "bad"), for_each(BAD_PARAMETERS))
def test_bad_parameters(name, parameter, bad):
    """A bad parameter raises in start or fit, is named, and nothing has changed."""
    es = fit(make(name))
    es.set_params(**{parameter: bad})  # which checks nothing
    named = "optimizer|momentum|beta_[12]|epsilon|max_speed|learning_rate"
    message = named if parameter == "optimizer" else parameter
    if parameter not in ("catch", "n_jobs"):  # of no use to ask and tell
        unchanged(es, (TypeError, ValueError), message, es.start, X0)
    unchanged(es, (TypeError, ValueError), message, fit, es)


GOOD_PARAMETERS = [
    ("sigma", np.float32(0.1)),
    ("sigma", 1),
    ("n_pairs", np.int32(2)),
    ("beta", np.float32(1)),
    ("alpha", np.float32(0.5)),
    ("alpha", 1),
    ("max_evals", np.int64(9)),
    ("max_time", 9),
    ("sigma", lambda t: np.float32(0.1)),
    ("learning_rate", np.float64(0.1)),
    ("sampler", Isotropic(3)),
    ("sampler", LowRank(((2, 1),))),
    ("shaping", np.sign),
]


@pytest.mark.parametrize(
    ("name", "parameter", "good"),
    [
        case
        for case in for_each(GOOD_PARAMETERS)
        if not callable(case[2]) or takes(case[0], **{case[1]: case[2]})
    ],
)
def test_good_parameters(name, parameter, good):
    """NumPy scalars, schedules, samplers and functions are parameters."""
    es = make(name)
    fit(es.set_params(**{parameter: good}))
    assert es.stop_reason_ in ("max_iter", "max_evals")


@taking(sigma=Linear(1.0, 0.5, 9), learning_rate=Linear(1.0, 0.5, 9))
@pytest.mark.parametrize(
    ("parameter", "bad"),
    [*(("sigma", bad) for bad in (0.0, -1.0, np.nan, np.inf)),
     *(("learning_rate", bad) for bad in (-1.0, np.nan, np.inf))],
)  # fmt: skip
def test_bad_schedules(name, parameter, bad):
    """A schedule that gives nonsense in generation 1 stops there, named, with the state of 0."""
    es = make(name, **{parameter: lambda t: bad if t == 1 else 0.1}).start(X0)
    es.tell(es.ask(guide(es)), np.arange(6.0))
    with pytest.raises(ValueError, match=f"{parameter}=.* in generation 1"):
        es.tell(es.ask(guide(es)), np.arange(6.0))
    assert es.n_iter_ == 1


def broken_shaping(values):
    raise KeyError("mine")


@taking(shaping=np.sign)
@pytest.mark.parametrize(
    ("shaping", "error", "message"),
    [
        (broken_shaping, KeyError, "mine"),
        (np.ravel, ValueError, r"shaping returned shape \(6,\): expected \(2, 3\)"),
        (np.sum, ValueError, r"shaping returned shape \(\)"),
    ],
)
def test_bad_shapings(name, shaping, error, message):
    """A shaping that raises or returns another shape leaves the generation pending."""
    es = make(name, shaping=shaping).start(X0)
    unchanged(es, error, message, es.tell, es.ask(guide(es)), np.arange(6.0))


@pytest.mark.parametrize("argument", ["surrogate_fn", "callback"])
def test_arguments_that_are_no_functions(argument):
    """surrogate_fn and callback must be callable; nothing has changed if they are not."""
    es = GuidedES(max_iter=2, random_state=0).fit(bowl, X0, slope)
    given = {"surrogate_fn": slope, argument: X0}
    unchanged(es, TypeError, argument, es.fit, bowl, X0, **given)
