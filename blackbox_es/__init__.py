"""Guided evolution strategies: optimise what has no gradient you can have or trust.

Names are imported when they are first used, so that ``import blackbox_es`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blackbox_es.diagnostics import optimal_alpha as optimal_alpha

__version__ = "0.1.0"

_HOME = {
    "GuidedES": "strategies",
    "VanillaES": "strategies",
    "EvolutionStrategy": "strategy",
    "EvaluationError": "evaluation",
    "SGD": "optimizers",
    "Adam": "optimizers",
    "ClipUp": "optimizers",
    "Linear": "schedules",
    "Exponential": "schedules",
    "Cosine": "schedules",
    "Isotropic": "samplers",
    "LowRank": "samplers",
    "Guided": "samplers",
    "minimize": "_minimize",
    "scipy_method": "_minimize",
    "estimate_gradient": "_minimize",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"blackbox_es.{_HOME[name]}"), name)
    raise AttributeError(f"module 'blackbox_es' has no attribute {name!r}")
