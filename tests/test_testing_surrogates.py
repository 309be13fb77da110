"""check_surrogate: bugs are found by the check of their law; r, its interval and the verdict."""

import re

import numpy as np
import pytest

from blackbox_es.problems import PerturbedQuadratic
from blackbox_es.testing import check_objective, check_surrogate
from blackbox_es.testing.bench import ObjectiveBench
from blackbox_es.testing.surrogates import SURROGATE_CHECKS, alignment

N = 50
X0 = np.linspace(0.5, 1.5, N)
SCALE = np.linspace(1.0, 3.0, N)


def f(x):
    return float(SCALE @ x**2)


def gradient(x):
    return 2 * SCALE * x


def writes(x):
    x *= 2 * SCALE
    return x


def reseeds(x):
    np.random.seed(0)  # noqa: NPY002
    return gradient(x)


def noise(seed):
    rng = np.random.default_rng(seed)
    return lambda x: rng.standard_normal(N)


def shuffled(x):
    return np.roll(gradient(x) * (-1.0) ** np.arange(N), 1)


def three_of_noise(x):
    return noise(3)(x)[:, None] ** [1, 2, 3] - [0, 1, 0]


def raises(x):
    raise RuntimeError("no graph")


BUGS = {
    "wrong sign": ("check_surrogate_sign", lambda x: -gradient(x)),
    "a descent direction": ("check_surrogate_sign", lambda x: -0.1 * x),
    "transposed guides": ("check_surrogate_value", lambda x: np.stack([gradient(x), x])),
    "one too many": ("check_surrogate_value", lambda x: np.append(gradient(x), 0.0)),
    "scalar": ("check_surrogate_value", lambda x: 1.0),
    "three dimensions": ("check_surrogate_value", lambda x: gradient(x)[:, None, None]),
    "no return": ("check_surrogate_value", lambda x: None),
    "complex": ("check_surrogate_value", lambda x: gradient(x) + 0j),
    "NaN": ("check_surrogate_value", lambda x: np.where(np.arange(N) == 3, np.nan, gradient(x))),
    "value and gradient": ("check_surrogate_value", lambda x: (f(x), gradient(x))),
    "raises": ("check_surrogate_value", raises),
    "zero": ("check_surrogate_not_zero", lambda x: np.zeros(N)),
    "zeros": ("check_surrogate_not_zero", lambda x: np.zeros((N, 3))),
    "writes into x": ("check_surrogate_argument_untouched", writes),
    "reseeds NumPy": ("check_surrogate_global_state", reseeds),
    "noise": ("check_surrogate_informative", noise(1)),
    "a fixed random direction": ("check_surrogate_informative", lambda x: noise(2)(x)),
    "another order": ("check_surrogate_informative", shuffled),
    "of the first coordinate": ("check_surrogate_informative", lambda x: np.eye(N)[0]),
    "noise, three guides": ("check_surrogate_informative", three_of_noise),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug):
    """By the check that names the law, and it alone."""
    name, surrogate = BUGS[bug]
    report = check_surrogate(f, surrogate, X0, on_fail=None)
    assert report.failed == [name], report


def test_every_check_has_found_a_bug():
    """No check is there that nothing fails."""
    assert {check.name for check in SURROGATE_CHECKS} == {name for name, _ in BUGS.values()}


HEALTHY = {
    "gradient": gradient,
    "scaled": lambda x: 1e-200 * gradient(x),
    "huge": lambda x: 1e200 * gradient(x),
    "biased": lambda x: gradient(x) + 3.0 * np.sin(np.arange(N)),
    "of another quadratic": lambda x: x,
    "float32": lambda x: gradient(x).astype(np.float32),
    "a list": lambda x: gradient(x).tolist(),
    "a column": lambda x: gradient(x)[:, None],
    "two guides": lambda x: np.stack([gradient(x), x**2], axis=1),
    "a guide twice": lambda x: np.stack([gradient(x), -gradient(x), np.zeros(N)], axis=1),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_surrogates(name):
    """Nothing is found, and they help."""
    report = check_surrogate(f, HEALTHY[name], X0)
    assert report.findings["surrogate"].endswith("helps")


@pytest.mark.parametrize("vectorized", [False, True])
def test_of_an_objective_with_noise(vectorized):
    """The seed is the same for both ends of a difference."""

    def noisy(x, seed):
        return (x**2) @ SCALE + np.random.default_rng(seed).standard_normal()

    options = {"vectorized": vectorized, "stochastic": True}
    assert not check_surrogate(noisy, gradient, X0, **options).failed


def test_the_paper_s_surrogate_helps():
    """Cosine 1/sqrt(1 + 1 + 1.5^2) with the gradient: 0.235 lies in the interval of r."""
    problem = PerturbedQuadratic()
    found = check_surrogate(problem, problem.surrogate(), problem.x0).findings["surrogate"]
    low, high = map(float, re.search(r"interval (\S+) to (\S+),", found).groups())
    assert low < 1 / (1 + 1 + 1.5**2) < high
    assert found.endswith("helps")


def test_the_interval_covers_r():
    """For a linear objective it is exact: 95 % of 400 seeds, within 6 standard errors."""
    c = np.random.default_rng(0).standard_normal(N)
    guide = c + 1.5 * np.random.default_rng(1).standard_normal(N)
    r = (c @ guide) ** 2 / (c @ c) / (guide @ guide)
    covered = 0
    for seed in range(400):
        bench = ObjectiveBench(lambda x: c @ x, X0, surrogate_fn=lambda x: guide, seed=seed)
        found = alignment(bench)
        covered += found.low <= r <= found.high
        assert found.k == 1
    assert abs(covered / 400 - 0.95) < 6 * np.sqrt(0.05 * 0.95 / 400)


def test_random_guides_are_rarely_called_helpful():
    """For fresh noise in 2 of 400 seeds at most: r must exceed 99 % of chance with its low end."""
    c = np.random.default_rng(0).standard_normal(N)
    helpful = 0
    for seed in range(400):
        found = alignment(ObjectiveBench(lambda x: c @ x, X0, surrogate_fn=noise(seed)))
        helpful += bool(found.useful)
    assert helpful <= 2


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_dimensions(n):
    """Where a random direction may be as good, neutral is no failure."""
    report = check_surrogate(lambda x: float(x @ x), lambda x: x + np.arange(n) * 2.0, np.ones(n))
    assert report.findings["surrogate"].rpartition(": ")[2] in ("neutral", "helps")


def test_guides_that_span_everything():
    """There is nothing to compare with."""
    report = check_surrogate(lambda x: float(x @ x), lambda x: np.eye(2), [1.0, 2.0])
    assert "span all 2" in str(report["check_surrogate_informative"]["exception"])


def test_part_of_check_objective():
    """With surrogate_fn the report on the objective says it too."""
    report = check_objective(f, X0, surrogate_fn=gradient)
    assert report.findings["surrogate"].startswith("r = cos^2 = 1, 95 % interval ")
    assert report.findings["surrogate"].endswith("chance k/n = 0.02: helps")
