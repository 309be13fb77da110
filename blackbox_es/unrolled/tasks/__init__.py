"""Meta-learning tasks as unrolled problems, with truncated gradients."""

from blackbox_es.unrolled.tasks.influence import InfluenceBalancing
from blackbox_es.unrolled.tasks.learned import LearnedOptimizer
from blackbox_es.unrolled.tasks.quadratics import RandomQuadratics
from blackbox_es.unrolled.tasks.schedule import NetworkSchedule
from blackbox_es.unrolled.tasks.toy import ToySchedule

__all__ = [
    "InfluenceBalancing",
    "LearnedOptimizer",
    "NetworkSchedule",
    "RandomQuadratics",
    "ToySchedule",
]
