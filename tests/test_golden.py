"""Searches and fits end where they ended when their results were recorded.

Most of `golden.json` was recorded before the engine was rewritten as pure functions of frozen
values. A change that is not meant to change results must not change these. One that is: delete the
rows concerned from the file and run ``python tests/test_golden.py``, which records what is missing.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from blackbox_es import ESMLPClassifier
from blackbox_es.strategies import STRATEGIES

FILE = Path(__file__).with_name("golden.json")

# -- searches ------------------------------------------------------------------------------------

SEARCHES = {}  # by name: strategy, parameters, n, dtype


def search(name, strategy, n=16, dtype="float64", **params):
    SEARCHES[name] = strategy, params, n, dtype


for n in (16, 10):
    search(f"vanilla, n={n}", "vanilla-es", n)
    search(f"guided, n={n}", "guided-es", n)
search("guided by three", "guided-es", n_guides=3, n_pairs=9)
for es in ("vanilla-es", "guided-es"):
    search(f"{es}, sgd", es, optimizer="sgd", learning_rate=1e-3)
    search(f"{es}, clipup", es, optimizer="clipup", learning_rate=0.05)
    search(f"{es}, centered ranks", es, shaping="centered_ranks")
    search(f"{es}, nes", es, shaping="nes", optimizer="sgd", learning_rate=0.5)
    search(f"{es}, standardized, beta", es, shaping="standardized", beta=3.0)
    search(f"{es}, float32", es, dtype="float32")
    search(f"{es}, noise", es, noise=True)
search("guided, alpha 0", "guided-es", alpha=0.0)
search("guided, alpha .9", "guided-es", alpha=0.9, n_pairs=4)

# Nothing here depends on the processor. That of the others may in the last bits, by the logarithms
# of "nes" and the products with guides; and with n = 10 it was recorded when sigma was a length,
# sqrt(n) times what it is today, which is exact for n = 16 only.
EXACT = {name for name, row in SEARCHES.items()
         if row[0] == "vanilla-es" and row[2] == 16} - {"vanilla-es, nes"}  # fmt: skip


def rosenbrock(x):
    """In float64, by products and sums only: the same bits everywhere."""
    x = x.astype(np.float64)
    a, b = x[1:] - x[:-1] * x[:-1], 1.0 - x[:-1]
    return float((100.0 * a * a + b * b).sum())


def noisy(x, seed):
    """The same, tilted by the seed."""
    return rosenbrock(x) + (seed % 1000) / 100.0 * float(x[0])


def surrogate(x):
    """The gradient of a sphere elsewhere, tilted."""
    return 2.0 * (x - 1.25) + np.linspace(-0.5, 0.5, x.size).astype(x.dtype)


def searched(name):
    """The results of a search by name."""
    strategy, params, n, dtype = SEARCHES[name]
    params = {"n_pairs": 5, "max_iter": 30, "random_state": 2**40 + 7, **params}
    objective = noisy if params.pop("noise", False) else rosenbrock
    es = STRATEGIES[strategy](sigma=0.05, **params)
    x0 = np.linspace(-1.0, 1.0, n).astype(dtype)
    es.fit(objective, x0, surrogate if strategy == "guided-es" else None)
    quality = getattr(es, "surrogate_quality_", 0.0)
    return {
        "x": es.x_,
        "gradient": es.gradient_,
        "x_best": es.x_best_,
        "rest": np.array([es.fun_, es.fun_best_, es.n_evaluations_, quality]),
    }


# -- AdaptiveES ----------------------------------------------------------------------------------

SCALES = np.array([1.0, 4.0, 9.0, 25.0, 81.0, 225.0])


def stairs(x):
    """Steps, which have no slope."""
    return float(np.floor(8.0 * np.abs(x - 0.3)).sum())


def tilted(x, seed):
    """An ellipsoid, and noise as large as its values near the minimum."""
    return float(SCALES[: x.size] @ (x * x)) + (seed % 1000) / 1000.0


def wide(x):
    """An ellipsoid in many dimensions, not separable."""
    y = x + 0.5 * np.roll(x, 1)
    return float(np.linspace(1.0, 30.0, x.size) @ (y * y))


def slope_of_wide(x):
    """Its gradient, tilted."""
    y = 2.0 * np.linspace(1.0, 30.0, x.size) * (x + 0.5 * np.roll(x, 1))
    return y + 0.5 * np.roll(y, -1) + 0.1 * np.linspace(-1.0, 1.0, x.size)


ADAPTIVE = {  # objective, n, surrogate, parameters
    "a descent": (rosenbrock, 5, None, {"max_iter": 40}),
    "both": (rosenbrock, 4, None, {"max_evals": 400}),
    "full": (rosenbrock, 6, None, {"max_iter": 30, "slopes": False}),
    "diagonal": (rosenbrock, 12, None, {"max_iter": 30, "slopes": False, "covariance": "diagonal"}),
    "many": (wide, 70, None, {"max_iter": 30, "n_pairs": 12}),
    "bounds": (rosenbrock, 3, None, {"max_iter": 30, "bounds": [(-2, 0.5), (None, 1), (0, 3)]}),
    "noise": (tilted, 5, None, {"max_evals": 500, "sigma": 0.2}),
    "stairs": (stairs, 3, None, {"max_evals": 700}),
    "restarts": (stairs, 2, None, {"max_evals": 900, "slopes": False, "restarts": "bipop"}),
    "floor": (rosenbrock, 3, None, {"max_iter": 30, "min_sigma": [0.0, 0.1, 0.3], "sigma": 0.5}),
    "a surrogate": (wide, 60, slope_of_wide, {"max_iter": 60}),
    "a few": (wide, 8, slope_of_wide, {"max_iter": 15}),
}


def adapted(name):
    """Where a search of AdaptiveES is after some generations, and what has ended."""
    objective, n, surrogate, params = ADAPTIVE[name]
    es = STRATEGIES["adaptive-es"](**{"random_state": 2**40 + 7, "n_pairs": 4, **params})
    es.fit(objective, np.linspace(-1.0, 1.0, n) + 0.25, surrogate)
    ended = [(run.n_evaluations, run.fun) for run in es.runs_]
    return {
        "x": es.x_,
        "evolution": np.array([*es.state_.evolution.x, es.state_.evolution.sigma]),
        "rest": np.array([es.fun_, es.fun_best_, es.n_evaluations_, es.n_surrogate_calls_]),
        "ended": np.array(ended).ravel(),
    }


# -- networks ------------------------------------------------------------------------------------

ACTIVATIONS = {"perturb": "activations"}
WEIGHTS = {"perturb": "weights", "guide": None}
GUIDED = {"guide_alpha": 0.9}
FITS = {
    "weights": WEIGHTS,
    "weights, backprop": GUIDED | {"guide": "backprop"},
    "weights, three previous": GUIDED | {"guide": "previous", "n_guides": 3},
    "weights, zero-one": WEIGHTS | {"loss": "zero_one", "shaping": "nes"},
    "weights, batches": WEIGHTS | {"batch_size": 16, "sigma": 0.03},
    "activations": ACTIVATIONS,
    "activations, batches": ACTIVATIONS | {"batch_size": 16, "optimizer": "sgd"},
}


def trained(name):
    """The weights of a small network after 25 generations."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((90, 5))
    y = (X[:, 0] * X[:, 1] > 0.1).astype(int) + (X[:, 2] > 0.5)
    params = {"n_pairs": 48, "sigma": 9 / 256, "max_iter": 25, "random_state": 5, "alpha": 1e-4}
    params |= FITS[name]
    model = ESMLPClassifier((6, 4), **params).fit(X, y)
    return {"x": np.concatenate([np.ravel(part) for part in (*model.coefs_, *model.intercepts_)])}


# -- then and now --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    rows = json.loads(FILE.read_text("utf-8"))
    return {
        name: {key: np.array([float.fromhex(v) for v in values]) for key, values in row.items()}
        for name, row in rows.items()
    }


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_end_where_they_did(name, golden):
    """Bit for bit where nothing depends on the processor, else to 1e-12 of the largest entry."""
    for key, found in searched(name).items():
        expected = golden[name][key]
        if name in EXACT:
            np.testing.assert_array_equal(found, expected)
        elif key == "rest":
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        else:
            atol = 1e-12 * np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_searches_end_where_they_did(name, golden):
    """To 1e-6 of the largest entry: rounding grows, since what is learnt steers the search."""
    for key, found in adapted(name).items():
        expected = golden[f"adaptive: {name}"][key]
        atol = 1e-6 * np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", FITS)
def test_fits_end_where_they_did(name, golden):
    """To 1e-10: kernels may round ``a * b + c`` once or twice, as the processor can."""
    expected = golden[f"network: {name}"]["x"]
    np.testing.assert_allclose(trained(name)["x"], expected, rtol=0, atol=1e-10)


def record():
    """Add the rows that are missing in the file."""
    rows = json.loads(FILE.read_text("utf-8"))
    tables = [
        ("", SEARCHES, searched), ("network: ", FITS, trained), ("adaptive: ", ADAPTIVE, adapted)
    ]  # fmt: skip
    for prefix, table, results in tables:
        for name in table:
            if prefix + name not in rows:
                rows[prefix + name] = {
                    key: [float(v).hex() for v in values] for key, values in results(name).items()
                }
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", "utf-8")


if __name__ == "__main__":
    record()
