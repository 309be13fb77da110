"""Parameters changed in the middle of a search: applied from the next step on, or refused."""

import copy

import numpy as np
import pytest
from problems import X0, bits, bowl, guide, make, snapshot, state, takes

from blackbox_es import SGD, Adam, ClipUp, Isotropic, Linear
from blackbox_es.optimizers import OPTIMIZERS
from blackbox_es.strategies import STRATEGIES

CHANGES = [
    {"sigma": 0.2}, {"sigma": Linear(0.1, 0.05, 9)}, {"learning_rate": 0.3}, {"beta": 2.0},
    {"alpha": 0.9}, {"n_guides": 3}, {"n_pairs": 5}, {"shaping": "nes"}, {"n_top": 1},
    {"shaping": "centered_ranks"}, {"sampler": Isotropic(3)}, {"max_iter": 4}, {"max_evals": 25},
    {"optimizer": Adam(beta_1=0.5)}, {"sigma_learning_rate": 0.5}, {"n_windows": 2},
    {"alpha": "auto"}, {"unbiased": True},
]  # fmt: skip
CASES = [(name, c) for name in STRATEGIES for c in CHANGES if takes(name, **c)]
CASES = [case for case in CASES if case[0] != "ars" or "optimizer" not in case[1]]  # its is SGD
CASES = [(name, c) for name, c in CASES if not set(c) & set(STRATEGIES[name].at_start)]


def generations(es, count):
    for _ in range(count):
        if not es.stop_reason_:
            es.tell(es.ask(guide(es)), [bowl(x) for x in es.ask()])
    return es


@pytest.mark.parametrize(("name", "change"), CASES, ids=str)
def test_a_change_is_that_of_a_loaded_search(name, change, tmp_path):
    """set_params in mid-search and load(path, ...) are one: the same bits, and not the old ones."""
    es = generations(make(name).start(X0), 2)
    es.save(tmp_path / "run.npz")
    loaded = generations(type(es).load(tmp_path / "run.npz", **change), 9)
    plain = generations(type(es).load(tmp_path / "run.npz"), 9)
    assert state(generations(es.set_params(**change), 9)) == state(loaded)
    # What holds from the start only, or says what is so already, is all that may change nothing.
    at_the_start = takes(name, tol=1.0) or name in ("snes", "xnes", "pgpe")
    idle = {
        "sampler",
        "n_top",
        "n_windows",
        "sigma_learning_rate",
        *(("sigma",) if at_the_start else ()),
    }
    idle |= {"shaping"} if es.shaping == type(es)().shaping else set()
    assert set(change) & idle or state(loaded) != state(plain)


REFUSED = [
    {"random_state": 8}, {"covariance": "diagonal"}, {"sigma": -1.0}, {"optimizer": "sgd"},
    {"optimizer": SGD(momentum=0.5)},
    {"n_pairs": 0}, {"alpha": 2.0}, {"sampler": Isotropic(4)}, {"max_iter": "x"}, {"shaping": "x"},
]  # fmt: skip


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("change", REFUSED, ids=str)
def test_what_cannot_change_is_refused_by_name(name, change, tmp_path):
    """At once, with nothing changed; loading with it is refused, too."""
    es = generations(make(name).start(X0), 2)
    es.save(tmp_path / "run.npz")
    (parameter,) = change
    if parameter not in es.get_params() or es.get_params()[parameter] == change[parameter]:
        return
    if change == {"optimizer": "sgd"} and not es.state_.optimizer:
        return  # it is what it was
    before = snapshot(es)
    with pytest.raises((TypeError, ValueError), match=parameter):
        es.set_params(**change)
    assert snapshot(es) == before
    with pytest.raises((TypeError, ValueError), match=parameter):
        type(es).load(tmp_path / "run.npz", **change)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if "sigma" in STRATEGIES[n].at_start])
def test_a_scale_at_the_start_is_refused_later(name):
    """Where sigma is learnt, that of the start cannot change any more."""
    es = generations(make(name).start(X0), 2)
    with pytest.raises(ValueError, match="sigma is fixed when a search starts"):
        es.set_params(sigma=0.5)
    assert es.sigma == 0.06


def test_nested_parameters_are_put_back():
    """A part that is refused is as it was."""
    es = generations(make("vanilla-es", optimizer=Adam(beta_1=0.8)).start(X0), 1)
    with pytest.raises(ValueError, match="beta_1"):
        es.set_params(optimizer__beta_1=2.0, beta=3.0)
    assert (es.optimizer.beta_1, es.beta) == (0.8, "auto")


def test_a_search_that_had_ended_goes_on():
    """With a larger budget; not if what it began with has changed meanwhile."""
    es = generations(make("vanilla-es", max_iter=3).start(X0), 9)
    assert es.set_params(max_iter=5).stop_reason_ is None
    assert state(generations(es, 9)) == state(generations(make("vanilla-es").start(X0), 9))
    assert es.set_params(random_state=0).stop_reason_ == "max_iter"
    assert es.set_params(max_iter=99).stop_reason_ == "max_iter"


@pytest.mark.parametrize("name", STRATEGIES)
def test_copies_share_nothing_that_is_written(name):
    """Two copies go on by themselves, also in mid-generation."""
    es = generations(make(name, max_iter=9).start(X0), 2)
    trials = list(es.ask_trials(guide(es)))
    es.tell_trial(trials[0].id, bowl(trials[0].x))
    twin = copy.copy(es)
    for one in (es, twin):
        for trial in trials[1:]:
            one.tell_trial(trial.id, bowl(trial.x))
    assert state(es) == state(twin)
    generations(twin, 9)
    assert state(generations(es, 9)) == state(twin)


def test_kinds_of_values_survive_a_file(tmp_path):
    """NumPy scalars and exceptions of Python's own are what they were."""
    given = {"sigma": np.float32(0.1), "vectorized": np.bool_(True), "n_pairs": np.int16(4),
             "catch": (ValueError, ArithmeticError), "max_evals": np.int64(99)}  # fmt: skip
    es = make("vanilla-es", **given).start(X0)
    es.save(tmp_path / "run.npz")
    loaded = type(es).load(tmp_path / "run.npz")
    for name, value in given.items():
        assert getattr(loaded, name) == value
        assert type(getattr(loaded, name)) is type(value)
    assert bits(loaded.ask()) == bits(es.ask())


# -- defaults and limits -------------------------------------------------------------------------

COMMON = {
    "n_pairs": 8, "shaping": "raw", "bounds": None, "max_iter": 1000, "max_evals": None,
    "max_time": None, "f_target": None, "n_reevaluations": 1, "n_jobs": None, "vectorized": False,
    "common_random_numbers": "generation", "catch": (), "random_state": None, "verbose": 0,
    "max_retries": 2, "min_fraction": 1.0, "timeout": None,
}  # fmt: skip
GRADIENT = COMMON | {"sigma": 0.1, "optimizer": "adam", "learning_rate": 0.01}
ANTITHETIC = GRADIENT | {"beta": "auto", "sampler": None}
SCALED = ANTITHETIC | {"optimizer": "auto"}
NATURAL = COMMON | {"sigma": 0.1, "n_pairs": None, "shaping": "nes", "learning_rate": None}
DEFAULTS = {
    "adaptive-es": COMMON | {
        "sigma": None, "covariance": "auto", "n_pairs": None, "shaping": "log_ranks",
        "slopes": True, "restarts": "auto", "max_iter": 10**6, "tol": 1e-9, "xatol": None,
        "fatol": 0.0, "min_sigma": None,
    },
    "guided-es": SCALED | {"alpha": 0.5, "n_guides": 1, "unbiased": False},
    "vanilla-es": SCALED,
    "pgpe": GRADIENT | {"sigma_learning_rate": 0.1, "shaping": "centered_ranks"},
    "snes": NATURAL,
    "xnes": NATURAL,
    "ars": GRADIENT | {"n_top": None, "optimizer": "sgd", "learning_rate": 0.02},
    "orthogonal-es": GRADIENT | {"n_guides": 1, "n_past": 0, "unbiased": False},
    "sges": GRADIENT | {"n_past": 10, "beta": "auto"},
    "asebo": ANTITHETIC | {
        "n_pairs": 50, "min_pairs": 10, "n_past": 50, "decay": 0.995, "threshold": 0.995,
        "warm_up": 70,
    },
    "nres": ANTITHETIC | {"n_windows": 1},
    "sgd": {"learning_rate": None, "momentum": 0.0},
    "adam": {"learning_rate": None, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    "clipup": {"learning_rate": None, "momentum": 0.9, "max_speed": None},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_frozen(name):
    """They change on purpose or not at all: searches that say nothing are to be the same."""
    made = {**STRATEGIES, **OPTIMIZERS}[name]()
    assert made.get_params() == DEFAULTS[name]


def test_all_have_defaults():
    assert {*STRATEGIES, *OPTIMIZERS} == set(DEFAULTS)


LIMITS = [  # taken, and what lies beyond
    ("n_pairs", 2**32 - 1, 2**32), ("max_iter", 1, 0), ("max_iter", 2**32 - 1, 2**32),
    ("max_evals", 1, 0), ("max_evals", 2**70, -1), ("n_reevaluations", 1, 0), ("verbose", 0, -1),
    ("max_retries", 0, -1), ("timeout", None, 0.0), ("min_fraction", 1.0, np.nextafter(1.0, 2.0)),
    ("max_time", 5e-324, 0.0), ("f_target", -1.7e308, np.nan), ("f_target", np.inf, "0"),
    ("sigma", 5e-324, 0.0), ("sigma", 1.7e308, np.inf), ("learning_rate", 5e-324, 0.0),
    ("learning_rate", 1.7e308, np.inf), ("beta", 5e-324, 0.0), ("alpha", 0.0, -5e-324),
    ("alpha", 1.0, np.nextafter(1.0, 2.0)), ("n_guides", 1, 0), ("vectorized", True, 1),
    ("unbiased", True, 1), ("common_random_numbers", None, "none"), ("n_jobs", -1, 0),
    ("sigma_learning_rate", 5e-324, 0.0), ("n_windows", 1, 0), ("n_top", 1, 0), ("n_top", 3, 4),
    ("xatol", 5e-324, 0.0), ("xatol", None, "small"), ("tol", 5e-324, 0.0), ("fatol", 0, -5e-324),
    ("fatol", 1.7e308, np.inf), ("fatol", 0.0, "0"), ("restarts", 0, -1), ("restarts", "ipop", ""),
    ("min_sigma", 0.0, -5e-324), ("min_sigma", 1.7e308, np.inf), ("min_sigma", [0, 0, 0], [0, 0]),
    ("slopes", False, 0), ("covariance", "full", ""), ("sampler", Isotropic(3), Isotropic(4)),
    ("beta", "auto", "none"), ("alpha", "auto", "none"), ("sigma", [1, 2, 3], [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameter", "taken", "refused"),
    [
        (name, *limit)
        for name, cls in STRATEGIES.items()
        for limit in LIMITS
        if limit[0] in cls().get_params() and (name == "adaptive-es" or limit[1] != [1, 2, 3])
    ],
)
def test_limits_of_parameters(name, parameter, taken, refused):
    """The last value that is taken, and the first that is not."""
    make(name, **{parameter: taken}).check_parameters(3)
    with pytest.raises((TypeError, ValueError), match=parameter):
        make(name, **{parameter: refused}).check_parameters(3)


@pytest.mark.parametrize(
    ("made", "taken", "refused"),
    [(cls, *limit) for cls, limit in [
        *((cls, ("learning_rate", 5e-324, 0.0)) for cls in OPTIMIZERS.values()),
        (SGD, ("momentum", 0.0, -5e-324)), (SGD, ("momentum", np.nextafter(1.0, 0.0), 1.0)),
        (Adam, ("beta_1", 0.0, -5e-324)), (Adam, ("beta_1", np.nextafter(1.0, 0.0), 1.0)),
        (Adam, ("beta_2", 0.0, -5e-324)), (Adam, ("beta_2", np.nextafter(1.0, 0.0), 1.0)),
        (Adam, ("epsilon", 5e-324, 0.0)),
        (ClipUp, ("max_speed", 5e-324, 0.0)), (ClipUp, ("momentum", 0.0, 1.0)),
    ] for limit in [((limit[0], limit[1]), (limit[0], limit[2]))]],
)  # fmt: skip
def test_limits_of_optimizers(made, taken, refused):
    """As those of strategies, and so through the strategy that has the optimizer."""
    (name, good), (_, bad) = taken, refused
    made(**{name: good}).check()
    make("vanilla-es", optimizer=made(**{name: good})).check_parameters(3)
    with pytest.raises(ValueError, match=name):
        made(**{name: bad}).check()
    with pytest.raises(ValueError, match=name):
        make("vanilla-es", optimizer=made(**{name: bad})).check_parameters(3)
