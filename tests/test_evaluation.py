"""Evaluation: what an objective may return, raise and do, and what becomes of it."""

from dataclasses import replace
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import pytest
from problems import X0, bits, bowl, fit, make, snapshot, state, step, vanilla

from blackbox_es import evaluation
from blackbox_es.evaluation import Evaluator, SurrogateCall
from blackbox_es.generation import Generation
from blackbox_es.noise import user_seed
from blackbox_es.samplers import Isotropic
from blackbox_es.strategies import STRATEGIES

every = pytest.mark.parametrize("name", STRATEGIES)


# -- kinds of values -----------------------------------------------------------------------------

# Ways to say the integer v, which all mean float(v).
NUMBERS = {
    "int": int,
    "numpy int": np.int16,
    "float32": np.float32,
    "0-d": lambda v: np.array(float(v)),
    "size 1": lambda v: np.array([v]),
    "(1, 1)": lambda v: np.array([[v]]),
    "list": lambda v: [float(v)],
    "Series": lambda v: pd.Series([v]),
}

# What is no value, the error and a fragment of the message.
NO_NUMBERS = {
    "None": (None, TypeError, "forget `return`"),
    "str": ("1.0", TypeError, "real numbers"),
    "bytes": (b"1", TypeError, "real numbers"),
    "complex": (1 + 0j, TypeError, "real numbers"),
    "complex array": (np.array([1j]), TypeError, "real numbers"),
    "object": (Fraction(1, 2), TypeError, "real numbers"),
    "time": (np.timedelta64(1, "s"), TypeError, "real numbers"),
    "NA": (pd.NA, TypeError, "real numbers"),
    "too large": (10**400, ValueError, "too large for a float"),
    "two": (np.ones(2), ValueError, r"shape \(2,\): expected one number"),
    "none at all": ([], ValueError, r"shape \(0,\): expected one number"),
}


@pytest.mark.parametrize("kind", NUMBERS.values(), ids=NUMBERS)
def test_numbers_of_any_kind(kind):
    """Integers, float32 and arrays of one element are values, in fit, tell and tell_trial."""

    def whole(x):
        return int(np.rint(8 * bowl(x)))

    expected = vanilla().fit(whole, X0)
    assert state(vanilla().fit(lambda x: kind(whole(x)), X0)) == state(expected)
    es, told, tried = (vanilla(max_iter=1).start(X0) for _ in range(3))
    es.tell(es.ask(), [float(whole(x)) for x in es.ask()])
    told.tell(told.ask(), [kind(whole(x)) for x in told.ask()])
    for trial in list(tried.ask_trials()):
        tried.tell_trial(trial.id, kind(whole(trial.x)))
    assert state(es) == state(told) == state(tried)


def test_booleans_are_values():
    """A 0-1 loss may return bool."""
    es = vanilla().fit(lambda x: bool(x[0] > 0.5), X0)
    assert state(es) == state(vanilla().fit(lambda x: float(x[0] > 0.5), X0))


@pytest.mark.parametrize(("value", "error", "message"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_no_numbers(value, error, message):
    """None, strings, complex numbers and several numbers raise, say where, and change nothing."""
    with pytest.raises(error, match=f"candidate 0 .*{message}"):
        vanilla().fit(lambda x: value, X0)
    es = vanilla().start(X0)
    X, trial = es.ask(), next(es.ask_trials())
    before = snapshot(es)
    with pytest.raises(error, match=rf"values\[3\].*{message}"):
        es.tell(X, [1.0, 1.0, 1.0, value, 1.0, 1.0, 1.0, 1.0])
    with pytest.raises(error, match=f"value of row 0 .*{message}"):
        es.tell_trial(trial.id, value)
    with pytest.raises(error, match=f"value of row 2 .*{message}"):
        es.tell([(X[1], 1.0), (X[2], value)])
    assert snapshot(es) == before


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.float32, pd.Series, lambda v: v.astype(int), lambda v: iter(v.tolist())],
)
def test_vectors_of_values(kind):
    """A vectorized objective may return any sequence of its values, tell takes them too."""

    def whole(X):
        return np.rint(8 * bowl(X))

    es = vanilla(vectorized=True).fit(lambda X: kind(whole(X)), X0)
    assert state(es) == state(vanilla(vectorized=True).fit(whole, X0))
    told = vanilla().start(X0)
    told.tell(told.ask(), kind(whole(told.ask())))
    assert bits(told.x_) == bits(step(whole(told.start(X0).ask())).x_)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.ones((8, 1)), ValueError, r"shape \(8, 1\): expected \(8,\).*ravel"),
        (np.ones((2, 4)), ValueError, r"shape \(2, 4\): expected \(8,\).*ravel"),
        (np.ones(7), ValueError, r"shape \(7,\): expected \(8,\)"),
        ([1.0] * 9, ValueError, "9 values: expected 8"),
        (np.float64(1.0), ValueError, r"shape \(\)"),
        (1.0, ValueError, r"shape \(\)"),
        (None, TypeError, "forget `return`|pairs"),
        (np.ones(8) * 1j, TypeError, "real numbers"),
        ("abcdefgh", TypeError, "real numbers"),
        ([None] * 8, TypeError, "forget `return`"),
    ],
)
def test_vectors_of_the_wrong_kind(values, error, message):
    """A wrong shape, length or type raises, in a vectorized fit as in tell; nothing changes."""
    with pytest.raises(error, match=message):
        vanilla(vectorized=True).fit(lambda X: values, X0)
    es = vanilla().start(X0)
    X = es.ask()
    before = snapshot(es)
    if values is not None:  # tell(X, None) means tell(pairs)
        with pytest.raises(error, match=message):
            es.tell(X, values)
        assert snapshot(es) == before


@pytest.mark.parametrize("vectorized", [False, True])
def test_masked_values_are_failed_evaluations(vectorized):
    """What is under a mask is not learnt from."""

    def holed(x):
        return np.ma.masked_array(bowl(x), x[..., 2] > 2.08)

    def failing(x):
        return np.where(x[..., 2] > 2.08, np.nan, bowl(x))

    options = {"vectorized": vectorized, "n_pairs": 8}
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        es = vanilla(**options).fit(holed, X0)
    with pytest.warns(RuntimeWarning, match="evaluations failed"):
        assert state(es) == state(vanilla(**options).fit(failing, X0))


# -- exceptions ----------------------------------------------------------------------------------


class MyError(Exception):
    """An exception whose constructor takes more than a message."""

    def __init__(self, code, *, detail="none"):
        super().__init__(code)
        self.code, self.detail = code, detail


class Fails:
    """`bowl`, and ``error`` raised at one call."""

    def __init__(self, call, error):
        self.calls, self.call, self.error = 0, call, error

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.call:
            raise self.error
        return bowl(x)


@every
def test_objective_raises(name):
    """The exception comes out as it is, with its place in a note; the state is that before."""
    es, error = make(name), MyError(3, detail="mine")
    with pytest.raises(MyError) as caught:
        fit(es, Fails(2 * 6 + 3 + 1, error))
    assert caught.value is error
    assert caught.traceback[-1].name == "__call__"
    # half 0 and 1 of a pair follow each other: the fourth call is candidate 4, x - d_2
    assert error.__notes__ == ["raised by the objective in generation 2, of candidate 4"]
    before = fit(make(name, max_iter=2))
    assert bits([es.x_, es.history_, es.n_iter_, es.fun_best_]) == bits(
        [before.x_, before.history_, 2, float(min(before.history_["best"]))]
    )
    X = es.ask()  # the same generation again
    es.tell(X, [bowl(x) for x in X])
    assert bits(es.x_) == bits(fit(make(name, max_iter=3)).x_)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_raise(backend):
    """From a worker the exception has its type, attributes and note too."""

    def objective(x):
        raise OSError(5, "mine")

    with joblib.parallel_config(backend), pytest.raises(OSError, match="mine") as caught:
        vanilla(n_jobs=2).fit(objective, X0)
    assert caught.value.errno == 5
    assert caught.value.__notes__[0].startswith("raised by the objective in generation 0, of cand")


@every
def test_keyboard_interrupt(name):
    """An interrupted generation is discarded: the attributes are those of the one before."""
    es = make(name)
    with pytest.raises(KeyboardInterrupt):
        fit(es, Fails(2 * 6 + 4, KeyboardInterrupt()))
    before = fit(make(name, max_iter=2))
    assert bits([es.x_, es.history_, es.n_iter_]) == bits([before.x_, before.history_, 2])
    assert state(fit(es)) == state(fit(make(name)))


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("vectorized", [False, True])
def test_objective_writes_into_its_argument(n_jobs, vectorized):
    """What an objective does to x does no harm."""

    def rude(x):
        value = np.copy(bowl(x))
        x[...] = np.nan
        return value

    with joblib.parallel_config("threading"):
        es = vanilla(n_jobs=n_jobs, vectorized=vectorized).fit(rude, X0)
    assert state(es) == state(vanilla().fit(bowl, X0))


# -- seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sharing", "n_seeds"), [("generation", 1), ("pair", 4), (None, 8)])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_common_random_numbers(sharing, n_seeds, n_jobs):
    """An objective with a parameter `seed` is given one a generation, a pair, or a point."""
    calls = []

    def objective(x, seed):
        calls.append((x.tobytes(), seed))
        return bowl(x) + 1e-3 * np.random.default_rng(seed).standard_normal()

    options = {"common_random_numbers": sharing, "max_iter": 2}
    with joblib.parallel_config("threading"):
        es = vanilla(n_jobs=n_jobs, **options).fit(objective, X0)
    seeds = dict(calls)
    assert len(seeds) == len(calls) == 17
    assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds.values())
    asked = vanilla().start(X0).ask()
    first = [seeds[x.tobytes()] for x in asked]
    assert len(set(first)) == n_seeds
    if sharing is not None:
        assert first[:4] == first[4:]
    assert len(set(seeds.values())) == 2 * n_seeds + 1  # fresh ones in each generation
    assert state(es) == state(vanilla(**options).fit(objective, X0))


def test_vectorized_objectives_share_one_seed():
    """A vectorized objective gets the seed of the generation and can share it no other way."""
    seeds = []

    def objective(X, seed):
        seeds.append(seed)
        return bowl(X)

    vanilla(vectorized=True).fit(objective, X0)
    assert len(set(seeds)) == len(seeds) == 4
    for sharing in ("pair", None):
        with pytest.raises(ValueError, match=r"common_random_numbers=.*one point"):
            vanilla(vectorized=True, common_random_numbers=sharing).fit(objective, X0)


@pytest.mark.parametrize("sharing", ["generation", "pair", None])
def test_a_surrogate_is_seeded_as_the_generation(sharing):
    """With a parameter `seed`; without, it is called as it is."""
    shared = []

    def objective(x, seed):
        shared.append(seed)
        return 0.0

    def surrogate(x, seed=None):
        return np.append(x, seed)

    for index in range(3):
        generation = Generation(X0, Isotropic(3).with_sigma(0.1), 5, index, 2)
        with Evaluator(objective) as evaluator:
            evaluator(generation)
        assert evaluator.at(X0, generation.key) == [0.0]
        given = SurrogateCall(surrogate)(X0, generation.key)[-1]
        assert {given} == set(shared)
        with Evaluator(objective, common_random_numbers=sharing) as evaluator:
            shared.clear()
            evaluator(generation)
        assert shared[0] == given
        shared.clear()
    assert bits(SurrogateCall(lambda x: x)(X0, generation.key)) == bits(X0)


def test_seeds_are_below_two_to_the_31():
    """And use all of those bits: JAX and others take no more."""
    seeds = [user_seed((0, index), 0) for index in range(1000)]
    assert len(set(seeds)) == 1000
    assert 2**30 < max(seeds) < 2**31
    assert min(seeds) >= 0


class Unhashable:
    """A function that cannot be a key."""

    __hash__ = None

    def __call__(self, x, seed):
        return seed


class Slotted:
    """A function that cannot be referred to weakly."""

    __slots__ = ()

    def __call__(self, x, seed):
        return seed

    def method(self, x, seed):
        return seed


def test_signatures_are_looked_up_once(monkeypatch):
    """Once a search, not once a generation; functions of any kind are found out about."""
    expected = user_seed((1, 2), 0)
    for function in (lambda x, seed: seed, Slotted(), Slotted().method, Unhashable()):
        for _ in range(3):
            assert SurrogateCall(function)(X0, (1, 2)) == expected
    looked_up = []
    monkeypatch.setattr(evaluation, "parameters", lambda f: looked_up.append(f) or ("x", "seed"))

    def surrogate(x, seed):
        return seed

    call = SurrogateCall(surrogate)
    for index in range(9):
        call(X0, (1, index))
    assert looked_up == [surrogate]


# -- one-sided generations -----------------------------------------------------------------------


class Halves:
    """The points of a generation by its pairs, whole."""

    def __call__(self, x):
        return bowl(x)

    def evaluate_generation(self, generation):
        return bowl(generation.pairs(0, generation.n_pairs))


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize(
    ("objective", "options"),
    [(bowl, {}), (bowl, {"vectorized": True}), (Halves(), {}),
     (lambda x, seed: bowl(x) + seed, {}),
     (lambda x, seed: bowl(x) + seed, {"common_random_numbers": "pair"}),
     (lambda x, seed: bowl(x) + seed, {"common_random_numbers": None})],
)  # fmt: skip
def test_a_one_sided_generation_has_one_row_of_values(n_jobs, objective, options, monkeypatch):
    """The first half of the values of the mirrored one, in chunks of any size."""
    if n_jobs and isinstance(objective, Halves):
        n_jobs = None
    whole = Generation(X0, Isotropic(3).with_sigma(0.1), 5, 1, 7)
    with joblib.parallel_config("threading"):
        for n_bytes in (2**20, 1):
            monkeypatch.setattr(evaluation, "_POINTS_AT_ONCE", n_bytes)
            with Evaluator(objective, n_jobs=n_jobs, **options) as evaluator:
                expected, found = evaluator(whole), evaluator(replace(whole, mirrored=False))
            assert found.shape == (1, 7)
            assert bits(found) == bits(expected[:1])


@pytest.mark.parametrize("change", [np.ravel, lambda values: np.concatenate([values, values])])
def test_values_of_a_one_sided_generation_of_the_wrong_shape(change):
    """evaluate_generation is held to one row."""

    class Wrong(Halves):
        def evaluate_generation(self, generation):
            return change(super().evaluate_generation(generation))

    one_sided = Generation(X0, Isotropic(3, 0.1), 5, 1, 7, mirrored=False)
    with pytest.raises(ValueError, match=r"evaluate_generation .* expected \(1, 7\)"):
        Evaluator(Wrong())(one_sided)


# -- objectives of whole generations -------------------------------------------------------------


class Population:
    """`bowl` of a whole generation; ``change`` is what it returns instead."""

    def __init__(self, change=lambda values: values):
        self.change = change

    def __call__(self, x):
        return bowl(x)

    def evaluate_generation(self, generation):
        return self.change(bowl(generation.points()).reshape(2, -1))


@every
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_population_objectives(name, n_jobs):
    """An objective with evaluate_generation gives the search that its points give."""
    assert state(fit(make(name, n_jobs=n_jobs), Population())) == state(fit(make(name)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (np.ravel, ValueError, r"shape \(8,\): expected \(2, 4\)"),
        (np.transpose, ValueError, r"shape \(4, 2\): expected \(2, 4\)"),
        (lambda values: None, TypeError, "return"),
        (lambda values: values * 1j, TypeError, "real"),
        (lambda values: values.astype(str), TypeError, "real"),
    ],
)
def test_population_objectives_of_the_wrong_kind(change, error, message):
    """The values of a generation have shape (2, n_pairs) and are real."""
    with pytest.raises(error, match=f"evaluate_generation.*{message}"):
        vanilla().fit(Population(change), X0)


def test_population_objectives_raise():
    """An exception in evaluate_generation has a note; `catch` does not hide it."""

    def fail(values):
        raise MyError(1)

    with pytest.raises(MyError) as caught:
        vanilla().fit(Population(fail), X0)
    assert "generation 0" in caught.value.__notes__[0]


def test_objectives_must_be_callable():
    """What cannot be called at the final center is refused before anything is evaluated."""
    calls = []

    class Whole:
        def evaluate_generation(self, generation):
            calls.append(generation)
            return np.zeros((2, generation.n_pairs))

    for objective in (None, 3.0, "bowl", Whole()):
        with pytest.raises(TypeError, match=r"objective=.* is not callable"):
            vanilla().fit(objective, X0)
    assert not calls
