"""Checks of your own objectives, surrogates, gradient estimators and optimizers.

Needs neither pytest nor Hypothesis. Beside what is listed here: ``hypothesis_strategies`` and
``stateful`` for Hypothesis, ``statistics`` with assertions of known error rates, and ``adapters``
for other packages' optimizers.
"""

from blackbox_es.testing.checks import CheckFailed, CheckReport
from blackbox_es.testing.gradients import (
    check_gradient_estimator,
    gradient_estimator_checks_generator,
)
from blackbox_es.testing.objectives import (
    check_objective,
    objective_checks_generator,
    parametrize_with_objective_checks,
)
from blackbox_es.testing.searches import (
    check_optimizer,
    optimizer_checks_generator,
    parametrize_with_optimizer_checks,
)
from blackbox_es.testing.surrogates import check_surrogate

__all__ = [
    "CheckFailed",
    "CheckReport",
    "check_gradient_estimator",
    "check_objective",
    "check_optimizer",
    "check_surrogate",
    "gradient_estimator_checks_generator",
    "objective_checks_generator",
    "optimizer_checks_generator",
    "parametrize_with_objective_checks",
    "parametrize_with_optimizer_checks",
]
