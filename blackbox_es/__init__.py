"""Guided evolution strategies: optimise what has no gradient you can have or trust.

Names are imported when they are first used, so that ``import blackbox_es`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "_config": ("config",),
    "_minimize": ("estimate_gradient", "minimize", "scipy_method"),
    "_value": ("value",),
    "box": ("Box",),
    "checkpoint": ("CheckpointError",),
    "diagnostics": ("gradient_diagnostics",),
    "shaping": ("EvaluationError",),
    "models": ("SurrogateModel",),
    "neural": (
        "ESConvNetClassifier",
        "ESMLPClassifier",
        "ESMLPRegressor",
        "ESTuner",
        "safe_sigmas",
    ),
    "optimizers": ("Adam", "ClipUp", "SGD"),
    "samplers": (
        "Affine",
        "Diagonal",
        "Elongated",
        "Guided",
        "Isotropic",
        "LowRank",
        "Orthogonal",
        "Split",
    ),
    "schedules": ("Cosine", "Exponential", "Linear"),
    "model_selection": ("ESSearchCV",),
    "space": ("Choice", "Int", "Log", "Real", "Space"),
    "strategies": (
        "ARS",
        "ASEBO",
        "CMAES",
        "NRES",
        "PGPE",
        "SGES",
        "SNES",
        "XNES",
        "AdaptiveES",
        "GuidedES",
        "OrthogonalES",
        "SurrogateDescent",
        "VanillaES",
    ),
    "strategy": ("EvolutionStrategy",),
    "tree": ("tree_bounds",),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from blackbox_es._config import config as config
    from blackbox_es._minimize import estimate_gradient as estimate_gradient
    from blackbox_es._minimize import minimize as minimize
    from blackbox_es._minimize import scipy_method as scipy_method
    from blackbox_es._value import value as value
    from blackbox_es.box import Box as Box
    from blackbox_es.checkpoint import CheckpointError as CheckpointError
    from blackbox_es.diagnostics import gradient_diagnostics as gradient_diagnostics
    from blackbox_es.model_selection import ESSearchCV as ESSearchCV
    from blackbox_es.models import SurrogateModel as SurrogateModel
    from blackbox_es.neural import ESConvNetClassifier as ESConvNetClassifier
    from blackbox_es.neural import ESMLPClassifier as ESMLPClassifier
    from blackbox_es.neural import ESMLPRegressor as ESMLPRegressor
    from blackbox_es.neural import ESTuner as ESTuner
    from blackbox_es.neural import safe_sigmas as safe_sigmas
    from blackbox_es.optimizers import SGD as SGD
    from blackbox_es.optimizers import Adam as Adam
    from blackbox_es.optimizers import ClipUp as ClipUp
    from blackbox_es.samplers import Affine as Affine
    from blackbox_es.samplers import Diagonal as Diagonal
    from blackbox_es.samplers import Elongated as Elongated
    from blackbox_es.samplers import Guided as Guided
    from blackbox_es.samplers import Isotropic as Isotropic
    from blackbox_es.samplers import LowRank as LowRank
    from blackbox_es.samplers import Orthogonal as Orthogonal
    from blackbox_es.samplers import Split as Split
    from blackbox_es.schedules import Cosine as Cosine
    from blackbox_es.schedules import Exponential as Exponential
    from blackbox_es.schedules import Linear as Linear
    from blackbox_es.shaping import EvaluationError as EvaluationError
    from blackbox_es.space import Choice as Choice
    from blackbox_es.space import Int as Int
    from blackbox_es.space import Log as Log
    from blackbox_es.space import Real as Real
    from blackbox_es.space import Space as Space
    from blackbox_es.strategies import ARS as ARS
    from blackbox_es.strategies import ASEBO as ASEBO
    from blackbox_es.strategies import CMAES as CMAES
    from blackbox_es.strategies import NRES as NRES
    from blackbox_es.strategies import PGPE as PGPE
    from blackbox_es.strategies import SGES as SGES
    from blackbox_es.strategies import SNES as SNES
    from blackbox_es.strategies import XNES as XNES
    from blackbox_es.strategies import AdaptiveES as AdaptiveES
    from blackbox_es.strategies import GuidedES as GuidedES
    from blackbox_es.strategies import OrthogonalES as OrthogonalES
    from blackbox_es.strategies import SurrogateDescent as SurrogateDescent
    from blackbox_es.strategies import VanillaES as VanillaES
    from blackbox_es.strategy import EvolutionStrategy as EvolutionStrategy
    from blackbox_es.tree import tree_bounds as tree_bounds


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"blackbox_es.{_HOME[name]}"), name)
    raise AttributeError(f"module 'blackbox_es' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
