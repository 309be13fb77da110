"""The strategies, one file each; a line here enrols one everywhere, in the tests too."""

from blackbox_es.strategies.guided import GuidedES
from blackbox_es.strategies.vanilla import VanillaES
from blackbox_es.strategy import EvolutionStrategy

STRATEGIES: dict[str, type[EvolutionStrategy]] = {"guided-es": GuidedES, "vanilla-es": VanillaES}

__all__ = ["STRATEGIES", "GuidedES", "VanillaES"]
