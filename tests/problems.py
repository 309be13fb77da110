"""Tiny objectives, and the ways through a search that the tests compare bit for bit."""

import dataclasses

import numpy as np
import pytest

from blackbox_es.strategies import STRATEGIES

X0 = np.array([0.5, -1.0, 2.0])


def bowl(x):
    """A quadratic of three coordinates with the same bits for a point and for rows of points."""
    a, b, c = x[..., 0] - 1, x[..., 1], x[..., 2]
    return a * a + 2 * b * b + c * c / 2 + 1


def slope(x):
    """A biased gradient of `bowl`."""
    return np.array([2 * x[0] - 1.5, 4 * x[1] - 0.3, x[2] + 0.2])


def make(name, **options):
    """A strategy of the registry with a short budget, and 2 n_pairs points in each generation."""
    windows = {"n_windows": 3} if takes(name, n_windows=3) else {}  # else it is VanillaES
    windows |= {"slopes": False} if takes(name, slopes=False) else {}
    windows |= {"warm_up": 2} if takes(name, warm_up=2) else {}
    common = {"sigma": 0.06, "n_pairs": 3, "max_iter": 5, "random_state": 7}
    return STRATEGIES[name](**{**windows, **common, **options})


def takes(name, *, n=X0.size, **options):
    """Whether a strategy has these parameters, and takes these values of them."""
    try:
        STRATEGIES[name](**options).check_parameters(n)
    except (TypeError, ValueError):
        return False
    return True


def taking(**options):
    """Run a test for all strategies that take these parameters."""
    return pytest.mark.parametrize("name", [name for name in STRATEGIES if takes(name, **options)])


def each(parameter, *values):
    """Run a test for each strategy with each of these values that it takes."""
    cases = [(name, v) for name in STRATEGIES for v in values if takes(name, **{parameter: v})]
    return pytest.mark.parametrize(("name", parameter), cases)


def plain(name, **options):
    """With steps along the estimate, where a strategy has an optimizer."""
    return make(name, **({"optimizer": "sgd"} if takes(name, optimizer="sgd") else {}), **options)


def vanilla(**options):
    """The plainest strategy, with four pairs."""
    return make("vanilla-es", **{"n_pairs": 4, "max_iter": 3, "random_state": 1, **options})


def step(values, **options):
    """`vanilla` after one generation that was told these values."""
    es = vanilla(**options).start(X0)
    es.tell(es.ask(), values)
    return es


def surrogate_of(es):
    """A surrogate for the strategies that take one."""
    return slope if es.takes_surrogate else None


def fit(es, objective=bowl, x0=X0, **options):
    """One call, with a surrogate where one is taken."""
    return es.fit(objective, x0, surrogate_of(es), **options)


def guide(es):
    """What to pass to ``ask``."""
    return slope(es.x_) if es.takes_surrogate else None


def loop(es, objective=bowl):
    """From wherever it is to the end by ask and tell."""
    while not es.stop_reason_:
        X = es.ask(guide(es))
        es.tell(X, [objective(x) for x in X])
    return es


def bits(value):
    """Something that is equal exactly if the value is the same bit for bit, type included."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value), *(bits(getattr(value, f.name)) for f in dataclasses.fields(value))]
    return repr(value)


# What `fit` alone changes, by the evaluation of the final center.
FINAL = ("fun_", "fun_best_", "n_evaluations_", "n_surrogate_calls_", "n_failed_")


def fitted(es):
    """The fitted attributes of a strategy, but for those made of others."""
    names = [name for name in dir(type(es)) if name[-1] == "_" != name[0]]
    return {name: getattr(es, name) for name in names if name not in ("result_", "state_")}


def state(es, *, final=True):
    """The bits of all fitted attributes; without those of the final evaluation if not ``final``."""
    skipped = () if final else (*FINAL, "x_best_")
    return {name: bits(value) for name, value in fitted(es).items() if name not in skipped}


def snapshot(es):
    """The bits of everything a strategy holds, private or not."""
    held = {
        name: bits(value) for name, value in vars(es).items() if name not in ("_search", "_guard")
    }
    search = vars(es).get("_search")
    if search is not None:
        pending = search.pending and vars(search.pending) | {
            "_points": None,
            "_n_given": 0,
            "_back": [],
            "n_out": 0,
        }
        record = search.record._replace(rows=search.record.rows[: search.record.n_rows])
        held |= {"search": bits([search.seed, search.state, record, pending, search.stop_reason])}
    return held


def assert_never_hidden(losses_of, expected_of, problem, bad):
    """With NaN for any one parameter losses are NaN; with infinity they are right or not finite."""
    for place in range(problem["theta"].size):
        theta = problem["theta"].copy()
        theta[place] = bad
        broken = problem | {"theta": theta}
        losses = losses_of(broken)
        if np.isnan(bad):
            assert np.isnan(losses).all()
        else:
            with np.errstate(invalid="ignore", over="ignore"):
                expected = expected_of(broken)
            right = np.isfinite(losses)
            np.testing.assert_allclose(losses[right], expected[right], rtol=1e-12, atol=1e-13)
