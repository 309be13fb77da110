"""Checks of your own objectives, surrogates, gradient estimators and optimizers.

Needs neither pytest nor Hypothesis; the modules ``strategies`` and ``stateful`` are for Hypothesis.
"""

from blackbox_es.testing.checks import CheckFailed, CheckReport
from blackbox_es.testing.estimators import (
    check_gradient_estimator,
    gradient_estimator_checks_generator,
)
from blackbox_es.testing.objectives import (
    check_objective,
    objective_checks_generator,
    parametrize_with_objective_checks,
)

__all__ = [
    "CheckFailed",
    "CheckReport",
    "check_gradient_estimator",
    "check_objective",
    "gradient_estimator_checks_generator",
    "objective_checks_generator",
    "parametrize_with_objective_checks",
]
