"""The strategies, one file each; a line here enrols one everywhere, in the tests too."""

from blackbox_es.strategies.adaptive import AdaptiveES
from blackbox_es.strategies.ars import ARS
from blackbox_es.strategies.asebo import ASEBO
from blackbox_es.strategies.cma_es import CMAES
from blackbox_es.strategies.guided import GuidedES
from blackbox_es.strategies.nres import NRES
from blackbox_es.strategies.orthogonal import OrthogonalES
from blackbox_es.strategies.pgpe import PGPE
from blackbox_es.strategies.sges import SGES
from blackbox_es.strategies.snes import SNES
from blackbox_es.strategies.surrogate_descent import SurrogateDescent
from blackbox_es.strategies.vanilla import VanillaES
from blackbox_es.strategies.xnes import XNES
from blackbox_es.strategy import EvolutionStrategy

STRATEGIES: dict[str, type[EvolutionStrategy]] = {
    "adaptive-es": AdaptiveES,
    "guided-es": GuidedES,
    "vanilla-es": VanillaES,
    "orthogonal-es": OrthogonalES,
    "sges": SGES,
    "asebo": ASEBO,
    "pgpe": PGPE,
    "snes": SNES,
    "xnes": XNES,
    "ars": ARS,
    "nres": NRES,
}
# What they are compared with: one draws nothing at random, one mirrors nothing, so that not all of
# their laws hold.
BASELINES: dict[str, type[EvolutionStrategy]] = {
    "surrogate-descent": SurrogateDescent,
    "cma-es": CMAES,
}
METHODS = STRATEGIES | BASELINES

__all__ = [
    "ARS",
    "ASEBO",
    "BASELINES",
    "CMAES",
    "METHODS",
    "NRES",
    "PGPE",
    "SGES",
    "SNES",
    "STRATEGIES",
    "XNES",
    "AdaptiveES",
    "GuidedES",
    "OrthogonalES",
    "SurrogateDescent",
    "VanillaES",
]
