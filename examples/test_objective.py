"""Checks of objectives of one's own: a test suite to paste, and what it says of a mistake.

`simulate` is a queue with noise that its seed decides; `tune` is a model that is fitted inside and
remembers, by mistake, where its last fit ended. With pytest each check is a test of its own, and
the mistake is expected to fail; without, the report on each is printed.

    python examples/test_objective.py
    python -m pytest examples/test_objective.py
"""

import numpy as np

from blackbox_es.testing import check_objective, parametrize_with_objective_checks


def simulate(x, seed):
    """Cost of a queue with service rates exp(x), plus what the customers wait."""
    arrivals = np.random.default_rng(seed).exponential(1.0, (200, x.size)).cumsum(axis=0)
    free, waited = np.zeros(x.size), 0.0
    for arrival in arrivals:
        waited += np.maximum(free - arrival, 0.0).mean()
        free = np.maximum(free, arrival) + np.exp(-x)
    return float(waited / 200 + np.exp(x).mean())


class Tune:
    """The residual of an inner fit that starts where the last one ended: the mistake."""

    def __init__(self):
        self.inner = np.zeros(3)

    def __call__(self, x):
        for _ in range(5):
            self.inner = self.inner - 0.3 * (self.inner - x)
        return float(((self.inner - 1.0) ** 2).sum())


# -- to paste into a test suite: from here ---------------------------------------------------------

OBJECTIVES = {"simulate": (simulate, np.zeros(4)), "tune": (Tune(), np.zeros(3))}


@parametrize_with_objective_checks({"simulate": OBJECTIVES["simulate"]}, sigma=0.1)
def test_simulate(objective, check):
    check(objective)


@parametrize_with_objective_checks(
    {"tune": OBJECTIVES["tune"]},
    expected_failed_checks={"check_deterministic": "it remembers: to be mended"},
)
def test_tune(objective, check):
    check(objective)


# -- to here ---------------------------------------------------------------------------------------

if __name__ == "__main__":
    for objective, x0 in OBJECTIVES.values():
        print(check_objective(objective, x0, sigma=0.1, on_fail=None), end="\n\n")
